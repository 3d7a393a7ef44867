//! Rotation policies.
//!
//! Invariant: a stored policy has passed validation; its body is what [`Policy`] writes.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{AccountId, PolicyId, SystemId};
use crate::model::policy::Policy;

/// A policy as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPolicy {
    /// Its id.
    pub id: PolicyId,
    /// What it says.
    pub policy: Policy,
    /// Counts edits; the guard of the next.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last edit.
    pub updated_at: Timestamp,
}

type PolicyRow = (i64, String, i64, i64, i64);

fn stored(row: PolicyRow) -> Result<StoredPolicy, StoreError> {
    let (id, body, revision, created_at, updated_at) = row;
    let policy = serde_json::from_str(&body).map_err(|_| StoreError::Corrupt {
        table: "policies",
        row: id,
        problem: "the body is no policy",
    })?;
    Ok(StoredPolicy {
        id: PolicyId(id),
        policy,
        revision,
        created_at: Timestamp(created_at),
        updated_at: Timestamp(updated_at),
    })
}

impl Store {
    /// One policy.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn policy(&self, id: PolicyId) -> Result<Option<StoredPolicy>, StoreError> {
        let row: Option<PolicyRow> = sqlx::query_as(
            "SELECT id, body, revision, created_at, updated_at FROM policies WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        row.map(stored).transpose()
    }

    /// At most `limit` policies with an id above `after`, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn policies(
        &self,
        after: PolicyId,
        limit: i64,
    ) -> Result<Vec<StoredPolicy>, StoreError> {
        let rows: Vec<PolicyRow> = sqlx::query_as(
            "SELECT id, body, revision, created_at, updated_at FROM policies
             WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(stored).collect()
    }

    /// Accounts that a policy rules: their own, or else their system's; ids above `after`, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn accounts_of_policy(
        &self,
        policy: PolicyId,
        after: AccountId,
        limit: i64,
    ) -> Result<Vec<AccountId>, StoreError> {
        let rows: Vec<(i64,)> = sqlx::query_as(
            "SELECT a.id FROM accounts a JOIN system_details d ON d.system_id = a.system_id
             WHERE a.deleted_at IS NULL AND a.id > $2
               AND (a.policy_id = $1 OR (a.policy_id IS NULL AND d.policy_id = $1))
             ORDER BY a.id LIMIT $3",
        )
        .bind(policy.0)
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|(id,)| AccountId(id)).collect())
    }

    /// Accounts of a system that were not deleted; ids above `after`, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn accounts_of_system(
        &self,
        system: SystemId,
        after: AccountId,
        limit: i64,
    ) -> Result<Vec<AccountId>, StoreError> {
        let rows: Vec<(i64,)> = sqlx::query_as(
            "SELECT account_id FROM schedule s JOIN accounts a ON a.id = s.account_id
             WHERE s.system_id = $1 AND s.account_id > $2 AND a.deleted_at IS NULL
             ORDER BY s.account_id LIMIT $3",
        )
        .bind(system.0)
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|(id,)| AccountId(id)).collect())
    }

    /// How many accounts of a system are neither suspended nor deleted.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_active_accounts(&self, system: SystemId) -> Result<i64, StoreError> {
        let (count,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM accounts WHERE system_id = $1 AND active = 1")
                .bind(system.0)
                .fetch_one(&self.read)
                .await?;
        Ok(count)
    }
}

impl Tx {
    /// Stores a policy.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its name is taken.
    pub async fn insert_policy(
        &mut self,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<PolicyId, StoreError> {
        let id: PolicyId = self.id(PolicyId::KIND).await?;
        let done = sqlx::query(
            "INSERT INTO policies (id, name, name_key, body, revision, created_at, updated_at)
             VALUES ($1, $2, $3, $4, 1, $5, $5)",
        )
        .bind(id.0)
        .bind(policy.name())
        .bind(policy.name().to_lowercase())
        .bind(policy.to_json().to_string())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the policy's name"))?;
        exactly(1, done.rows_affected(), "the policy")?;
        Ok(id)
    }

    /// Replaces a policy, if nobody has since `revision`. Its accounts are the caller's to plan
    /// anew.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its name is taken; [`StoreError::Stale`] if it was edited
    /// meanwhile or is gone.
    pub async fn update_policy(
        &mut self,
        id: PolicyId,
        revision: i64,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE policies SET name = $3, name_key = $4, body = $5, revision = revision + 1,
                 updated_at = $6
             WHERE id = $1 AND revision = $2",
        )
        .bind(id.0)
        .bind(revision)
        .bind(policy.name())
        .bind(policy.name().to_lowercase())
        .bind(policy.to_json().to_string())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the policy's name"))?;
        exactly(1, done.rows_affected(), "the policy")
    }

    /// Deletes a policy that nothing refers to.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while a system or an account refers to it;
    /// [`StoreError::Stale`] if it was edited meanwhile or is gone.
    pub async fn delete_policy(&mut self, id: PolicyId, revision: i64) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM policies WHERE id = $1 AND revision = $2")
            .bind(id.0)
            .bind(revision)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("a system or account of the policy"))?;
        exactly(1, done.rows_affected(), "the policy")
    }
}
