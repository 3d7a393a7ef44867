//! What comes again and again, and how often.
//!
//! Invariant: a tick that one node of all is enough for takes turns by a row.

use std::time::Duration;

use super::SchedulerOptions;

/// What comes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Flags and queues what is due.
    StaleScan,
    /// Shows that this node lives.
    Beat,
    /// Takes over the work of dead nodes.
    LeaseReaper,
    /// Puts queue heads right, and goes on with quarantines whose ordering was cut short.
    HeadRepair,
    /// Removes idle sessions, expired access tokens and old exports, and revokes keys that lie idle.
    SessionReaper,
    /// Ends requests whose time is over.
    RequestExpiry,
    /// Tells subscribers of their parents' new passwords.
    AccountSync,
    /// Raises the database's generation, and looks whether it still has what it had.
    Generation,
    /// Recovers accounts of which the database has forgotten a credential.
    Recovery,
    /// Counts the database for the metrics.
    Gauges,
    /// Gives audit rows their places in the chain.
    AuditSeal,
    /// Signs where the chain stands, and says so outside of the database.
    AuditAnchor,
    /// Verifies what was sealed since the last time, and some of what was sealed before.
    AuditVerify,
}

impl Tick {
    /// Every tick.
    pub const ALL: [Self; 13] = [
        Self::StaleScan,
        Self::Beat,
        Self::LeaseReaper,
        Self::HeadRepair,
        Self::SessionReaper,
        Self::RequestExpiry,
        Self::AccountSync,
        Self::Generation,
        Self::Recovery,
        Self::Gauges,
        Self::AuditSeal,
        Self::AuditAnchor,
        Self::AuditVerify,
    ];

    /// Its name in the metrics and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StaleScan => "stale_scan",
            Self::Beat => "beat",
            Self::LeaseReaper => "lease_reaper",
            Self::HeadRepair => "head_repair",
            Self::SessionReaper => "session_reaper",
            Self::RequestExpiry => "request_expiry",
            Self::AccountSync => "account_sync",
            Self::Generation => "generation",
            Self::Recovery => "recovery",
            Self::Gauges => "gauges",
            Self::AuditSeal => "audit_seal",
            Self::AuditAnchor => "audit_anchor",
            Self::AuditVerify => "audit_verify",
        }
    }

    /// True if one node of all is enough.
    pub(super) const fn takes_turns(self) -> bool {
        match self {
            Self::StaleScan
            | Self::HeadRepair
            | Self::SessionReaper
            | Self::RequestExpiry
            | Self::AccountSync
            | Self::Recovery
            | Self::AuditSeal
            | Self::AuditAnchor => true,
            Self::Beat
            | Self::LeaseReaper
            | Self::Generation
            | Self::Gauges
            | Self::AuditVerify => false,
        }
    }
}

impl SchedulerOptions {
    /// How often a tick comes.
    pub fn every(&self, tick: Tick) -> Duration {
        match tick {
            Tick::StaleScan => self.scan_every,
            Tick::Beat => self.beat_every,
            Tick::LeaseReaper => self.reap_every,
            Tick::HeadRepair | Tick::SessionReaper | Tick::AuditVerify => self.housekeeping_every,
            Tick::RequestExpiry | Tick::AccountSync | Tick::Recovery => self.expiry_every,
            Tick::Generation => self.generation_every,
            Tick::Gauges => self.gauges_every,
            Tick::AuditSeal => self.seal_every,
            Tick::AuditAnchor => self.anchor_every,
        }
    }
}
