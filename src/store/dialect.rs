//! All that SQLite and PostgreSQL do not say alike.
//!
//! Invariant: no other file of the store asks which database it talks to.

use std::str::FromStr;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::postgres::PgListener;
use sqlx::{AnyPool, ConnectOptions, Connection, Executor, SqlSafeStr, SqlStr};

use tokio::sync::Notify;

use super::{StoreError, StoreOptions};

/// Which database the store lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// A file beside the service; one writer.
    Sqlite,
    /// A server that nodes share.
    Postgres,
}

/// Appends a row lock where the database has them. SQLite's one writer needs none.
macro_rules! for_update {
    ($backend:expr, $sql:literal) => {
        match $backend {
            $crate::store::dialect::Backend::Sqlite => $sql,
            $crate::store::dialect::Backend::Postgres => concat!($sql, " FOR UPDATE"),
        }
    };
}

/// The same, and lets rows in that refer to the locked one. Whoever updates a row twice in one
/// transaction has PostgreSQL look at what it refers to, even where that did not change: with a full
/// lock, a claim's steps waited for its system and its settlement for the claim.
macro_rules! for_no_key_update {
    ($backend:expr, $sql:literal) => {
        match $backend {
            $crate::store::dialect::Backend::Sqlite => $sql,
            $crate::store::dialect::Backend::Postgres => concat!($sql, " FOR NO KEY UPDATE"),
        }
    };
}

/// Appends such a lock that passes over locked rows, and what follows it.
macro_rules! skip_locked {
    ($backend:expr, $($sql:literal),+; $rest:literal) => {
        match $backend {
            $crate::store::dialect::Backend::Sqlite => concat!($($sql,)+ $rest),
            $crate::store::dialect::Backend::Postgres => {
                concat!($($sql,)+ " FOR NO KEY UPDATE SKIP LOCKED", $rest)
            }
        }
    };
    ($backend:expr, $($sql:literal),+) => {
        $crate::store::dialect::skip_locked!($backend, $($sql),+; "")
    };
}

pub(crate) use {for_no_key_update, for_update, skip_locked};

impl Backend {
    /// Reads the database's kind off its URL: `sqlite:` or `postgres:`.
    pub fn of_url(url: &str) -> Option<Self> {
        if url.starts_with("sqlite:") {
            Some(Self::Sqlite)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Some(Self::Postgres)
        } else {
            None
        }
    }

    /// What begins a transaction that reads one state of the database.
    pub(super) fn snapshot(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// A condition that holds where a column contains a text, bound as [`Self::part`] writes it. Each
    /// database has the way that is fastest there, by a factor of two.
    pub(super) fn contains(self, column: &str, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("{column} LIKE {parameter} ESCAPE '\\'"),
            Self::Postgres => format!("strpos({column}, {parameter}) > 0"),
        }
    }

    /// A part of a text, for [`Self::contains`].
    pub(super) fn part(self, text: &str) -> String {
        if self == Self::Postgres {
            return text.to_owned();
        }
        let mut pattern = String::from("%");
        for c in text.chars() {
            if matches!(c, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('%');
        pattern
    }

    /// True if rows are locked one by one; SQLite's one writer needs no lock.
    pub(super) fn locks_rows(self) -> bool {
        self == Self::Postgres
    }

    /// Transactions that take orders for many at once: one more would wait for the writer in SQLite,
    /// where PostgreSQL lets the next one read while this one waits for the disk.
    pub(super) fn crowds_at_once(self) -> usize {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => 2,
        }
    }

    /// How a write transaction begins. SQLite takes its lock at once, or two would deadlock.
    pub(super) fn begin(self) -> SqlStr {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE".into_sql_str(),
            Self::Postgres => "BEGIN".into_sql_str(),
        }
    }

    /// Opens the pool that writes.
    pub(super) async fn writer(
        self,
        options: &StoreOptions,
        connections: u32,
    ) -> Result<AnyPool, StoreError> {
        let connections = match self {
            // 3 to 9 times faster than many writers that wait for each other.
            Self::Sqlite => 1,
            Self::Postgres => connections,
        };
        self.pool(options, connections, true).await
    }

    /// Opens the pool that reads.
    pub(super) async fn reader(self, options: &StoreOptions) -> Result<AnyPool, StoreError> {
        self.pool(options, options.readers, false).await
    }

    async fn pool(
        self,
        options: &StoreOptions,
        connections: u32,
        writes: bool,
    ) -> Result<AnyPool, StoreError> {
        let connect = AnyConnectOptions::from_str(&options.url)
            .map_err(StoreError::from)?
            .disable_statement_logging(); // bound values must not reach a log
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(options.acquire_timeout)
            // A server may have gone since the last statement; a file has not.
            .test_before_acquire(self == Self::Postgres)
            .before_acquire(|connection, _| {
                // A full disk makes SQLite roll back by itself; the driver then rolls back in vain
                // and takes the transaction for open, for ever. Such a connection is given up.
                Box::pin(async move { Ok(!connection.is_in_transaction()) })
            })
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    for statement in self.on_connect(writes) {
                        connection.execute(*statement).await?;
                    }
                    Ok(())
                })
            })
            .connect_with(connect)
            .await?;
        Ok(pool)
    }

    fn on_connect(self, writes: bool) -> &'static [&'static str] {
        match (self, writes) {
            (Self::Sqlite, true) => &[
                "PRAGMA busy_timeout = 5000",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL", // NORMAL may lose the last commits
                "PRAGMA foreign_keys = ON",
                "PRAGMA cache_size = -16384", // KiB; what the queue touches often fits
                "PRAGMA secure_delete = ON",  // a deleted secret leaves no copy in a free page
            ],
            (Self::Sqlite, false) => &[
                "PRAGMA busy_timeout = 5000",
                "PRAGMA query_only = 1",
                "PRAGMA mmap_size = 268435456", // lists read far more than a cache of their own holds
            ],
            (Self::Postgres, true) => &[
                "SET lock_timeout = '10s'",
                "SET idle_in_transaction_session_timeout = '60s'",
            ],
            (Self::Postgres, false) => &[
                "SET default_transaction_read_only = on",
                "SET jit = off", // compiling a list's statement takes longer than running it
                // Two processors read a hundred thousand texts faster than one does.
                "SET parallel_setup_cost = 100",
            ],
        }
    }

    /// The database's collation, where it matters.
    pub(super) async fn locale(self, pool: &AnyPool) -> Result<Option<String>, StoreError> {
        match self {
            Self::Sqlite => Ok(None),
            Self::Postgres => {
                let (locale,): (String,) = sqlx::query_as(
                    "SELECT CAST(datcollate AS TEXT) FROM pg_database WHERE datname = current_database()",
                )
                .fetch_one(pool)
                .await?;
                Ok(Some(locale))
            }
        }
    }

    /// Copies the database into `to`, consistently.
    pub(super) async fn copy(self, pool: &AnyPool, to: &str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite => {
                sqlx::query("VACUUM INTO $1").bind(to).execute(pool).await?;
                Ok(())
            }
            Self::Postgres => Ok(()), // its operators have their own backups
        }
    }

    /// Refreshes the planner's figures after a bulk load.
    pub(super) async fn analyze(self, pool: &AnyPool) -> Result<(), StoreError> {
        match self {
            Self::Sqlite => pool.execute("ANALYZE").await?,
            Self::Postgres => pool.execute("VACUUM ANALYZE").await?,
        };
        Ok(())
    }

    /// Tells every node that work has come; part of the transaction that brought it.
    pub(super) fn notify(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None, // one process: the store's own bell
            Self::Postgres => Some("NOTIFY keywheel"),
        }
    }

    /// Waits for other nodes' notices and rings the bell for each, until the connection breaks.
    pub(super) async fn listen(self, url: &str, bell: &Notify) -> Result<(), StoreError> {
        match self {
            // There is no other node.
            Self::Sqlite => std::future::pending().await,
            Self::Postgres => {
                let mut listener = PgListener::connect(url).await?;
                listener.listen("keywheel").await?;
                bell.notify_waiters();
                loop {
                    listener.recv().await?;
                    bell.notify_waiters();
                }
            }
        }
    }
}
