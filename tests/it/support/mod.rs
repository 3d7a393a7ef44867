//! What the tests stand on: databases, targets, a running service.
//!
//! Invariant: whatever is started here ends with the test, or at the latest with its process.

pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod certificate;
pub(crate) mod client;
pub(crate) mod daemon;
pub(crate) mod database;
pub(crate) mod directory;
pub(crate) mod fleet;
pub(crate) mod mail;
pub(crate) mod plant;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod receiver;
pub(crate) mod reveal;
pub(crate) mod under_way;
pub(crate) mod wait;
