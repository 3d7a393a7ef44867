//! A job as a claim reads it.
//!
//! Invariant: a row that no release wrote is an error, never another job.

use super::{Claim, ClaimedJob};
use crate::model::Timestamp;
use crate::model::id::{AccountId, ClaimId, JobId, NodeId, SystemId};
use crate::model::job::Priority;
use crate::store::StoreError;
use crate::store::job::{job_cause, job_kind, job_parts};
use crate::store::regression::standing;

pub(super) fn claim_of(
    (id, node, system, priority): (ClaimId, NodeId, SystemId, Priority),
    rows: Vec<ClaimRow>,
    now: Timestamp,
) -> Result<Claim, StoreError> {
    let jobs = rows
        .into_iter()
        .map(ClaimRow::job)
        .collect::<Result<_, _>>()?;
    Ok(Claim {
        id,
        system,
        node,
        priority,
        claimed_at: now,
        jobs,
    })
}

#[derive(sqlx::FromRow)]
pub(super) struct ClaimRow {
    pub(super) id: i64,
    account_id: i64,
    kind: String,
    cause: String,
    actor: String,
    attempt: i64,
    parts: i64,
    version: Option<i64>,
    key_version: Option<i64>,
    orders: i64,
    queued_at: i64,
    pub(super) run_at: i64,
    consent: Option<String>,
}

impl ClaimRow {
    fn job(self) -> Result<ClaimedJob, StoreError> {
        Ok(ClaimedJob {
            id: JobId(self.id),
            account: AccountId(self.account_id),
            kind: job_kind(self.id, &self.kind)?,
            cause: job_cause(self.id, &self.cause)?,
            actor: self.actor,
            attempt: self.attempt + 1,
            parts: job_parts(self.id, self.parts)?,
            version: self.version,
            key_version: self.key_version,
            orders: self.orders,
            queued_at: Timestamp(self.queued_at),
            run_at: Timestamp(self.run_at),
            standing: standing(self.account_id, self.consent.as_deref())?,
        })
    }
}
