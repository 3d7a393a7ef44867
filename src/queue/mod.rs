//! Orders, claims, leases and settles jobs; runs the engine.
//!
//! Invariant: a node that lost its lease changes no row.

mod given;
mod link;
mod order;
mod quarantine;
mod running;
mod wait;
mod worker;

pub use given::NewKey;
pub use order::{ChangeOrder, OrderError, Orders};
pub use wait::TestVerdict;
pub use worker::{Worker, WorkerOptions};
