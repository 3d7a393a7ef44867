//! Settles what is in doubt as an operator says: the version that they name becomes current, if the
//! target takes it.
//!
//! Invariant: nothing becomes current here but by a login of its own, through the machine; what an
//! operator calls wrong is kept all the same.

use super::commit::Write;
use super::probe::Login;
use super::{Batch, Engine, EngineError, Work};
use crate::model::job::{Cause, JobKind};
use crate::model::rotation::{Outcome, Phase};
use crate::store::{Claim, Ending, RotationRow};

impl Engine {
    /// Logs in with the version that an operator names, and makes it current if it is accepted.
    pub(super) async fn resolve_as(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        version: i64,
    ) -> Result<Ending, EngineError> {
        if let Some(row) = &work.rotation
            && row.version == version
            && row.state.phase != Phase::NeedsOperator
            && row.state.in_doubt()
        {
            // An attempt before this one has taken it up.
            return self.rotate(batch, work).await;
        }
        let Some(sealed) = self.store.sealed_version(work.id(), version).await? else {
            work.log.class = "refused";
            work.log.note(format!("version {version} is not kept"));
            return Ok(Self::unsettled(work));
        };
        work.versions.insert(version, sealed);
        let secret = self.open_version(work, version).await?;
        if let Err(reason) = batch.connector.admit(&work.target, Some(&secret)) {
            work.log.reason("not sent", &reason);
            return Ok(Self::unsettled(work));
        }
        let which = format!("version {version}");
        match self.login(batch, work, &secret, &which).await? {
            Login::Accepted => self.accepted_as(batch, work, version).await,
            Login::Rejected | Login::Unknown => {
                if work.log.waits_for_window {
                    work.log.note("order it again once that window has passed");
                }
                Ok(Self::unsettled(work))
            }
        }
    }

    async fn accepted_as(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        version: i64,
    ) -> Result<Ending, EngineError> {
        match work.rotation.clone() {
            Some(row) if row.version == version && row.state.phase == Phase::NeedsOperator => {
                let next = row.state.after(Outcome::Candidate)?;
                let write = Write::step(&row, next, "an operator named it, and it logs in");
                batch.committer.commit(write).await?;
                work.rotation = Some(RotationRow { state: next, ..row });
                return self.rotate(batch, work).await;
            }
            Some(_) => {
                let why = "another version is settled upon";
                self.set_aside(batch.claim, work, why).await?;
            }
            None => {}
        }
        if work.current() == Some(version) {
            return self.passed(batch, work).await;
        }
        self.adopt(batch, work, version).await?;
        self.rotate(batch, work).await
    }

    /// Ends the open rotation at hand, whatever became of it: its candidate is kept, and so is the
    /// doubt about it.
    pub(super) async fn set_aside(
        &self,
        claim: &Claim,
        work: &mut Work,
        why: &str,
    ) -> Result<(), EngineError> {
        let Some(row) = work.rotation.take() else {
            return Ok(());
        };
        let why = format!("set aside, and kept: {why}");
        let write = if row.state.phase == Phase::NeedsOperator {
            Write::step(&row, row.state.after(Outcome::Current)?, &why)
        } else {
            let given_up = row.state.give_up();
            let write = Write::step(&row, given_up, &why);
            if given_up.phase == Phase::NeedsOperator {
                write.and_on(&row, given_up.after(Outcome::Current)?)
            } else {
                write
            }
        };
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        tx.hold(claim.id, claim.node).await?;
        tx.advance_all(&Vec::from_iter(&write.step), now).await?;
        tx.audit_all(&Vec::from_iter(&write.events), now).await?;
        tx.commit().await?;
        work.log.note(why);
        Ok(())
    }

    fn unsettled(work: &Work) -> Ending {
        let doubt = work
            .rotation
            .as_ref()
            .is_some_and(|row| row.state.in_doubt());
        if doubt {
            Ending::NeedsOperator
        } else {
            Ending::Failed
        }
    }
}

/// True if a rotation that needs an operator is taken up by this job: an operator asks for it, by a
/// test or by another try.
pub(super) fn is_asked_for(work: &Work, row: &RotationRow) -> bool {
    let asks = work.job.kind == JobKind::Test || work.job.cause == Cause::Operator;
    asks && row.state.phase == Phase::NeedsOperator
}
