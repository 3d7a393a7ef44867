//! When accounts change and are tested by themselves.
//!
//! Invariant: a plan is stored for the account and system that it was made for.

use super::{StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{AccountId, PolicyId, SystemId};
use crate::model::policy::Policy;
use crate::model::schedule::{Planned, plan};

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
        self.replan_after(account, now, now).await
    }

    /// Plans an account anew; nothing of it comes before `earliest`.
    pub(super) async fn replan_after(
        &mut self,
        account: AccountId,
        earliest: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(account) = self.locked_account(account).await? else {
            return Ok(());
        };
        let Some(system) = self.locked_system(account.system_id).await? else {
            return Ok(());
        };
        let policy = match account.settings.policy_id.or(system.settings.policy_id) {
            Some(id) => self.planning_policy(id).await?,
            None => None,
        };
        let mut planned = plan(&account, &system, policy.as_ref(), now);
        planned.next_change_at = planned.next_change_at.map(|at| at.max(earliest));
        planned.next_test_at = planned.next_test_at.map(|at| at.max(earliest));
        self.set_schedule(account.id, account.system_id, planned)
            .await
    }
}
