//! Jobs: ordered one at a time, and read back.
//!
//! Invariant: whoever inserts or reorders jobs of a system holds its `systems` row first, and an
//! account has one open job at most.

use super::dialect::for_update;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::{AttemptView, Cause, JobKind, JobState, JobView, Priority};

/// A job to be queued.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Whose credential.
    pub account: AccountId,
    /// On which system.
    pub system: SystemId,
    /// What to do.
    pub kind: JobKind,
    /// Why.
    pub cause: Cause,
    /// Who ordered it.
    pub actor: String,
    /// Its class.
    pub priority: Priority,
    /// Not before.
    pub run_at: Timestamp,
    /// The supplied candidate, if one was given.
    pub version: Option<i64>,
}

/// The open job of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenJob {
    /// The job.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// True while an attempt is under way.
    pub running: bool,
    /// Its class.
    pub priority: Priority,
    /// The supplied candidate, if one was given.
    pub version: Option<i64>,
    /// Attempts so far.
    pub attempt: i64,
}

impl Tx {
    /// Takes the system's queue: nobody else changes it until this transaction ends.
    ///
    /// `false`: no such system.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn lock_queue(&mut self, system: SystemId) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(for_update!(
            self.backend,
            "SELECT id FROM systems WHERE id = $1"
        ))
        .bind(system.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(row.is_some())
    }

    /// The account's open job; read after [`Tx::lock_queue`].
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn open_job(&mut self, account: AccountId) -> Result<Option<OpenJob>, StoreError> {
        let row: Option<(i64, String, String, i64, Option<i64>, i64)> = sqlx::query_as(
            "SELECT id, kind, state, priority, version, attempt FROM jobs
             WHERE account_id = $1 AND state IN ('queued', 'running')",
        )
        .bind(account.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        row.map(|(id, kind, state, priority, version, attempt)| {
            Ok(OpenJob {
                id: JobId(id),
                kind: job_kind(id, &kind)?,
                running: state == "running",
                priority: job_priority(id, priority)?,
                version,
                attempt,
            })
        })
        .transpose()
    }

    /// Queues a job for an account that has none open; under [`Tx::lock_queue`].
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the account has an open job.
    pub async fn enqueue(&mut self, job: &NewJob, now: Timestamp) -> Result<JobId, StoreError> {
        let id: JobId = self.id(JobId::KIND).await?;
        self.raise_head(job.system, job.priority, job.run_at)
            .await?;
        sqlx::query(
            "INSERT INTO jobs (id, account_id, system_id, kind, cause, actor, priority, run_at,
                 state, claim_id, attempt, again, again_priority, version, queued_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', NULL, 0, 0, 2, $9, $10)",
        )
        .bind(id.0)
        .bind(job.account.0)
        .bind(job.system.0)
        .bind(job.kind.as_str())
        .bind(job.cause.as_str())
        .bind(&job.actor)
        .bind(job.priority.rank())
        .bind(job.run_at.0)
        .bind(job.version)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the account's open job"))?;
        let done = sqlx::query("UPDATE schedule SET open_job = 1 WHERE account_id = $1")
            .bind(job.account.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the account's schedule")?;
        self.ring();
        Ok(id)
    }

    /// Makes a queued job more urgent and due now; an equal or milder order changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn hasten(
        &mut self,
        job: JobId,
        system: SystemId,
        priority: Priority,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.raise_head(system, priority, now).await?;
        sqlx::query(
            "UPDATE jobs SET priority = $2, run_at = $3
             WHERE id = $1 AND state = 'queued' AND priority > $2",
        )
        .bind(job.0)
        .bind(priority.rank())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        self.ring();
        Ok(())
    }

    /// Gives a queued job another candidate and another orderer.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the job is no longer queued.
    pub async fn redirect_job(
        &mut self,
        job: JobId,
        version: Option<i64>,
        actor: &str,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE jobs SET kind = 'rotate', cause = 'order', version = $2, actor = $3
             WHERE id = $1 AND state = 'queued'",
        )
        .bind(job.0)
        .bind(version)
        .bind(actor)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the job")
    }

    /// Records a job that needed no queue: it has succeeded already.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn record_done(
        &mut self,
        job: &NewJob,
        log: &str,
        now: Timestamp,
    ) -> Result<JobId, StoreError> {
        let id: JobId = self.id(JobId::KIND).await?;
        sqlx::query(
            "INSERT INTO job_history (job_id, claim_id, account_id, system_id, kind, cause, actor,
                 priority, outcome, class, why, attempt, queued_at, started_at, ended_at)
             VALUES ($1, 0, $2, $3, $4, $5, $6, $7, 'succeeded', '', $8, 1, $9, $9, $9)",
        )
        .bind(id.0)
        .bind(job.account.0)
        .bind(job.system.0)
        .bind(job.kind.as_str())
        .bind(job.cause.as_str())
        .bind(&job.actor)
        .bind(job.priority.rank())
        .bind(log)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(id)
    }

    /// A head may be too urgent, never too lazy; this takes the row's lock as well.
    pub(super) async fn raise_head(
        &mut self,
        system: SystemId,
        priority: Priority,
        run_at: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = match priority {
            Priority::Immediate => {
                "UPDATE systems SET head0 = CASE WHEN head0 IS NULL OR head0 > $2 THEN $2 ELSE head0 END WHERE id = $1"
            }
            Priority::Quarantine => {
                "UPDATE systems SET head1 = CASE WHEN head1 IS NULL OR head1 > $2 THEN $2 ELSE head1 END WHERE id = $1"
            }
            Priority::Routine => {
                "UPDATE systems SET head2 = CASE WHEN head2 IS NULL OR head2 > $2 THEN $2 ELSE head2 END WHERE id = $1"
            }
        };
        let done = sqlx::query(sql)
            .bind(system.0)
            .bind(run_at.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the system's queue")
    }
}

impl Store {
    /// One job with the attempts that have ended.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        // The open row first: a job that ends in between is then found in its history.
        let open: Option<OpenRow> = sqlx::query_as(
            "SELECT account_id, system_id, kind, cause, actor, priority, run_at, state, attempt,
                 queued_at
             FROM jobs WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        let ended: Vec<HistoryRow> = sqlx::query_as(
            "SELECT account_id, system_id, kind, cause, actor, priority, outcome, class, why,
                 attempt, queued_at, started_at, ended_at
             FROM job_history WHERE job_id = $1 ORDER BY ended_at, claim_id LIMIT 100",
        )
        .bind(id.0)
        .fetch_all(&self.read)
        .await?;
        match open {
            Some(open) => open.view(id, ended).map(Some),
            None => HistoryRow::view(id, ended),
        }
    }

    /// Jobs, newest first: open ones, or the ended ones, of one account if given; ids below
    /// `before` alone.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn jobs(
        &self,
        open: bool,
        account: Option<AccountId>,
        before: Option<JobId>,
        limit: i64,
    ) -> Result<Vec<JobView>, StoreError> {
        let ids: Vec<(i64,)> = if open {
            sqlx::query_as(
                "SELECT id FROM jobs
                 WHERE (CAST($1 AS BIGINT) IS NULL OR account_id = $1)
                   AND (CAST($2 AS BIGINT) IS NULL OR id < $2)
                 ORDER BY id DESC LIMIT $3",
            )
        } else {
            sqlx::query_as(
                "SELECT job_id FROM job_history
                 WHERE outcome IN ('succeeded', 'failed', 'needs_operator')
                   AND (CAST($1 AS BIGINT) IS NULL OR account_id = $1)
                   AND (CAST($2 AS BIGINT) IS NULL OR job_id < $2)
                   AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = job_id)
                 GROUP BY job_id ORDER BY job_id DESC LIMIT $3",
            )
        }
        .bind(account.map(|id| id.0))
        .bind(before.map(|id| id.0))
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        let mut jobs = Vec::with_capacity(ids.len());
        for (id,) in ids {
            jobs.extend(self.job(JobId(id)).await?);
        }
        Ok(jobs)
    }
}

#[derive(sqlx::FromRow)]
struct OpenRow {
    account_id: i64,
    system_id: i64,
    kind: String,
    cause: String,
    actor: String,
    priority: i64,
    run_at: i64,
    state: String,
    attempt: i64,
    queued_at: i64,
}

impl OpenRow {
    fn view(self, id: JobId, ended: Vec<HistoryRow>) -> Result<JobView, StoreError> {
        let state = match (self.state.as_str(), self.attempt) {
            ("running", _) => JobState::Running,
            (_, 0) => JobState::Queued,
            (_, _) => JobState::Retrying,
        };
        Ok(JobView {
            id,
            account_id: AccountId(self.account_id),
            system_id: SystemId(self.system_id),
            kind: job_kind(id.0, &self.kind)?,
            cause: job_cause(id.0, &self.cause)?,
            actor: self.actor,
            priority: job_priority(id.0, self.priority)?,
            state,
            queued_at: Timestamp(self.queued_at),
            next_attempt_at: Some(Timestamp(self.run_at)),
            ended_at: None,
            attempts: ended.into_iter().map(HistoryRow::attempt).collect(),
        })
    }
}

#[derive(sqlx::FromRow)]
struct HistoryRow {
    account_id: i64,
    system_id: i64,
    kind: String,
    cause: String,
    actor: String,
    priority: i64,
    outcome: String,
    class: String,
    why: String,
    attempt: i64,
    queued_at: i64,
    started_at: i64,
    ended_at: i64,
}

impl HistoryRow {
    fn view(id: JobId, ended: Vec<Self>) -> Result<Option<JobView>, StoreError> {
        // The clocks of two nodes may differ: what ended the job counts, wherever it stands.
        let end = ended.iter().rev().find(|row| row.outcome != "retried");
        let Some(last) = end.or(ended.last()) else {
            return Ok(None);
        };
        let state = match last.outcome.as_str() {
            "succeeded" => JobState::Succeeded,
            "failed" => JobState::Failed,
            "needs_operator" => JobState::NeedsOperator,
            // Its next attempt was requeued after the open row was read.
            _ => JobState::Retrying,
        };
        Ok(Some(JobView {
            id,
            account_id: AccountId(last.account_id),
            system_id: SystemId(last.system_id),
            kind: job_kind(id.0, &last.kind)?,
            cause: job_cause(id.0, &last.cause)?,
            actor: last.actor.clone(),
            priority: job_priority(id.0, last.priority)?,
            state,
            queued_at: Timestamp(last.queued_at),
            next_attempt_at: None,
            ended_at: Some(Timestamp(last.ended_at)),
            attempts: ended.into_iter().map(Self::attempt).collect(),
        }))
    }

    fn attempt(self) -> AttemptView {
        AttemptView {
            attempt: self.attempt,
            started_at: Timestamp(self.started_at),
            ended_at: Timestamp(self.ended_at),
            outcome: self.outcome,
            class: self.class,
            log: self.why,
        }
    }
}

pub(super) fn job_kind(row: i64, raw: &str) -> Result<JobKind, StoreError> {
    JobKind::parse(raw).ok_or(StoreError::Corrupt {
        table: "jobs",
        row,
        problem: "unknown kind",
    })
}

fn job_cause(row: i64, raw: &str) -> Result<Cause, StoreError> {
    Cause::parse(raw).ok_or(StoreError::Corrupt {
        table: "jobs",
        row,
        problem: "unknown cause",
    })
}

pub(super) fn job_priority(row: i64, raw: i64) -> Result<Priority, StoreError> {
    Priority::from_rank(raw).ok_or(StoreError::Corrupt {
        table: "jobs",
        row,
        problem: "unknown priority",
    })
}
