//! Audit rows: they commit with the change they describe.
//!
//! Invariant: a row holds no secret; its writers pass ids, names and decoded reasons alone.

use std::sync::LazyLock;

use super::wide::Wide;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::audit::{AuditRow, Event};
use crate::model::id::AuditId;

static INSERT: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        1,
        "id, actor, event, subject, body",
        "INSERT INTO audit (id, at, actor, event, subject, body)
         SELECT id, CAST($1 AS BIGINT), actor, event, subject, body FROM r WHERE id > 0",
    )
});

impl Tx {
    /// Records one event.
    ///
    /// # Errors
    /// [`StoreError`]; then the change it describes must not be committed either.
    pub async fn audit(&mut self, event: &Event, at: Timestamp) -> Result<(), StoreError> {
        self.audit_all(&[event], at).await
    }

    /// Records events, in their order.
    ///
    /// # Errors
    /// [`StoreError`]; then the changes they describe must not be committed either.
    pub async fn audit_all(&mut self, events: &[&Event], at: Timestamp) -> Result<(), StoreError> {
        let written = self.write_audit(events, at).await;
        match (&written, &self.store.metrics) {
            (Ok(()), _) => self.audited.extend(events.iter().map(|event| event.name)),
            (Err(_), Some(metrics)) => metrics.audit_write_failed(),
            (Err(_), None) => {}
        }
        written
    }

    async fn write_audit(&mut self, events: &[&Event], at: Timestamp) -> Result<(), StoreError> {
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            rows.push((self.id::<AuditId>(AuditId::KIND).await?, *event));
        }
        for cut in INSERT.cuts(&rows) {
            let mut query = sqlx::query(cut.text).bind(at.0);
            for (id, (_, event)) in cut.rows(|(id, _)| id.0) {
                query = query
                    .bind(id)
                    .bind(&event.actor)
                    .bind(event.name)
                    .bind(&event.subject)
                    .bind(event.body.to_string());
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the audit trail")?;
        }
        Ok(())
    }
}

type Row = (i64, i64, String, String, String, String, Option<i64>);

fn row((id, at, actor, event, subject, body, seq): Row) -> AuditRow {
    AuditRow {
        id: AuditId(id),
        at: Timestamp(at),
        actor,
        event,
        subject,
        body,
        seq,
    }
}

impl Store {
    /// The newest `limit` rows about a subject, newest first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn audit_of(&self, subject: &str, limit: i64) -> Result<Vec<AuditRow>, StoreError> {
        self.audit_rows(Some(subject), None, limit).await
    }

    /// Rows about a subject, or all, newest first; ids below `before` alone.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn audit_rows(
        &self,
        subject: Option<&str>,
        before: Option<AuditId>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        // Two texts: one with an optional subject would not use the index.
        let rows: Vec<Row> = match subject {
            Some(subject) => {
                sqlx::query_as(
                    "SELECT id, at, actor, event, subject, body, seq FROM audit
                     WHERE subject = $3 AND (CAST($1 AS BIGINT) IS NULL OR id < $1)
                     ORDER BY id DESC LIMIT $2",
                )
                .bind(before.map(|id| id.0))
                .bind(limit)
                .bind(subject)
                .fetch_all(&self.read)
                .await?
            }
            None => {
                sqlx::query_as(
                    "SELECT id, at, actor, event, subject, body, seq FROM audit
                     WHERE (CAST($1 AS BIGINT) IS NULL OR id < $1)
                     ORDER BY id DESC LIMIT $2",
                )
                .bind(before.map(|id| id.0))
                .bind(limit)
                .fetch_all(&self.read)
                .await?
            }
        };
        Ok(rows.into_iter().map(row).collect())
    }
}
