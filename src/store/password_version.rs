//! Values of password records, sealed.
//!
//! Invariant: a value is inserted once and never overwritten; it goes with its record alone.

use super::{Store, StoreError};
use crate::model::Timestamp;
use crate::model::id::{PasswordRecordId, PasswordVersionId, UserId};
use crate::model::password_record::PasswordVersion;

impl Store {
    /// A value of a record, sealed; `None` if it is none of this record's.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sealed_password(
        &self,
        record: PasswordRecordId,
        version: PasswordVersionId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> =
            sqlx::query_as("SELECT sealed FROM password_versions WHERE id = $2 AND record_id = $1")
                .bind(record.0)
                .bind(version.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(|(sealed,)| sealed))
    }

    /// The newest values of a record, newest first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_versions(
        &self,
        record: PasswordRecordId,
        limit: i64,
    ) -> Result<Vec<PasswordVersion>, StoreError> {
        let rows: Vec<(i64, i64, Option<i64>, i64)> = sqlx::query_as(
            "SELECT v.id, v.created_at, v.created_by, CASE WHEN p.version = v.id THEN 1 ELSE 0 END
             FROM password_versions v JOIN password_records p ON p.id = v.record_id
             WHERE v.record_id = $1 ORDER BY v.id DESC LIMIT $2",
        )
        .bind(record.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(version).collect())
    }
}

fn version((id, at, by, live): (i64, i64, Option<i64>, i64)) -> PasswordVersion {
    PasswordVersion {
        id,
        created_at: Timestamp(at),
        created_by: by.map(UserId),
        live: live == 1,
    }
}
