//! Orders that come at the same moment share a transaction: one commit makes all of them durable.
//!
//! Plain orders alone: nothing is given with them, and the account has no open job and takes over
//! nobody's password. Every other one takes [`Orders::change`]'s own way, after them.
//!
//! Invariant: an order is answered only after the commit that holds its job and its audit row.

use std::collections::BTreeMap;

use super::order::{ChangeOrder, OrderError, Orders, ordered};
use super::regression::FORGOTTEN;
use crate::model::credential::Parts;
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};
use crate::store::{NewRotationJob, Orderable, StoreError};

/// An order with which nothing is given.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    account: AccountId,
    parts: Parts,
    immediate: bool,
    actor: String,
}

/// What became of it; `None`: it has to go its own way.
pub(super) type Taken = Option<Result<JobId, OrderError>>;

impl Plain {
    fn order(&self) -> ChangeOrder {
        ChangeOrder {
            parts: self.parts,
            ..ChangeOrder::random(self.account, self.immediate)
        }
    }
}

impl Orders {
    /// Orders a change together with all that are being ordered now.
    pub(super) async fn change_with_others(
        &self,
        order: &ChangeOrder,
        actor: &str,
    ) -> Result<Taken, OrderError> {
        if order.gives() {
            return Ok(None);
        }
        let plain = Plain {
            account: order.account,
            parts: order.parts,
            immediate: order.immediate,
            actor: actor.to_owned(),
        };
        Ok(self.crowd.ask(plain, |all| self.take_all(all)).await?)
    }

    async fn take_all(&self, all: Vec<Plain>) -> Result<Vec<Taken>, StoreError> {
        match self.take_in_one(&all).await {
            // Each would wait as long again, and hear the same.
            Err(StoreError::Busy) => {
                let busy = || Some(Err(OrderError::Store(StoreError::Busy)));
                Ok(all.iter().map(|_| busy()).collect())
            }
            taken => taken,
        }
    }

    async fn take_in_one(&self, all: &[Plain]) -> Result<Vec<Taken>, StoreError> {
        let accounts: Vec<AccountId> = all.iter().map(|plain| plain.account).collect();
        let mut tx = self.store.begin().await?;
        let found = tx.take_orderable(&accounts).await?;
        // The first order of an account takes it: a second one then joins it.
        let mut free: BTreeMap<AccountId, Option<Orderable>> = found
            .into_iter()
            .map(|found| (found.account.id(), Some(found)))
            .collect();
        let (mut taken, mut jobs) = (Vec::with_capacity(all.len()), Vec::new());
        for (nth, plain) in all.iter().enumerate() {
            let answer = match free.get_mut(&plain.account).map(Option::take) {
                None => Some(Err(OrderError::NotFound)),
                Some(Some(found)) if found.is_regressed == 1 => {
                    Some(Err(OrderError::InTheWay(FORGOTTEN.to_owned())))
                }
                Some(Some(found)) if found.has_job == 0 && found.account.parent_id.is_none() => {
                    match self.fits(&found.account, &found.system, &[], true) {
                        Ok(()) => {
                            jobs.push((nth, plain, SystemId(found.system.system_id)));
                            None
                        }
                        Err(refused) => Some(Err(refused)),
                    }
                }
                Some(_) => None,
            };
            taken.push(answer);
        }
        if jobs.is_empty() {
            tx.rollback().await?;
            return Ok(taken);
        }
        let now = self.clock.now();
        let new: Vec<NewRotationJob> = jobs
            .iter()
            .map(|(_, plain, system)| NewRotationJob {
                account: plain.account,
                system: *system,
                actor: plain.actor.clone(),
                priority: if plain.immediate {
                    Priority::Immediate
                } else {
                    Priority::Routine
                },
                parts: plain.parts,
            })
            .collect();
        let ids = tx.enqueue_rotations(&new, now).await?;
        let events: Vec<_> = jobs
            .iter()
            .zip(&ids)
            .map(|((_, plain, _), job)| ordered(&plain.order(), &plain.actor, *job))
            .collect();
        tx.audit_all(&events.iter().collect::<Vec<_>>(), now)
            .await?;
        tx.commit().await?;
        let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        self.metrics
            .jobs_enqueued(JobKind::Rotate.as_str(), Cause::Order.as_str(), count);
        for ((nth, ..), job) in jobs.into_iter().zip(ids) {
            if let Some(slot) = taken.get_mut(nth) {
                *slot = Some(Ok(job));
            }
        }
        Ok(taken)
    }
}
