//! The outbox: deliveries that are due, who sends them, and what became of them.
//!
//! Invariant: one node alone holds a delivery, by its own id in the row; a delivery ends only by
//! the node that holds it.

mod upkeep;
mod view;

use serde_json::Value;

use super::dialect::skip_locked;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{DeliveryId, NodeId, WorkflowActionId, WorkflowId};
use crate::model::workflow::{Attempt, Channel, DeliveryKind};

pub use upkeep::DueAlert;

/// A delivery that is to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// By which workflow.
    pub workflow: WorkflowId,
    /// By which of its actions; of an alert, the one that failed.
    pub action: WorkflowActionId,
    /// What it tells.
    pub kind: DeliveryKind,
    /// By which way.
    pub channel: Channel,
    /// Of which reveal.
    pub event_id: String,
    /// When that was.
    pub event_at: Timestamp,
    /// What was seen, by name.
    pub about: String,
    /// Of a mail.
    pub recipients: Vec<String>,
    /// Of a mail.
    pub subject: String,
    /// Rendered.
    pub body: String,
}

/// Deliveries that share a receiver, and so its troubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// By which action.
    pub action: WorkflowActionId,
    /// Alerts go to others than notices.
    pub kind: DeliveryKind,
    /// By which way.
    pub channel: Channel,
}

/// A delivery that a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// Its id; `webhook-id`.
    pub id: DeliveryId,
    /// With what it shares its receiver.
    pub lane: Lane,
    /// Who holds it.
    pub node: NodeId,
    /// Attempts since it was queued.
    pub tries: i64,
    /// Attempts in all.
    pub attempts: i64,
    /// Of a mail.
    pub recipients: Vec<String>,
    /// Of a mail.
    pub subject: String,
    /// Rendered.
    pub body: String,
    /// Where to, sealed; `None` of a mail.
    pub url: Option<Vec<u8>>,
    /// What a webhook is signed with, sealed.
    pub signing_secret: Option<Vec<u8>>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has taken it.
    Sent,
    /// It is tried again then.
    Again(Timestamp),
    /// It is not tried again.
    Failed,
}

/// An attempt and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// With what it shares its receiver.
    pub lane: Lane,
    /// Who held it.
    pub node: NodeId,
    /// The attempt.
    pub attempt: Attempt,
    /// What came of it.
    pub outcome: Outcome,
}

type ClaimRow = (
    i64,
    i64,
    i64,
    String,
    String,
    String,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
);

impl Tx {
    /// Queues deliveries, due at once, and wakes this process's sender on commit.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn insert_deliveries(
        &mut self,
        new: &[NewDelivery],
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let mut ids = Vec::with_capacity(new.len());
        for one in new {
            let id: DeliveryId = self.id(DeliveryId::KIND).await?;
            let recipients = Value::from(one.recipients.clone()).to_string();
            sqlx::query(
                "INSERT INTO deliveries (id, workflow_id, action_id, kind, channel, event_id,
                     event_at, about, recipients, subject, body, state, due_at, tries, attempts,
                     node_id, error, queued_at, ended_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'pending', $12, 0, 0, NULL,
                     '', $12, NULL)",
            )
            .bind(id.0)
            .bind(one.workflow.0)
            .bind(one.action.0)
            .bind(one.kind.as_str())
            .bind(one.channel.as_str())
            .bind(&one.event_id)
            .bind(one.event_at.0)
            .bind(&one.about)
            .bind(recipients)
            .bind(&one.subject)
            .bind(&one.body)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
            ids.push(id);
        }
        if !ids.is_empty() {
            self.post();
        }
        Ok(ids)
    }

    /// Claims at most `limit` due deliveries of a lane, those that are due longest first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn claim_deliveries(
        &mut self,
        node: NodeId,
        lane: Lane,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let due: Vec<(i64,)> = sqlx::query_as(skip_locked!(
            self.backend,
            "SELECT id FROM deliveries
             WHERE state = 'pending' AND action_id = $1 AND kind = $2 AND due_at <= $3
             ORDER BY due_at, id LIMIT $4"
        ))
        .bind(lane.action.0)
        .bind(lane.kind.as_str())
        .bind(now.0)
        .bind(limit)
        .fetch_all(&mut *self.inner)
        .await?;
        let mut claimed = Vec::with_capacity(due.len());
        for (id,) in due {
            let done = sqlx::query(
                "UPDATE deliveries SET state = 'sending', node_id = $2
                 WHERE id = $1 AND state = 'pending'",
            )
            .bind(id)
            .bind(node.0)
            .execute(&mut *self.inner)
            .await?;
            if done.rows_affected() == 0 {
                continue; // another node was faster
            }
            let (id, tries, attempts, recipients, subject, body, url, signing_secret): ClaimRow =
                sqlx::query_as(
                    "SELECT d.id, d.tries, d.attempts, d.recipients, d.subject, d.body, a.url,
                         a.signing_secret
                     FROM deliveries d JOIN workflow_actions a ON a.id = d.action_id
                     WHERE d.id = $1",
                )
                .bind(id)
                .fetch_one(&mut *self.inner)
                .await?;
            claimed.push(ClaimedDelivery {
                id: DeliveryId(id),
                lane,
                node,
                tries,
                attempts,
                // What is no list names nobody, and so fails with a reason.
                recipients: serde_json::from_str(&recipients).unwrap_or_default(),
                subject,
                body,
                url,
                signing_secret,
            });
        }
        Ok(claimed)
    }

    /// Records an attempt and what came of it. `false`: another node has taken the delivery over,
    /// and nothing was written.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn settle_delivery(
        &mut self,
        settled: &Settlement,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let attempt = &settled.attempt;
        let (state, due_at, ended_at) = match settled.outcome {
            Outcome::Sent => ("sent", now, Some(now.0)),
            Outcome::Again(due) => ("pending", due, None),
            Outcome::Failed => ("failed", now, Some(now.0)),
        };
        let done = sqlx::query(
            "UPDATE deliveries SET state = $3, due_at = $4, ended_at = $5, error = $6,
                 attempts = $7, tries = tries + 1, node_id = NULL
             WHERE id = $1 AND node_id = $2 AND state = 'sending' AND attempts = $7 - 1",
        )
        .bind(attempt.delivery.0)
        .bind(settled.node.0)
        .bind(state)
        .bind(due_at.0)
        .bind(ended_at)
        .bind(&attempt.error)
        .bind(attempt.number)
        .execute(&mut *self.inner)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO delivery_attempts (delivery_id, number, at, took_ms, status, error)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(attempt.delivery.0)
        .bind(attempt.number)
        .bind(attempt.at.0)
        .bind(attempt.took_ms)
        .bind(attempt.status)
        .bind(&attempt.error)
        .execute(&mut *self.inner)
        .await?;
        // That an alert has failed is told by nobody: whom should another one reach?
        if settled.outcome == Outcome::Failed && settled.lane.kind == DeliveryKind::Notice {
            let done = sqlx::query(
                "UPDATE workflow_actions SET failed = failed + 1, failed_delivery = $2
                 WHERE id = $1",
            )
            .bind(settled.lane.action.0)
            .bind(attempt.delivery.0)
            .execute(&mut *self.inner)
            .await?;
            exactly(1, done.rows_affected(), "the action")?;
        }
        Ok(true)
    }
}

impl Store {
    /// Lanes with a delivery that is due.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn due_lanes(&self, now: Timestamp) -> Result<Vec<Lane>, StoreError> {
        // By action, not by delivery: a backlog is not read to the end each second.
        let rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT a.id, 'notice' AS kind, a.channel FROM workflow_actions a WHERE EXISTS (
                 SELECT 1 FROM deliveries d WHERE d.state = 'pending' AND d.action_id = a.id
                     AND d.kind = 'notice' AND d.due_at <= $1)
             UNION ALL
             SELECT a.id, 'alert' AS kind, 'email' AS channel FROM workflow_actions a WHERE EXISTS (
                 SELECT 1 FROM deliveries d WHERE d.state = 'pending' AND d.action_id = a.id
                     AND d.kind = 'alert' AND d.due_at <= $1)
             ORDER BY 1, 2",
        )
        .bind(now.0)
        .fetch_all(&self.read)
        .await?;
        let lanes = rows.into_iter().map(|(action, kind, channel)| Lane {
            action: WorkflowActionId(action),
            kind: DeliveryKind::parse(&kind).unwrap_or(DeliveryKind::Notice),
            channel: Channel::parse(&channel).unwrap_or(Channel::Email),
        });
        Ok(lanes.collect())
    }

    /// Since when the oldest delivery waits that has not ended.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn oldest_delivery(&self) -> Result<Option<Timestamp>, StoreError> {
        let (oldest,): (Option<i64>,) = sqlx::query_as(
            "SELECT MIN(queued_at) FROM deliveries WHERE state IN ('pending', 'sending')",
        )
        .fetch_one(&self.read)
        .await?;
        Ok(oldest.map(Timestamp))
    }
}
