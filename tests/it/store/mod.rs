//! Every method of `Store` and `Tx`, on both databases.
//!
//! Invariant: `house.rs` finds every public method's name below.

mod access;
mod access_policy;
mod account;
mod asset;
mod audit_chain;
mod base;
mod claim;
mod crash;
mod credential;
mod data_key;
mod discovery;
mod functional_account;
mod functional_link;
mod gauge;
mod id;
mod inventory;
mod job;
mod key;
mod last_access;
mod node;
mod order;
mod organization;
mod password;
mod password_folder;
mod password_list;
mod password_record;
mod policy;
mod principal;
mod quarantine;
mod report;
mod request;
mod rotation;
mod scan;
mod schedule;
mod session;
mod settle;
mod stress;
mod subscription;
mod system;
mod target;
mod totp;
mod wide;
mod workgroup;
