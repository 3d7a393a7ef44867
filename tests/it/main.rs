#![cfg(test)]
//! Rooms together, on real databases and real targets.

mod api;
mod engine;
mod house;
mod machine;
mod metrics;
mod store;
mod support;
