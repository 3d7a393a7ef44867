#![cfg(test)]
//! Rooms together, on real databases and real targets.

mod metrics;
