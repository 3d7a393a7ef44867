//! The bulk change of one system: ordered in chunks, counted as it goes.
//!
//! Invariant: every account that was active when the order came has a row in
//! `quarantine_accounts`, and a job that ends after the order; no quarantine ends before all of
//! it was ordered, whatever fails in between.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{AccountId, JobId, QuarantineId, SystemId};
use crate::model::job::Priority;
use crate::model::quarantine::{QuarantineCounts, QuarantineView};

/// Accounts a transaction orders at most: the queue's lock is not held for longer.
pub const QUARANTINE_CHUNK: i64 = 10_000;

impl Tx {
    /// Opens a quarantine; its accounts follow by [`Tx::quarantine_chunk`].
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn open_quarantine(
        &mut self,
        system: SystemId,
        reason: &str,
        incident: Option<&str>,
        actor: &str,
        now: Timestamp,
    ) -> Result<QuarantineId, StoreError> {
        let id: QuarantineId = self.id(QuarantineId::KIND).await?;
        sqlx::query(
            "INSERT INTO quarantines (id, system_id, reason, incident, actor, accounts,
                 ordered_to, ordered_at, finished_at)
             VALUES ($1, $2, $3, $4, $5, 0, 0, $6, NULL)",
        )
        .bind(id.0)
        .bind(system.0)
        .bind(reason)
        .bind(incident)
        .bind(actor)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(id)
    }

    /// Orders the system's next active accounts after `after`, in id order; `None`: no more, and
    /// the quarantine may end. Under [`Tx::lock_queue`].
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it was ordered to another account than `after`, or to its end.
    pub async fn quarantine_chunk(
        &mut self,
        quarantine: QuarantineId,
        system: SystemId,
        after: AccountId,
        actor: &str,
        now: Timestamp,
    ) -> Result<Option<AccountId>, StoreError> {
        let (count, last): (i64, Option<i64>) = sqlx::query_as(
            "SELECT COUNT(*), MAX(id) FROM (
                 SELECT id FROM accounts WHERE system_id = $1 AND active = 1 AND id > $2
                 ORDER BY id LIMIT $3) chunk",
        )
        .bind(system.0)
        .bind(after.0)
        .bind(QUARANTINE_CHUNK)
        .fetch_one(&mut *self.inner)
        .await?;
        let Some(last) = last else {
            self.ordered_to(quarantine, after.0, None, 0).await?;
            return Ok(None);
        };
        self.raise_head(system, Priority::Quarantine, now).await?;
        self.ordered_to(quarantine, after.0, Some(last), count)
            .await?;
        let base = self.ids(JobId::KIND, count).await? - 1;
        sqlx::query(
            "INSERT INTO jobs (id, account_id, system_id, kind, cause, actor, priority, run_at,
                 state, claim_id, attempt, again, again_priority, parts, version, key_version,
                 queued_at)
             SELECT $4 + row_number() OVER (ORDER BY id), id, system_id, 'rotate', 'quarantine', $5,
                 1, $6, 'queued', NULL, 0, 0, 2, 0, NULL, NULL, $6
             FROM accounts WHERE system_id = $1 AND active = 1 AND id > $2 AND id <= $3
             ORDER BY id LIMIT $7
             ON CONFLICT (account_id) WHERE state IN ('queued', 'running') DO UPDATE SET
                 run_at = CASE WHEN jobs.state = 'queued' AND jobs.priority > 1
                     THEN excluded.run_at ELSE jobs.run_at END,
                 priority = CASE WHEN jobs.state = 'queued' AND jobs.priority > 1
                     THEN 1 ELSE jobs.priority END,
                 kind = CASE WHEN jobs.state = 'queued' THEN 'rotate' ELSE jobs.kind END,
                 version = CASE WHEN jobs.state = 'queued' AND jobs.kind = 'test' THEN NULL
                     ELSE jobs.version END,
                 key_version = CASE WHEN jobs.state = 'queued' AND jobs.kind = 'test' THEN NULL
                     ELSE jobs.key_version END,
                 parts = CASE WHEN jobs.state = 'queued' THEN 0 ELSE jobs.parts END,
                 queued_at = CASE WHEN jobs.state = 'queued' THEN excluded.queued_at
                     ELSE jobs.queued_at END,
                 orders = CASE WHEN jobs.state = 'queued' THEN jobs.orders + 1
                     ELSE jobs.orders END,
                 again = CASE WHEN jobs.state = 'running' THEN 1 ELSE jobs.again END,
                 again_priority = CASE WHEN jobs.state = 'running' THEN 1
                     ELSE jobs.again_priority END",
        )
        .bind(system.0)
        .bind(after.0)
        .bind(last)
        .bind(base)
        .bind(actor)
        .bind(now.0)
        .bind(count)
        .execute(&mut *self.inner)
        .await?;
        self.record_chunk(quarantine, system, (after.0, last), count)
            .await?;
        self.ring();
        Ok(Some(AccountId(last)))
    }

    async fn record_chunk(
        &mut self,
        quarantine: QuarantineId,
        system: SystemId,
        (after, last): (i64, i64),
        count: i64,
    ) -> Result<(), StoreError> {
        let members = sqlx::query(
            "INSERT INTO quarantine_accounts (quarantine_id, account_id, job_id)
             SELECT $1, j.account_id, j.id FROM accounts a JOIN jobs j ON j.account_id = a.id
             WHERE a.system_id = $2 AND a.active = 1 AND a.id > $3 AND a.id <= $4
               AND j.state IN ('queued', 'running')",
        )
        .bind(quarantine.0)
        .bind(system.0)
        .bind(after)
        .bind(last)
        .execute(&mut *self.inner)
        .await?
        .rows_affected();
        let count = u64::try_from(count).unwrap_or_default();
        exactly(count, members, "the quarantine's accounts")?;
        sqlx::query(
            "UPDATE schedule SET open_job = 1
             WHERE account_id > $2 AND account_id <= $3 AND open_job = 0 AND system_id = $1
               AND account_id IN (SELECT account_id FROM jobs
                   WHERE system_id = $1 AND state IN ('queued', 'running'))",
        )
        .bind(system.0)
        .bind(after)
        .bind(last)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Moves the quarantine's mark, so that two who order it never order a chunk twice.
    async fn ordered_to(
        &mut self,
        quarantine: QuarantineId,
        from: i64,
        to: Option<i64>,
        members: i64,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE quarantines SET accounts = accounts + $2, ordered_to = $4
             WHERE id = $1 AND ordered_to = $3",
        )
        .bind(quarantine.0)
        .bind(members)
        .bind(from)
        .bind(to)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the quarantine")
    }

    /// Ends the system's quarantines that were ordered whole and have no open job left; returns
    /// which, and when each was ordered.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn finish_quarantines(
        &mut self,
        system: SystemId,
        now: Timestamp,
    ) -> Result<Vec<(QuarantineId, Timestamp)>, StoreError> {
        // From the open jobs' side: the first one found ends the search.
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "UPDATE quarantines SET finished_at = $2
             WHERE system_id = $1 AND finished_at IS NULL AND ordered_to IS NULL
               AND NOT EXISTS (
                 SELECT 1 FROM jobs j JOIN quarantine_accounts q
                     ON q.account_id = j.account_id AND q.job_id = j.id
                 WHERE j.system_id = $1 AND j.state = 'queued'
                   AND q.quarantine_id = quarantines.id)
               AND NOT EXISTS (
                 SELECT 1 FROM claims c JOIN jobs j ON j.claim_id = c.id AND j.state = 'running'
                     JOIN quarantine_accounts q ON q.account_id = j.account_id AND q.job_id = j.id
                 WHERE c.system_id = $1 AND q.quarantine_id = quarantines.id)
             RETURNING id, ordered_at",
        )
        .bind(system.0)
        .bind(now.0)
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, at)| (QuarantineId(id), Timestamp(at)))
            .collect())
    }
}

impl Store {
    /// Goes on with quarantines whose ordering was cut short: by a process that died, or by a
    /// database that refused a chunk. One that is being ordered right now goes on here, and its
    /// caller stops. Returns how many there were.
    ///
    /// # Errors
    /// [`StoreError`] of the database; whoever tries again goes on from there.
    pub(crate) async fn resume_quarantines(&self, now: Timestamp) -> Result<usize, StoreError> {
        let open = self.unordered_quarantines().await?;
        for (id, system, after, actor) in &open {
            let mut tx = self.begin().await?;
            tx.lock_queue(*system).await?;
            let from = (*id, *system, *after, actor.as_str());
            self.order_chunks(tx, from, now).await?;
        }
        Ok(open.len())
    }

    /// Orders what is left of a quarantine, chunk by chunk; begins in a transaction that holds the
    /// system's queue.
    ///
    /// # Errors
    /// [`StoreError`] of the database; whoever tries again goes on from there.
    pub(crate) async fn order_chunks(
        &self,
        mut tx: Tx,
        (id, system, mut after, actor): (QuarantineId, SystemId, AccountId, &str),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        loop {
            match tx.quarantine_chunk(id, system, after, actor, now).await {
                Ok(Some(last)) => after = last,
                Ok(None) => break,
                // Another node goes on with it.
                Err(StoreError::Stale { .. }) => return tx.rollback().await,
                Err(error) => return Err(error),
            }
            // The queue's lock is not held for longer than a chunk.
            tx.commit().await?;
            tx = self.begin().await?;
            tx.lock_queue(system).await?;
        }
        tx.finish_quarantines(system, now).await?;
        tx.commit().await
    }

    /// One quarantine and how far it has come.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn quarantine(&self, id: QuarantineId) -> Result<Option<QuarantineView>, StoreError> {
        let row: Option<QuarantineRow> = sqlx::query_as(
            "SELECT system_id, reason, incident, actor, accounts, ordered_at, finished_at
             FROM quarantines WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let counts = self.quarantine_counts(id).await?;
        Ok(Some(QuarantineView {
            id,
            system_id: SystemId(row.system_id),
            reason: row.reason,
            incident: row.incident,
            actor: row.actor,
            ordered_at: Timestamp(row.ordered_at),
            finished_at: row.finished_at.map(Timestamp),
            accounts: row.accounts,
            counts,
        }))
    }

    async fn quarantine_counts(&self, id: QuarantineId) -> Result<QuarantineCounts, StoreError> {
        // One statement, one snapshot: an account is either open or ended, never both or neither.
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT state, COUNT(*) FROM (
                 SELECT CASE
                     WHEN j.state = 'running' THEN 'running'
                     WHEN j.state = 'queued' AND j.attempt > 0 THEN 'retrying'
                     WHEN j.state = 'queued' THEN 'queued'
                     ELSE (SELECT h.outcome FROM job_history h
                           WHERE h.job_id = q.job_id AND h.outcome <> 'retried'
                           ORDER BY h.ended_at DESC, h.claim_id DESC LIMIT 1)
                 END AS state
                 FROM quarantine_accounts q
                 LEFT JOIN jobs j ON j.account_id = q.account_id AND j.id = q.job_id
                     AND j.state IN ('queued', 'running')
                 WHERE q.quarantine_id = $1) member
             WHERE state IS NOT NULL GROUP BY state ORDER BY state",
        )
        .bind(id.0)
        .fetch_all(&self.read)
        .await?;
        let mut counts = QuarantineCounts::default();
        for (state, count) in rows {
            match state.as_str() {
                "queued" => counts.queued = count,
                "running" => counts.running = count,
                "retrying" => counts.retrying = count,
                "succeeded" => counts.succeeded = count,
                "failed" => counts.failed = count,
                "needs_operator" => counts.needs_operator = count,
                _ => {
                    return Err(StoreError::Corrupt {
                        table: "job_history",
                        row: id.0,
                        problem: "unknown outcome",
                    });
                }
            }
        }
        Ok(counts)
    }

    /// Quarantines that were not ordered to their end, oldest first: whoever ordered them has
    /// died, or is at it. Each with its system, the account it was ordered to, and who did.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn unordered_quarantines(
        &self,
    ) -> Result<Vec<(QuarantineId, SystemId, AccountId, String)>, StoreError> {
        let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(
            "SELECT id, system_id, ordered_to, actor FROM quarantines
             WHERE finished_at IS NULL AND ordered_to IS NOT NULL ORDER BY id LIMIT 100",
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, system, to, actor)| {
                (QuarantineId(id), SystemId(system), AccountId(to), actor)
            })
            .collect())
    }

    /// Quarantines, newest first; ids below `before` alone.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn quarantines(
        &self,
        before: Option<QuarantineId>,
        limit: i64,
    ) -> Result<Vec<QuarantineView>, StoreError> {
        let ids: Vec<(i64,)> = sqlx::query_as(
            "SELECT id FROM quarantines WHERE (CAST($1 AS BIGINT) IS NULL OR id < $1)
             ORDER BY id DESC LIMIT $2",
        )
        .bind(before.map(|id| id.0))
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        self.views(ids).await
    }

    /// Quarantines that have not finished, newest first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn open_quarantines(&self) -> Result<Vec<QuarantineView>, StoreError> {
        let ids: Vec<(i64,)> =
            sqlx::query_as("SELECT id FROM quarantines WHERE finished_at IS NULL ORDER BY id DESC")
                .fetch_all(&self.read)
                .await?;
        self.views(ids).await
    }

    async fn views(&self, ids: Vec<(i64,)>) -> Result<Vec<QuarantineView>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for (id,) in ids {
            found.extend(self.quarantine(QuarantineId(id)).await?);
        }
        Ok(found)
    }
}

#[derive(sqlx::FromRow)]
struct QuarantineRow {
    system_id: i64,
    reason: String,
    incident: Option<String>,
    actor: String,
    accounts: i64,
    ordered_at: i64,
    finished_at: Option<i64>,
}
