//! Queued work, and what became of it.
//!
//! Invariant: every job ends as succeeded, failed or needs operator.

use serde::Serialize;

use super::Timestamp;
use super::id::{AccountId, JobId, SystemId};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Moves the account to a new credential.
    Rotate,
    /// Logs in with the current credential.
    Test,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Rotate, Self::Test];

    /// As it stands in the database and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::Test => "test",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == raw)
    }
}

/// Why a job was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The credential was due.
    Schedule,
    /// Somebody asked for it.
    Order,
    /// Its system was put in quarantine.
    Quarantine,
    /// A scheduled test was refused.
    Mismatch,
    /// A request for the credential has ended.
    Release,
    /// The account's parent has another password.
    Sync,
    /// An operator settles what needs one.
    Operator,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Schedule,
        Self::Order,
        Self::Quarantine,
        Self::Mismatch,
        Self::Release,
        Self::Sync,
        Self::Operator,
    ];

    /// As it stands in the database and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Order => "order",
            Self::Quarantine => "quarantine",
            Self::Mismatch => "mismatch",
            Self::Release => "release",
            Self::Sync => "sync",
            Self::Operator => "operator",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == raw)
    }
}

/// The class a job is queued in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody waits.
    Immediate,
    /// A system is in quarantine.
    Quarantine,
    /// Scheduled changes and tests.
    Routine,
}

impl Priority {
    /// Every class, most urgent first.
    pub const ALL: [Self; 3] = [Self::Immediate, Self::Quarantine, Self::Routine];

    /// As it stands in the database.
    pub const fn rank(self) -> i64 {
        match self {
            Self::Immediate => 0,
            Self::Quarantine => 1,
            Self::Routine => 2,
        }
    }

    /// Reads it back.
    pub fn from_rank(rank: i64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.rank() == rank)
    }

    /// As the metrics call it.
    pub const fn lane(self) -> &'static str {
        match self {
            Self::Immediate => "interactive",
            Self::Quarantine => "quarantine",
            Self::Routine => "scheduled",
        }
    }
}

/// Where a job stands, as callers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its first attempt.
    Queued,
    /// An attempt is under way.
    Running,
    /// An attempt failed; another follows.
    Retrying,
    /// Done.
    Succeeded,
    /// Ended without effect; the credential that worked still works.
    Failed,
    /// Evidence is exhausted, every version is kept; a person decides.
    NeedsOperator,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Failed,
        Self::NeedsOperator,
    ];

    /// As it stands in metrics and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::NeedsOperator => "needs_operator",
        }
    }

    /// True once nothing more will happen.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Retrying => false,
            Self::Succeeded | Self::Failed | Self::NeedsOperator => true,
        }
    }
}

/// One job with its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// Whose credential.
    pub account_id: AccountId,
    /// On which system.
    pub system_id: SystemId,
    /// What it does.
    pub kind: JobKind,
    /// Why.
    pub cause: Cause,
    /// Who ordered it.
    pub actor: String,
    /// Its class.
    pub priority: Priority,
    /// Where it stands.
    pub state: JobState,
    /// When it was ordered.
    pub queued_at: Timestamp,
    /// When its next attempt may start; `None` once it has ended.
    pub next_attempt_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Attempts that have ended, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// One attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptView {
    /// Counts from 1.
    pub attempt: i64,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// When it was settled.
    pub ended_at: Timestamp,
    /// `succeeded`, `failed`, `needs_operator` or `retried`.
    pub outcome: String,
    /// Error class; empty where none.
    pub class: String,
    /// What was done, a line each: decoded, without secrets.
    pub log: String,
}
