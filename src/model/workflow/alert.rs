//! Alerts: mails that say that notices could not be delivered.
//!
//! Invariant: an alert repeats neither a secret part of an address nor a byte that a receiver sent.

use super::notice::Rendered;
use crate::model::Timestamp;

/// What is known of a delivery that has failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which workflow.
    pub workflow: String,
    /// Which action.
    pub action: String,
    /// When the value was seen.
    pub event_at: Timestamp,
    /// What was seen.
    pub about: String,
    /// How often it was tried.
    pub attempts: i64,
    /// Why the last attempt failed.
    pub error: String,
    /// Deliveries of this action that have failed since the last alert, this one included.
    pub failed: i64,
}

/// Longest name that stands in a subject.
const NAME_SHOWN_CHARS: usize = 100;

/// The mail.
pub fn alert(failure: &Failure) -> Rendered {
    let Failure {
        workflow,
        action,
        event_at,
        about,
        attempts,
        error,
        failed,
    } = failure;
    let short = |name: &str| name.chars().take(NAME_SHOWN_CHARS).collect::<String>();
    let subject = format!(
        "Keywheel could not deliver: {}, {}",
        short(workflow),
        short(action)
    );
    let body = format!(
        "A notice of a password access could not be delivered, and is not tried again.\n\n\
         Workflow: {workflow}\n\
         Action: {action}\n\
         Event time: {event_at}\n\
         Password: {about}\n\
         Attempts: {attempts}\n\
         Last error: {error}\n\
         Failed deliveries of this action since the last alert: {failed}\n\n\
         The workflow's list of deliveries has all of them, and sends them again on order.\n"
    );
    Rendered { subject, body }
}
