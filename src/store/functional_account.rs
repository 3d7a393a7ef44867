//! Functional accounts and their sealed passwords.
//!
//! Invariant: passwords come in sealed and are read by their one reader alone.

use super::{Page, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::functional_account::{
    FunctionalAccount, FunctionalSettings, elevation_of, elevation_word,
};
use crate::model::id::{FunctionalAccountId, PlatformId};

macro_rules! columns {
    () => {
        "SELECT f.id, f.platform_id, f.domain_name, f.account_name, f.display_name, f.description,
            f.elevation, CASE WHEN f.password IS NULL THEN 0 ELSE 1 END AS has_password,
            f.public_key, CASE WHEN f.enable_secret IS NULL THEN 0 ELSE 1 END AS has_enable,
            f.revision, f.created_at, (SELECT COUNT(*) FROM system_details d
                WHERE d.functional_account_id = f.id) AS systems
         FROM functional_accounts f"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    platform_id: i64,
    domain_name: Option<String>,
    account_name: String,
    display_name: String,
    description: Option<String>,
    elevation: Option<String>,
    has_password: i64,
    public_key: Option<String>,
    has_enable: i64,
    revision: i64,
    created_at: i64,
    systems: i64,
}

impl TryFrom<Row> for FunctionalAccount {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let elevation = elevation_of(row.elevation.as_deref()).ok_or(StoreError::Corrupt {
            table: "functional_accounts",
            row: row.id,
            problem: "the elevation is none that is known",
        })?;
        Ok(Self {
            id: FunctionalAccountId(row.id),
            settings: FunctionalSettings {
                platform_id: PlatformId(row.platform_id),
                domain_name: row.domain_name,
                account_name: row.account_name,
                display_name: row.display_name,
                description: row.description,
                elevation,
            },
            has_password: row.has_password != 0,
            public_key: row.public_key,
            has_enable: row.has_enable != 0,
            revision: row.revision,
            systems: row.systems,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl Store {
    /// One functional account.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn functional_account(
        &self,
        id: FunctionalAccountId,
    ) -> Result<Option<FunctionalAccount>, StoreError> {
        let row: Option<Row> = sqlx::query_as(concat!(columns!(), " WHERE f.id = $1"))
            .bind(id.0)
            .fetch_optional(&self.read)
            .await?;
        row.map(FunctionalAccount::try_from).transpose()
    }

    /// Functional accounts by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn functional_accounts(
        &self,
        page: Page,
    ) -> Result<Vec<FunctionalAccount>, StoreError> {
        let rows: Vec<Row> =
            sqlx::query_as(concat!(columns!(), " ORDER BY f.id LIMIT $1 OFFSET $2"))
                .bind(page.limit)
                .bind(page.offset)
                .fetch_all(&self.read)
                .await?;
        rows.into_iter().map(FunctionalAccount::try_from).collect()
    }

    /// The sealed password of a functional account; `None` if there is none.
    ///
    /// Its place in the vault: table `functional_accounts`, the row's id, column `password`,
    /// version 0.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn functional_password(
        &self,
        id: FunctionalAccountId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Option<Vec<u8>>,)> =
            sqlx::query_as("SELECT password FROM functional_accounts WHERE id = $1")
                .bind(id.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.and_then(|(sealed,)| sealed))
    }
}

impl Tx {
    /// Stores a functional account with its sealed password.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn insert_functional_account(
        &mut self,
        id: FunctionalAccountId,
        settings: &FunctionalSettings,
        sealed: Option<Vec<u8>>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(sealed) = &sealed {
            self.holds(sealed);
        }
        sqlx::query(
            "INSERT INTO functional_accounts (id, platform_id, domain_name, account_name,
                display_name, description, elevation, password, revision, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9)",
        )
        .bind(id.0)
        .bind(settings.platform_id.0)
        .bind(&settings.domain_name)
        .bind(&settings.account_name)
        .bind(&settings.display_name)
        .bind(&settings.description)
        .bind(elevation_word(settings.elevation))
        .bind(sealed)
        .bind(at.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Changes a functional account, but not its platform or its secrets.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is gone, or was edited since `revision`.
    pub async fn update_functional_account(
        &mut self,
        id: FunctionalAccountId,
        revision: i64,
        settings: &FunctionalSettings,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE functional_accounts SET domain_name = $3, account_name = $4,
                display_name = $5, description = $6, elevation = $7, revision = revision + 1
             WHERE id = $1 AND revision = $2",
        )
        .bind(id.0)
        .bind(revision)
        .bind(&settings.domain_name)
        .bind(&settings.account_name)
        .bind(&settings.display_name)
        .bind(&settings.description)
        .bind(elevation_word(settings.elevation))
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the functional account")
    }

    /// Replaces the sealed password of a functional account.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is gone.
    pub async fn set_functional_password(
        &mut self,
        id: FunctionalAccountId,
        sealed: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.holds(&sealed);
        let done = sqlx::query("UPDATE functional_accounts SET password = $2 WHERE id = $1")
            .bind(id.0)
            .bind(sealed)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the functional account")
    }

    /// Removes a functional account and its secrets.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a system uses it; [`StoreError::Stale`] if it is gone.
    pub async fn delete_functional_account(
        &mut self,
        id: FunctionalAccountId,
    ) -> Result<(), StoreError> {
        self.drop_link(id).await?;
        let done = sqlx::query("DELETE FROM functional_accounts WHERE id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| {
                StoreError::from(error).about("a functional account that systems use")
            })?;
        exactly(1, done.rows_affected(), "the functional account")
    }
}
