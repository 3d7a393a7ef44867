//! Every method of `Store` and `Tx`, on both databases.
//!
//! Invariant: `house.rs` finds every public method's name below.

mod base;
mod principal;
