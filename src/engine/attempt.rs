//! What one attempt at one job did and came to.
//!
//! Invariant: a log's lines are decoded reasons; no secret and no byte of a target's is in them.

use keywheel_connectors::{Class, Reason, Scope};

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
    /// True if only the end of the lockout window helps.
    pub(super) waits_for_window: bool,
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
            waits_for_window: false,
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

    /// A login was not sent: it might fail, and no more may.
    pub(super) fn budget_spent(&mut self, which: &str) {
        self.class = Class::Locked.name();
        self.waits_for_window = true;
        self.lines.push(format!(
            "{which} was not tried, the lockout budget is spent; waiting for its window"
        ));
    }

    pub(super) fn finish(self, job: ClaimedJob, ending: Ending) -> Finished {
        // What went wrong on the way to a success was got over.
        let succeeded = ending == Ending::Succeeded;
        let class = if succeeded { "" } else { self.class };
        Finished {
            job,
            ending,
            class,
            log: self.lines.join("\n"),
            phase: self.phase,
            failed_logins: self.failed_logins,
            system_fault: self.system_fault && !succeeded,
            answered: self.answered,
        }
    }
}
