#![cfg(test)]
//! Rooms together, on real databases and real targets.

mod api;
mod clients;
mod daemon;
mod engine;
mod house;
mod itglue;
mod leaks;
mod machine;
mod machine_key;
mod metrics;
mod passwordsafe;
mod scheduler;
mod store;
mod support;
mod wall;
mod workflow;
