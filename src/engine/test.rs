//! A test: logs in with the current credential, and looks further if it is refused.
//!
//! Invariant: a refused current credential is never overwritten here; a kept version that may be
//! live is adopted only through the machine, after a login of its own.

use keywheel_connectors::Checked;

use super::commit::Write;
use super::{Batch, Engine, EngineError, Finished, Work};
use crate::model::audit::Event;
use crate::model::rotation::{Phase, Rotation};
use crate::store::Ending;

impl Engine {
    /// Tests an account's current credential.
    pub(super) async fn test(
        &self,
        batch: &Batch<'_>,
        mut work: Work,
    ) -> Result<Finished, EngineError> {
        let Some(version) = work.account.current_version else {
            work.log.class = "no_account";
            work.log
                .note("test: no credential is stored for the account; set or rotate it first");
            return Ok(work.log.finish(work.job, Ending::Failed));
        };
        let secret = self.open_version(&work, version)?;
        if let Err(reason) = batch.connector.admit(&work.target, Some(&secret)) {
            work.log.reason("not sent", &reason);
            return Ok(work.log.finish(work.job, Ending::Failed));
        }
        if !self.spend_login(batch, &work, batch.budget.max(1)).await? {
            work.log.class = "locked";
            work.log
                .note("test: the lockout budget is spent; waiting for its window");
            return Ok(work.log.finish(work.job, Ending::Failed));
        }
        work.log.phase = "verify";
        let check = batch.session.check(&work.target, &secret);
        let checked = tokio::time::timeout(batch.timeout, check)
            .await
            .unwrap_or_else(|_| {
                Checked::NotNow(keywheel_connectors::Reason::account(
                    keywheel_connectors::Class::Unreachable,
                    "no answer within the time limit",
                ))
            });
        match checked {
            Checked::Accepted => {
                work.log.answered = true;
                work.log.note("test: the current credential logs in");
                self.verdict(batch, &work, version, "passed").await?;
                Ok(work.log.finish(work.job, Ending::Succeeded))
            }
            Checked::Rejected(reason) => {
                work.log.answered = true;
                work.log.failed_logins += 1;
                work.log.reason("test refused", &reason);
                self.verdict(batch, &work, version, "out_of_sync").await?;
                self.adopt(batch, work).await
            }
            Checked::NotNow(reason) => {
                work.log.reason("test not possible now", &reason);
                self.verdict(batch, &work, version, "unreachable").await?;
                Ok(work.log.finish(work.job, Ending::Failed))
            }
        }
    }

    async fn verdict(
        &self,
        batch: &Batch<'_>,
        work: &Work,
        version: i64,
        verdict: &'static str,
    ) -> Result<(), EngineError> {
        let account = work.account.id();
        let write = Write {
            verdict: Some((account, version, verdict)),
            refund: (verdict == "passed").then_some(account),
            events: vec![Event::by(
                work.job.actor.clone(),
                "account.tested",
                account,
                serde_json::json!({"version": version, "verdict": verdict}),
            )],
            ..Write::default()
        };
        batch.committer.commit(write).await?;
        Ok(())
    }

    /// Current is refused. If a version that was sent once and never proved may be live, its
    /// rotation is taken up again where a crash would have left it.
    async fn adopt(&self, batch: &Batch<'_>, mut work: Work) -> Result<Finished, EngineError> {
        let account = work.account.id();
        let open = self.store.open_rotation_of(account).await?;
        let doubtful = self.store.doubtful_versions(account).await?;
        let Some((version, sealed)) = doubtful.into_iter().next() else {
            return Ok(work.log.finish(work.job, Ending::Failed));
        };
        if open.is_some() {
            // It has its own way out.
            return Ok(work.log.finish(work.job, Ending::Failed));
        }
        work.versions.insert(version, sealed);
        let state = Rotation {
            phase: Phase::Applying,
            doubt: true,
        };
        let epoch = work.account.epoch + 1;
        let write = Write {
            adopt: Some((account, epoch, version, state)),
            events: vec![Event::by_service(
                "rotation.adopting",
                account,
                serde_json::json!({"version": version}),
            )],
            ..Write::default()
        };
        batch.committer.commit(write).await?;
        work.account.epoch = epoch;
        work.rotation = self.store.open_rotation_of(account).await?;
        work.log
            .note(format!("version {version} may be live: trying it"));
        self.rotate(batch, work).await
    }
}
