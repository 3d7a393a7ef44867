//! When accounts change and are tested by themselves.
//!
//! Invariant: a plan is stored for the account and system that it was made for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::account::Account;
use crate::model::id::{AccountId, PolicyId, SystemId};
use crate::model::policy::Policy;
use crate::model::schedule::{Planned, plan};
use crate::model::system::System;

impl Tx {
    /// The policy that a plan is made by.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is no policy that this program could have written.
    pub async fn planning_policy(&mut self, id: PolicyId) -> Result<Option<Policy>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT body FROM policies WHERE id = $1")
            .bind(id.0)
            .fetch_optional(&mut *self.inner)
            .await?;
        row.map(|(body,)| {
            serde_json::from_str(&body).map_err(|_| StoreError::Corrupt {
                table: "policies",
                row: id.0,
                problem: "the body is no policy",
            })
        })
        .transpose()
    }

    /// Stores when an account changes, is tested and is flagged next. Hold the system's lock.
    ///
    /// The flag of an account that nobody works on is taken down; the next scan raises it again
    /// if the plan says so.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the account is gone.
    pub async fn set_schedule(
        &mut self,
        account: AccountId,
        system: SystemId,
        planned: Planned,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE schedule SET next_change_at = $3, next_test_at = $4, flag_at = $5,
                stale_at = CASE WHEN open_job = 1 THEN stale_at ELSE NULL END
             WHERE account_id = $1 AND system_id = $2",
        )
        .bind(account.0)
        .bind(system.0)
        .bind(planned.next_change_at.map(|at| at.0))
        .bind(planned.next_test_at.map(|at| at.0))
        .bind(planned.flag_at.map(|at| at.0))
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the account's schedule")
    }
}

impl Tx {
    /// Plans an account anew, as it now is. Hold the system's lock. An account that was deleted
    /// is left as it is.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn replan(&mut self, account: AccountId, now: Timestamp) -> Result<(), StoreError> {
        let Some(account) = self.locked_account(account).await? else {
            return Ok(());
        };
        let plan = self.plan(&account, &mut Known::default(), now).await?;
        match plan {
            None => Ok(()),
            Some(plan) => {
                let plan = plan.not_before(now);
                self.set_schedule(account.id, account.system_id, plan).await
            }
        }
    }

    /// When accounts are due next, as they and their systems now are; deleted ones are left out.
    pub(super) async fn plans(
        &mut self,
        accounts: &[AccountId],
        now: Timestamp,
    ) -> Result<HashMap<AccountId, Planned>, StoreError> {
        let mut known = Known::default();
        let mut plans = HashMap::with_capacity(accounts.len());
        for account in self.locked_accounts(accounts).await? {
            if let Some(plan) = self.plan(&account, &mut known, now).await? {
                plans.insert(account.id, plan);
            }
        }
        Ok(plans)
    }

    async fn plan(
        &mut self,
        account: &Account,
        known: &mut Known,
        now: Timestamp,
    ) -> Result<Option<Planned>, StoreError> {
        let id = account.system_id;
        if let Entry::Vacant(entry) = known.systems.entry(id)
            && let Some(system) = self.locked_system(id).await?
        {
            entry.insert(system);
        }
        let Some(system) = known.systems.get(&id) else {
            return Ok(None);
        };
        let policy = account.settings.policy_id.or(system.settings.policy_id);
        if let Some(id) = policy
            && let Entry::Vacant(entry) = known.policies.entry(id)
            && let Some(policy) = self.planning_policy(id).await?
        {
            entry.insert(policy);
        }
        let policy = policy.and_then(|id| known.policies.get(&id));
        Ok(Some(plan(account, system, policy, now)))
    }
}

/// What several plans of one transaction are made by.
#[derive(Default)]
struct Known {
    systems: HashMap<SystemId, System>,
    policies: HashMap<PolicyId, Policy>,
}
