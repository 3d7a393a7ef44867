//! Claims: one batch of one system for one node, taken systems first.
//!
//! Invariant: a system never has more claims than `max_sessions`, and a claim's jobs are exactly
//! the rows that were read under its system's lock.

mod guarded;
mod look;
mod row;

use self::row::{ClaimRow, claim_of};
use super::dialect::{for_no_key_update, skip_locked};
use super::{StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::credential::Parts;
use crate::model::id::{AccountId, ClaimId, JobId, NodeId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};
use crate::model::regression::Standing;

/// Faults of a system in a row that open its breaker.
pub const BREAKER_TRIPS: i64 = 3;

/// One batch of one system, held by one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The token of the lease.
    pub id: ClaimId,
    /// Whose accounts.
    pub system: SystemId,
    /// Who holds it.
    pub node: NodeId,
    /// The class it was claimed in.
    pub priority: Priority,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// Its jobs, in order of their due times.
    pub jobs: Vec<ClaimedJob>,
}

/// A job of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedJob {
    /// The job.
    pub id: JobId,
    /// Whose credential.
    pub account: AccountId,
    /// What to do.
    pub kind: JobKind,
    /// Why it was ordered.
    pub cause: Cause,
    /// Who ordered it.
    pub actor: String,
    /// Which attempt this is; counts from 1.
    pub attempt: i64,
    /// What is still to do.
    pub parts: Parts,
    /// The supplied password, if one was given.
    pub version: Option<i64>,
    /// The supplied key pair, if one was given.
    pub key_version: Option<i64>,
    /// How often it was ordered: 1, and more where it was ordered again before it ran.
    pub orders: i64,
    /// When it was ordered.
    pub queued_at: Timestamp,
    /// When it became runnable.
    pub run_at: Timestamp,
    /// What the store knows of the account.
    pub standing: Standing,
}

/// Systems with due work and a free session, the longest waiting first.
macro_rules! claimable {
    ($backend:expr, $head:literal, $unless_broken:literal) => {
        skip_locked!(
            $backend,
            "SELECT id, CASE WHEN trips >= 3 THEN 1 ELSE max_batch END, guarded FROM systems WHERE ",
            $head,
            " IS NOT NULL AND running < max_sessions AND ",
            $head,
            " <= $1",
            $unless_broken,
            " ORDER BY ",
            $head,
            ", id LIMIT $2 OFFSET $3"
        )
    };
    // A breaker that has opened lets one claim of one job try, once its pause is over.
    ($backend:expr, $head:literal) => {
        claimable!(
            $backend,
            $head,
            " AND paused_until <= $1 AND (trips < 3 OR running = 0)"
        )
    };
}

/// What was agreed to of a job's account, if the store may have forgotten a credential of it.
macro_rules! consent {
    () => {
        "(SELECT g.consent FROM regressed_accounts g
             WHERE g.account_id = jobs.account_id AND g.recovered_at IS NULL) AS consent"
    };
}
use consent;

/// A system's first due jobs of one class: all of them, or those that `$but` leaves.
macro_rules! due_jobs {
    ($but:literal) => {
        concat!(
            "SELECT id, account_id, kind, cause, actor, attempt, parts, version, key_version,",
            " orders, queued_at, run_at, ",
            consent!(),
            " FROM jobs",
            " WHERE system_id = $1 AND priority = $2 AND state = 'queued' AND run_at <= $3",
            $but,
            " ORDER BY run_at, id LIMIT $4"
        )
    };
}
use due_jobs;

/// What a look at a system came to.
enum Taken {
    Claim(Claim),
    /// Its head was too urgent, and is right now.
    Nothing,
    /// Work is due that must wait for another system's, or its own, to end.
    Held,
}

impl Tx {
    /// Claims due work of one class from up to `systems` systems, at most `batch_max` accounts
    /// of each. Commit even if it finds none: it may have put heads right.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn claim(
        &mut self,
        node: NodeId,
        priority: Priority,
        systems: i64,
        batch_max: i64,
        now: Timestamp,
    ) -> Result<Vec<Claim>, StoreError> {
        let sql = match priority {
            // A person waits: an open breaker is tried at once.
            Priority::Immediate => claimable!(self.backend, "head0", ""),
            Priority::Quarantine => claimable!(self.backend, "head1"),
            Priority::Routine => claimable!(self.backend, "head2"),
        };
        let mut claims = Vec::new();
        let mut held = 0;
        loop {
            let claimed = i64::try_from(claims.len()).unwrap_or(i64::MAX);
            let found: Vec<(i64, i64, i64)> = sqlx::query_as(sql)
                .bind(now.0)
                .bind(systems - claimed)
                .bind(held)
                .fetch_all(&mut *self.inner)
                .await?;
            let mut waits = false;
            for (system, batch, guarded) in &found {
                let whose = (node, SystemId(*system), priority);
                let batch = batch_max.min(*batch);
                let taken = if *guarded == 1 {
                    self.claim_guarded(whose, batch, now).await?
                } else {
                    self.claim_system(whose, batch, now).await?
                };
                match taken {
                    Taken::Claim(claim) => claims.push(claim),
                    Taken::Nothing => {}
                    Taken::Held => {
                        held += 1;
                        waits = true;
                    }
                }
            }
            // Heads that were too urgent are right now; behind them, and behind systems that must
            // wait, others may have waited.
            let is_full = i64::try_from(claims.len()).is_ok_and(|claimed| claimed >= systems);
            if found.is_empty() || is_full || (!claims.is_empty() && !waits) {
                return Ok(claims);
            }
        }
    }

    async fn claim_system(
        &mut self,
        (node, system, priority): (NodeId, SystemId, Priority),
        batch: i64,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let rows: Vec<ClaimRow> = sqlx::query_as(due_jobs!(""))
            .bind(system.0)
            .bind(priority.rank())
            .bind(now.0)
            .bind(batch)
            .fetch_all(&mut *self.inner)
            .await?;
        let Some(last) = rows.last() else {
            // The head was too urgent: put it right.
            self.refresh(system, 0).await?;
            return Ok(Taken::Nothing);
        };
        let (last_run_at, last_id, count) = (last.run_at, last.id, rows.len());
        let id = self.open_claim(node, system, priority, count, now).await?;
        let done = sqlx::query(
            "UPDATE jobs SET state = 'running', claim_id = $1, attempt = attempt + 1
             WHERE system_id = $2 AND priority = $3 AND state = 'queued'
               AND (run_at, id) <= ($4, $5)",
        )
        .bind(id.0)
        .bind(system.0)
        .bind(priority.rank())
        .bind(last_run_at)
        .bind(last_id)
        .execute(&mut *self.inner)
        .await?;
        exactly(count as u64, done.rows_affected(), "the claimed jobs")?;
        self.refresh(system, 1).await?;
        claim_of((id, node, system, priority), rows, now).map(Taken::Claim)
    }

    /// Claims these very jobs of a system, under its lock.
    async fn take(
        &mut self,
        node: NodeId,
        system: SystemId,
        priority: Priority,
        rows: Vec<ClaimRow>,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let id = self
            .open_claim(node, system, priority, rows.len(), now)
            .await?;
        for row in &rows {
            let done = sqlx::query(
                "UPDATE jobs SET state = 'running', claim_id = $1, attempt = attempt + 1
                 WHERE id = $2 AND state = 'queued'",
            )
            .bind(id.0)
            .bind(row.id)
            .execute(&mut *self.inner)
            .await?;
            exactly(1, done.rows_affected(), "the claimed job")?;
        }
        self.refresh(system, 1).await?;
        claim_of((id, node, system, priority), rows, now)
    }

    async fn open_claim(
        &mut self,
        node: NodeId,
        system: SystemId,
        priority: Priority,
        jobs: usize,
        now: Timestamp,
    ) -> Result<ClaimId, StoreError> {
        let id: ClaimId = self.id(ClaimId::KIND).await?;
        sqlx::query(
            "INSERT INTO claims (id, system_id, node_id, priority, jobs, claimed_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id.0)
        .bind(system.0)
        .bind(node.0)
        .bind(priority.rank())
        .bind(i64::try_from(jobs).unwrap_or(i64::MAX))
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(id)
    }

    /// Claims jobs of broken systems that were ordered before `cutoff`: they are to be ended,
    /// not tried.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn claim_expired(
        &mut self,
        node: NodeId,
        cutoff: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Claim>, StoreError> {
        // From the broken systems' side: they are few, and old jobs elsewhere hide none of theirs.
        // Linked functional accounts take their turns alone, there as everywhere.
        let broken: Option<(i64,)> = sqlx::query_as(skip_locked!(
            self.backend,
            "SELECT id FROM systems WHERE trips >= 3 AND running < max_sessions
               AND EXISTS (SELECT 1 FROM jobs WHERE system_id = systems.id AND state = 'queued'
                   AND queued_at < $1 AND NOT EXISTS (SELECT 1 FROM functional_links l
                       WHERE l.account_id = jobs.account_id))
               AND NOT EXISTS (SELECT 1 FROM system_details d
                   JOIN functional_links l ON l.functional_account_id = d.functional_account_id
                   JOIN jobs k ON k.account_id = l.account_id
                       AND k.state IN ('queued', 'running') AND k.state = 'running'
                   WHERE d.system_id = systems.id)
             ORDER BY id LIMIT 1"
        ))
        .bind(cutoff.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some((system,)) = broken else {
            return Ok(None);
        };
        let rows: Vec<ClaimRow> = sqlx::query_as(concat!(
            "SELECT id, account_id, kind, cause, actor, attempt, parts, version, key_version,",
            " orders, queued_at, run_at, ",
            consent!(),
            " FROM jobs WHERE system_id = $1 AND state = 'queued' AND queued_at < $2
               AND NOT EXISTS (SELECT 1 FROM functional_links l
                   WHERE l.account_id = jobs.account_id)
             ORDER BY queued_at, id LIMIT 100"
        ))
        .bind(system)
        .bind(cutoff.0)
        .fetch_all(&mut *self.inner)
        .await?;
        if rows.is_empty() {
            return Ok(None);
        }
        self.take(node, SystemId(system), Priority::Routine, rows, now)
            .await
            .map(Some)
    }

    /// Fails unless this node still holds the claim; holds it until this transaction ends.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]: stop, and write nothing.
    pub async fn hold(&mut self, claim: ClaimId, node: NodeId) -> Result<(), StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(for_no_key_update!(
            self.backend,
            "SELECT id FROM claims WHERE id = $1 AND node_id = $2"
        ))
        .bind(claim.0)
        .bind(node.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        row.map(|_| ()).ok_or(StoreError::LeaseLost)
    }

    /// Recomputes a system's heads, and changes how many claims it has. The only statement that
    /// does; under the system's lock, and later than the statement that took it.
    pub(super) async fn refresh(
        &mut self,
        system: SystemId,
        claims: i64,
    ) -> Result<(), StoreError> {
        // Qualified: PostgreSQL would sort the whole queue by the column that is made here.
        let done = sqlx::query(
            "UPDATE systems SET running = running + $2,
                 head0 = (SELECT run_at FROM jobs WHERE system_id = $1 AND priority = 0
                     AND state = 'queued' ORDER BY jobs.run_at, jobs.id LIMIT 1),
                 head1 = (SELECT CASE WHEN run_at < systems.paused_until
                     THEN systems.paused_until ELSE run_at END FROM jobs
                     WHERE system_id = $1 AND priority = 1 AND state = 'queued'
                     ORDER BY jobs.run_at, jobs.id LIMIT 1),
                 head2 = (SELECT CASE WHEN run_at < systems.paused_until
                     THEN systems.paused_until ELSE run_at END FROM jobs
                     WHERE system_id = $1 AND priority = 2 AND state = 'queued'
                     ORDER BY jobs.run_at, jobs.id LIMIT 1)
             WHERE id = $1",
        )
        .bind(system.0)
        .bind(claims)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the system's queue")
    }

    /// Repairs heads that are later than a queued job; returns how many it repaired.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn repair_heads(&mut self, limit: i64) -> Result<usize, StoreError> {
        let lazy: Vec<(i64,)> = sqlx::query_as(
            "SELECT id FROM (
                 SELECT s.id, s.head0, s.head1, s.head2, s.paused_until AS pause,
                     (SELECT run_at FROM jobs WHERE system_id = s.id AND priority = 0
                         AND state = 'queued' ORDER BY run_at, id LIMIT 1) AS first0,
                     (SELECT run_at FROM jobs WHERE system_id = s.id AND priority = 1
                         AND state = 'queued' ORDER BY run_at, id LIMIT 1) AS first1,
                     (SELECT run_at FROM jobs WHERE system_id = s.id AND priority = 2
                         AND state = 'queued' ORDER BY run_at, id LIMIT 1) AS first2
                 FROM systems s) queue
             WHERE (first0 IS NOT NULL AND (head0 IS NULL OR head0 > first0))
               OR (first1 IS NOT NULL AND (head1 IS NULL
                   OR head1 > CASE WHEN first1 < pause THEN pause ELSE first1 END))
               OR (first2 IS NOT NULL AND (head2 IS NULL
                   OR head2 > CASE WHEN first2 < pause THEN pause ELSE first2 END))
             ORDER BY id LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&mut *self.inner)
        .await?;
        let mut repaired = 0;
        for (system,) in lazy {
            // Whoever holds it now refreshes it, or the next look does: waiting for a second
            // system here could lock the stale scan out for good.
            let free: Option<(i64,)> = sqlx::query_as(skip_locked!(
                self.backend,
                "SELECT id FROM systems WHERE id = $1"
            ))
            .bind(system)
            .fetch_optional(&mut *self.inner)
            .await?;
            if free.is_some() {
                self.refresh(SystemId(system), 0).await?;
                repaired += 1;
            }
        }
        Ok(repaired)
    }
}
