//! A test: logs in with the current credential, and looks further if it is refused.
//!
//! A test is also the way out for an account that no job works on any more: it takes up an open
//! rotation, and probes for the operator where one is needed.
//!
//! Invariant: a refused current credential is never overwritten here; a kept version that may be
//! live is adopted only through the machine, after a login of its own.

use keywheel_connectors::{Checked, Class, Credential, Evidence, Reason};

use super::commit::Write;
use super::{Batch, Engine, EngineError, Work};
use crate::model::audit::Event;
use crate::model::credential::{Kept, Part, likeliest_live};
use crate::model::rotation::{Phase, Rotation};
use crate::store::{Ending, NewRotation, VersionRow};

/// Kept versions that are looked for on the target.
const KEPT_MAX: i64 = 10;

impl Engine {
    /// Tests the current version of the part at hand.
    pub(super) async fn test(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
    ) -> Result<Ending, EngineError> {
        if let Some(version) = work.given() {
            return self.resolve_as(batch, work, version).await;
        }
        match work.rotation.as_ref().map(|row| row.state.phase) {
            // Its own job has ended: what the target holds is found out first.
            Some(Phase::Applying | Phase::Applied | Phase::Verified | Phase::NeedsOperator) => {
                return self.rotate(batch, work).await;
            }
            None | Some(Phase::Ready | Phase::Staged | Phase::Committed | Phase::Abandoned) => {}
        }
        let Some(version) = work.current() else {
            work.log.class = Class::NoAccount.name();
            work.log
                .note("test: no credential is stored for the account; set or rotate it first");
            return Ok(Ending::Failed);
        };
        let secret = self.open_version(work, version).await?;
        if let Err(reason) = batch.connector.admit(&work.target, Some(&secret)) {
            work.log.reason("not sent", &reason);
            return Ok(Ending::Failed);
        }
        let Some(checked) = self.check_current(batch, work, &secret).await? else {
            return Ok(Ending::Failed);
        };
        match checked {
            Checked::Accepted => self.passed(batch, work).await,
            Checked::Rejected(_) => self.look_further(batch, work, &secret).await,
            // Its time was cut short, which says nothing of the account.
            Checked::NotNow(_) if self.hurried.is_cancelled() => Ok(Ending::GivenBack),
            Checked::NotNow(_) => {
                self.verdict(batch, work, version, "unreachable").await?;
                Ok(Ending::Failed)
            }
        }
    }

    /// One counted login with the current version of the part at hand; `None`: the budget is
    /// spent. A refusal is recorded.
    pub(super) async fn check_current(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        current: &Credential,
    ) -> Result<Option<Checked>, EngineError> {
        if !self.spend_login(batch, work, batch.budget.max(1)).await? {
            work.log.budget_spent("test: the current credential");
            return Ok(None);
        }
        work.log.phase = "verify";
        let check = batch.session.check(&work.target, current);
        let checked = self.within(batch.timeout, check).await.unwrap_or_else(|| {
            Checked::NotNow(Reason::account(
                Class::Unreachable,
                "no answer within the time limit",
            ))
        });
        match &checked {
            Checked::Accepted => {
                work.log.answered = true;
                work.log.note(match work.part {
                    Part::Password => "test: the current credential logs in",
                    Part::Key => "test: the current key logs in",
                });
                self.refund(batch, work).await?;
            }
            Checked::Rejected(reason) => {
                work.log.answered = true;
                work.log.failed_logins += 1;
                work.log.reason("test refused", reason);
                if let Some(version) = work.current() {
                    self.verdict(batch, work, version, "out_of_sync").await?;
                }
            }
            Checked::NotNow(reason) => work.log.reason("test not possible now", reason),
        }
        Ok(Some(checked))
    }

    /// The current credential works; the login that said so has been taken back.
    pub(super) async fn passed(
        &self,
        batch: &Batch<'_>,
        work: &Work,
    ) -> Result<Ending, EngineError> {
        if let Some(version) = work.current() {
            self.verdict(batch, work, version, "passed").await?;
        }
        Ok(Ending::Succeeded)
    }

    async fn verdict(
        &self,
        batch: &Batch<'_>,
        work: &Work,
        version: i64,
        verdict: &'static str,
    ) -> Result<(), EngineError> {
        let write = Write {
            verdict: Some((work.id(), work.part, version, verdict)),
            events: vec![tested(work, version, verdict)],
            ..Write::default()
        };
        batch.committer.commit(write).await?;
        Ok(())
    }

    /// Current is refused. If a kept version is live, its rotation is taken up where a crash
    /// would have left it.
    async fn look_further(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        current: &Credential,
    ) -> Result<Ending, EngineError> {
        let version = match &work.rotation {
            // An open rotation has its own way out.
            Some(_) => None,
            None => self.live_version(batch, work, current).await?,
        };
        let Some(version) = version else {
            return Ok(Ending::Failed);
        };
        self.adopt(batch, work, version).await?;
        work.log
            .note(format!("version {version} may be live: trying it"));
        self.rotate(batch, work).await
    }

    /// Opens a rotation to a kept version, where a crash would have left it.
    pub(super) async fn adopt(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        version: i64,
    ) -> Result<(), EngineError> {
        let account = work.id();
        let epoch = work.account.epoch + 1;
        let write = Write {
            adopt: Some(NewRotation {
                account,
                part: work.part,
                epoch,
                version,
                state: Rotation::adopt(),
            }),
            events: vec![Event::by_service(
                "rotation.adopting",
                account,
                serde_json::json!({"version": version}),
            )],
            ..Write::default()
        };
        batch.committer.commit(write).await?;
        work.account.epoch = epoch;
        work.rotation = self.store.open_rotation_of(account, work.part).await?;
        Ok(())
    }

    /// The kept version that the target holds; where it shows none, the latest one that was sent
    /// and never accepted.
    async fn live_version(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        current: &Credential,
    ) -> Result<Option<i64>, EngineError> {
        let account = work.id();
        for kept in self
            .store
            .versions_of_part(account, work.part, KEPT_MAX)
            .await?
        {
            if Some(kept.version) == work.current() {
                continue;
            }
            let Some(secret) = self.store.sealed_version(account, kept.version).await? else {
                continue;
            };
            work.versions.insert(kept.version, secret);
            let secret = self.open_version(work, kept.version).await?;
            let look = batch.session.evidence(&work.target, &secret, Some(current));
            match self.within(batch.timeout, look).await {
                Some(Evidence::Candidate) => return Ok(Some(kept.version)),
                Some(Evidence::Neither) => {}
                // The login was refused a moment ago: the target contradicts itself.
                Some(Evidence::Current) => return Ok(None),
                Some(Evidence::Undecided(_)) | None => return self.latest_doubtful(work).await,
            }
        }
        work.log
            .note("test: the target holds no credential that is kept here");
        Ok(None)
    }

    /// The likeliest version to try a login with, where the target shows none.
    async fn latest_doubtful(&self, work: &mut Work) -> Result<Option<i64>, EngineError> {
        let account = work.id();
        let kept = self
            .store
            .versions_of_part(account, work.part, KEPT_MAX)
            .await?;
        let kept: Vec<Kept> = kept.iter().map(VersionRow::kept).collect();
        let Some(version) = likeliest_live(&kept, work.current()) else {
            return Ok(None);
        };
        if let Some(secret) = self.store.sealed_version(account, version).await? {
            work.versions.insert(version, secret);
        }
        Ok(Some(version))
    }
}

/// The audit trail's row of a test.
pub(super) fn tested(work: &Work, version: i64, verdict: &'static str) -> Event {
    Event::by(
        work.job.actor.clone(),
        "account.tested",
        work.id(),
        serde_json::json!({"version": version, "verdict": verdict}),
    )
}
