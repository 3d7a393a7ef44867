//! Orders quarantines.
//!
//! Invariant: when the order is answered, every account that was active has its job.

use super::{OrderError, Orders};
use crate::model::audit::Event;
use crate::model::id::{AccountId, QuarantineId, SystemId};
use crate::model::job::{Cause, JobKind};

impl Orders {
    /// Orders a change of every active account of a system.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn quarantine(
        &self,
        system: SystemId,
        reason: &str,
        incident: Option<&str>,
        actor: &str,
    ) -> Result<QuarantineId, OrderError> {
        self.store
            .system_row(system)
            .await?
            .ok_or(OrderError::NotFound)?;
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        tx.lock_queue(system).await?;
        let id = tx
            .open_quarantine(system, reason, incident, actor, now)
            .await?;
        let body = serde_json::json!({"quarantine": id.0, "reason": reason, "incident": incident});
        tx.audit(&Event::by(actor, "quarantine.ordered", system, body), now)
            .await?;
        let mut after = AccountId(0);
        loop {
            match tx.quarantine_chunk(id, system, after, actor, now).await? {
                Some(last) => after = last,
                None => break,
            }
            // The queue's lock is not held for longer than a chunk.
            tx.commit().await?;
            tx = self.store.begin().await?;
            tx.lock_queue(system).await?;
        }
        tx.finish_quarantines(system, now).await?;
        tx.commit().await?;
        let accounts = self
            .store
            .quarantine(id)
            .await?
            .map_or(0, |view| view.accounts);
        let accounts = u64::try_from(accounts).unwrap_or(0);
        self.metrics.jobs_enqueued(
            JobKind::Rotate.as_str(),
            Cause::Quarantine.as_str(),
            accounts,
        );
        Ok(id)
    }
}
