//! The database of a service under test, past the service: what stands in its tables.
//!
//! Invariant: nothing is written here but the passing of time, and what a look at the harness itself
//! spoils on purpose.

use std::path::PathBuf;

use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

use crate::postgres::Postgres;

/// How long an hour is in the store.
const HOUR_MS: i64 = 3_600_000;

/// Where a service keeps what it knows.
#[derive(Debug)]
pub(crate) enum Base {
    /// A file.
    Sqlite(PathBuf),
    /// A server that several nodes share.
    Postgres(Postgres),
}

/// One look into the tables.
#[derive(Debug)]
pub(crate) struct Tables(AnyPool);

/// A job that is queued or running.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct OpenJob {
    pub(crate) id: i64,
    pub(crate) account_id: i64,
    pub(crate) state: String,
    /// When it may run: by its own wait and by its system's pause.
    pub(crate) runs_at: i64,
    /// Who works on it.
    pub(crate) node_id: Option<i64>,
    queued_at: i64,
    /// Its account's latest rotation.
    phase: Option<String>,
    opened_at: Option<i64>,
}

/// What is known of one part of an account's credential.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Standing {
    pub(crate) account_id: i64,
    pub(crate) part: String,
    pub(crate) current: Option<i64>,
    pub(crate) in_doubt: i64,
    /// Its open rotation.
    pub(crate) phase: Option<String>,
    pub(crate) candidate: Option<i64>,
    pub(crate) why: Option<String>,
}

impl Base {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite://{}", file.display()),
            Self::Postgres(server) => server.url(),
        }
    }

    pub(crate) async fn tables(&self) -> Tables {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new().max_connections(1);
        Tables(pool.connect(&self.url()).await.unwrap())
    }
}

impl OpenJob {
    /// All that tells it from what it was a moment ago.
    pub(crate) fn stands(&self) -> (i64, i64, String, Option<String>) {
        (
            self.id,
            self.runs_at,
            self.state.clone(),
            self.phase.clone(),
        )
    }

    /// How far its work has come; `None` if nobody works on it.
    pub(crate) fn step(&self) -> Option<&str> {
        if self.state != "running" {
            return None;
        }
        let begun = self.opened_at.is_some_and(|at| at >= self.queued_at);
        Some(match self.phase.as_deref() {
            Some("committed") if begun => "committed",
            // Claimed, and no candidate is on record yet.
            Some("committed" | "abandoned" | "needs_operator") | None => "ready",
            Some(open) => open,
        })
    }
}

impl Tables {
    pub(crate) async fn close(self) {
        self.0.close().await;
    }

    pub(crate) async fn open_jobs(&self) -> Result<Vec<OpenJob>, sqlx::Error> {
        sqlx::query_as(
            "SELECT j.id, j.account_id, j.state, j.queued_at,
                 CASE WHEN j.priority > 0 AND s.paused_until > j.run_at THEN s.paused_until
                     ELSE j.run_at END AS runs_at,
                 c.node_id, r.phase, r.opened_at
             FROM jobs j JOIN systems s ON s.id = j.system_id
             LEFT JOIN claims c ON c.id = j.claim_id
             LEFT JOIN rotations r ON r.account_id = j.account_id AND r.epoch =
                 (SELECT MAX(x.epoch) FROM rotations x WHERE x.account_id = j.account_id)
             ORDER BY j.id",
        )
        .fetch_all(&self.0)
        .await
    }

    /// Every account's parts that have a credential.
    pub(crate) async fn standings(&self) -> Vec<Standing> {
        sqlx::query_as(
            "SELECT a.id AS account_id, p.part,
                 CASE WHEN p.part = 'key' THEN a.current_key_version ELSE a.current_version END
                     AS current,
                 CASE WHEN p.part = 'key' THEN a.key_in_doubt ELSE a.in_doubt END AS in_doubt,
                 r.phase, r.version AS candidate, r.why
             FROM accounts a
             JOIN (SELECT DISTINCT account_id, part FROM credential_versions) p
                 ON p.account_id = a.id
             LEFT JOIN rotations r ON r.account_id = a.id AND r.part = p.part AND r.phase IN
                 ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator')
             ORDER BY a.id, p.part",
        )
        .fetch_all(&self.0)
        .await
        .unwrap()
    }

    /// Jobs of these whose end is not on record, though none is open.
    pub(crate) async fn vanished(&self, jobs: &[i64]) -> Vec<i64> {
        let mut vanished = Vec::new();
        for job in jobs {
            let ends: (i64,) = sqlx::query_as(
                "SELECT COUNT(*) FROM job_history WHERE job_id = $1 AND outcome <> 'retried'",
            )
            .bind(job)
            .fetch_one(&self.0)
            .await
            .unwrap();
            if ends.0 == 0 {
                vanished.push(*job);
            }
        }
        vanished
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        let (number,): (i64,) = sqlx::query_as(sql).fetch_one(&self.0).await.unwrap();
        number
    }

    /// The nodes that hold work.
    pub(crate) async fn holders(&self) -> Result<Vec<i64>, sqlx::Error> {
        let sql = "SELECT DISTINCT node_id FROM claims ORDER BY node_id";
        let rows: Vec<(i64,)> = sqlx::query_as(sql).fetch_all(&self.0).await?;
        Ok(rows.into_iter().map(|(node,)| node).collect())
    }

    pub(crate) async fn is_dead(&self, node: i64) -> bool {
        let sql = "SELECT COUNT(*) FROM nodes WHERE id = $1 AND state = 'dead'";
        let row: (i64,) = sqlx::query_as(sql)
            .bind(node)
            .fetch_one(&self.0)
            .await
            .unwrap();
        row.0 == 1
    }

    /// An hour passes: for whatever waits for a time, and for the lockout windows.
    pub(crate) async fn elapse(&self) {
        let mut tx = self.0.begin().await.unwrap();
        for sql in [
            "UPDATE login_budget SET window_at = window_at - $1",
            "UPDATE jobs SET run_at = run_at - $1 WHERE state = 'queued'",
            "UPDATE systems SET paused_until = CASE WHEN paused_until > $1
                 THEN paused_until - $1 ELSE 0 END,
                 head0 = head0 - $1, head1 = head1 - $1, head2 = head2 - $1",
        ] {
            let done = sqlx::query(sql).bind(HOUR_MS).execute(&mut *tx).await;
            done.unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Spoils a kept version.
    pub(crate) async fn spoil(&self, account: i64, version: i64) {
        let sql = "UPDATE credential_versions SET sealed = (SELECT sealed FROM credential_versions
                 WHERE account_id = $1 AND version = 1)
             WHERE account_id = $1 AND version = $2";
        let done = sqlx::query(sql).bind(account).bind(version);
        assert_eq!(done.execute(&self.0).await.unwrap().rows_affected(), 1);
    }

    /// Forgets a kept version.
    pub(crate) async fn forget(&self, account: i64, version: i64) {
        let sql = "DELETE FROM credential_versions WHERE account_id = $1 AND version = $2";
        let done = sqlx::query(sql).bind(account).bind(version);
        assert_eq!(done.execute(&self.0).await.unwrap().rows_affected(), 1);
    }
}
