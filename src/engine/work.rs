//! One job's attempt: which part it is at, what it holds, and what has come of it so far.
//!
//! Invariant: an attempt is at one part at a time; what is opened for it is gone with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connectors::dialogue::Dialogue;
use keywheel_connectors::{Account, Class, Credential};

use super::attempt::{Finished, Log};
use super::stage::domain_login;
use super::synced::Copied;
use crate::model::Timestamp;
use crate::model::credential::{Part, Parts};
use crate::model::id::AccountId;
use crate::model::job::{Cause, JobKind};
use crate::model::regression::{Consent, Course, Standing};
use crate::model::rotation::Phase;
use crate::store::{AccountRow, ClaimedJob, Ending, RotationRow, SealedSecret};

/// Why a job is held.
const HELD: &str = "the database came back older than it was, and may have forgotten a credential \
                    of this account: nothing was sent. An operator recovers it; see `keywheel \
                    regression show`";
/// A job that is held looks again after this; the recovery of its account wakes it before.
const WAIT_FOR_CONSENT: Duration = Duration::from_hours(1);

/// The same where the target was not heard.
const WAIT_FOR_TARGET: Duration = Duration::from_mins(1);

/// One job with all that its attempt needs.
pub(super) struct Work {
    /// What is left of it is kept up to date.
    pub(super) job: ClaimedJob,
    pub(super) account: AccountRow,
    pub(super) target: Account,
    /// The part that the attempt is at.
    pub(super) part: Part,
    /// The open rotation of that part.
    pub(super) rotation: Option<RotationRow>,
    /// The open rotation of the other part.
    parked: Option<RotationRow>,
    pub(super) versions: HashMap<i64, SealedSecret>,
    /// What was opened before in this attempt: a key is costly to decrypt.
    pub(super) opened: HashMap<i64, Credential>,
    /// Whose password it takes over, if it is a subscriber.
    pub(super) copied: Option<Copied>,
    /// What is said to its system, where that is a definition.
    pub(super) dialogue: Option<Arc<Dialogue>>,
    pub(super) log: Log,
    /// What this attempt is to drive.
    pub(super) drives: Parts,
    /// The worst that has come of a part.
    ending: Ending,
    /// A change that is a test first.
    deferred: Option<Deferred>,
}

/// What a change is to do once its account has passed a test.
struct Deferred {
    parts: Parts,
    /// The candidates that were given with it.
    given: (Option<i64>, Option<i64>),
    /// When the test began.
    now: Timestamp,
}

impl Work {
    /// A job with the account's open rotations. What it has to do is decided here.
    pub(super) fn new(
        mut job: ClaimedJob,
        account: AccountRow,
        target: Account,
        rotations: Vec<RotationRow>,
        versions: HashMap<i64, SealedSecret>,
        now: Timestamp,
    ) -> Self {
        let course = job.standing.course(job.kind, job.cause);
        let deferred = (course == Course::TestFirst).then(|| {
            job.kind = JobKind::Test;
            Deferred {
                parts: job.parts,
                // A test with a version would take it for the live one.
                given: (job.version.take(), job.key_version.take()),
                now,
            }
        });
        let [mut password, mut key] = [None, None];
        for row in rotations {
            match row.part {
                Part::Password => password = Some(row),
                Part::Key => key = Some(row),
            }
        }
        job.parts = if job.parts.is_undecided() && job.cause == Cause::Schedule {
            account.overdue(now)
        } else {
            account.resolve(job.parts)
        };
        let drives = match job.kind {
            JobKind::Rotate => job.parts,
            // An operator asks about the part of the version that they name.
            JobKind::Test => match (job.version, job.key_version) {
                (Some(_), _) => Parts::PASSWORD,
                (None, Some(_)) => Parts::KEY,
                (None, None) => tested(&account, [&password, &key]),
            },
        };
        Self {
            job,
            account,
            target,
            part: Part::Password,
            rotation: password,
            parked: key,
            versions,
            opened: HashMap::new(),
            copied: None,
            dialogue: None,
            log: Log::default(),
            drives,
            ending: Ending::Succeeded,
            deferred,
        }
    }

    /// Addresses the account as the domain does where its record says how.
    pub(super) fn name_for_domain(&mut self) {
        if let Some(login) = domain_login(&self.account) {
            self.target.login = login;
        }
    }

    /// Goes to a part.
    pub(super) fn enter(&mut self, part: Part) {
        if self.part != part {
            self.part = part;
            std::mem::swap(&mut self.rotation, &mut self.parked);
        }
    }

    /// The parts that this attempt drives, in their order.
    pub(super) fn driven(&self) -> Vec<Part> {
        let drives = |part: &Part| self.drives.holds(Parts::of(*part));
        Part::ALL.into_iter().filter(drives).collect()
    }

    /// The current version of the part at hand.
    pub(super) fn current(&self) -> Option<i64> {
        self.account.current(self.part)
    }

    /// The candidate that was supplied for the part at hand.
    pub(super) fn given(&self) -> Option<i64> {
        match self.part {
            Part::Password => self.job.version,
            Part::Key => self.job.key_version,
        }
    }

    /// True if a part that this attempt drives may have been changed on the target.
    pub(super) fn in_doubt(&self) -> bool {
        [&self.rotation, &self.parked]
            .into_iter()
            .flatten()
            .any(|row| self.drives.holds(Parts::of(row.part)) && row.state.in_doubt())
    }

    /// Notes what has come of a part: what has succeeded is not left to do.
    pub(super) fn came_to(&mut self, part: Part, ending: Ending) {
        if ending == Ending::Succeeded && self.job.kind == JobKind::Rotate {
            self.job.parts = self.job.parts.without(Parts::of(part));
            if part == Part::Key {
                self.job.parts = self.job.parts.plus(Parts::REMOVAL);
            }
        }
        self.worsen(ending);
    }

    /// Takes a part out of this attempt with what has come of it.
    pub(super) fn skip(&mut self, part: Part, ending: Ending) {
        self.drives = self.drives.without(Parts::of(part));
        self.came_to(part, ending);
    }

    /// The removal of old keys has come to this.
    pub(super) fn removal_came_to(&mut self, ending: Ending) {
        if ending == Ending::Succeeded {
            self.job.parts = self.job.parts.without(Parts::REMOVAL);
        }
        self.worsen(ending);
    }

    fn worsen(&mut self, ending: Ending) {
        let so_far = std::mem::replace(&mut self.ending, Ending::Succeeded);
        self.ending = worse(so_far, ending);
    }

    /// The worst that has come of a part so far.
    pub(super) fn ending(&self) -> &Ending {
        &self.ending
    }

    /// What the whole attempt came to.
    pub(super) fn finish(mut self) -> Finished {
        self.judge_standing();
        if let Some(deferred) = self.deferred.take() {
            self.job.kind = JobKind::Rotate;
            self.job.parts = deferred.parts;
            (self.job.version, self.job.key_version) = deferred.given;
            let waits = match &self.ending {
                Ending::GivenBack => return self.log.finish(self.job, Ending::GivenBack),
                Ending::Succeeded => Duration::ZERO,
                Ending::Failed | Ending::NeedsOperator | Ending::Retry { .. } => {
                    if self.log.answered {
                        WAIT_FOR_CONSENT
                    } else {
                        WAIT_FOR_TARGET
                    }
                }
            };
            let (at, counts) = (deferred.now.plus(waits), false);
            return self.log.finish(self.job, Ending::Retry { at, counts });
        }
        if self.ending == Ending::Succeeded {
            self.job.parts = Parts::ALL_THERE_ARE;
        }
        self.log.finish(self.job, self.ending)
    }

    /// What the attempt has shown of an account of which the store may have forgotten a credential.
    fn judge_standing(&mut self) {
        let Standing::Regressed(consent) = self.job.standing else {
            return;
        };
        // A change of one of two parts, or a look at one, says nothing of the other.
        let mut has = Part::ALL
            .into_iter()
            .filter(|part| self.account.current(*part).is_some());
        let shows_all =
            has.clone().count() < 2 || has.all(|part| self.drives.holds(Parts::of(part)));
        self.job.standing = match (&self.ending, consent) {
            (Ending::Succeeded, _) if shows_all => Standing::Recovered,
            (Ending::Succeeded, Consent::Test | Consent::Reset) => Standing::Spent,
            (Ending::Failed | Ending::NeedsOperator, Consent::Test | Consent::Reset) => {
                match (self.log.answered, &self.deferred) {
                    (true, _) => Standing::Spent,
                    (false, None) => Standing::Postponed(consent),
                    // The change that waits for it is tried again, and the test with it.
                    (false, Some(_)) => self.job.standing,
                }
            }
            (
                Ending::Succeeded
                | Ending::Failed
                | Ending::NeedsOperator
                | Ending::Retry { .. }
                | Ending::GivenBack,
                _,
            ) => self.job.standing,
        };
    }

    /// The store may have forgotten a credential of the account, and nobody has agreed to more.
    pub(super) fn wait_for_consent(mut self, is_awaited: bool, now: Timestamp) -> Finished {
        self.log.class = Class::Busy.name();
        self.log.note(HELD);
        let ending = if is_awaited {
            Ending::Failed
        } else {
            let (at, counts) = (now.plus(WAIT_FOR_CONSENT), false);
            Ending::Retry { at, counts }
        };
        self.log.finish(self.job, ending)
    }

    /// Its account.
    pub(super) fn id(&self) -> AccountId {
        self.account.id()
    }
}

/// A test tries all that the account has, and whatever needs to be found out.
fn tested(account: &AccountRow, rotations: [&Option<RotationRow>; 2]) -> Parts {
    let mut parts = Parts::NONE;
    for (part, rotation) in Part::ALL.into_iter().zip(rotations) {
        let doubtful = rotation.as_ref().is_some_and(|row| match row.state.phase {
            Phase::Applying | Phase::Applied | Phase::Verified | Phase::NeedsOperator => true,
            Phase::Ready | Phase::Staged | Phase::Committed | Phase::Abandoned => false,
        });
        if doubtful || account.current(part).is_some() {
            parts = parts.plus(Parts::of(part));
        }
    }
    // Nothing is stored: the password's test says so.
    if parts == Parts::NONE {
        Parts::PASSWORD
    } else {
        parts
    }
}

/// The worse of two endings. Whatever may still be done is tried once more before a job ends.
fn worse(one: Ending, other: Ending) -> Ending {
    use Ending::{Failed, GivenBack, NeedsOperator, Retry, Succeeded};
    match (one, other) {
        (
            Retry { at, counts },
            Retry {
                at: later,
                counts: also,
            },
        ) => Retry {
            at: at.max(later),
            counts: counts || also,
        },
        (retry @ Retry { .. }, _) | (_, retry @ Retry { .. }) => retry,
        (GivenBack, _) | (_, GivenBack) => GivenBack,
        (NeedsOperator, _) | (_, NeedsOperator) => NeedsOperator,
        (Failed, _) | (_, Failed) => Failed,
        (Succeeded, Succeeded) => Succeeded,
    }
}
