//! Jobs: ordered one at a time.
//!
//! Invariant: whoever inserts or reorders jobs of a system holds its `systems` row first, and an
//! account has one open job at most.

mod view;

use super::dialect::for_no_key_update;
use super::{StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::credential::Parts;
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};

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
    /// What it is to do.
    pub parts: Parts,
    /// The supplied password, if one was given.
    pub version: Option<i64>,
    /// The supplied key pair, if one was given.
    pub key_version: Option<i64>,
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
    /// What it still has to do.
    pub parts: Parts,
    /// The supplied password, if one was given.
    pub version: Option<i64>,
    /// The supplied key pair, if one was given.
    pub key_version: Option<i64>,
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
        let row: Option<(i64,)> = sqlx::query_as(for_no_key_update!(
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
        let row: Option<OpenJobRow> = sqlx::query_as(
            "SELECT id, kind, state, priority, parts, version, key_version, attempt FROM jobs
             WHERE account_id = $1 AND state IN ('queued', 'running')",
        )
        .bind(account.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        row.map(OpenJobRow::job).transpose()
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
                 state, claim_id, attempt, again, again_priority, parts, version, key_version,
                 queued_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', NULL, 0, 0, 2, $9, $10, $11, $12)",
        )
        .bind(id.0)
        .bind(job.account.0)
        .bind(job.system.0)
        .bind(job.kind.as_str())
        .bind(job.cause.as_str())
        .bind(&job.actor)
        .bind(job.priority.rank())
        .bind(job.run_at.0)
        .bind(job.parts.bits())
        .bind(job.version)
        .bind(job.key_version)
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

    /// Gives a queued job more to do, other candidates and another orderer. A candidate that was
    /// supplied before stays unless there is a new one.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the job is no longer queued.
    pub async fn redirect_job(
        &mut self,
        job: JobId,
        parts: Parts,
        (version, key_version): (Option<i64>, Option<i64>),
        actor: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // What an attempt before did is done again: the order is younger. A version that a test
        // was to find out about is not to be sent.
        let done = sqlx::query(
            "UPDATE jobs SET kind = 'rotate', cause = 'order', parts = $2,
                 version = COALESCE($3, CASE WHEN kind = 'test' THEN NULL ELSE version END),
                 key_version = COALESCE($4, CASE WHEN kind = 'test' THEN NULL
                     ELSE key_version END),
                 actor = $5, queued_at = $6, orders = orders + 1
             WHERE id = $1 AND state = 'queued'",
        )
        .bind(job.0)
        .bind(parts.bits())
        .bind(version)
        .bind(key_version)
        .bind(actor)
        .bind(now.0)
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

#[derive(sqlx::FromRow)]
struct OpenJobRow {
    id: i64,
    kind: String,
    state: String,
    priority: i64,
    parts: i64,
    version: Option<i64>,
    key_version: Option<i64>,
    attempt: i64,
}

impl OpenJobRow {
    fn job(self) -> Result<OpenJob, StoreError> {
        Ok(OpenJob {
            id: JobId(self.id),
            kind: job_kind(self.id, &self.kind)?,
            running: self.state == "running",
            priority: job_priority(self.id, self.priority)?,
            parts: job_parts(self.id, self.parts)?,
            version: self.version,
            key_version: self.key_version,
            attempt: self.attempt,
        })
    }
}

pub(super) fn job_kind(row: i64, raw: &str) -> Result<JobKind, StoreError> {
    JobKind::parse(raw).ok_or(StoreError::Corrupt {
        table: "jobs",
        row,
        problem: "unknown kind",
    })
}

pub(super) fn job_parts(row: i64, raw: i64) -> Result<Parts, StoreError> {
    Parts::from_bits(raw).ok_or(StoreError::Corrupt {
        table: "jobs",
        row,
        problem: "unknown parts",
    })
}

pub(super) fn job_cause(row: i64, raw: &str) -> Result<Cause, StoreError> {
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
