//! The sealed keys of the audit trail. The store knows sealed bytes alone.
//!
//! Invariant: the keys are written once, and never replaced.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;

/// The keys of the audit trail as they stand in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditKeysRow {
    /// What makes the macs, sealed.
    pub chain: Vec<u8>,
    /// What signs the anchors, sealed.
    pub anchor: Vec<u8>,
    /// When they were drawn.
    pub created_at: Timestamp,
}

impl Store {
    /// The keys of the audit trail; `None` until they were made.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn audit_keys(&self) -> Result<Option<AuditKeysRow>, StoreError> {
        let row: Option<(Vec<u8>, Vec<u8>, i64)> =
            sqlx::query_as("SELECT chain, anchor, created_at FROM audit_keys WHERE one = 1")
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(|(chain, anchor, created_at)| AuditKeysRow {
            chain,
            anchor,
            created_at: Timestamp(created_at),
        }))
    }
}

impl Tx {
    /// Writes the keys of the audit trail.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there are some: another node was first.
    pub async fn insert_audit_keys(&mut self, keys: &AuditKeysRow) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO audit_keys (one, chain, anchor, created_at) VALUES (1, $1, $2, $3)",
        )
        .bind(&keys.chain)
        .bind(&keys.anchor)
        .bind(keys.created_at.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the audit trail's keys"))?;
        exactly(1, done.rows_affected(), "the audit trail's keys")
    }
}
