//! Layer 2: the real engine and queue over real databases, against a target in memory.
//!
//! Invariant: after every step of every test the target accepts a secret that is on record, and
//! no harness is dropped with a claim or a job left open.

mod change;
mod crash;
mod doubt;
mod fault;
mod identity;
mod key;
mod linked;
mod look;
mod order;
mod own;
mod resolve;
mod trouble;
mod world;
