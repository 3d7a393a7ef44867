//! One account's rotation, step by step.
//!
//! Invariant: every round moves forward or leaves; what it leaves behind is in the store.

use std::time::Duration;

use keywheel_connectors::{Changed, Checked, Class, Reason};

use super::commit::Write;
use super::resolve::is_asked_for;
use super::test::tested;
use super::{Batch, Engine, EngineError, Finished, Work};
use crate::model::credential::{Part, Parts};
use crate::model::job::JobKind;
use crate::model::rotation::{Effect, Outcome, Phase, Rotation};
use crate::store::{Ending, RotationRow};

/// Effects an attempt performs at most: two candidates, each through every phase once, with one
/// probe after a lost reply.
const EFFECTS_MAX: usize = 16;
/// How long a domain takes a password that was replaced, unless it is set otherwise.
///
/// Source: Microsoft, `OldPasswordAllowedPeriod`: 60 minutes.
const OLD_TAKEN: Duration = Duration::from_hours(1);
/// Fresh candidates an attempt tries after the target has refused one.
const REGENERATIONS_MAX: usize = 2;

impl Engine {
    /// Attempts a job part by part: the password, the key pair, then the removal of old keys.
    pub(super) async fn parts(
        &self,
        batch: &Batch<'_>,
        mut work: Work,
    ) -> Result<Finished, EngineError> {
        let mut promoted = false;
        for part in work.driven() {
            work.enter(part);
            let ending = if work.log.system_fault {
                self.leave(batch, &mut work).await?
            } else {
                match work.job.kind {
                    JobKind::Test => self.test(batch, &mut work).await?,
                    JobKind::Rotate => self.turn(batch, &mut work).await?,
                }
            };
            promoted |= part == Part::Key && ending == Ending::Succeeded;
            work.came_to(part, ending);
        }
        let removal = work.job.kind == JobKind::Rotate && work.job.parts.holds(Parts::REMOVAL);
        // A key that has its change before it is not looked at: its removals follow that.
        if removal && !work.job.parts.holds(Parts::KEY) {
            let ending = self.remove_old_keys(batch, &mut work, promoted).await?;
            work.removal_came_to(ending);
        }
        Ok(work.finish())
    }

    /// One part's turn: its candidate, if it has none yet, and its rotation.
    async fn turn(&self, batch: &Batch<'_>, work: &mut Work) -> Result<Ending, EngineError> {
        if Self::wants_candidate(work) {
            if batch.stops() {
                return Ok(Ending::GivenBack);
            }
            if !self.restage(batch.claim, work, work.given()).await? {
                return Ok(Ending::Failed);
            }
        }
        self.rotate(batch, work).await
    }

    /// The system is at fault: a part that has not had its turn is left as it stands.
    async fn leave(&self, batch: &Batch<'_>, work: &mut Work) -> Result<Ending, EngineError> {
        if work.rotation.is_some() {
            self.conclude(batch, work).await
        } else {
            Ok(work.ending().clone())
        }
    }

    /// Moves the part at hand towards its candidate as far as one attempt goes.
    pub(super) async fn rotate(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
    ) -> Result<Ending, EngineError> {
        let mut regenerations = 0;
        let mut asked = None;
        let mut login_granted = false;
        for _ in 0..EFFECTS_MAX {
            let Some(row) = work.rotation.clone() else {
                break;
            };
            // Only what this attempt has just intended is sent; what it found is probed.
            let effect = row.state.effect(asked == Some(Effect::Intend));
            let Some(effect) = effect.or_else(|| operators_probe(work, &row, asked)) else {
                if !self
                    .follow_up(batch, work, &row, asked, &mut regenerations)
                    .await?
                {
                    break;
                }
                asked = None;
                continue;
            };
            if effect == Effect::Intend {
                if work.job.kind == JobKind::Test {
                    // Current works after all; a test changes nothing.
                    break;
                }
                if batch.stops() {
                    return Ok(Ending::GivenBack);
                }
            }
            let outcome = self
                .perform(batch, work, &row, effect, &mut login_granted)
                .await?;
            let next = row.state.after(outcome)?;
            login_granted = self
                .record(batch, work, &row, (effect, outcome), next)
                .await?;
            // A verified candidate was promoted in the same commit.
            let next = if next.phase == Phase::Verified {
                next.after(Outcome::Done)?
            } else {
                next
            };
            work.rotation = Some(RotationRow {
                state: next,
                ..row.clone()
            });
            asked = Some(effect);
            // No time to ask what a lost reply would have said: the next attempt does.
            let cut_short = outcome == Outcome::Unknown && self.hurried.is_cancelled();
            if cut_short || !row.state.moves_on(next, outcome) {
                break;
            }
        }
        self.conclude(batch, work).await
    }

    /// A name or a secret that the target could misread is refused before any of it is sent.
    async fn intend(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        row: &RotationRow,
    ) -> Result<Outcome, EngineError> {
        let candidate = self.open_version(work, row.version).await?;
        Ok(
            match batch.connector.admit(&work.target, Some(&candidate)) {
                Ok(()) => Outcome::Done,
                Err(reason) => {
                    work.log.reason("not sent", &reason);
                    Outcome::Refused
                }
            },
        )
    }

    /// Performs an effect on the target; no transaction is open here.
    async fn perform(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        row: &RotationRow,
        effect: Effect,
        login_granted: &mut bool,
    ) -> Result<Outcome, EngineError> {
        match effect {
            // Staging drew the candidate; a rotation is never stored before that.
            Effect::Generate => Ok(Outcome::Unknown),
            Effect::Intend => self.intend(batch, work, row).await,
            Effect::Promote => Ok(Outcome::Done),
            Effect::Apply => self.apply(batch, work, row).await,
            Effect::Probe => self.probe(batch, work, row).await,
            Effect::Verify => {
                if !*login_granted && !self.spend_login(batch, work, batch.budget.max(1)).await? {
                    work.log.budget_spent("test: the new credential");
                    return Ok(Outcome::NotNow);
                }
                self.verify(batch, work, row).await
            }
        }
    }

    async fn apply(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        row: &RotationRow,
    ) -> Result<Outcome, EngineError> {
        let candidate = self.open_version(work, row.version).await?;
        let current = self.open_current(work).await?;
        // Who changes itself logs in for it, and that login may fail as any other.
        let logs_in = work.target.uses_own;
        if logs_in && !self.spend_login(batch, work, batch.budget.max(1)).await? {
            work.log.budget_spent("change: by its own login");
            return Ok(Outcome::NotNow);
        }
        work.log.phase = "change";
        let change = batch
            .session
            .change(&work.target, &candidate, current.as_ref());
        let changed = self
            .within(batch.timeout, change)
            .await
            .unwrap_or_else(|| Changed::Unknown(silent()));
        if logs_in {
            match &changed {
                Changed::Done | Changed::Refused(_) => self.refund(batch, work).await?,
                Changed::NotNow(reason) if reason.class == Class::Denied => {
                    work.log.failed_logins += 1;
                }
                // Nobody knows whether it failed.
                Changed::NotNow(_) | Changed::Unknown(_) => {}
            }
        }
        Ok(match changed {
            Changed::Done => {
                work.log.answered = true;
                work.log.note("change: the target says it is done");
                Outcome::Done
            }
            Changed::Refused(reason) => {
                work.log.answered = true;
                work.log.reason("change refused", &reason);
                Outcome::Refused
            }
            Changed::NotNow(reason) => {
                work.log.reason("change not possible now", &reason);
                Outcome::NotNow
            }
            Changed::Unknown(reason) => {
                work.log.reason("change without an answer", &reason);
                Outcome::Unknown
            }
        })
    }

    async fn verify(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        row: &RotationRow,
    ) -> Result<Outcome, EngineError> {
        let candidate = self.open_version(work, row.version).await?;
        work.log.phase = "verify";
        let check = batch.session.check(&work.target, &candidate);
        let checked = self
            .within(batch.timeout, check)
            .await
            .unwrap_or_else(|| Checked::NotNow(silent()));
        Ok(match checked {
            Checked::Accepted => {
                work.log.answered = true;
                let until = self.clock.now().plus(OLD_TAKEN);
                if batch.domain && row.part == Part::Password && row.base_version.is_some() {
                    work.log.note(format!(
                        "test: the new credential logs in; the domain may take the old one until \
                         {until}"
                    ));
                } else {
                    work.log.note("test: the new credential logs in");
                }
                Outcome::Done
            }
            Checked::Rejected(reason) => {
                work.log.answered = true;
                work.log.failed_logins += 1;
                work.log.reason("test refused", &reason);
                Outcome::Refused
            }
            Checked::NotNow(reason) => {
                work.log.reason("test not possible now", &reason);
                Outcome::NotNow
            }
        })
    }

    /// Commits a step. Answers whether the login that follows has been counted.
    pub(super) async fn record(
        &self,
        batch: &Batch<'_>,
        work: &Work,
        row: &RotationRow,
        (effect, outcome): (Effect, Outcome),
        next: Rotation,
    ) -> Result<bool, EngineError> {
        let why = work.log.lines.last().map_or("", String::as_str);
        let mut write = Write::step(row, next, why);
        if next == row.state && effect != Effect::Apply {
            write = Write::default(); // nothing moved and nothing was sent
        }
        if let (Outcome::Neither, Some(current)) = (outcome, work.current()) {
            // Current is refused as well as the candidate: that is no doubt of ours alone.
            write.verdict = Some((row.account, row.part, current, "out_of_sync"));
            write.events.push(tested(work, current, "out_of_sync"));
        }
        if write.step.is_none() && write.verdict.is_none() {
            return Ok(false);
        }
        if next.phase == Phase::Applied && row.state.phase != Phase::Applied {
            write.spend = Some((row.account, batch.budget.max(1)));
        }
        if next.phase == Phase::Verified {
            write = write.and_on(row, next.after(Outcome::Done)?);
            write.refund = Some(row.account);
        }
        let granted = batch.committer.commit(write).await?;
        Ok(next.phase == Phase::Applied && granted.login)
    }

    /// Counts a login that may fail, durably, before it is sent.
    pub(super) async fn spend_login(
        &self,
        batch: &Batch<'_>,
        work: &Work,
        budget: i64,
    ) -> Result<bool, EngineError> {
        let write = Write {
            spend: Some((work.id(), budget)),
            ..Write::default()
        };
        Ok(batch.committer.commit(write).await?.login)
    }

    /// A rotation has ended: is there another one to drive in this attempt?
    async fn follow_up(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        row: &RotationRow,
        asked: Option<Effect>,
        regenerations: &mut usize,
    ) -> Result<bool, EngineError> {
        // An older rotation had to be brought to its end before the given candidate's turn.
        if let Some(given) = work.given()
            && given != row.version
            && row.state.phase.is_final()
        {
            return self.restage(batch.claim, work, Some(given)).await;
        }
        let abandoned = row.state.phase == Phase::Abandoned;
        // An operator asked for another try, and current works: it is changed.
        if abandoned && asked == Some(Effect::Probe) && work.job.kind == JobKind::Rotate {
            return self.restage(batch.claim, work, work.given()).await;
        }
        let refused = asked == Some(Effect::Apply) && abandoned && !row.state.doubt;
        if refused && work.given().is_none() && *regenerations < REGENERATIONS_MAX {
            *regenerations += 1;
            if !self.restage(batch.claim, work, None).await? {
                return Ok(false);
            }
            work.log.note("another candidate was drawn");
            return Ok(true);
        }
        Ok(false)
    }
}

pub(super) fn silent() -> Reason {
    Reason::account(
        keywheel_connectors::Class::Unknown,
        "no answer within the time limit",
    )
}

/// An operator asks the target once more about a rotation that waits for a person.
fn operators_probe(work: &Work, row: &RotationRow, asked: Option<Effect>) -> Option<Effect> {
    (asked.is_none() && is_asked_for(work, row)).then_some(Effect::Probe)
}
