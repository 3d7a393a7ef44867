//! Finds out which secret works after something unknown, by the cheapest decider first.
//!
//! Invariant: no login is sent that was not counted against the lockout budget first.

use keywheel_connectors::{Checked, Credential, Evidence};

use super::commit::Write;
use super::{Batch, Engine, EngineError, Work};
use crate::model::rotation::{Outcome, Phase};
use crate::store::RotationRow;

/// What one counted login said.
pub(super) enum Login {
    Accepted,
    Rejected,
    /// Not judged, or not allowed.
    Unknown,
}

impl Engine {
    /// Evidence without a login; then one login with the candidate; then one with current.
    pub(super) async fn probe(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        row: &RotationRow,
    ) -> Result<Outcome, EngineError> {
        let candidate = self.open_version(work, row.version).await?;
        let current = self.open_current(work).await?;
        let look = batch
            .session
            .evidence(&work.target, &candidate, current.as_ref());
        match self.within(batch.timeout, look).await {
            Some(Evidence::Candidate) => {
                work.log.answered = true;
                work.log.note("probe: the target holds the new credential");
                return Ok(Outcome::Candidate);
            }
            Some(Evidence::Current) => {
                work.log.answered = true;
                work.log
                    .note("probe: the target still holds the current credential");
                return Ok(Outcome::Current);
            }
            Some(Evidence::Neither) if current.is_none() => {
                work.log.answered = true;
                work.log
                    .note("probe: the target does not hold the new credential");
                // Nothing else was ever known to work: the same candidate is sent again.
                return Ok(Outcome::Current);
            }
            Some(Evidence::Neither) => {
                work.log.answered = true;
                work.log.class = "unknown";
                work.log.note(
                    "probe: the target holds neither credential; somebody else has changed it",
                );
                return Ok(Outcome::Neither);
            }
            Some(Evidence::Undecided(reason)) => {
                // Looking is optional; only the logins' own trouble is the attempt's.
                work.log
                    .note(format!("probe without login: {}", reason.text));
            }
            None => work
                .log
                .note("probe without login: no answer within the time limit"),
        }
        let candidate = ("the new credential", &candidate, Outcome::Candidate);
        let Some(current) = &current else {
            let (which, credential, accepted) = candidate;
            return Ok(match self.login(batch, work, credential, which).await? {
                Login::Accepted => accepted,
                Login::Unknown => Outcome::Unknown,
                // Nothing else was ever known to work: the same candidate is sent again.
                Login::Rejected => Outcome::Current,
            });
        };
        let current = ("the current credential", current, Outcome::Current);
        let order = if self.candidate_first(work, row) {
            [candidate, current]
        } else {
            [current, candidate]
        };
        for (which, credential, accepted) in order {
            match self.login(batch, work, credential, which).await? {
                Login::Accepted => return Ok(accepted),
                Login::Unknown => return Ok(Outcome::Unknown),
                Login::Rejected => {}
            }
        }
        Ok(Outcome::Neither)
    }

    pub(super) async fn open_current(
        &self,
        work: &mut Work,
    ) -> Result<Option<Credential>, EngineError> {
        match work.current() {
            Some(version) => self.open_version(work, version).await.map(Some),
            None => Ok(None),
        }
    }

    /// The candidate's bytes were sent, so it is the likelier one. But a budget of one failing
    /// login never reaches the second secret: attempts, and an operator's windows, take turns.
    fn candidate_first(&self, work: &Work, row: &RotationRow) -> bool {
        let turn = if row.state.phase == Phase::NeedsOperator {
            let window = i64::try_from(self.limits.lockout_window.as_millis()).unwrap_or(i64::MAX);
            self.clock.now().0 / window.max(1)
        } else {
            work.job.attempt - 1
        };
        turn % 2 == 0
    }

    /// Counts a login, sends it, and takes the count back if it succeeded.
    pub(super) async fn login(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        credential: &Credential,
        which: &str,
    ) -> Result<Login, EngineError> {
        if !self.spend_login(batch, work, batch.budget).await? {
            work.log.budget_spent(&format!("probe: {which}"));
            return Ok(Login::Unknown);
        }
        work.log.phase = "verify";
        let check = batch.session.check(&work.target, credential);
        match self.within(batch.timeout, check).await {
            Some(Checked::Accepted) => {
                work.log.answered = true;
                work.log.note(format!("probe: {which} logs in"));
                self.refund(batch, work).await?;
                Ok(Login::Accepted)
            }
            Some(Checked::Rejected(reason)) => {
                work.log.answered = true;
                work.log.failed_logins += 1;
                work.log
                    .reason(&format!("probe: {which} is refused"), &reason);
                Ok(Login::Rejected)
            }
            Some(Checked::NotNow(reason)) => {
                work.log
                    .reason(&format!("probe: {which} was not judged"), &reason);
                Ok(Login::Unknown)
            }
            None => {
                work.log.class = "unknown";
                work.log.note(format!(
                    "probe: {which} was not judged within the time limit"
                ));
                Ok(Login::Unknown)
            }
        }
    }

    pub(super) async fn refund(&self, batch: &Batch<'_>, work: &Work) -> Result<(), EngineError> {
        let write = Write {
            refund: Some(work.id()),
            ..Write::default()
        };
        batch.committer.commit(write).await?;
        Ok(())
    }
}
