//! Settles what a claim's attempts came to, and takes claims from dead nodes.
//!
//! Invariant: only the holder of a claim's row settles its jobs; a claim ends exactly once.

use std::collections::HashMap;
use std::time::Duration;

use keywheel_connectors::Class;

use super::claim::{BREAKER_TRIPS, Claim, ClaimedJob};
use super::job::NewJob;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::credential::Parts;
use crate::model::id::{ClaimId, JobId, NodeId, QuarantineId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};

/// A change that failed for good is not due again before this.
const AFTER_FAILURE: Duration = Duration::from_hours(1);

/// What becomes of a job after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Done.
    Succeeded,
    /// Ended without effect.
    Failed,
    /// A person decides.
    NeedsOperator,
    /// Another attempt follows.
    Retry {
        /// Not before.
        at: Timestamp,
        /// False: the system was at fault, the attempt is not the account's.
        counts: bool,
    },
    /// Nothing was tried; the job goes back as it was.
    GivenBack,
}

/// One job's attempt, ready to be settled.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The job, with what is left of it to do.
    pub job: ClaimedJob,
    /// What becomes of it.
    pub ending: Ending,
    /// Error class; empty where none.
    pub class: &'static str,
    /// What was done, a line each: decoded, without secrets.
    pub log: String,
}

/// What the attempts said about the system as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemHealth {
    /// It answered.
    Answers,
    /// It was at fault; from the third time on nothing is tried before `pause_until`.
    Faulty {
        /// The breaker's pause, should it open.
        pause_until: Timestamp,
    },
    /// Nothing was learnt.
    Unknown,
}

impl Tx {
    /// Settles attempts of a claim; with `last` the claim ends. Returns the quarantines that this
    /// has finished, and when each was ordered.
    ///
    /// Attempts that this claim has settled before are left as they are: after a commit without
    /// an answer the same call is right again.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]: another node owns the jobs; nothing was written.
    pub async fn settle(
        &mut self,
        claim: &Claim,
        settled: &[Settled],
        health: SystemHealth,
        last: bool,
        now: Timestamp,
    ) -> Result<Vec<(QuarantineId, Timestamp)>, StoreError> {
        self.lock_queue(claim.system).await?;
        self.hold(claim.id, claim.node).await?;
        let running = self.running_jobs(claim.id).await?;
        let mut news = settled.is_empty();
        for one in settled {
            if let Some(again) = running.get(&one.job.id.0) {
                self.settle_one(claim, one, *again, now).await?;
                news = true;
            }
        }
        if news {
            self.judge(claim.system, health).await?;
        }
        if last {
            let done = sqlx::query("DELETE FROM claims WHERE id = $1 AND node_id = $2")
                .bind(claim.id.0)
                .bind(claim.node.0)
                .execute(&mut *self.inner)
                .await?;
            exactly(1, done.rows_affected(), "the claim")?;
        }
        self.refresh(claim.system, if last { -1 } else { 0 })
            .await?;
        self.finish_quarantines(claim.system, now).await
    }

    /// Jobs of the claim, and the priority of those that were ordered once more while they ran.
    async fn running_jobs(
        &mut self,
        claim: ClaimId,
    ) -> Result<HashMap<i64, Option<i64>>, StoreError> {
        let rows: Vec<(i64, Option<i64>)> = sqlx::query_as(
            "SELECT id, CASE WHEN again = 1 THEN again_priority ELSE NULL END FROM jobs
             WHERE claim_id = $1 AND state = 'running'",
        )
        .bind(claim.0)
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(rows.into_iter().collect())
    }

    async fn settle_one(
        &mut self,
        claim: &Claim,
        one: &Settled,
        again: Option<i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let outcome = match &one.ending {
            Ending::Succeeded => "succeeded",
            Ending::Failed => "failed",
            Ending::NeedsOperator => "needs_operator",
            Ending::Retry { .. } => "retried",
            Ending::GivenBack => return self.requeue(claim.id, one, None, false, now).await,
        };
        let done = sqlx::query(
            "INSERT INTO job_history (job_id, claim_id, account_id, system_id, kind, cause, actor,
                 priority, outcome, class, why, attempt, queued_at, started_at, ended_at)
             SELECT id, claim_id, account_id, system_id, kind, cause, actor, priority, $3, $4, $5,
                 attempt, queued_at, $6, $7
             FROM jobs WHERE id = $1 AND claim_id = $2 AND state = 'running'",
        )
        .bind(one.job.id.0)
        .bind(claim.id.0)
        .bind(outcome)
        .bind(one.class)
        .bind(&one.log)
        .bind(claim.claimed_at.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the job")?;
        match (&one.ending, again) {
            (Ending::Retry { at, counts }, _) => {
                self.requeue(claim.id, one, Some(*at), *counts, now).await
            }
            (_, Some(priority)) => self.run_again(claim.id, one.job.id, priority, now).await,
            (_, None) => self.end(claim.id, one, now).await,
        }
    }

    /// Puts a running job back. Whoever waited for it has been answered: it is routine now. A
    /// more urgent order that came while it ran takes it along, as it would a queued job; it
    /// stays marked, since the attempt may have begun before the order.
    async fn requeue(
        &mut self,
        claim: ClaimId,
        one: &Settled,
        at: Option<Timestamp>,
        counts: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE jobs SET state = 'queued', claim_id = NULL,
                 run_at = CASE
                     WHEN again = 1 AND again_priority < CASE WHEN priority = 0
                         AND CAST($3 AS BIGINT) IS NOT NULL THEN 2 ELSE priority END THEN $5
                     WHEN CAST($3 AS BIGINT) IS NULL THEN run_at ELSE $3 END,
                 priority = CASE
                     WHEN again = 1 AND again_priority < CASE WHEN priority = 0
                         AND CAST($3 AS BIGINT) IS NOT NULL THEN 2 ELSE priority END
                         THEN again_priority
                     WHEN priority = 0 AND CAST($3 AS BIGINT) IS NOT NULL THEN 2
                     ELSE priority END,
                 attempt = CASE WHEN $4 = 1 THEN attempt ELSE attempt - 1 END,
                 parts = $6
             WHERE id = $1 AND claim_id = $2 AND state = 'running'",
        )
        .bind(one.job.id.0)
        .bind(claim.0)
        .bind(at.map(|at| at.0))
        .bind(i64::from(counts))
        .bind(now.0)
        .bind(one.job.parts.bits())
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the job")
    }

    /// A quarantine came while the job ran: its account is changed once more.
    async fn run_again(
        &mut self,
        claim: ClaimId,
        job: JobId,
        priority: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE jobs SET state = 'queued', claim_id = NULL, kind = 'rotate', priority = $3,
                 run_at = $4, queued_at = $4, attempt = 0, again = 0, again_priority = 2,
                 parts = 0, version = NULL, key_version = NULL,
                 cause = CASE WHEN $3 = 1 THEN 'quarantine' ELSE cause END
             WHERE id = $1 AND claim_id = $2 AND state = 'running'",
        )
        .bind(job.0)
        .bind(claim.0)
        .bind(priority)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the job")
    }

    async fn end(
        &mut self,
        claim: ClaimId,
        one: &Settled,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let ended: Option<(String, String)> = sqlx::query_as(
            "DELETE FROM jobs WHERE id = $1 AND claim_id = $2 AND state = 'running'
             RETURNING kind, cause",
        )
        .bind(one.job.id.0)
        .bind(claim.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some((kind, cause)) = ended else {
            return Err(StoreError::Stale { what: "the job" });
        };
        // A due time in the past would be claimed again at once, for ever.
        let earliest = match one.ending {
            Ending::Succeeded => now.plus(Duration::from_millis(1)),
            _ => now.plus(AFTER_FAILURE),
        };
        self.replan_after(one.job.account, earliest, now).await?;
        let fresh = one.ending == Ending::Succeeded && one.job.kind == JobKind::Rotate;
        let done = sqlx::query(
            "UPDATE schedule SET open_job = 0,
                 next_change_at = CASE WHEN $3 = 1 THEN NULL ELSE next_change_at END,
                 stale_at = CASE WHEN $2 = 1 THEN NULL ELSE stale_at END
             WHERE account_id = $1",
        )
        .bind(one.job.account.0)
        .bind(i64::from(fresh))
        .bind(i64::from(one.ending == Ending::NeedsOperator)) // until somebody has resolved it
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the account's schedule")?;
        let scheduled_test = kind == JobKind::Test.as_str() && cause == Cause::Schedule.as_str();
        if scheduled_test && one.ending == Ending::Failed && one.class == Class::Denied.name() {
            self.answer_mismatch(one, now).await?;
        }
        Ok(())
    }

    /// A scheduled test was refused: where the account says so, its credential is changed.
    async fn answer_mismatch(&mut self, one: &Settled, now: Timestamp) -> Result<(), StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT system_id FROM accounts
             WHERE id = $1 AND active = 1 AND auto_management = 1 AND reset_on_mismatch = 1",
        )
        .bind(one.job.account.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some((system,)) = row else { return Ok(()) };
        let job = NewJob {
            account: one.job.account,
            system: SystemId(system),
            kind: JobKind::Rotate,
            cause: Cause::Mismatch,
            actor: one.job.actor.clone(),
            priority: Priority::Routine,
            run_at: now,
            parts: Parts::ALL_THERE_ARE,
            version: None,
            key_version: None,
        };
        let id = self.enqueue(&job, now).await?;
        let body = serde_json::json!({"job": id.0, "why": "a scheduled test was refused"});
        self.audit(
            &Event::by_service("change.ordered", one.job.account, body),
            now,
        )
        .await
    }

    /// Counts the system's faults in a row, and opens or closes its breaker.
    async fn judge(&mut self, system: SystemId, health: SystemHealth) -> Result<(), StoreError> {
        let done = match health {
            SystemHealth::Unknown => return Ok(()),
            SystemHealth::Answers => {
                // Mostly there is nothing to reset, and no row to write.
                sqlx::query(
                    "UPDATE systems SET trips = 0, paused_until = 0
                     WHERE id = $1 AND (trips > 0 OR paused_until > 0)",
                )
                .bind(system.0)
                .execute(&mut *self.inner)
                .await?;
                return Ok(());
            }
            SystemHealth::Faulty { pause_until } => {
                sqlx::query(
                    "UPDATE systems SET trips = trips + 1,
                         paused_until = CASE WHEN trips + 1 >= $3 THEN $2 ELSE paused_until END
                     WHERE id = $1",
                )
                .bind(system.0)
                .bind(pause_until.0)
                .bind(BREAKER_TRIPS)
                .execute(&mut *self.inner)
                .await?
            }
        };
        exactly(1, done.rows_affected(), "the system")
    }

    /// Takes one claim from a dead node: its jobs are queued again. `false`: it has ended already.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn reap(&mut self, claim: ClaimId, system: SystemId) -> Result<bool, StoreError> {
        self.lock_queue(system).await?;
        let done = sqlx::query("DELETE FROM claims WHERE id = $1")
            .bind(claim.0)
            .execute(&mut *self.inner)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        // The attempt stays counted: a job that kills nodes must end.
        sqlx::query(
            "UPDATE jobs SET state = 'queued', claim_id = NULL,
                 priority = CASE WHEN again = 1 AND again_priority < priority
                     THEN again_priority ELSE priority END
             WHERE claim_id = $1 AND state = 'running'",
        )
        .bind(claim.0)
        .execute(&mut *self.inner)
        .await?;
        self.refresh(system, -1).await?;
        self.ring();
        Ok(true)
    }
}

impl Store {
    /// Claims of nodes that are not alive: (claim, system).
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn orphaned_claims(
        &self,
        alive: NodeId,
    ) -> Result<Vec<(ClaimId, SystemId)>, StoreError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT c.id, c.system_id FROM claims c
             WHERE c.node_id <> $1 AND NOT EXISTS (
                 SELECT 1 FROM nodes n WHERE n.id = c.node_id AND n.state = 'alive')
             ORDER BY c.id LIMIT 1000",
        )
        .bind(alive.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(claim, system)| (ClaimId(claim), SystemId(system)))
            .collect())
    }

    /// How long the system has been at fault: (faults in a row, paused until).
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn breaker(&self, system: SystemId) -> Result<Option<(i64, Timestamp)>, StoreError> {
        let row: Option<(i64, i64)> =
            sqlx::query_as("SELECT trips, paused_until FROM systems WHERE id = $1")
                .bind(system.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(|(trips, until)| (trips, Timestamp(until))))
    }
}
