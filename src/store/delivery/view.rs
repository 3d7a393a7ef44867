//! Deliveries and their attempts, as people see them.
//!
//! Invariant: what was sent is not shown: bodies stay in the outbox.

use super::super::{Store, StoreError};
use crate::model::Timestamp;
use crate::model::id::{DeliveryId, WorkflowActionId, WorkflowId};
use crate::model::workflow::{Attempt, Channel, Delivery, DeliveryKind, DeliveryState};

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    workflow_id: i64,
    action_id: i64,
    action_name: String,
    retired: i64,
    kind: String,
    channel: String,
    event_id: String,
    event_at: i64,
    about: String,
    state: String,
    due_at: i64,
    attempts: i64,
    error: String,
    queued_at: i64,
    ended_at: Option<i64>,
}

impl Row {
    fn view(self) -> Result<Delivery, StoreError> {
        let row = self.id;
        let corrupt = |problem| StoreError::Corrupt {
            table: "deliveries",
            row,
            problem,
        };
        Ok(Delivery {
            id: DeliveryId(self.id),
            workflow: WorkflowId(self.workflow_id),
            kind: DeliveryKind::parse(&self.kind).ok_or(corrupt("its kind is none"))?,
            channel: Channel::parse(&self.channel).ok_or(corrupt("its channel is none"))?,
            state: DeliveryState::parse(&self.state).ok_or(corrupt("its state is none"))?,
            action: (WorkflowActionId(self.action_id), self.action_name),
            retired: self.retired != 0,
            event_id: self.event_id,
            event_at: Timestamp(self.event_at),
            about: self.about,
            due_at: Timestamp(self.due_at),
            attempts: self.attempts,
            error: self.error,
            queued_at: Timestamp(self.queued_at),
            ended_at: self.ended_at.map(Timestamp),
        })
    }
}

macro_rules! view {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.workflow_id, d.action_id, a.name AS action_name,
                 CASE WHEN a.retired_at IS NULL THEN 0 ELSE 1 END AS retired, d.kind, d.channel,
                 d.event_id, d.event_at, d.about, d.state, d.due_at, d.attempts, d.error,
                 d.queued_at, d.ended_at
             FROM deliveries d JOIN workflow_actions a ON a.id = d.action_id ",
            $rest
        )
    };
}

impl Store {
    /// One delivery.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let row: Option<Row> = sqlx::query_as(view!("WHERE d.id = $1"))
            .bind(id.0)
            .fetch_optional(&self.read)
            .await?;
        row.map(Row::view).transpose()
    }

    /// Deliveries of a workflow, newest first; ids below `before` alone.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn deliveries(
        &self,
        workflow: WorkflowId,
        before: Option<DeliveryId>,
        limit: i64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(view!(
            "WHERE d.workflow_id = $1 AND (CAST($2 AS BIGINT) IS NULL OR d.id < $2)
             ORDER BY d.id DESC LIMIT $3"
        ))
        .bind(workflow.0)
        .bind(before.map(|id| id.0))
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(Row::view).collect()
    }

    /// Attempts of a workflow's deliveries from one id to another, in order; the last 100 of each.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn delivery_attempts(
        &self,
        workflow: WorkflowId,
        (first, last): (DeliveryId, DeliveryId),
    ) -> Result<Vec<Attempt>, StoreError> {
        type Raw = (i64, i64, i64, i64, Option<i64>, String);
        let rows: Vec<Raw> = sqlx::query_as(
            "SELECT t.delivery_id, t.number, t.at, t.took_ms, t.status, t.error
             FROM delivery_attempts t JOIN deliveries d ON d.id = t.delivery_id
             WHERE d.workflow_id = $1 AND d.id >= $2 AND d.id <= $3 AND t.number > d.attempts - 100
             ORDER BY t.delivery_id, t.number",
        )
        .bind(workflow.0)
        .bind(first.0)
        .bind(last.0)
        .fetch_all(&self.read)
        .await?;
        let attempts = rows
            .into_iter()
            .map(|(delivery, number, at, took_ms, status, error)| Attempt {
                delivery: DeliveryId(delivery),
                number,
                at: Timestamp(at),
                took_ms,
                status,
                error,
            });
        Ok(attempts.collect())
    }
}
