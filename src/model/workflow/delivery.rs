//! Deliveries: notices and alerts on their way, and what became of each attempt.
//!
//! Invariant: an attempt that failed either has a successor or ends its delivery.

use std::time::Duration;

use super::action::Channel;
use crate::model::Timestamp;
use crate::model::id::{DeliveryId, WorkflowActionId, WorkflowId};

/// Waits before the attempts of one delivery, each from the end of the one before.
pub const WAITS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_secs(10),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(6),
];

/// What a receiver may ask to be left alone for; more is cut to it.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(6);

/// What a delivery tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryKind {
    /// Of a reveal.
    Notice,
    /// That notices have failed.
    Alert,
}

impl DeliveryKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Notice, Self::Alert];

    /// As it stands on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Alert => "alert",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == raw)
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is tried when it is due.
    Pending,
    /// A node sends it.
    Sending,
    /// Its receiver has taken it.
    Sent,
    /// It is not tried again.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Sending, Self::Sent, Self::Failed];

    /// As it stands on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == raw)
    }

    /// True if it is over.
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Pending | Self::Sending => false,
            Self::Sent | Self::Failed => true,
        }
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// From 1.
    pub number: i64,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took_ms: i64,
    /// The HTTP status or SMTP code of the answer.
    pub status: Option<i64>,
    /// Empty if it was taken; a decoded sentence, without a byte of the receiver's.
    pub error: String,
}

/// A delivery, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id; `webhook-id`.
    pub id: DeliveryId,
    /// By which workflow.
    pub workflow: WorkflowId,
    /// By which of its actions, and that one's name.
    pub action: (WorkflowActionId, String),
    /// True if that action was removed.
    pub retired: bool,
    /// What it tells.
    pub kind: DeliveryKind,
    /// By which way.
    pub channel: Channel,
    /// Of which reveal.
    pub event_id: String,
    /// When that was.
    pub event_at: Timestamp,
    /// What was seen, by name.
    pub about: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it is tried next.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub attempts: i64,
    /// Why the last attempt failed.
    pub error: String,
    /// When it was queued, or queued again.
    pub queued_at: Timestamp,
    /// When it was sent or failed.
    pub ended_at: Option<Timestamp>,
}

/// The wait before the next attempt, after `tries` of them; `None`: that was the last.
///
/// `spread` makes it longer or shorter; what the receiver asked for is kept, up to six hours.
pub fn next_wait(
    tries: i64,
    retry_after: Option<Duration>,
    spread: impl Fn(Duration) -> Duration,
) -> Option<Duration> {
    let wait = WAITS.get(usize::try_from(tries).ok()?)?;
    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    Some(spread(*wait).max(asked))
}
