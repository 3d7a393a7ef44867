//! Every method of `Store` and `Tx`, on both databases.
//!
//! Invariant: `house.rs` finds every public method's name below.

mod account;
mod asset;
mod base;
mod data_key;
mod functional_account;
mod inventory;
mod policy;
mod principal;
mod schedule;
mod system;
mod workgroup;
