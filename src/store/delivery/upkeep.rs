//! What becomes of deliveries beside being sent: taken over, told of, ordered again, forgotten.
//!
//! Invariant: what may have been sent keeps its id, so that its receiver knows it again.

use super::super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{DeliveryId, NodeId, WorkflowActionId, WorkflowId};
use crate::model::workflow::Failure;

/// Failed deliveries of an action that an alert must tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueAlert {
    /// By which workflow.
    pub workflow: WorkflowId,
    /// By which action.
    pub action: WorkflowActionId,
    /// Of which reveal the last of them was.
    pub event_id: String,
    /// Who is told.
    pub failure_email: String,
    /// What they are told.
    pub failure: Failure,
}

#[derive(sqlx::FromRow)]
struct AlertRow {
    id: i64,
    workflow_id: i64,
    failed: i64,
    name: String,
    workflow_name: String,
    failure_email: String,
    event_id: String,
    event_at: i64,
    about: String,
    attempts: i64,
    error: String,
}

impl AlertRow {
    fn alert(self) -> DueAlert {
        DueAlert {
            workflow: WorkflowId(self.workflow_id),
            action: WorkflowActionId(self.id),
            event_id: self.event_id,
            failure_email: self.failure_email,
            failure: Failure {
                workflow: self.workflow_name,
                action: self.name,
                event_at: Timestamp(self.event_at),
                about: self.about,
                attempts: self.attempts,
                error: self.error,
                failed: self.failed,
            },
        }
    }
}

impl Tx {
    /// Gives back what is held but was not sent.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn release_deliveries(&mut self, node: NodeId) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE deliveries SET state = 'pending', node_id = NULL
             WHERE state = 'sending' AND node_id = $1",
        )
        .bind(node.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected())
    }

    /// Queues again what dead nodes have held; they may have sent it.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn reap_deliveries(&mut self, alive: NodeId) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE deliveries SET state = 'pending', node_id = NULL
             WHERE state = 'sending' AND node_id <> $1 AND NOT EXISTS (
                 SELECT 1 FROM nodes n WHERE n.id = deliveries.node_id AND n.state = 'alive')",
        )
        .bind(alive.0)
        .execute(&mut *self.inner)
        .await?;
        if done.rows_affected() > 0 {
            self.post();
        }
        Ok(done.rows_affected())
    }

    /// Actions whose failed deliveries no alert has told, and whose last alert was at `before` or
    /// earlier. They count as told from now on: queue the alerts in this transaction.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn take_alerts(
        &mut self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<DueAlert>, StoreError> {
        let rows: Vec<AlertRow> = sqlx::query_as(
            "SELECT a.id, a.workflow_id, a.failed, a.name, w.name AS workflow_name,
                 w.failure_email, d.event_id, d.event_at, d.about, d.attempts, d.error
             FROM workflow_actions a JOIN workflows w ON w.id = a.workflow_id
                 JOIN deliveries d ON d.id = a.failed_delivery
             WHERE a.failed > 0 AND (a.alerted_at IS NULL OR a.alerted_at <= $1) ORDER BY a.id",
        )
        .bind(before.0)
        .fetch_all(&mut *self.inner)
        .await?;
        let mut due = Vec::new();
        for row in rows {
            let done = sqlx::query(
                "UPDATE workflow_actions SET failed = 0, alerted_at = $3
                 WHERE id = $1 AND failed = $2",
            )
            .bind(row.id)
            .bind(row.failed)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
            // None: another node was faster.
            if done.rows_affected() == 1 {
                due.push(row.alert());
            }
        }
        Ok(due)
    }

    /// Queues a delivery again that has ended, with as many attempts as a new one.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it has not ended, or is gone.
    pub async fn redeliver(&mut self, id: DeliveryId, now: Timestamp) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE deliveries SET state = 'pending', due_at = $2, tries = 0, error = '',
                 queued_at = $2, ended_at = NULL
             WHERE id = $1 AND state IN ('sent', 'failed')",
        )
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the delivery")?;
        self.post();
        Ok(())
    }

    /// Forgets at most `limit` deliveries that ended before `before`, and what was removed before
    /// it and has no delivery any more: (deliveries, actions).
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn prune_deliveries(
        &mut self,
        before: Timestamp,
        limit: i64,
    ) -> Result<(u64, u64), StoreError> {
        let old: Vec<(i64,)> = sqlx::query_as(
            "SELECT d.id FROM deliveries d
             WHERE d.state IN ('sent', 'failed') AND d.ended_at < $1 AND NOT EXISTS (
                 SELECT 1 FROM workflow_actions a WHERE a.failed > 0 AND a.failed_delivery = d.id)
             ORDER BY d.ended_at LIMIT $2",
        )
        .bind(before.0)
        .bind(limit)
        .fetch_all(&mut *self.inner)
        .await?;
        for (id,) in &old {
            sqlx::query("DELETE FROM delivery_attempts WHERE delivery_id = $1")
                .bind(id)
                .execute(&mut *self.inner)
                .await?;
            sqlx::query("DELETE FROM deliveries WHERE id = $1 AND state IN ('sent', 'failed')")
                .bind(id)
                .execute(&mut *self.inner)
                .await?;
        }
        let actions = sqlx::query(
            "DELETE FROM workflow_actions WHERE retired_at < $1 AND NOT EXISTS (
                 SELECT 1 FROM deliveries d WHERE d.action_id = workflow_actions.id)",
        )
        .bind(before.0)
        .execute(&mut *self.inner)
        .await?;
        sqlx::query(
            "DELETE FROM workflows WHERE state = 'deleted' AND updated_at < $1 AND NOT EXISTS (
                 SELECT 1 FROM workflow_actions a WHERE a.workflow_id = workflows.id)",
        )
        .bind(before.0)
        .execute(&mut *self.inner)
        .await?;
        Ok((old.len() as u64, actions.rows_affected()))
    }
}

impl Store {
    /// True if a node that is not alive holds a delivery.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn has_orphaned_deliveries(&self, alive: NodeId) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT d.id FROM deliveries d
             WHERE d.state = 'sending' AND d.node_id <> $1 AND NOT EXISTS (
                 SELECT 1 FROM nodes n WHERE n.id = d.node_id AND n.state = 'alive')
             ORDER BY d.id LIMIT 1",
        )
        .bind(alive.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.is_some())
    }

    /// True if an alert is due.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn has_due_alert(&self, before: Timestamp) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT id FROM workflow_actions
             WHERE failed > 0 AND (alerted_at IS NULL OR alerted_at <= $1) ORDER BY id LIMIT 1",
        )
        .bind(before.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.is_some())
    }
}
