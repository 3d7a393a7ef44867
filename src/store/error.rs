//! What can go wrong with the database, by what the caller does next.
//!
//! Invariant: no variant's text holds a bound value.

use crate::escrow::EscrowError;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Look again: somebody else changed the row first, and nothing was written.
    #[error("{what} has changed meanwhile; nothing was written")]
    Stale {
        /// What was to be changed.
        what: &'static str,
    },
    /// Tell the caller: something else has that name or still refers to it.
    #[error("{what} conflicts with what is there; nothing was written")]
    Conflict {
        /// What was to be written.
        what: &'static str,
    },
    /// Ask again: another transaction was in the way, and nothing was written.
    #[error("the database was busy; nothing was written, try again")]
    Busy,
    /// Read back before believing anything: the commit may or may not have happened.
    #[error("the database did not say whether it committed; what is stored must be read back")]
    CommitUnknown(#[source] sqlx::Error),
    /// Stop: another node owns the work.
    #[error("the lease is lost; nothing was written")]
    LeaseLost,
    /// Make room; nothing acknowledged was lost.
    #[error(
        "the database is out of space or read-only; nothing was written. Free some space, then try again"
    )]
    Full(#[source] sqlx::Error),
    /// Make room for the journal, or repair its disk.
    #[error(transparent)]
    Escrow(EscrowError),
    /// Repair: a row holds what this program never wrote.
    #[error(
        "row {row} of {table} is corrupt ({problem}). Restore the database from its last backup, or correct the row by hand"
    )]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row's id.
        row: i64,
        /// What is wrong, without the value.
        problem: &'static str,
    },
    /// Migrate, or run the matching program.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Look at the cause.
    #[error("the database failed: {0}")]
    Database(#[source] sqlx::Error),
}

/// Why the database's schema does not fit this program.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database was made by a later release.
    #[error(
        "the database has schema {found}, newer than the {known} this program knows. Run the release that wrote it, or restore the backup made before its migration"
    )]
    Newer {
        /// The schema in the database.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// The database waits for `keywheel migrate up`.
    #[error(
        "the database has schema {found}, this program needs {known}. Run `keywheel migrate up`, or set database.auto_migrate = true"
    )]
    Older {
        /// The schema in the database.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// The PostgreSQL database sorts by a locale.
    #[error(
        "the database sorts by locale {locale}; Keywheel needs C. Create it with: CREATE DATABASE keywheel TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' ENCODING 'UTF8'"
    )]
    Locale {
        /// The database's collation.
        locale: String,
    },
    /// A migration failed or was tampered with.
    #[error("the migration failed, nothing was changed: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The copy before the migration could not be made.
    #[error("the database could not be copied before its migration, nothing was changed: {0}")]
    Backup(#[source] std::io::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::PoolTimedOut => Self::Busy,
                other => Self::Database(other),
            };
        };
        if database.is_unique_violation() || database.is_foreign_key_violation() {
            return Self::Conflict { what: "the row" };
        }
        match database.code().as_deref() {
            // SQLite: busy, locked and their extended codes. PostgreSQL: serialization, deadlock, lock not available.
            Some(
                "5" | "6" | "261" | "262" | "517" | "518" | "773" | "40001" | "40P01" | "55P03",
            ) => Self::Busy,
            // SQLite: full, read-only, out of space while writing. PostgreSQL: disk full, read-only transaction.
            Some("13" | "8" | "778" | "1032" | "53100" | "25006") => Self::Full(error),
            _ => Self::Database(error),
        }
    }
}

impl StoreError {
    /// Names what a conflict was about.
    #[must_use]
    pub fn about(self, what: &'static str) -> Self {
        match self {
            Self::Conflict { .. } => Self::Conflict { what },
            other => other,
        }
    }
}

/// Fails unless exactly `meant` rows were written.
pub(crate) fn exactly(meant: u64, written: u64, what: &'static str) -> Result<(), StoreError> {
    if meant == written {
        Ok(())
    } else {
        Err(StoreError::Stale { what })
    }
}
