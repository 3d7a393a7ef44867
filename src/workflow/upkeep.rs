//! What goes on beside sending: dead nodes' deliveries, alerts, and what is old.
//!
//! Invariant: failures are told to a workflow's own address, at most once an hour for an action,
//! and none is left out of the count.

use std::time::Duration;

use super::sender::Sender;
use crate::model::workflow::{Channel, DeliveryKind, alert};
use crate::store::{DueAlert, NewDelivery, StoreError};

/// The least time between two alerts about one action.
const ALERTS_APART: Duration = Duration::from_hours(1);
/// How long ended deliveries are kept.
const KEPT: Duration = Duration::from_hours(90 * 24);
/// How often old ones are looked for, and how many one look forgets.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
const PRUNE_MAX: i64 = 500;

impl Sender {
    pub(super) async fn upkeep(&mut self) -> Result<(), StoreError> {
        let (store, now) = (&self.parts.store, self.parts.clock.now());
        if store.has_orphaned_deliveries(self.node).await? {
            let mut tx = store.begin().await?;
            let taken = tx.reap_deliveries(self.node).await?;
            tx.commit().await?;
            tracing::info!(taken, "notices that a dead node held are sent by others");
        }
        let before = now.minus(ALERTS_APART);
        if store.has_due_alert(before).await? {
            let mut tx = store.begin().await?;
            let due = tx.take_alerts(before, now).await?;
            let alerts: Vec<_> = due.iter().map(mail).collect();
            tx.insert_deliveries(&alerts, now).await?;
            tx.commit().await?;
        }
        let monotonic = self.parts.clock.monotonic();
        let is_due = |last| monotonic.saturating_sub(last) >= PRUNE_EVERY;
        if self.pruned_at.is_none_or(is_due) {
            let mut tx = store.begin().await?;
            let (old, _) = tx.prune_deliveries(now.minus(KEPT), PRUNE_MAX).await?;
            tx.commit().await?;
            // A full look has left some: the next round goes on.
            if old < PRUNE_MAX.unsigned_abs() {
                self.pruned_at = Some(monotonic);
            }
        }
        Ok(())
    }
}

fn mail(due: &DueAlert) -> NewDelivery {
    let rendered = alert(&due.failure);
    NewDelivery {
        workflow: due.workflow,
        action: due.action,
        kind: DeliveryKind::Alert,
        channel: Channel::Email,
        event_id: due.event_id.clone(),
        event_at: due.failure.event_at,
        about: due.failure.about.clone(),
        recipients: vec![due.failure_email.clone()],
        subject: rendered.subject,
        body: rendered.body,
    }
}
