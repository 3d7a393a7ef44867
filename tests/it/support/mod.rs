//! What the tests stand on: databases, targets, a running service.
//!
//! Invariant: whatever is started here ends with the test, or at the latest with its process.

pub(crate) mod database;
pub(crate) mod program;
pub(crate) mod queue;
