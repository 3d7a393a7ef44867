#![cfg(test)]
//! Rooms together, on real databases and real targets.

mod house;
mod store;
mod support;
