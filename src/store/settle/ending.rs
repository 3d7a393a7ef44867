//! What becomes of the jobs of one settlement: history, another turn, or the end.
//!
//! Invariant: a job is in `jobs` or has its last row in `job_history`; the account of one that has
//! ended is due in the future, or never.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use keywheel_connectors::Class;

use super::{Ending, Settled};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::credential::Parts;
use crate::model::id::{AccountId, ClaimId, JobId, PolicyId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};
use crate::model::policy::Mode;
use crate::store::claim::Claim;
use crate::store::job::NewJob;
use crate::store::wide::Wide;
use crate::store::{StoreError, Tx, exactly};

/// A change that failed for good is not due again before this.
const AFTER_FAILURE: Duration = Duration::from_hours(1);

/// A job that nobody has settled yet.
pub(super) struct Running {
    /// It was ordered once more while it ran, with this priority.
    again: Option<i64>,
    cause: String,
}

static REMEMBER: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        3,
        "job, outcome, class, log",
        "INSERT INTO job_history (job_id, claim_id, account_id, system_id, kind, cause, actor,
             priority, outcome, class, why, attempt, queued_at, started_at, ended_at)
         SELECT j.id, j.claim_id, j.account_id, j.system_id, j.kind, j.cause, j.actor, j.priority,
             r.outcome, r.class, r.log, j.attempt, j.queued_at, CAST($2 AS BIGINT),
             CAST($3 AS BIGINT)
         FROM r JOIN jobs j ON j.id = r.job WHERE j.claim_id = $1 AND j.state = 'running'",
    )
});
static DELETE: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        1,
        "job",
        "DELETE FROM jobs WHERE id IN (SELECT job FROM r) AND claim_id = $1 AND state = 'running'",
    )
});
// An account that was deleted meanwhile keeps its times.
static RELEASE: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account, planned, change, test, flag, waits, fresh",
        "UPDATE schedule SET open_job = 0,
             next_change_at = CASE WHEN r.planned = 1 OR r.waits = 1 THEN CAST(r.change AS BIGINT)
                 ELSE next_change_at END,
             next_test_at = CASE WHEN r.planned = 1 THEN CAST(r.test AS BIGINT)
                 ELSE next_test_at END,
             flag_at = CASE WHEN r.planned = 1 THEN CAST(r.flag AS BIGINT) ELSE flag_at END,
             stale_at = CASE WHEN r.fresh = 1 THEN NULL ELSE stale_at END
         FROM r WHERE account_id = r.account",
    )
});

impl Tx {
    /// Jobs of the claim that nobody has settled yet.
    pub(super) async fn running_jobs(
        &mut self,
        claim: ClaimId,
    ) -> Result<HashMap<i64, Running>, StoreError> {
        let rows: Vec<(i64, Option<i64>, String)> = sqlx::query_as(
            "SELECT id, CASE WHEN again = 1 THEN again_priority ELSE NULL END, cause FROM jobs
             WHERE claim_id = $1 AND state = 'running'",
        )
        .bind(claim.0)
        .fetch_all(&mut *self.inner)
        .await?;
        let running = |(id, again, cause)| (id, Running { again, cause });
        Ok(rows.into_iter().map(running).collect())
    }

    pub(super) async fn settle_all(
        &mut self,
        claim: &Claim,
        found: &[(&Settled, &Running)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tried = Vec::with_capacity(found.len());
        for (one, _) in found {
            let outcome = match &one.ending {
                Ending::Succeeded => "succeeded",
                Ending::Failed => "failed",
                Ending::NeedsOperator => "needs_operator",
                Ending::Retry { .. } => "retried",
                Ending::GivenBack => {
                    self.requeue(claim.id, one, None, false, now).await?;
                    continue;
                }
            };
            tried.push((outcome, *one));
        }
        for cut in REMEMBER.cuts(&tried) {
            let mut query = sqlx::query(cut.text)
                .bind(claim.id.0)
                .bind(claim.claimed_at.0)
                .bind(now.0);
            for (job, (outcome, one)) in cut.rows(|(_, one)| one.job.id.0) {
                query = query.bind(job).bind(outcome).bind(one.class).bind(&one.log);
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the job")?;
        }
        let mut ended = Vec::with_capacity(tried.len());
        for (one, running) in found {
            match (&one.ending, running.again) {
                (Ending::GivenBack, _) => {}
                (Ending::Retry { at, counts }, _) => {
                    self.requeue(claim.id, one, Some(*at), *counts, now).await?;
                }
                (_, Some(priority)) => {
                    self.run_again(claim.id, one.job.id, priority, now).await?;
                }
                (_, None) => ended.push((*one, *running)),
            }
        }
        self.settle_standings(found.iter().map(|(one, _)| &one.job), now)
            .await?;
        self.end(claim.id, &ended, now).await
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
                 run_at = $4, queued_at = $4, orders = orders + 1, attempt = 0, again = 0, again_priority = 2,
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
        ended: &[(&Settled, &Running)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for cut in DELETE.cuts(ended) {
            let mut query = sqlx::query(cut.text).bind(claim.0);
            for (job, _) in cut.rows(|(one, _)| one.job.id.0) {
                query = query.bind(job);
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the job")?;
        }
        let accounts: Vec<AccountId> = ended.iter().map(|(one, _)| one.job.account).collect();
        let plans = self.plans(&accounts, now).await?;
        for cut in RELEASE.cuts(ended) {
            let mut query = sqlx::query(cut.text);
            for (account, (one, _)) in cut.rows(|(one, _)| one.job.account.0) {
                // A due time in the past would be claimed again at once, for ever.
                let earliest = match one.ending {
                    Ending::Succeeded => now.plus(Duration::from_millis(1)),
                    _ => now.plus(AFTER_FAILURE),
                };
                let plan = plans
                    .get(&one.job.account)
                    .map(|plan| plan.not_before(earliest));
                let fresh = one.ending == Ending::Succeeded && one.job.kind == JobKind::Rotate;
                let waits = one.ending == Ending::NeedsOperator; // until somebody has resolved it
                let due = plan.unwrap_or_default();
                query = query
                    .bind(account)
                    .bind(i64::from(plan.is_some()))
                    .bind(due.next_change_at.filter(|_| !waits).map(|at| at.0))
                    .bind(due.next_test_at.map(|at| at.0))
                    .bind(due.flag_at.map(|at| at.0))
                    .bind(i64::from(waits))
                    .bind(i64::from(fresh));
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the account's schedule")?;
        }
        for (one, running) in ended {
            let scheduled_test =
                one.job.kind == JobKind::Test && running.cause == Cause::Schedule.as_str();
            // A test that takes up an older change may end as one that needs an operator.
            let refused = match one.ending {
                Ending::Failed => one.class == Class::Denied.name(),
                Ending::NeedsOperator => true,
                Ending::Succeeded | Ending::Retry { .. } | Ending::GivenBack => false,
            };
            if scheduled_test && refused {
                self.answer_mismatch(one, now).await?;
            }
        }
        Ok(())
    }

    /// The target refuses what is current, and holds nothing that is kept: where the account or its
    /// policy says so, its credential is changed.
    async fn answer_mismatch(&mut self, one: &Settled, now: Timestamp) -> Result<(), StoreError> {
        let row: Option<(i64, i64, Option<i64>)> = sqlx::query_as(
            "SELECT a.system_id, CAST(a.auto_management * a.reset_on_mismatch AS BIGINT),
                 COALESCE(a.policy_id, d.policy_id)
             FROM accounts a JOIN system_details d ON d.system_id = a.system_id
             WHERE a.id = $1 AND a.active = 1 AND a.last_test = 'out_of_sync'",
        )
        .bind(one.job.account.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some((system, resets, policy)) = row else {
            return Ok(());
        };
        let policy = match policy {
            Some(id) => self.planning_policy(PolicyId(id)).await?,
            None => None,
        };
        let changes =
            policy.is_some_and(|policy| policy.mode() == Mode::Auto && policy.change_on_mismatch());
        if resets == 0 && !changes {
            return Ok(());
        }
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
}
