//! What a target is known to have done.
//!
//! Invariant: an answer holds no secret and no byte that a target sent; [`Reason::text`] is
//! written by us.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire;

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changed {
    /// The target says that it has set the secret.
    Done,
    /// Proof that nothing changed, and this secret will never do.
    Refused(Reason),
    /// Proof that nothing changed; the same secret may do later.
    NotNow(Reason),
    /// The secret may have been set, or may be set yet.
    Unknown(Reason),
}

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checked {
    /// The login succeeded and named the right identity.
    Accepted,
    /// The secret is conclusively wrong.
    Rejected(Reason),
    /// The secret was not judged: not reached, locked, busy, expired.
    NotNow(Reason),
}

/// What a look without login found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// The target holds the candidate.
    Candidate,
    /// The target holds the current secret.
    Current,
    /// The target holds something else.
    Neither,
    /// No such look is possible, or it did not answer.
    Undecided(Reason),
}

/// Why: a class to act upon, and a sentence to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What to act upon.
    pub class: Class,
    /// Whose trouble it is.
    pub scope: Scope,
    /// A decoded sentence; never a secret, never a target's bytes.
    #[serde(deserialize_with = "wire::sentence")]
    pub text: Cow<'static, str>,
}

impl Reason {
    /// A reason that concerns one account.
    pub fn account(class: Class, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            class,
            scope: Scope::Account,
            text: text.into(),
        }
    }

    /// A reason that concerns every account of the system.
    pub fn system(class: Class, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            class,
            scope: Scope::System,
            text: text.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class.name(), self.text)
    }
}

/// Whose trouble a [`Reason`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// This account's; the others of the system may go on.
    Account,
    /// The whole system's: unreachable, host key, functional login.
    System,
}

/// Error classes, the same for every connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Refused connection, time-out before authentication, too many connections.
    Unreachable,
    /// No common algorithm, or the target does not speak as its platform should.
    Incompatible,
    /// Another host key or certificate than the pinned one. Nothing secret was sent.
    IdentityMismatch,
    /// The login was refused.
    Denied,
    /// The account is locked or disabled.
    Locked,
    /// The credential must be changed before anything else.
    Expired,
    /// The functional account lacks the right.
    Privilege,
    /// The target will not take this secret.
    Refused,
    /// The target is busy; the same later.
    Busy,
    /// No such account, or more than one.
    NoAccount,
    /// The answer was lost after the secret may have been sent.
    Unknown,
}

impl Class {
    /// Every class, in the order of the type.
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Incompatible,
        Self::IdentityMismatch,
        Self::Denied,
        Self::Locked,
        Self::Expired,
        Self::Privilege,
        Self::Refused,
        Self::Busy,
        Self::NoAccount,
        Self::Unknown,
    ];

    /// The class as it stands in metrics and job records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Incompatible => "incompatible",
            Self::IdentityMismatch => "identity_mismatch",
            Self::Denied => "denied",
            Self::Locked => "locked",
            Self::Expired => "expired",
            Self::Privilege => "privilege",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::NoAccount => "no_account",
            Self::Unknown => "unknown",
        }
    }
}
