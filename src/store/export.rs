//! Exports that were ordered: who, of what, and what the file is encrypted under.
//!
//! Invariant: no row holds a value of a record, and the password of a file is stored sealed alone.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::export::{Export, NewExport};
use crate::model::id::{ExportId, OrganizationId, UserId};

type Row = (i64, i64, Option<i64>, Option<String>, i64, i64, i64);

fn read((id, user, organization, name, logs, encrypted, created_at): Row) -> Export {
    Export {
        id: ExportId(id),
        user_id: UserId(user),
        organization: organization.map(|id| (OrganizationId(id), name.unwrap_or_default())),
        include_logs: logs == 1,
        encrypted: encrypted == 1,
        created_at: Timestamp(created_at),
    }
}

impl Store {
    /// Exports that were ordered after `ended`, by id; of one user, or of all. A user has at most
    /// [`ORDERS_MAX`](crate::model::export::ORDERS_MAX).
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn exports(
        &self,
        of: Option<UserId>,
        ended: Timestamp,
    ) -> Result<Vec<Export>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT e.id, e.user_id, e.organization_id, o.name,
                    CAST(e.include_logs AS BIGINT) AS include_logs,
                    CAST(CASE WHEN e.zip_password IS NULL THEN 0 ELSE 1 END AS BIGINT) AS encrypted,
                    e.created_at
             FROM exports e LEFT JOIN organizations o ON o.id = e.organization_id
             WHERE (CAST($1 AS BIGINT) IS NULL OR e.user_id = $1) AND e.created_at > $2
             ORDER BY e.id",
        )
        .bind(of.map(|user| user.0))
        .bind(ended.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(read).collect())
    }

    /// An export that was ordered after `ended`.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn export(
        &self,
        id: ExportId,
        ended: Timestamp,
    ) -> Result<Option<Export>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT e.id, e.user_id, e.organization_id, o.name,
                    CAST(e.include_logs AS BIGINT) AS include_logs,
                    CAST(CASE WHEN e.zip_password IS NULL THEN 0 ELSE 1 END AS BIGINT) AS encrypted,
                    e.created_at
             FROM exports e LEFT JOIN organizations o ON o.id = e.organization_id
             WHERE e.id = $1 AND e.created_at > $2",
        )
        .bind(id.0)
        .bind(ended.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(read))
    }

    /// What an export's file is encrypted under, sealed; `None`: it is not, or there is no such
    /// export.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sealed_zip_password(&self, id: ExportId) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Option<Vec<u8>>,)> =
            sqlx::query_as("SELECT zip_password FROM exports WHERE id = $1")
                .bind(id.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.and_then(|(sealed,)| sealed))
    }
}

impl Tx {
    /// The id of the next export, for which its password is sealed.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn export_id(&mut self) -> Result<ExportId, StoreError> {
        self.id(ExportId::KIND).await
    }

    /// Records an order.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such user or organization.
    pub async fn insert_export(
        &mut self,
        new: &NewExport,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO exports (id, user_id, organization_id, include_logs, zip_password,
                                  created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(new.id.0)
        .bind(new.user_id.0)
        .bind(new.organization_id.map(|id| id.0))
        .bind(i64::from(new.include_logs))
        .bind(new.zip_password.as_deref())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the export"))?;
        exactly(1, done.rows_affected(), "the export")
    }

    /// Forgets an order.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is none.
    pub async fn delete_export(&mut self, id: ExportId) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM exports WHERE id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the export")
    }

    /// Forgets at most `limit` orders that were made at `ended` or earlier; which, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_exports(
        &mut self,
        ended: Timestamp,
        limit: i64,
    ) -> Result<Vec<ExportId>, StoreError> {
        let mut rows: Vec<(i64,)> = sqlx::query_as(
            "DELETE FROM exports WHERE id IN
                 (SELECT id FROM exports WHERE created_at <= $1 ORDER BY created_at, id LIMIT $2)
             RETURNING id",
        )
        .bind(ended.0)
        .bind(limit)
        .fetch_all(&mut *self.inner)
        .await?;
        rows.sort_unstable();
        Ok(rows.into_iter().map(|(id,)| ExportId(id)).collect())
    }
}
