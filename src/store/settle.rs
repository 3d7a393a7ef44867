//! Settles what a claim's attempts came to, and takes claims from dead nodes.
//!
//! Invariant: only the holder of a claim's row settles its jobs; a claim ends exactly once.

mod ending;

use self::ending::Running;
use super::claim::{BREAKER_TRIPS, Claim, ClaimedJob};
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{ClaimId, NodeId, QuarantineId, SystemId};

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
        let found: Vec<(&Settled, &Running)> = settled
            .iter()
            .filter_map(|one| Some((one, running.get(&one.job.id.0)?)))
            .collect();
        self.settle_all(claim, &found, now).await?;
        if settled.is_empty() || !found.is_empty() {
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
