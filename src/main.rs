//! The program `keywheel`.
//!
//! Invariant: it only starts what `cli` does and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything can ask for a provider of cryptography: there is this one alone.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return ExitCode::FAILURE;
    }
    keywheel::cli::run(std::env::args_os()).into()
}
