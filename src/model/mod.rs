//! Pure nouns and decisions: what Keywheel knows and how it decides, without any IO.
//!
//! Invariant: nothing below reads a clock, draws a random number, or awaits.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod audit;
pub mod id;
pub mod job;
pub mod password_rule;
pub mod policy;
pub mod principal;
pub mod quarantine;
pub mod rotation;
mod timestamp;

pub use timestamp::Timestamp;
