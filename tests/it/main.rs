#![cfg(test)]
//! Rooms together, on real databases and real targets.

mod api;
mod house;
mod metrics;
mod store;
mod support;
