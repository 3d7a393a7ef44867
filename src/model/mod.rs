//! Pure nouns and decisions: what Keywheel knows and how it decides, without any IO.
//!
//! Invariant: nothing below reads a clock, draws a random number, or awaits.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod access;
pub mod access_policy;
pub mod account;
pub mod asset;
pub mod audit;
pub mod audit_chain;
pub mod credential;
pub mod discovery;
pub mod export;
pub mod fault;
pub mod functional_account;
pub mod host_key;
pub mod id;
pub mod identity;
pub mod job;
pub mod key;
pub mod key_rule;
pub mod key_warning;
pub mod organization;
pub mod password;
pub mod password_category;
pub mod password_folder;
pub mod password_record;
pub mod password_rule;
pub mod permission;
pub mod platform;
pub mod policy;
pub mod principal;
pub mod quarantine;
pub mod regression;
pub mod report;
pub mod request;
pub mod reveal;
pub mod rotation;
pub mod schedule;
pub mod session;
pub mod system;
mod timestamp;
pub mod totp;
pub mod workflow;
pub mod workgroup;

pub use timestamp::Timestamp;

#[cfg(test)]
mod tests {
    mod fuzz;
}
