//! Orders, claims, leases and settles jobs; runs the engine.
//!
//! Invariant: a node that lost its lease changes no row.

mod order;
mod quarantine;
mod worker;

pub use order::{ChangeOrder, OrderError, Orders, TestVerdict};
pub use worker::{Worker, WorkerOptions};
