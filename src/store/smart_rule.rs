//! Smart rules, their members, and the roles of groups on them.
//!
//! Invariant: what a rule references is decided by one text, wherever it is asked; a built-in rule
//! is never changed.

use std::collections::BTreeSet;

use super::{Page, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::access::{NewQuickRule, Role, RuleKind, SmartRule};
use crate::model::id::{AccountId, GroupId, SmartRuleId, UserId};

const GONE: StoreError = StoreError::Stale {
    what: "the smart rule",
};

/// True where rule `r` references the account `a` of the system `d`.
macro_rules! references {
    () => {
        "((r.everything = 1 AND (r.kind = 'account' OR d.asset_id IS NOT NULL))
          OR EXISTS (SELECT 1 FROM smart_rule_members sm WHERE sm.rule_id = r.id
              AND sm.member_id = CASE r.kind WHEN 'account' THEN a.id
                  WHEN 'system' THEN d.system_id ELSE d.asset_id END))"
    };
}

/// Rules `r` on which user `$n` has a role, by its groups.
macro_rules! rules_of_user {
    ($user:literal) => {
        concat!(
            "group_members gm JOIN user_groups g ON g.id = gm.group_id AND g.active = 1
             JOIN rule_roles rr ON rr.group_id = g.id
             JOIN smart_rules r ON r.id = rr.rule_id AND gm.user_id = ",
            $user
        )
    };
}

pub(super) use {references, rules_of_user};

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    title: String,
    description: String,
    category: String,
    kind: String,
    everything: i64,
    processed_at: i64,
}

impl TryFrom<Row> for SmartRule {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let kind = RuleKind::parse(&row.kind).ok_or(StoreError::Corrupt {
            table: "smart_rules",
            row: row.id,
            problem: "unknown kind",
        })?;
        Ok(Self {
            id: SmartRuleId(row.id),
            title: row.title,
            description: row.description,
            category: row.category,
            kind,
            everything: row.everything == 1,
            processed_at: Timestamp(row.processed_at),
        })
    }
}

macro_rules! columns {
    () => {
        "SELECT r.id, r.title, r.description, r.category, r.kind,
             CAST(r.everything AS BIGINT) AS everything, r.processed_at FROM smart_rules r"
    };
}

impl Store {
    /// A rule.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn smart_rule(&self, id: SmartRuleId) -> Result<Option<SmartRule>, StoreError> {
        let row: Option<Row> = sqlx::query_as(concat!(columns!(), " WHERE r.id = $1"))
            .bind(id.0)
            .fetch_optional(&self.read)
            .await?;
        row.map(SmartRule::try_from).transpose()
    }

    /// Rules, by id: all, or those on which a user has a role; with this title, in any case; all
    /// kinds, or those with fixed members alone.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn smart_rules(
        &self,
        user: Option<UserId>,
        title: Option<&str>,
        fixed: bool,
        page: Page,
    ) -> Result<Vec<SmartRule>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            columns!(),
            " WHERE (CAST($1 AS TEXT) IS NULL OR r.title_key = $1) AND r.everything <= $2
                AND (CAST($3 AS BIGINT) IS NULL OR EXISTS (
                    SELECT 1 FROM group_members gm
                        JOIN user_groups g ON g.id = gm.group_id AND g.active = 1
                        JOIN rule_roles rr ON rr.group_id = g.id
                        WHERE gm.user_id = $3 AND rr.rule_id = r.id))
              ORDER BY r.id LIMIT $4 OFFSET $5"
        ))
        .bind(title.map(str::to_lowercase))
        .bind(i64::from(!fixed))
        .bind(user.map(|user| user.0))
        .bind(page.limit)
        .bind(page.offset)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(SmartRule::try_from).collect()
    }

    /// Roles that a user has on rules that reference the account; none for one that is gone.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn roles_on(
        &self,
        user: UserId,
        account: AccountId,
    ) -> Result<BTreeSet<Role>, StoreError> {
        let rows: Vec<(i64,)> = sqlx::query_as(concat!(
            "SELECT DISTINCT rr.role FROM ",
            rules_of_user!("$1"),
            " JOIN accounts a ON a.id = $2 AND a.deleted_at IS NULL
              JOIN system_details d ON d.system_id = a.system_id WHERE ",
            references!()
        ))
        .bind(user.0)
        .bind(account.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .filter_map(|(role,)| Role::of(role))
            .collect())
    }

    /// True if a user has a role on the rule.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn has_role_on(&self, user: UserId, rule: SmartRuleId) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(concat!(
            "SELECT rr.role FROM ",
            rules_of_user!("$1"),
            " WHERE r.id = $2 LIMIT 1"
        ))
        .bind(user.0)
        .bind(rule.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.is_some())
    }

    /// How many accounts a rule references.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_accounts_of(&self, rule: SmartRuleId) -> Result<i64, StoreError> {
        let (count,): (i64,) = sqlx::query_as(concat!(
            "SELECT COUNT(*) FROM accounts a JOIN system_details d ON d.system_id = a.system_id
                 JOIN smart_rules r ON r.id = $1
             WHERE a.deleted_at IS NULL AND ",
            references!()
        ))
        .bind(rule.0)
        .fetch_one(&self.read)
        .await?;
        Ok(count)
    }

    /// Roles of a group on a rule, and the access policy of those that have one.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn rule_roles(
        &self,
        group: GroupId,
        rule: SmartRuleId,
    ) -> Result<Vec<(Role, Option<i64>)>, StoreError> {
        let rows: Vec<(i64, Option<i64>)> = sqlx::query_as(
            "SELECT role, access_policy FROM rule_roles WHERE group_id = $1 AND rule_id = $2
             ORDER BY role",
        )
        .bind(group.0)
        .bind(rule.0)
        .fetch_all(&self.read)
        .await?;
        let known = |(number, policy)| Some((Role::of(number)?, policy));
        Ok(rows.into_iter().filter_map(known).collect())
    }
}

impl Tx {
    /// Makes a rule with fixed members.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the title is taken.
    pub async fn insert_quick_rule(
        &mut self,
        rule: &NewQuickRule,
        now: Timestamp,
    ) -> Result<SmartRuleId, StoreError> {
        let id: SmartRuleId = self.id(SmartRuleId::KIND).await?;
        let done = sqlx::query(
            "INSERT INTO smart_rules (id, title, title_key, description, category, kind,
                 everything, processed_at)
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7)",
        )
        .bind(id.0)
        .bind(&rule.title)
        .bind(rule.title.to_lowercase())
        .bind(&rule.description)
        .bind(&rule.category)
        .bind(rule.kind.as_str())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the smart rule's title"))?;
        exactly(1, done.rows_affected(), "the smart rule")?;
        for member in &rule.members {
            self.add_rule_member(id, *member).await?;
        }
        Ok(id)
    }

    /// Adds a member to a rule with fixed members; true if it was not there.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn add_rule_member(
        &mut self,
        rule: SmartRuleId,
        member: i64,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO smart_rule_members (rule_id, member_id) VALUES ($1, $2)
             ON CONFLICT (rule_id, member_id) DO NOTHING",
        )
        .bind(rule.0)
        .bind(member)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes a member out; true if it was there.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn remove_rule_member(
        &mut self,
        rule: SmartRuleId,
        member: i64,
    ) -> Result<bool, StoreError> {
        let done =
            sqlx::query("DELETE FROM smart_rule_members WHERE rule_id = $1 AND member_id = $2")
                .bind(rule.0)
                .bind(member)
                .execute(&mut *self.inner)
                .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Replaces the members of a rule with fixed members.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such rule.
    pub async fn set_rule_members(
        &mut self,
        rule: SmartRuleId,
        members: &BTreeSet<i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.touch_rule(rule, now).await?;
        sqlx::query("DELETE FROM smart_rule_members WHERE rule_id = $1")
            .bind(rule.0)
            .execute(&mut *self.inner)
            .await?;
        for member in members {
            self.add_rule_member(rule, *member).await?;
        }
        Ok(())
    }

    /// Notes that a rule was processed.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such rule.
    pub async fn touch_rule(
        &mut self,
        rule: SmartRuleId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE smart_rules SET processed_at = $2 WHERE id = $1")
            .bind(rule.0)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the smart rule")
    }

    /// Deletes a rule with fixed members on which no group has a role.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is none, or it is built in; [`StoreError::Conflict`] if a
    /// group has a role on it.
    pub async fn delete_quick_rule(&mut self, rule: SmartRuleId) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM smart_rule_members WHERE rule_id = $1
               AND EXISTS (SELECT 1 FROM smart_rules WHERE id = $1 AND everything = 0)",
        )
        .bind(rule.0)
        .execute(&mut *self.inner)
        .await?;
        let done = sqlx::query("DELETE FROM smart_rules WHERE id = $1 AND everything = 0")
            .bind(rule.0)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("the roles of groups on it"))?;
        exactly(1, done.rows_affected(), "the smart rule")
    }

    /// Replaces the roles of a group on a rule.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such group, rule or policy.
    pub async fn set_rule_roles(
        &mut self,
        group: GroupId,
        rule: SmartRuleId,
        roles: &BTreeSet<Role>,
        policy: Option<i64>,
    ) -> Result<(), StoreError> {
        if let Some(policy) = policy {
            // Held until the end: nobody edits a policy while a role comes to name it.
            self.lock_access_policy(policy).await?;
        }
        sqlx::query("DELETE FROM rule_roles WHERE group_id = $1 AND rule_id = $2")
            .bind(group.0)
            .bind(rule.0)
            .execute(&mut *self.inner)
            .await?;
        for role in roles {
            sqlx::query(
                "INSERT INTO rule_roles (group_id, rule_id, role, access_policy)
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(group.0)
            .bind(rule.0)
            .bind(role.number())
            .bind(policy.filter(|_| role.needs_policy()))
            .execute(&mut *self.inner)
            .await
            .map_err(|error| match StoreError::from(error) {
                StoreError::Conflict { .. } => GONE,
                other => other,
            })?;
        }
        Ok(())
    }
}
