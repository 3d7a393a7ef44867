//! Tells subscribers to take over their parent's password, whoever changed it and however.
//!
//! Invariant: who is behind is read from the versions; nothing has to be remembered for it, and
//! nothing is lost with a node.

use std::time::Duration;

use super::Scheduler;
use crate::model::job::{Cause, JobKind, Priority};
use crate::store::StoreError;

/// Subscribers that one tick tells at most.
const TOLD_MAX: i64 = 1_000;
/// One whose job has failed is told again after this, or of the parent's next password at once.
const TELL_AGAIN: Duration = Duration::from_hours(1);
/// Who orders it.
const SERVICE: &str = "keywheel";

impl Scheduler {
    /// Each in a transaction of its own: they live on many systems.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let told_since = now.minus(TELL_AGAIN);
        for one in inner.store.stragglers(told_since, TOLD_MAX).await? {
            let mut tx = inner.store.begin().await?;
            tx.lock_queue(one.system).await?;
            let ordered = (SERVICE, Priority::Routine);
            match tx.order_sync(&one, ordered, now).await {
                Ok(Some(_)) => {
                    tx.commit().await?;
                    let (kind, cause) = (JobKind::Rotate, Cause::Sync);
                    inner
                        .metrics
                        .jobs_enqueued(kind.as_str(), cause.as_str(), 1);
                }
                // It has a job, or is a subscriber no more.
                Ok(None) | Err(StoreError::Stale { .. }) => tx.rollback().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
