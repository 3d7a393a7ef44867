//! The HTTP interfaces, asked through their router.
//!
//! Invariant: every test has its own database and moves its own clock.

mod dialect;
pub(crate) mod world;
