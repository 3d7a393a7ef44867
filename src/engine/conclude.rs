//! Turns where an attempt has stopped into what becomes of its job.
//!
//! Invariant: a job ends only where its rotation has ended or needs an operator; a candidate that
//! may be live is never given up.

use keywheel_connectors::Reason;
use serde_json::Value;

use super::commit::Write;
use super::{Batch, Engine, EngineError, Finished, Log, Work, stage};
use crate::generate;
use crate::model::Timestamp;
use crate::model::credential::Parts;
use crate::model::job::{Cause, JobKind, Priority};
use crate::model::regression::{Consent, Course, Standing};
use crate::model::rotation::Phase;
use crate::store::{Claim, ClaimedJob, Ending, RotationRow};

/// Audit rows of an account that one rotation may have left.
const EVENTS_MAX: i64 = 100;
/// How a job ends that could not remove a superseded key.
pub(super) const OLD_KEY_STANDS: &str = "the old key still stands on the target";

impl Engine {
    /// Ends the attempts that need no contact: used-up jobs, and parts that wait for a person.
    pub(super) async fn end_without_contact(
        &self,
        claim: &Claim,
        works: Vec<Work>,
    ) -> Result<(Vec<Work>, Vec<Finished>), EngineError> {
        let mut go_on = Vec::with_capacity(works.len());
        let mut ended = Vec::new();
        for mut work in works {
            if work.account.active == 0 {
                work.log.class = "no_account";
                work.log
                    .note("the account is suspended or deleted; nothing was sent");
                ended.push(self.give_up(claim, work).await?);
                continue;
            }
            if work.job.standing.course(work.job.kind, work.job.cause) == Course::Waits {
                let is_awaited = claim.priority == Priority::Immediate && !work.in_doubt();
                let is_over = is_awaited || self.expired(&work.job);
                ended.push(work.wait_for_consent(is_over, self.clock.now()));
                continue;
            }
            self.skip_without_contact(claim, &mut work).await?;
            let mut work = match self.refuse_second_doubt(claim, work).await? {
                Ok(work) => work,
                Err(finished) => {
                    ended.push(finished);
                    continue;
                }
            };
            if work.drives == Parts::NONE && !work.job.parts.holds(Parts::REMOVAL) {
                ended.push(work.finish());
            } else if work.job.attempt > self.limits.attempts_max {
                work.log.class = "unknown";
                work.log.note("every attempt before ended with its node");
                ended.push(self.give_up(claim, work).await?);
            } else if self.expired(&work.job) && work.job.attempt > 1 {
                work.log.class = "unreachable";
                work.log
                    .note("the system has not answered for too long; the job is given up");
                ended.push(self.give_up(claim, work).await?);
            } else {
                go_on.push(work);
            }
        }
        Ok((go_on, ended))
    }

    /// Takes out of a change what needs an operator first, and what was made already.
    async fn skip_without_contact(
        &self,
        claim: &Claim,
        work: &mut Work,
    ) -> Result<(), EngineError> {
        if work.job.kind == JobKind::Test {
            return Ok(());
        }
        for part in work.driven() {
            work.enter(part);
            let waits = work
                .rotation
                .as_ref()
                .is_some_and(|row| row.state.phase == Phase::NeedsOperator);
            // What is set anew does not depend on what the target holds.
            let resets = work.job.cause == Cause::Mismatch
                || work.job.standing == Standing::Regressed(Consent::Reset);
            if waits && resets {
                self.set_aside(claim, work, "the account is reset").await?;
            } else if waits && work.job.cause != Cause::Operator {
                work.log.class = "unknown";
                work.log
                    .note("an earlier change needs an operator: settle it first");
                work.skip(part, Ending::NeedsOperator);
            } else if self.made_already(work).await? {
                work.log
                    .note("an attempt before this one has made the change, and could not say so");
                work.skip(part, Ending::Succeeded);
            }
        }
        Ok(())
    }

    /// True if a crash came between the promotion of the part at hand and its settling: it is not
    /// changed twice, unless it was ordered anew since. That is told by number: clocks go back.
    async fn made_already(&self, work: &Work) -> Result<bool, EngineError> {
        let (job, account) = (&work.job, work.id());
        if job.attempt == 1 || work.rotation.is_some() {
            return Ok(false);
        }
        let Some(last) = self.store.last_rotation(account, work.part).await? else {
            return Ok(false);
        };
        if last.state.phase != Phase::Committed {
            return Ok(false);
        }
        let events = self
            .store
            .audit_of(&account.to_string(), EVENTS_MAX)
            .await?;
        let staged = stage::staged(last.id, last.version, job);
        Ok(events.iter().any(|row| {
            row.event == stage::STAGED
                && serde_json::from_str(&row.body).is_ok_and(|body: Value| body == staged)
        }))
    }

    /// The session did not open: nothing was sent to any account.
    pub(super) async fn conclude_unreached(
        &self,
        claim: &Claim,
        mut work: Work,
        reason: &Reason,
    ) -> Result<Finished, EngineError> {
        work.log.reason("connect", reason);
        work.log.system_fault = true;
        let in_doubt = work.in_doubt();
        let ending = if work.job.kind == JobKind::Test && !in_doubt {
            self.record_unreachable(claim, &work).await?;
            Ending::Failed
        } else {
            let waits = claim.priority == Priority::Immediate;
            if (waits && !in_doubt) || self.expired(&work.job) {
                return self.give_up(claim, work).await;
            }
            let at = self.retry_at(work.job.attempt);
            Ending::Retry { at, counts: false }
        };
        work.came_to(work.part, ending);
        Ok(work.finish())
    }

    async fn record_unreachable(&self, claim: &Claim, work: &Work) -> Result<(), EngineError> {
        let now = self.clock.now();
        for part in work.driven() {
            let Some(version) = work.account.current(part) else {
                continue;
            };
            let mut tx = self.store.begin().await?;
            tx.hold(claim.id, claim.node).await?;
            tx.record_test(work.id(), part, version, "unreachable", now)
                .await?;
            tx.audit(&super::test::tested(work, version, "unreachable"), now)
                .await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Decides what becomes of the part at hand after its turn.
    pub(super) async fn conclude(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
    ) -> Result<Ending, EngineError> {
        let Some(row) = work.rotation.clone() else {
            return Ok(Ending::Failed);
        };
        match row.state.phase {
            Phase::Committed => Ok(Ending::Succeeded),
            // A test sends nothing: a probe has found current working.
            Phase::Abandoned if work.job.kind == JobKind::Test => self.passed(batch, work).await,
            Phase::Abandoned => Ok(Ending::Failed),
            Phase::NeedsOperator => Ok(Ending::NeedsOperator),
            Phase::Ready | Phase::Staged if work.job.kind == JobKind::Test => {
                self.pass_after_all(batch, work, &row).await
            }
            Phase::Ready | Phase::Staged | Phase::Applying | Phase::Applied | Phase::Verified => {
                if self.hurried.is_cancelled() && row.state.in_doubt() {
                    // Its calls were cut short: it counts for nothing, and the next start probes.
                    let (at, counts) = (self.clock.now(), false);
                    return Ok(Ending::Retry { at, counts });
                }
                let waits = batch.claim.priority == Priority::Immediate;
                let used_up = work.job.attempt >= self.limits.attempts_max;
                let counts = !work.log.system_fault;
                if (waits && !row.state.in_doubt())
                    || (counts && used_up)
                    || self.expired(&work.job)
                {
                    return self.give_up_in(batch, work, &row).await;
                }
                let mut at = self.retry_at(work.job.attempt);
                if work.log.waits_for_window {
                    at = at.max(self.clock.now().plus(self.limits.lockout_window));
                }
                Ok(Ending::Retry { at, counts })
            }
        }
    }

    /// A test came to look at a rotation, and the probe has found current working.
    async fn pass_after_all(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        row: &RotationRow,
    ) -> Result<Ending, EngineError> {
        let why = work.log.lines.last().cloned().unwrap_or_default();
        let write = Write::step(row, row.state.give_up(), &why);
        batch.committer.commit(write).await?;
        self.passed(batch, work).await
    }

    /// What becomes of a job whose attempt the store or the key ring has stopped: the next attempt
    /// reads back what is there.
    pub fn conclude_error(&self, job: ClaimedJob, error: &EngineError) -> Finished {
        let mut log = Log {
            class: "unknown",
            ..Log::default()
        };
        log.note(format!("stopped: {error}"));
        let at = self.retry_at(job.attempt);
        let ending = match error {
            EngineError::Vault(_) | EngineError::Key(_) => Ending::NeedsOperator,
            _ if job.attempt >= self.limits.attempts_max => Ending::NeedsOperator,
            _ => Ending::Retry { at, counts: true },
        };
        log.finish(job, ending)
    }

    /// Ends a rotation for good, through the batch's commits.
    async fn give_up_in(
        &self,
        batch: &Batch<'_>,
        work: &Work,
        row: &RotationRow,
    ) -> Result<Ending, EngineError> {
        let to = row.state.give_up();
        let why = work.log.lines.last().cloned().unwrap_or_default();
        batch.committer.commit(Write::step(row, to, &why)).await?;
        Ok(given_up(to.phase))
    }

    /// Ends a job for good: each part's rotation in a commit of its own.
    pub(super) async fn give_up(
        &self,
        claim: &Claim,
        mut work: Work,
    ) -> Result<Finished, EngineError> {
        for part in work.driven() {
            work.enter(part);
            let Some(row) = work.rotation.clone() else {
                work.came_to(part, Ending::Failed);
                continue;
            };
            let to = row.state.give_up();
            if to != row.state {
                let now = self.clock.now();
                let why = work.log.lines.last().cloned().unwrap_or_default();
                let write = Write::step(&row, to, &why);
                let mut tx = self.store.begin().await?;
                tx.hold(claim.id, claim.node).await?;
                tx.advance_all(&Vec::from_iter(&write.step), now).await?;
                tx.audit_all(&Vec::from_iter(&write.events), now).await?;
                tx.commit().await?;
            }
            work.came_to(part, given_up(to.phase));
        }
        if work.job.parts.holds(Parts::REMOVAL) {
            work.log.note(OLD_KEY_STANDS);
            work.removal_came_to(Ending::Failed);
        }
        Ok(work.finish())
    }

    /// True if the job was ordered longer ago than anything may take.
    pub(super) fn expired(&self, job: &ClaimedJob) -> bool {
        self.clock.now().since(job.queued_at) > self.limits.give_up_after
    }

    /// When the next attempt may start: doubling waits, half to one and a half times each.
    pub(super) fn retry_at(&self, attempt: i64) -> Timestamp {
        let doublings = u32::try_from(attempt.clamp(1, 20) - 1).unwrap_or(0);
        let wait = self.limits.retry_base.saturating_mul(1 << doublings);
        let wait = wait.min(self.limits.retry_max);
        self.clock
            .now()
            .plus(generate::jittered(wait, self.dice.as_ref()))
    }
}

fn given_up(phase: Phase) -> Ending {
    if phase == Phase::NeedsOperator {
        Ending::NeedsOperator
    } else {
        Ending::Failed
    }
}
