//! `keywheel doctor`: examines the installation.
//!
//! Invariant: it changes nothing; a fault, unlike a warning, shows in the exit code.

use clap::Args;

use super::output::rows;
use super::{Exit, Globals, block_on, load};
use crate::app::{self, Check, Verdict};
use crate::clock::SystemClock;

/// Examine the installation, and print how to put right what is wrong
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel doctor --online")]
pub(super) struct Doctor {
    /// Ask the running service too
    #[arg(long)]
    online: bool,
}

impl Doctor {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let inputs = globals.inputs(Vec::new());
        let loaded = load(&inputs)?;
        let clock = SystemClock::shared();
        let checks = block_on(app::examine(&loaded, &clock, self.online))?;
        rows(
            globals.output,
            &["", "examined", "found"],
            &checks,
            |check| {
                let Check {
                    name,
                    verdict,
                    found,
                    fix,
                } = check;
                let mark = match verdict {
                    Verdict::Fine => "ok",
                    Verdict::Warning => "warning",
                    Verdict::Fault => "fault",
                };
                let found = if fix.is_empty() {
                    found.clone()
                } else {
                    format!("{found}\nfix: {fix}")
                };
                vec![mark.to_owned(), (*name).to_owned(), found]
            },
        )?;
        let faults = checks.iter().any(|check| check.verdict == Verdict::Fault);
        Ok(if faults { Exit::Failed } else { Exit::Done })
    }
}
