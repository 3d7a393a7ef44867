//! Keywheel: privileged-access rotation that never loses a credential.
//!
//! The rooms, lowest first; a room imports only from floors below its own:
//!
//! | floor | rooms |
//! |---|---|
//! | 0 | the crate `keywheel-connectors` |
//! | 1 | [`model`] |
//! | 2 | [`clock`], `store`, `vault`, `generate`, [`metrics`] |
//! | 3 | `engine`, `scheduler` |
//! | 4 | `queue` |
//! | 5 | `api`, `cli` |
//! | 6 | `app`, `main` |
//!
//! Invariant: imports point down; `tests/it/house.rs` reads the sources and says so.

pub mod clock;
pub mod metrics;
pub mod model;
