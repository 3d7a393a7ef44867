//! The stale scan: flags what has grown stale and queues what is due, in sets.
//!
//! Invariant: running it twice queues nothing twice; an account with an open job is not due.

use super::dialect::skip_locked;
use super::{Store, StoreError, Tx};
use crate::model::Timestamp;
use crate::model::id::JobId;
use crate::model::job::{Cause, JobKind, Priority};

/// What one scan did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Accounts that were flagged stale and left alone.
    pub flagged: u64,
    /// Changes that were queued.
    pub changes: u64,
    /// Tests that were queued.
    pub tests: u64,
    /// True if the limit was reached: more is due.
    pub more: bool,
}

impl Tx {
    /// Flags and queues what is due at `now`, at most `limit` accounts of each kind.
    ///
    /// # Errors
    /// [`StoreError`] of the database; nothing was queued.
    pub async fn scan_stale(&mut self, now: Timestamp, limit: i64) -> Result<Scanned, StoreError> {
        let (changes, more_changes) = self.queue_due(JobKind::Rotate, now, limit).await?;
        let (tests, more_tests) = self.queue_due(JobKind::Test, now, limit).await?;
        let (flagged, more_flags) = self.flag(now, limit).await?;
        let more = more_changes || more_tests || more_flags;
        Ok(Scanned {
            flagged,
            changes,
            tests,
            more,
        })
    }

    async fn queue_due(
        &mut self,
        kind: JobKind,
        now: Timestamp,
        limit: i64,
    ) -> Result<(u64, bool), StoreError> {
        let statements = DueStatements::of(kind);
        let boundary: Option<(i64, i64)> = sqlx::query_as(statements.boundary)
            .bind(now.0)
            .bind(limit - 1)
            .fetch_optional(&mut *self.inner)
            .await?;
        let (last_at, last_account) = boundary.unwrap_or((now.0, i64::MAX));
        let (count,): (i64,) = sqlx::query_as(statements.count)
            .bind(last_at)
            .bind(last_account)
            .fetch_one(&mut *self.inner)
            .await?;
        if count == 0 {
            return Ok((0, false));
        }
        let base = self.ids(JobId::KIND, count).await? - 1;
        sqlx::query(statements.raise)
            .bind(last_at)
            .bind(last_account)
            .bind(now.0)
            .bind(base)
            .execute(&mut *self.inner)
            .await?;
        let queued = sqlx::query(statements.insert)
            .bind(last_at)
            .bind(last_account)
            .bind(base)
            .bind(kind.as_str())
            .bind(Cause::Schedule.as_str())
            .bind(Priority::Routine.rank())
            .bind(now.0)
            .bind(count) // an account that has just come would take an id of the next block
            .execute(&mut *self.inner)
            .await?
            .rows_affected();
        let stale = i64::from(kind == JobKind::Rotate);
        sqlx::query(
            "UPDATE schedule SET open_job = 1,
                 stale_at = CASE WHEN $4 = 1 AND stale_at IS NULL THEN $3 ELSE stale_at END
             WHERE account_id IN (SELECT account_id FROM jobs WHERE id > $1 AND id <= $2)",
        )
        .bind(base)
        .bind(base + count)
        .bind(now.0)
        .bind(stale)
        .execute(&mut *self.inner)
        .await?;
        self.ring();
        Ok((queued, boundary.is_some()))
    }

    /// Accounts that nobody changes by itself are only flagged: how many were, and whether more
    /// wait. Whoever holds an account's schedule decides its flag himself.
    async fn flag(&mut self, now: Timestamp, limit: i64) -> Result<(u64, bool), StoreError> {
        let boundary: Option<(i64, i64)> = sqlx::query_as(
            "SELECT flag_at, account_id FROM schedule
             WHERE stale_at IS NULL AND flag_at IS NOT NULL AND flag_at <= $1
             ORDER BY flag_at, account_id LIMIT 1 OFFSET $2",
        )
        .bind(now.0)
        .bind(limit - 1)
        .fetch_optional(&mut *self.inner)
        .await?;
        let (last_at, last_account) = boundary.unwrap_or((now.0, i64::MAX));
        let done = sqlx::query(skip_locked!(
            self.backend,
            "UPDATE schedule SET stale_at = $3 WHERE account_id IN (SELECT account_id FROM schedule
             WHERE stale_at IS NULL AND flag_at IS NOT NULL AND (flag_at, account_id) <= ($1, $2)";
            ")"
        ))
        .bind(last_at)
        .bind(last_account)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok((done.rows_affected(), boundary.is_some()))
    }
}

impl Store {
    /// How many accounts are due for a change and have no job yet.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn due_now(&self, now: Timestamp) -> Result<i64, StoreError> {
        let (count,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM schedule
             WHERE open_job = 0 AND next_change_at IS NOT NULL AND next_change_at <= $1",
        )
        .bind(now.0)
        .fetch_one(&self.read)
        .await?;
        Ok(count)
    }
}

/// The same four statements over either due time. The predicates repeat those of the partial
/// indexes word for word, or the databases would not use them.
///
/// Between two of them an account may become due on a system that is not held: the mark, which
/// nobody else sees before the commit, keeps it out until the next scan.
struct DueStatements {
    boundary: &'static str,
    count: &'static str,
    raise: &'static str,
    insert: &'static str,
}

/// An account of which the store may have forgotten a credential is due for nothing by itself.
macro_rules! known {
    () => {
        " AND NOT EXISTS (SELECT 1 FROM regressed_accounts g
             WHERE g.account_id = schedule.account_id AND g.recovered_at IS NULL)"
    };
}

macro_rules! due_statements {
    ($column:literal) => {
        DueStatements {
            boundary: concat!(
                "SELECT ", $column, ", account_id FROM schedule WHERE open_job = 0 AND ", $column,
                " IS NOT NULL AND ", $column, " <= $1", known!(), " ORDER BY ", $column,
                ", account_id LIMIT 1 OFFSET $2"
            ),
            count: concat!(
                "SELECT COUNT(*) FROM schedule WHERE open_job = 0 AND ", $column,
                " IS NOT NULL AND (", $column, ", account_id) <= ($1, $2)", known!()
            ),
            raise: concat!(
                "UPDATE systems SET scan_mark = $4,",
                " head2 = CASE WHEN head2 IS NULL OR head2 > $3 THEN $3 ELSE head2 END",
                " WHERE id IN (SELECT system_id FROM schedule WHERE open_job = 0 AND ", $column,
                " IS NOT NULL AND (", $column, ", account_id) <= ($1, $2)", known!(), ")"
            ),
            insert: concat!(
                "INSERT INTO jobs (id, account_id, system_id, kind, cause, actor, priority, run_at,",
                " state, claim_id, attempt, again, again_priority, parts, version, key_version, queued_at)",
                " SELECT $3 + row_number() OVER (ORDER BY system_id, account_id), account_id,",
                " system_id, $4, $5, 'keywheel', $6, $7, 'queued', NULL, 0, 0, 2, 0, NULL, NULL, $7",
                " FROM schedule WHERE open_job = 0 AND ", $column,
                " IS NOT NULL AND (", $column, ", account_id) <= ($1, $2)", known!(),
                // A value, not EXISTS: PostgreSQL would join system by system, five times as long.
                " AND (SELECT scan_mark FROM systems WHERE id = schedule.system_id) = $3",
                " ORDER BY system_id, account_id LIMIT $8",
                " ON CONFLICT (account_id) WHERE state IN ('queued', 'running') DO NOTHING"
            ),
        }
    };
}

impl DueStatements {
    fn of(kind: JobKind) -> Self {
        match kind {
            JobKind::Rotate => due_statements!("next_change_at"),
            JobKind::Test => due_statements!("next_test_at"),
        }
    }
}
