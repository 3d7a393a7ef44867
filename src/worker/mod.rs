//! The wall: connectors run in processes of their own, and whatever parses a target's bytes
//! holds no key, no database and no settings.
//!
//! The service's side is [`Pool`] (which processes there are) and [`Remote`] (a connector whose
//! every call crosses the wall). The process's side is [`run`]: it confines itself, then serves
//! the real connector. Both speak `keywheel_connectors::wire`.
//!
//! Invariant: whatever becomes of a process, every call that was sent to it has an answer, and
//! one that may have reached the target is never answered as if it had not.

mod confine;
mod filter;
mod lease;
mod pool;
mod process;
mod remote;
mod serve;
mod start;

pub use confine::ConfineError;
pub use pool::{Options, Pool, look};
pub use remote::Remote;
pub use serve::{ServeError, Served, run};
