//! What one attempt at one job did and came to.
//!
//! Invariant: a log's lines are decoded reasons; no secret and no byte of a target's is in them.

use keywheel_connectors::{Reason, Scope};

use crate::store::{ClaimedJob, Ending, Settled};

/// What one attempt at one job came to.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The job.
    pub job: ClaimedJob,
    /// What becomes of it.
    pub ending: Ending,
    /// Error class; empty where none.
    pub class: &'static str,
    /// What was done, a line each.
    pub log: String,
    /// Where it stopped: connect, change or verify.
    pub phase: &'static str,
    /// Failing logins it caused.
    pub failed_logins: u32,
    /// True if the system as a whole was at fault.
    pub system_fault: bool,
    /// True if the target answered.
    pub answered: bool,
}

impl Finished {
    /// A job that was not tried.
    pub fn given_back(job: ClaimedJob) -> Self {
        Log::default().finish(job, Ending::GivenBack)
    }

    /// As the store settles it.
    pub fn settled(&self) -> Settled {
        Settled {
            job: self.job.clone(),
            ending: self.ending.clone(),
            class: self.class,
            log: self.log.clone(),
        }
    }
}

/// What an attempt did, a line each.
pub(super) struct Log {
    pub(super) lines: Vec<String>,
    pub(super) class: &'static str,
    pub(super) phase: &'static str,
    pub(super) failed_logins: u32,
    pub(super) system_fault: bool,
    pub(super) answered: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            class: "",
            phase: "connect",
            failed_logins: 0,
            system_fault: false,
            answered: false,
        }
    }
}

impl Log {
    pub(super) fn note(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    pub(super) fn reason(&mut self, step: &str, reason: &Reason) {
        self.class = reason.class.name();
        self.system_fault |= reason.scope == Scope::System;
        self.lines.push(format!("{step}: {reason}"));
    }

    pub(super) fn finish(self, job: ClaimedJob, ending: Ending) -> Finished {
        let class = if ending == Ending::Succeeded {
            ""
        } else {
            self.class
        };
        Finished {
            job,
            ending,
            class,
            log: self.lines.join("\n"),
            phase: self.phase,
            failed_logins: self.failed_logins,
            system_fault: self.system_fault,
            answered: self.answered,
        }
    }
}
