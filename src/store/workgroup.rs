//! Workgroups: named groups of assets in the Password Safe dialect.
//!
//! Invariant: two workgroups never share a name, whatever its case.

use super::{Page, Store, StoreError, Tx};
use crate::model::id::WorkgroupId;
use crate::model::workgroup::Workgroup;

type Row = (i64, String, String);

fn read((id, name, organization_id): Row) -> Workgroup {
    Workgroup {
        id: WorkgroupId(id),
        name,
        organization_id,
    }
}

impl Store {
    /// One workgroup.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn workgroup(&self, id: WorkgroupId) -> Result<Option<Workgroup>, StoreError> {
        let row: Option<Row> =
            sqlx::query_as("SELECT id, name, organization_id FROM workgroups WHERE id = $1")
                .bind(id.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(read))
    }

    /// The workgroup of that name, in any case.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn workgroup_named(&self, name: &str) -> Result<Option<Workgroup>, StoreError> {
        let row: Option<Row> =
            sqlx::query_as("SELECT id, name, organization_id FROM workgroups WHERE name_key = $1")
                .bind(name.to_lowercase())
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(read))
    }

    /// Workgroups by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn workgroups(&self, page: Page) -> Result<Vec<Workgroup>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, organization_id FROM workgroups ORDER BY id LIMIT $1 OFFSET $2",
        )
        .bind(page.limit)
        .bind(page.offset)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(read).collect())
    }
}

impl Tx {
    /// Stores a workgroup.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken.
    pub async fn insert_workgroup(&mut self, workgroup: &Workgroup) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO workgroups (id, name, name_key, organization_id) VALUES ($1, $2, $3, $4)",
        )
        .bind(workgroup.id.0)
        .bind(&workgroup.name)
        .bind(workgroup.name.to_lowercase())
        .bind(&workgroup.organization_id)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the workgroup's name"))?;
        Ok(())
    }
}
