//! Waits for what was ordered, and orders tests, whose answer is the order's.
//!
//! Invariant: whoever stops waiting stops nothing else.

use std::time::Duration;

use super::{OrderError, Orders};
use crate::model::credential::Parts;
use crate::model::id::{AccountId, JobId, QuarantineId};
use crate::model::job::{Cause, JobKind, JobState, JobView, Priority};
use crate::model::quarantine::QuarantineView;
use crate::store::{NewJob, StoreError};

/// How often a waiting call looks, should it miss the bell: another node may settle the job.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a test waits for the account's other work.
pub(super) const TEST_WAIT_MAX: Duration = Duration::from_mins(10);

/// What a test said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestVerdict {
    /// The current credential logs in.
    Works,
    /// It does not, or could not be tried.
    DoesNot,
}

impl Orders {
    /// Tests the current credential; waits for a running change first.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn test(&self, account: AccountId, actor: &str) -> Result<TestVerdict, OrderError> {
        let (_, system) = self.fit(account, &[], false).await?;
        let job = loop {
            let mut tx = self.store.begin().await?;
            tx.lock_queue(system).await?;
            let now = self.clock.now();
            match tx.open_job(account).await? {
                None => {
                    let new = NewJob {
                        account,
                        system,
                        kind: JobKind::Test,
                        cause: Cause::Order,
                        actor: actor.to_owned(),
                        priority: Priority::Immediate,
                        run_at: now,
                        parts: Parts::ALL_THERE_ARE,
                        version: None,
                        key_version: None,
                    };
                    let job = tx.enqueue(&new, now).await?;
                    tx.commit().await?;
                    self.metrics
                        .jobs_enqueued(new.kind.as_str(), new.cause.as_str(), 1);
                    break job;
                }
                Some(open) if open.kind == JobKind::Test => {
                    tx.hasten(open.id, system, Priority::Immediate, now).await?;
                    tx.commit().await?;
                    break open.id;
                }
                Some(open) if open.running => {
                    tx.rollback().await?;
                    self.wait_job(open.id, TEST_WAIT_MAX).await?;
                }
                // A change that waits for its next attempt: current is not known to work.
                Some(_) => return Ok(TestVerdict::DoesNot),
            }
        };
        // A test that has to find out more goes on in the background: it has not passed yet.
        let view = self.wait_job(job, TEST_WAIT_MAX).await?;
        Ok(match view.map(|view| view.state) {
            Some(JobState::Succeeded) => TestVerdict::Works,
            _ => TestVerdict::DoesNot,
        })
    }

    /// Waits until the job has ended, or its immediate attempt has failed and others follow in the
    /// background; at most `limit`. `None`: no such job.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wait_job(
        &self,
        job: JobId,
        limit: Duration,
    ) -> Result<Option<JobView>, StoreError> {
        self.wait(job, limit, |view| {
            view.state.is_final()
                || (view.state == JobState::Retrying && view.priority != Priority::Immediate)
        })
        .await
    }

    /// Waits until the job has ended; at most `limit`. `None`: no such job.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wait_end(
        &self,
        job: JobId,
        limit: Duration,
    ) -> Result<Option<JobView>, StoreError> {
        self.wait(job, limit, |view| view.state.is_final()).await
    }

    async fn wait(
        &self,
        job: JobId,
        limit: Duration,
        done: impl Fn(&JobView) -> bool,
    ) -> Result<Option<JobView>, StoreError> {
        let until = self.clock.monotonic() + limit;
        loop {
            let settled = self.store.settled().notified();
            let Some(view) = self.store.job(job).await? else {
                return Ok(None);
            };
            if done(&view) || self.clock.monotonic() >= until {
                return Ok(Some(view));
            }
            tokio::select! {
                () = settled => {}
                () = self.clock.sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Waits until the quarantine has finished; at most `limit`. `None`: no such quarantine.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wait_quarantine(
        &self,
        quarantine: QuarantineId,
        limit: Duration,
    ) -> Result<Option<QuarantineView>, StoreError> {
        let until = self.clock.monotonic() + limit;
        loop {
            let settled = self.store.settled().notified();
            let Some(view) = self.store.quarantine(quarantine).await? else {
                return Ok(None);
            };
            if view.finished_at.is_some() || self.clock.monotonic() >= until {
                return Ok(Some(view));
            }
            tokio::select! {
                () = settled => {}
                () = self.clock.sleep(LOOK_EVERY) => {}
            }
        }
    }
}
