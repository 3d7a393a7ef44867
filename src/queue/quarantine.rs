//! Orders the bulk change of a system, chunk by chunk, and goes on with what another began.
//!
//! Invariant: a quarantine that was opened is ordered to its end, if need be by another node.

use super::order::{OrderError, Orders};
use crate::model::audit::Event;
use crate::model::id::{AccountId, QuarantineId, SystemId};
use crate::model::job::{Cause, JobKind};
use crate::store::StoreError;

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
        let from = (id, system, AccountId(0), actor);
        self.store.order_chunks(tx, from, now).await?;
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

    /// Goes on with quarantines whose ordering was cut short; returns how many there were.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn resume_quarantines(&self) -> Result<usize, StoreError> {
        self.store.resume_quarantines(self.clock.now()).await
    }
}
