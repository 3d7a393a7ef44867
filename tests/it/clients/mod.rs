//! Real clients of the interfaces, unmodified, against the real service and real targets.
//!
//! Invariant: what a client prints is never taken for the effect: that is looked at where it is.

use std::path::{Path, PathBuf};

mod itglue;
mod ps_cli;
mod schemathesis;

/// A program of `target/clients`, where `scripts/clients.sh` puts it: below the folder that holds
/// the program under test.
fn installed(program: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_keywheel"));
    let target = built.ancestors().nth(2).expect("target/debug/keywheel");
    let program = target.join("clients").join(program);
    assert!(
        program.is_file(),
        "{} is missing: run scripts/clients.sh",
        program.display()
    );
    program
}
