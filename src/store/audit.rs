//! Audit rows: they commit with the change they describe.
//!
//! Invariant: a row holds no secret; its writers pass ids, names and decoded reasons alone.

use super::{Store, StoreError, Tx};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::AuditId;

/// One row of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its id; ids grow, but need not be dense.
    pub id: AuditId,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// What happened, for example `rotation.intended`.
    pub event: String,
    /// To what, for example `account 7`.
    pub subject: String,
    /// Details as JSON.
    pub body: String,
}

impl Tx {
    /// Records one event.
    ///
    /// # Errors
    /// [`StoreError`]; then the change it describes must not be committed either.
    pub async fn audit(&mut self, event: &Event, at: Timestamp) -> Result<(), StoreError> {
        let written = self.write_audit(event, at).await;
        match (&written, &self.store.metrics) {
            (Ok(()), _) => self.audited.push(event.name),
            (Err(_), Some(metrics)) => metrics.audit_write_failed(),
            (Err(_), None) => {}
        }
        written
    }

    async fn write_audit(&mut self, event: &Event, at: Timestamp) -> Result<(), StoreError> {
        let id: AuditId = self.id(AuditId::KIND).await?;
        sqlx::query(
            "INSERT INTO audit (id, at, actor, event, subject, body)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id.0)
        .bind(at.0)
        .bind(&event.actor)
        .bind(event.name)
        .bind(&event.subject)
        .bind(event.body.to_string())
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

impl Store {
    /// The newest `limit` rows about a subject, newest first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn audit_of(&self, subject: &str, limit: i64) -> Result<Vec<AuditRow>, StoreError> {
        let rows: Vec<(i64, i64, String, String, String, String)> = sqlx::query_as(
            "SELECT id, at, actor, event, subject, body FROM audit
             WHERE subject = $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(subject)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, at, actor, event, subject, body)| AuditRow {
                id: AuditId(id),
                at: Timestamp(at),
                actor,
                event,
                subject,
                body,
            })
            .collect())
    }
}
