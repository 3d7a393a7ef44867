//! A store that came back older than it was, and how its accounts are recovered.
//!
//! Invariant: an account of which the store may have forgotten a credential is changed by an
//! operator's consent alone.

use serde::Serialize;

use super::Timestamp;
use super::id::{AccountId, RegressionId, SystemId};
use super::job::{Cause, JobKind};

/// What may be done to an account of which the store may have forgotten a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Nothing: nobody has agreed to anything yet.
    #[default]
    None,
    /// Find out which of the kept credentials works.
    Test,
    /// Give it a new credential by the functional account, whatever the old one is.
    Reset,
}

impl Consent {
    /// Every consent.
    pub const ALL: [Self; 3] = [Self::None, Self::Test, Self::Reset];

    /// As it stands in the database and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Test => "test",
            Self::Reset => "reset",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == raw)
    }
}

/// Where an account stands whose job has been claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The store has forgotten nothing of it.
    #[default]
    Sound,
    /// It may have; this much has been agreed to.
    Regressed(Consent),
    /// It had, and what is current has logged in since.
    Recovered,
    /// It may have, and what was agreed to has not helped.
    Spent,
    /// It may have; this much has been agreed to, and is to have another turn: the target was not
    /// heard.
    Postponed(Consent),
}

/// What becomes of a job of an account in some standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It is done as it is.
    Free,
    /// The account is tested instead; a change follows once the test has passed.
    TestFirst,
    /// It waits for an operator's consent.
    Waits,
}

impl Standing {
    /// What becomes of a job.
    pub const fn course(self, kind: JobKind, cause: Cause) -> Course {
        let consent = match self {
            Self::Sound | Self::Recovered => return Course::Free,
            Self::Regressed(consent) | Self::Postponed(consent) => consent,
            Self::Spent => Consent::None,
        };
        match (kind, consent) {
            (JobKind::Rotate, Consent::Reset) | (JobKind::Test, Consent::Test | Consent::Reset) => {
                Course::Free
            }
            (JobKind::Rotate, Consent::Test) => Course::TestFirst,
            (JobKind::Rotate, Consent::None) => Course::Waits,
            // Somebody who asks for this very test agrees to it.
            (JobKind::Test, Consent::None) => match cause {
                Cause::Schedule => Course::Waits,
                Cause::Order
                | Cause::Quarantine
                | Cause::Mismatch
                | Cause::Release
                | Cause::Sync
                | Cause::Operator => Course::Free,
            },
        }
    }
}

/// One time when the store was found older than it had been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegressionView {
    /// Which.
    pub id: RegressionId,
    /// What the store said.
    pub generation: i64,
    /// What it had said before.
    pub expected: i64,
    /// True: an escrow journal named the accounts.
    pub named: bool,
    /// Accounts that were marked.
    pub accounts: i64,
    /// Accounts that the journal has and the store has not.
    pub missing: i64,
    /// When it was found.
    pub found_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// An account of which the store may have forgotten a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegressedAccount {
    /// Which.
    pub account: AccountId,
    /// Where it lives.
    pub system: SystemId,
    /// Its name.
    pub name: String,
    /// Its system's.
    pub system_name: String,
    /// Since which regression.
    pub regression: RegressionId,
    /// What has been agreed to.
    pub consent: Consent,
    /// Who agreed; empty while nobody has.
    pub actor: String,
    /// When its job was ordered.
    pub ordered_at: Option<Timestamp>,
    /// Versions that a journal has of it and the store has not, as the journal numbers them.
    pub forgotten: i64,
    /// What its last test said.
    pub last_test: String,
    /// True: a job of it is open.
    pub has_job: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_an_account_without_consent() {
        for consent in Consent::ALL {
            assert_eq!(Consent::parse(consent.as_str()), Some(consent));
            for cause in Cause::ALL {
                let course = Standing::Regressed(consent).course(JobKind::Rotate, cause);
                let free = course == Course::Free;
                assert_eq!(free, consent == Consent::Reset, "{consent:?} {cause:?}");
            }
        }
        for cause in Cause::ALL {
            for kind in JobKind::ALL {
                assert_eq!(Standing::Sound.course(kind, cause), Course::Free);
                assert_eq!(Standing::Recovered.course(kind, cause), Course::Free);
            }
            for standing in [Standing::Regressed(Consent::None), Standing::Spent] {
                let waits = standing.course(JobKind::Test, cause) == Course::Waits;
                assert_eq!(waits, cause == Cause::Schedule, "{cause:?}");
                let change = standing.course(JobKind::Rotate, cause);
                assert_eq!(change, Course::Waits, "{cause:?}");
            }
        }
    }
}
