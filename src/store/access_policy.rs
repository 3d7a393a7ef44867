//! Access policies and their schedules.
//!
//! Invariant: a policy that a role names is not deleted, and the built-in one is neither deleted nor
//! edited; a schedule keeps its number as long as it lives.

use super::smart_rule::{references, rules_of_user};
use super::{Store, StoreError, Tx, exactly};
use crate::model::access_policy::{
    ALWAYS_OPEN, AccessPolicy, AccessSchedule, AccessTerms, NewAccessPolicy,
};
use crate::model::id::{AccountId, RequestId, UserId};
use crate::model::policy::{windows_from_json, windows_to_json};

const WHAT: &str = "the access policy";
/// What stands in the way of an edit.
const NAMED: StoreError = StoreError::Conflict {
    what: "a role that names the access policy",
};

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    policy_id: i64,
    name: String,
    windows: String,
    approvals: i64,
    rotation_override: i64,
    outlasts_window: i64,
}

impl TryFrom<Row> for AccessSchedule {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let list = serde_json::from_str(&row.windows).ok();
        let windows = list.and_then(|list| windows_from_json(&list, "").ok());
        let windows = windows.ok_or(StoreError::Corrupt {
            table: "access_schedules",
            row: row.id,
            problem: "the windows are none",
        })?;
        Ok(Self {
            id: row.id,
            terms: AccessTerms {
                name: row.name,
                windows,
                approvals: row.approvals,
                rotation_override: row.rotation_override == 1,
                outlasts_window: row.outlasts_window == 1,
            },
        })
    }
}

macro_rules! columns {
    () => {
        "SELECT DISTINCT s.id, s.policy_id, s.name, s.windows, s.approvals,
             CAST(s.rotation_override AS BIGINT) AS rotation_override,
             CAST(s.outlasts_window AS BIGINT) AS outlasts_window"
    };
}

impl Store {
    /// Access policies, by number.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn access_policies(&self) -> Result<Vec<AccessPolicy>, StoreError> {
        let policies: Vec<(i64, String, String, i64)> = sqlx::query_as(
            "SELECT id, name, description, revision FROM access_policies ORDER BY id",
        )
        .fetch_all(&self.read)
        .await?;
        let mut policies: Vec<AccessPolicy> = policies
            .into_iter()
            .map(|(id, name, description, revision)| AccessPolicy {
                id,
                name,
                description,
                schedules: Vec::new(),
                revision,
            })
            .collect();
        let rows: Vec<Row> = sqlx::query_as(concat!(
            columns!(),
            " FROM access_schedules s ORDER BY s.id"
        ))
        .fetch_all(&self.read)
        .await?;
        for row in rows {
            let of = row.policy_id;
            // One whose policy was made since the first question is not shown yet.
            if let Some(policy) = policies.iter_mut().find(|policy| policy.id == of) {
                policy.schedules.push(row.try_into()?);
            }
        }
        Ok(policies)
    }

    /// Schedules by which the user may ask for the account, by number; none: no role lets them.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn schedules_for(
        &self,
        user: UserId,
        account: AccountId,
    ) -> Result<Vec<AccessSchedule>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            columns!(),
            " FROM ",
            rules_of_user!("$1"),
            " JOIN access_schedules s ON s.policy_id = rr.access_policy
              JOIN accounts a ON a.id = $2 AND a.deleted_at IS NULL
              JOIN system_details d ON d.system_id = a.system_id
              WHERE rr.role IN (1, 3) AND ",
            references!(),
            " ORDER BY s.id"
        ))
        .bind(user.0)
        .bind(account.0)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(AccessSchedule::try_from).collect()
    }

    /// How many people may approve what a user asks for: enabled administrators, and enabled users
    /// with the role on a rule that references the account, but for the user. Whoever has approved
    /// the request counts, whatever has become of the role.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_approvers(
        &self,
        asker: UserId,
        account: AccountId,
        request: Option<RequestId>,
    ) -> Result<i64, StoreError> {
        let (count,): (i64,) = sqlx::query_as(concat!(
            "SELECT COUNT(*) FROM users u WHERE u.id <> $1 AND (
               (u.disabled = 0 AND u.administrator = 1)
               OR EXISTS (SELECT 1 FROM request_approvals ra
                   WHERE ra.request_id = CAST($3 AS BIGINT) AND ra.user_id = u.id)
               OR (u.disabled = 0 AND EXISTS (SELECT 1 FROM ",
            rules_of_user!("u.id"),
            " JOIN accounts a ON a.id = $2 AND a.deleted_at IS NULL
              JOIN system_details d ON d.system_id = a.system_id
              WHERE rr.role IN (2, 3) AND ",
            references!(),
            ")))"
        ))
        .bind(asker.0)
        .bind(account.0)
        .bind(request.map(|request| request.0))
        .fetch_one(&self.read)
        .await?;
        Ok(count)
    }
}

impl Tx {
    /// Makes an access policy; its number.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken.
    pub async fn insert_access_policy(
        &mut self,
        policy: &NewAccessPolicy,
    ) -> Result<i64, StoreError> {
        let id = self.ids("access policy", 1).await?;
        let done = sqlx::query(
            "INSERT INTO access_policies (id, name, name_key, description, revision)
             VALUES ($1, $2, $3, $4, 1)",
        )
        .bind(id)
        .bind(&policy.name)
        .bind(policy.name.to_lowercase())
        .bind(&policy.description)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the access policy's name"))?;
        exactly(1, done.rows_affected(), WHAT)?;
        for (_, terms) in &policy.schedules {
            self.insert_access_schedule(id, terms).await?;
        }
        Ok(id)
    }

    /// Replaces an access policy, if nobody has since `revision`. Schedules that are no longer given
    /// are deleted; requests keep the terms that they were made on.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its name is taken; [`StoreError::Stale`] if it was edited
    /// meanwhile, is gone or built in, or has no schedule of a given number.
    pub async fn update_access_policy(
        &mut self,
        id: i64,
        revision: i64,
        policy: &NewAccessPolicy,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE access_policies SET name = $3, name_key = $4, description = $5,
                 revision = revision + 1
             WHERE id = $1 AND revision = $2 AND id <> $6",
        )
        .bind(id)
        .bind(revision)
        .bind(&policy.name)
        .bind(policy.name.to_lowercase())
        .bind(&policy.description)
        .bind(ALWAYS_OPEN)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the access policy's name"))?;
        exactly(1, done.rows_affected(), WHAT)?;
        let before: Vec<(i64,)> =
            sqlx::query_as("SELECT id FROM access_schedules WHERE policy_id = $1 ORDER BY id")
                .bind(id)
                .fetch_all(&mut *self.inner)
                .await?;
        for (schedule,) in before {
            if policy
                .schedules
                .iter()
                .all(|(kept, _)| *kept != Some(schedule))
            {
                let done = sqlx::query("DELETE FROM access_schedules WHERE id = $1")
                    .bind(schedule)
                    .execute(&mut *self.inner)
                    .await?;
                exactly(1, done.rows_affected(), "the schedule")?;
            }
        }
        for (schedule, terms) in &policy.schedules {
            match schedule {
                Some(schedule) => self.update_access_schedule(id, *schedule, terms).await?,
                None => self.insert_access_schedule(id, terms).await?,
            }
        }
        Ok(())
    }

    /// Deletes an access policy that no role names.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a role names it; [`StoreError::Stale`] if it was edited
    /// meanwhile, is gone, or is built in.
    pub async fn delete_access_policy(&mut self, id: i64, revision: i64) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE access_policies SET revision = revision
             WHERE id = $1 AND revision = $2 AND id <> $3",
        )
        .bind(id)
        .bind(revision)
        .bind(ALWAYS_OPEN)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), WHAT)?;
        self.nobody_names(id).await?;
        sqlx::query("DELETE FROM access_schedules WHERE policy_id = $1")
            .bind(id)
            .execute(&mut *self.inner)
            .await?;
        let done = sqlx::query("DELETE FROM access_policies WHERE id = $1")
            .bind(id)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), WHAT)
    }

    /// Keeps an access policy as it is until the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is none.
    pub(super) async fn lock_access_policy(&mut self, id: i64) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE access_policies SET revision = revision WHERE id = $1")
            .bind(id)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), WHAT)
    }

    /// Under the policy's row lock, in a statement of its own: a role that came while the lock was
    /// waited for is seen.
    async fn nobody_names(&mut self, id: i64) -> Result<(), StoreError> {
        let (roles,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM rule_roles WHERE access_policy = $1")
                .bind(id)
                .fetch_one(&mut *self.inner)
                .await?;
        if roles == 0 { Ok(()) } else { Err(NAMED) }
    }

    async fn insert_access_schedule(
        &mut self,
        policy: i64,
        terms: &AccessTerms,
    ) -> Result<(), StoreError> {
        let id = self.ids("access schedule", 1).await?;
        let done = sqlx::query(
            "INSERT INTO access_schedules (id, policy_id, name, windows, approvals,
                 rotation_override, outlasts_window)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id)
        .bind(policy)
        .bind(&terms.name)
        .bind(windows_to_json(&terms.windows).to_string())
        .bind(terms.approvals)
        .bind(i64::from(terms.rotation_override))
        .bind(i64::from(terms.outlasts_window))
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the schedule")
    }

    async fn update_access_schedule(
        &mut self,
        policy: i64,
        id: i64,
        terms: &AccessTerms,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE access_schedules SET name = $3, windows = $4, approvals = $5,
                 rotation_override = $6, outlasts_window = $7
             WHERE id = $1 AND policy_id = $2",
        )
        .bind(id)
        .bind(policy)
        .bind(&terms.name)
        .bind(windows_to_json(&terms.windows).to_string())
        .bind(terms.approvals)
        .bind(i64::from(terms.rotation_override))
        .bind(i64::from(terms.outlasts_window))
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the schedule")
    }
}
