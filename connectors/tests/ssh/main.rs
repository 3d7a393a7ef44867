#![cfg(test)]
//! The SSH connector on real servers.

mod dropbear;
mod fleet;
mod key_files;
mod keys;
mod own;
mod paths;
mod peer;
mod promises;
mod traps;
