//! Orders, claims, leases and settles jobs; runs the engine. Lists what systems have.
//!
//! Invariant: a node that lost its lease changes no row.

mod crowd;
mod discovery;
mod given;
mod link;
mod order;
mod quarantine;
mod regression;
mod resolve;
mod running;
mod synced;
mod wait;
mod worker;

pub use discovery::{DiscoverError, Discoverer};
pub use given::NewKey;
pub use order::{ChangeOrder, OrderError, Orders};
pub use regression::RecoveryOrder;
pub use resolve::{Resolve, ResolveOrder};
pub use synced::Straggler;
pub use wait::TestVerdict;
pub use worker::{Worker, WorkerOptions};
