//! Keywheel: privileged-access rotation that never loses a credential.
//!
//! The rooms, lowest first; a room imports only from floors below its own, except that `clock`,
//! `config`, `escrow`, `generate` and `metrics` serve their own floor too:
//!
//! | floor | rooms |
//! |---|---|
//! | 0 | the crate `keywheel-connectors`; in tests alone, `fuzz` |
//! | 1 | [`model`] |
//! | 2 | [`clock`], [`config`], [`escrow`], [`generate`], `metrics`, `store`, [`vault`] |
//! | 3 | `engine`, [`notify`], `scheduler`, [`worker`] |
//! | 4 | `queue`, [`workflow`] |
//! | 5 | [`api`], `console` |
//! | 6 | [`app`] |
//! | 7 | [`cli`] |
//! | 8 | `main` |
//!
//! Invariant: imports point down; `tests/it/house.rs` reads the sources and says so.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod escrow;
#[cfg(test)]
mod fuzz;
pub mod generate;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod queue;
pub mod scheduler;
pub mod store;
pub mod vault;
pub mod worker;
pub mod workflow;
