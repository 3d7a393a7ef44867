//! The bulk change of one system.
//!
//! Invariant: counts add up to the accounts that the order covered.

use super::Timestamp;
use super::id::{QuarantineId, SystemId};

/// One quarantine and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineView {
    /// The quarantine.
    pub id: QuarantineId,
    /// The system.
    pub system_id: SystemId,
    /// Why; empty where nobody said.
    pub reason: String,
    /// A reference elsewhere.
    pub incident: Option<String>,
    /// Who ordered it.
    pub actor: String,
    /// When.
    pub ordered_at: Timestamp,
    /// When the last account was settled.
    pub finished_at: Option<Timestamp>,
    /// How many accounts it covers.
    pub accounts: i64,
    /// How far it has come.
    pub counts: QuarantineCounts,
}

/// Accounts of a quarantine by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuarantineCounts {
    /// Wait for their first attempt.
    pub queued: i64,
    /// An attempt is under way.
    pub running: i64,
    /// Wait for another attempt.
    pub retrying: i64,
    /// Have a new credential.
    pub succeeded: i64,
    /// Ended without effect.
    pub failed: i64,
    /// A person decides.
    pub needs_operator: i64,
}
