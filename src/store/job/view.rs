//! Jobs read back, with the attempts that have ended.
//!
//! Invariant: a job is open or in its history; one that ends while it is read is found there.

use super::{job_cause, job_kind, job_priority};
use crate::model::Timestamp;
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::{AttemptView, JobState, JobView};
use crate::store::{Store, StoreError};

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
