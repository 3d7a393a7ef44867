#![cfg(test)]
//! Rooms together, on real databases and real targets.

mod api;
mod house;
mod machine;
mod metrics;
mod passwordsafe;
mod store;
mod support;
