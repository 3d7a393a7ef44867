//! Brings the schema up to date, and refuses one it does not know.
//!
//! Invariant: a database with a newer schema is never written to.

use sqlx::migrate::Migrator;

use super::{SchemaError, Store, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Where the database's schema stands against this program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaState {
    /// The newest migration in the database; 0 in an empty one.
    pub found: i64,
    /// The newest migration of this program.
    pub known: i64,
}

impl SchemaState {
    /// True if migrations are pending.
    pub fn is_older(self) -> bool {
        self.found < self.known
    }
}

impl Store {
    /// Reads where the schema stands.
    ///
    /// # Errors
    /// [`SchemaError::Newer`] if a later release wrote the database.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        let known = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
        let found: Result<(Option<i64>,), _> =
            sqlx::query_as("SELECT MAX(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.read)
                .await;
        let found = match found {
            Ok((found,)) => found.unwrap_or(0),
            // No such table: an empty database.
            Err(error) if error.as_database_error().is_some() => 0,
            Err(error) => return Err(error.into()),
        };
        if found > known {
            return Err(SchemaError::Newer { found, known }.into());
        }
        Ok(SchemaState { found, known })
    }

    /// Refuses a schema that is not this program's.
    ///
    /// # Errors
    /// [`SchemaError::Older`], [`SchemaError::Newer`], [`SchemaError::Locale`].
    pub async fn require_schema(&self) -> Result<(), StoreError> {
        let state = self.schema().await?;
        if state.is_older() {
            return Err(SchemaError::Older {
                found: state.found,
                known: state.known,
            }
            .into());
        }
        self.require_locale().await
    }

    /// Applies pending migrations; a non-empty SQLite file is copied beside itself first.
    ///
    /// `backup` is the path of that copy; it must not exist yet.
    ///
    /// # Errors
    /// [`SchemaError`]; what was there is unchanged.
    pub async fn migrate(&self, backup: Option<&str>) -> Result<SchemaState, StoreError> {
        let state = self.schema().await?;
        self.require_locale().await?;
        if !state.is_older() {
            return Ok(state);
        }
        if state.found > 0
            && let Some(to) = backup
        {
            self.backend.copy(&self.write, to).await?;
        }
        MIGRATIONS
            .run(&self.write)
            .await
            .map_err(SchemaError::Migration)?;
        self.schema().await
    }

    async fn require_locale(&self) -> Result<(), StoreError> {
        match self.backend.locale(&self.read.pool).await? {
            Some(locale) if !matches!(locale.as_str(), "C" | "POSIX" | "C.UTF-8" | "C.utf8") => {
                Err(SchemaError::Locale { locale }.into())
            }
            _ => Ok(()),
        }
    }
}
