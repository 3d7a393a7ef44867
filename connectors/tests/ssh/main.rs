#![cfg(test)]
//! The SSH connector on real servers.

mod fleet;
mod peer;
mod promises;
mod traps;
