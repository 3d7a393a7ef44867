//! Categories of password records.
//!
//! Invariant: two categories never share a name, whatever its case.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::PasswordCategoryId;
use crate::model::password_category::PasswordCategory;

type Row = (i64, String, i64, i64, i64);

fn read((id, name, created_at, updated_at, records): Row) -> PasswordCategory {
    PasswordCategory {
        id: PasswordCategoryId(id),
        name,
        records,
        created_at: Timestamp(created_at),
        updated_at: Timestamp(updated_at),
    }
}

impl Store {
    /// Every category, by id. There are as many as people make up.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_categories(&self) -> Result<Vec<PasswordCategory>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT c.id, c.name, c.created_at, c.updated_at, (SELECT COUNT(*) FROM password_records r
                 WHERE r.category_id = c.id) AS records
             FROM password_categories c ORDER BY c.id",
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(read).collect())
    }

    /// One category.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_category(
        &self,
        id: PasswordCategoryId,
    ) -> Result<Option<PasswordCategory>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT c.id, c.name, c.created_at, c.updated_at, (SELECT COUNT(*) FROM password_records r
                 WHERE r.category_id = c.id) AS records
             FROM password_categories c WHERE c.id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(read))
    }

    /// The id of the category of that name, in any case.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_category_named(
        &self,
        name: &str,
    ) -> Result<Option<PasswordCategoryId>, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT id FROM password_categories WHERE name_key = $1")
                .bind(name.to_lowercase())
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(|(id,)| PasswordCategoryId(id)))
    }
}

impl Tx {
    /// Makes a category.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken.
    pub async fn insert_password_category(
        &mut self,
        name: &str,
        now: Timestamp,
    ) -> Result<PasswordCategoryId, StoreError> {
        let id: PasswordCategoryId = self.id(PasswordCategoryId::KIND).await?;
        let done = sqlx::query(
            "INSERT INTO password_categories (id, name, name_key, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $4)",
        )
        .bind(id.0)
        .bind(name)
        .bind(name.to_lowercase())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the category's name"))?;
        exactly(1, done.rows_affected(), "the category")?;
        Ok(id)
    }

    /// Renames a category.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is none; [`StoreError::Conflict`] if the name is taken.
    pub async fn rename_password_category(
        &mut self,
        id: PasswordCategoryId,
        name: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE password_categories SET name = $2, name_key = $3, updated_at = $4 WHERE id = $1",
        )
        .bind(id.0)
        .bind(name)
        .bind(name.to_lowercase())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the category's name"))?;
        exactly(1, done.rows_affected(), "the category")
    }
}
