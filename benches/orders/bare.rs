//! What a plain program would do: each connection commits an order's row and its audit row, over
//! and over, straight through the database's own driver.
//!
//! The tables and their indexes are the service's. SQLite has one connection that all take turns
//! with, its lock taken at once: several that wait for each other's locks are slower. PostgreSQL has
//! a connection for each.
//!
//! Invariant: every transaction is on the disk before it counts.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keywheel::clock::SystemClock;
use keywheel::store::Backend;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};
use tokio::task::JoinSet;

use super::database::Database;

const ORDER: &str = "INSERT INTO jobs (id, account_id, system_id, kind, cause, actor, priority,
         run_at, state, claim_id, attempt, again, again_priority, parts, version, key_version,
         queued_at)
     VALUES ($1, $1, 1, 'rotate', 'order', 'admin', 2, $2, 'queued', NULL, 0, 0, 2, 0, NULL, NULL,
         $2)";
const AUDIT: &str = "INSERT INTO audit (id, at, actor, event, subject, body)
     VALUES ($1, $2, 'admin', 'change.ordered', $3, $4)";

#[derive(Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A database of the service's schema, and nobody else on it.
pub(crate) struct Bare {
    pool: Pool,
    next: Arc<AtomicI64>,
    connections: u32,
    _database: Database,
}

macro_rules! transact {
    ($pool:expr, $begin:literal, $id:expr, $body:expr) => {{
        let mut tx = $pool.begin_with($begin).await.unwrap();
        let order = sqlx::query(ORDER).bind($id).bind($id);
        order.execute(&mut *tx).await.unwrap();
        let audit = sqlx::query(AUDIT).bind($id).bind($id);
        let audit = audit.bind(format!("account {}", $id)).bind($body);
        audit.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }};
}

impl Bare {
    pub(crate) async fn open(backend: Backend, connections: u32) -> Self {
        let database = Database::durable(backend).await;
        database.store().await.close().await;
        let pool = match backend {
            Backend::Sqlite => {
                let options = SqliteConnectOptions::from_str(&database.url)
                    .unwrap()
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(Duration::from_secs(5));
                let pool = SqlitePoolOptions::new().max_connections(1);
                Pool::Sqlite(pool.connect_with(options).await.unwrap())
            }
            Backend::Postgres => {
                let pool = sqlx::postgres::PgPoolOptions::new().max_connections(connections);
                Pool::Postgres(pool.connect(&database.url).await.unwrap())
            }
        };
        Self {
            pool,
            next: Arc::new(AtomicI64::new(1)),
            connections,
            _database: database,
        }
    }

    /// Every connection commits one after the other, for so long: commits a second.
    pub(crate) async fn rate(&self, span: Duration) -> f64 {
        let clock = SystemClock::shared();
        let start = clock.monotonic();
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let (pool, next, clock) = (self.pool.clone(), self.next.clone(), clock.clone());
            tasks.spawn(async move {
                let mut done = 0_u32;
                while clock.monotonic().saturating_sub(start) < span {
                    transact(&pool, next.fetch_add(1, Ordering::Relaxed)).await;
                    done += 1;
                }
                done
            });
        }
        let done: u32 = tasks.join_all().await.into_iter().sum();
        f64::from(done) / clock.monotonic().saturating_sub(start).as_secs_f64()
    }
}

async fn transact(pool: &Pool, id: i64) {
    let body = format!(r#"{{"given":false,"given_key":false,"immediate":false,"job":{id}}}"#);
    match pool {
        Pool::Sqlite(pool) => transact!(pool, "BEGIN IMMEDIATE", id, body),
        Pool::Postgres(pool) => transact!(pool, "BEGIN", id, body),
    }
}
