//! Groups: who is in them, and what they permit.
//!
//! Invariant: a group that is not active grants nothing; the caller audits each write in the same
//! transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use super::wide::Wide;
use super::{Page, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::access::{Feature, Group, NewGroup, Role};
use crate::model::id::{GroupId, UserId};
use crate::model::principal::{AccessLevel, ByGroups, Permission};

const GONE: StoreError = StoreError::Stale { what: "the group" };

/// What a user was granted itself, and what it has by its groups.
pub(super) type Granted = (BTreeSet<Permission>, ByGroups);

static GRANTED: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "asked",
        "SELECT o.user_id, 'own', o.permission, 0, 0 FROM r JOIN grants o ON o.user_id = r.asked
         UNION ALL
         SELECT m.user_id, 'group', p.permission, 0, 0
             FROM r JOIN group_members m ON m.user_id = r.asked
             JOIN user_groups g ON g.id = m.group_id AND g.active = 1
             JOIN group_grants p ON p.group_id = g.id
         UNION ALL
         SELECT m.user_id, 'feature', '', f.feature, f.level
             FROM r JOIN group_members m ON m.user_id = r.asked
             JOIN user_groups g ON g.id = m.group_id AND g.active = 1
             JOIN group_features f ON f.group_id = g.id
         UNION ALL
         SELECT m.user_id, 'role', '', q.role, 0
             FROM r JOIN group_members m ON m.user_id = r.asked
             JOIN user_groups g ON g.id = m.group_id AND g.active = 1
             JOIN rule_roles q ON q.group_id = g.id
         UNION ALL
         SELECT m.user_id, 'member', '', m.group_id, 0
             FROM r JOIN group_members m ON m.user_id = r.asked",
    )
});

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    name: String,
    description: String,
    active: i64,
    created_at: i64,
}

const fn level_number(level: AccessLevel) -> i64 {
    match level {
        AccessLevel::Read => 1,
        AccessLevel::ReadWrite => 2,
    }
}

fn level_of(number: i64) -> Option<AccessLevel> {
    match number {
        1 => Some(AccessLevel::Read),
        2 => Some(AccessLevel::ReadWrite),
        _ => None,
    }
}

impl Store {
    /// A group with what it permits.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn group(&self, id: GroupId) -> Result<Option<Group>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, description, CAST(active AS BIGINT) AS active, created_at
             FROM user_groups WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        match row {
            Some(row) => Ok(Some(self.with_features(row).await?)),
            None => Ok(None),
        }
    }

    /// Groups, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn groups(&self, page: Page) -> Result<Vec<Group>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, description, CAST(active AS BIGINT) AS active, created_at
             FROM user_groups ORDER BY id LIMIT $1 OFFSET $2",
        )
        .bind(page.limit)
        .bind(page.offset)
        .fetch_all(&self.read)
        .await?;
        let mut groups = Vec::with_capacity(rows.len());
        for row in rows {
            groups.push(self.with_features(row).await?);
        }
        Ok(groups)
    }

    async fn with_features(&self, row: Row) -> Result<Group, StoreError> {
        let features: Vec<(i64, i64)> =
            sqlx::query_as("SELECT feature, level FROM group_features WHERE group_id = $1")
                .bind(row.id)
                .fetch_all(&self.read)
                .await?;
        let granted: Vec<(String,)> =
            sqlx::query_as("SELECT permission FROM group_grants WHERE group_id = $1")
                .bind(row.id)
                .fetch_all(&self.read)
                .await?;
        Ok(Group {
            id: GroupId(row.id),
            name: row.name,
            description: row.description,
            active: row.active == 1,
            created_at: Timestamp(row.created_at),
            // What a later release wrote grants nothing here.
            features: features
                .into_iter()
                .filter_map(|(feature, level)| Some((Feature::of(feature)?, level_of(level)?)))
                .collect(),
            permissions: granted
                .iter()
                .filter_map(|(word,)| Permission::parse(word))
                .collect(),
        })
    }

    /// Members of a group, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn group_members(&self, group: GroupId) -> Result<Vec<UserId>, StoreError> {
        let rows: Vec<(i64,)> = sqlx::query_as(
            "SELECT user_id FROM group_members WHERE group_id = $1 ORDER BY user_id",
        )
        .bind(group.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|(user,)| UserId(user)).collect())
    }

    /// True if a group has a role on any rule.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn group_has_roles(&self, group: GroupId) -> Result<bool, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT role FROM rule_roles WHERE group_id = $1 LIMIT 1")
                .bind(group.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.is_some())
    }

    /// What users were granted themselves, and what they have by their groups. Whoever has nothing
    /// at all is missing.
    pub(super) async fn granted_to_all(
        &self,
        users: BTreeSet<UserId>,
    ) -> Result<HashMap<UserId, Granted>, StoreError> {
        let users: Vec<UserId> = users.into_iter().collect();
        let mut all: HashMap<UserId, Granted> = HashMap::new();
        for cut in GRANTED.cuts(&users) {
            let mut query = sqlx::query_as(cut.text);
            for (id, _) in cut.rows(|user| user.0) {
                query = query.bind(id);
            }
            let rows: Vec<(i64, String, String, i64, i64)> = query.fetch_all(&self.read).await?;
            // What a later release wrote grants nothing here.
            for (user, source, word, number, level) in rows {
                let (own, by_groups) = all.entry(UserId(user)).or_default();
                match source.as_str() {
                    "own" => own.extend(Permission::parse(&word)),
                    "group" => by_groups.permissions.extend(Permission::parse(&word)),
                    "feature" => {
                        if let (Some(feature), Some(level)) = (Feature::of(number), level_of(level))
                        {
                            by_groups.permissions.extend(feature.permissions(level));
                        }
                    }
                    "role" => by_groups.roles.extend(Role::of(number)),
                    _ => drop(by_groups.ids.insert(GroupId(number))),
                }
            }
        }
        Ok(all)
    }
}

impl Tx {
    /// Makes a group.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken.
    pub async fn insert_group(
        &mut self,
        group: &NewGroup,
        now: Timestamp,
    ) -> Result<GroupId, StoreError> {
        let id: GroupId = self.id(GroupId::KIND).await?;
        let done = sqlx::query(
            "INSERT INTO user_groups (id, name, name_key, description, active, created_at)
             VALUES ($1, $2, $3, $4, 1, $5)",
        )
        .bind(id.0)
        .bind(&group.name)
        .bind(group.name.to_lowercase())
        .bind(&group.description)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the group's name"))?;
        exactly(1, done.rows_affected(), "the group")?;
        for permission in &group.permissions {
            sqlx::query("INSERT INTO group_grants (group_id, permission) VALUES ($1, $2)")
                .bind(id.0)
                .bind(permission.as_str())
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(id)
    }

    /// Deletes a group that has no role on any rule; its members stay.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is none; [`StoreError::Conflict`] if it has a role.
    pub async fn delete_group(&mut self, id: GroupId) -> Result<(), StoreError> {
        for sql in [
            "DELETE FROM group_members WHERE group_id = $1",
            "DELETE FROM group_features WHERE group_id = $1",
            "DELETE FROM group_grants WHERE group_id = $1",
            "DELETE FROM password_readers WHERE group_id = $1",
        ] {
            sqlx::query(sql)
                .bind(id.0)
                .execute(&mut *self.inner)
                .await?;
        }
        let done = sqlx::query("DELETE FROM user_groups WHERE id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("the group's roles on smart rules"))?;
        exactly(1, done.rows_affected(), "the group")
    }

    /// Lets a group grant what it holds, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is none.
    pub async fn set_group_active(&mut self, id: GroupId, active: bool) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE user_groups SET active = $2 WHERE id = $1")
            .bind(id.0)
            .bind(i64::from(active))
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the group")
    }

    /// Puts a user into a group; true if it was not there.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such user or group.
    pub async fn add_member(&mut self, group: GroupId, user: UserId) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO group_members (user_id, group_id) VALUES ($1, $2)
             ON CONFLICT (user_id, group_id) DO NOTHING",
        )
        .bind(user.0)
        .bind(group.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the user or the group"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes a user out of a group; true if it was there.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn remove_member(
        &mut self,
        group: GroupId,
        user: UserId,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM group_members WHERE user_id = $1 AND group_id = $2")
            .bind(user.0)
            .bind(group.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Sets feature permissions of a group, the others stay; `None` takes one away.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such group.
    pub async fn set_features(
        &mut self,
        group: GroupId,
        features: &BTreeMap<Feature, Option<AccessLevel>>,
    ) -> Result<(), StoreError> {
        for (feature, level) in features {
            let done = match level {
                Some(level) => {
                    sqlx::query(
                        "INSERT INTO group_features (group_id, feature, level)
                         VALUES ($1, $2, $3)
                         ON CONFLICT (group_id, feature) DO UPDATE SET level = $3",
                    )
                    .bind(group.0)
                    .bind(feature.number())
                    .bind(level_number(*level))
                    .execute(&mut *self.inner)
                    .await
                }
                None => {
                    sqlx::query("DELETE FROM group_features WHERE group_id = $1 AND feature = $2")
                        .bind(group.0)
                        .bind(feature.number())
                        .execute(&mut *self.inner)
                        .await
                }
            };
            done.map_err(|error| match StoreError::from(error) {
                StoreError::Conflict { .. } => GONE,
                other => other,
            })?;
        }
        Ok(())
    }
}
