//! What goes on record.
//!
//! Invariant: an event is built from ids, names and decoded reasons; there is no way to put a
//! secret type into one.

use serde_json::Value;

use super::Timestamp;
use super::id::AuditId;

/// One row of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its id; ids grow, but need not be dense.
    pub id: AuditId,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// What happened, for example `rotation.intended`.
    pub event: String,
    /// To what, for example `account 7`.
    pub subject: String,
    /// Details as JSON.
    pub body: String,
    /// Its place in the chain; `None` until it is sealed.
    pub seq: Option<i64>,
}

/// One event of the audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who did it: a user's name, or `keywheel` for the service itself.
    pub actor: String,
    /// What happened: `noun.verb`, past tense.
    pub name: &'static str,
    /// To what: an id's display form, for example `account 7`.
    pub subject: String,
    /// Details; an object.
    pub body: Value,
}

impl Event {
    /// An event of the service itself.
    pub fn by_service(name: &'static str, subject: impl ToString, body: Value) -> Self {
        Self::by("keywheel", name, subject, body)
    }

    /// An event that somebody caused.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "ids are copied, names are handed over"
    )]
    pub fn by(
        actor: impl Into<String>,
        name: &'static str,
        subject: impl ToString,
        body: Value,
    ) -> Self {
        Self {
            actor: actor.into(),
            name,
            subject: subject.to_string(),
            body,
        }
    }
}
