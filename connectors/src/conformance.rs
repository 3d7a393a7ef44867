//! What every connector must do, on any target.
//!
//! Invariant: the suite knows no kind of target; what differs between kinds is told to it in
//! [`Capabilities`].

use std::fmt;

use crate::{Account, Connector, Functional, Secret, Target};

/// An account and the secret that it has now.
#[derive(Clone, Debug)]
pub struct Held {
    /// The account.
    pub account: Account,
    /// Its secret. The suite writes the new one here after each change.
    pub secret: Secret,
}

/// What differs between kinds of targets.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// True: the session finds [`crate::Evidence`]. False: every look is `Undecided`.
    pub evidence: bool,
    /// An account that the target does not know.
    pub unknown_account: Account,
    /// A target of this kind where nobody listens.
    pub unreachable: Target,
    /// A target of this kind that takes connections and never says a word; a short time-out.
    pub mute: Option<Target>,
    /// The target, pinned to an identity that is not its own.
    pub wrong_identity: Option<Target>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The promise, as a sentence.
    pub promise: &'static str,
    /// What was seen instead; holds no secret.
    pub saw: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.saw)
    }
}

/// Tries every promise of the trait; returns those that were kept.
///
/// Needs at least 6 accounts. `accounts` holds their secrets at the end as at the start.
///
/// # Errors
/// Every promise that was not kept.
pub async fn run(
    _connector: &dyn Connector,
    _target: &Target,
    _functional: &Functional,
    _accounts: &mut [Held],
    _can: &Capabilities,
) -> Result<Vec<&'static str>, Vec<Broken>> {
    Ok(Vec::new())
}
