//! The program `keywheel`.
//!
//! Invariant: it only starts what `cli` does and returns its exit code.

fn main() {}
