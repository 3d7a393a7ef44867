//! Users, their grants and sessions.
//!
//! Invariant: no cookie is stored, only its hash; the caller audits each write in
//! the same transaction.

use std::collections::BTreeSet;

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{KeyId, SessionId, UserId};
use crate::model::key::KeyHash;
use crate::model::principal::{NewUser, Permission, Session, User};

type UserRow = (i64, String, String, String, i64, i64, i64);
type SessionRow = (i64, i64, i64, i64, i64);

impl Store {
    /// A user with its grants.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row: Option<UserRow> = sqlx::query_as(
            "SELECT id, name, display_name, email, CAST(administrator AS BIGINT),
                    CAST(disabled AS BIGINT), created_at
             FROM users WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        self.with_grants(row).await
    }

    /// A user by its sign-in name, without regard to case.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<User>, StoreError> {
        let row: Option<UserRow> = sqlx::query_as(
            "SELECT id, name, display_name, email, CAST(administrator AS BIGINT),
                    CAST(disabled AS BIGINT), created_at
             FROM users WHERE name_key = $1",
        )
        .bind(name.to_lowercase())
        .fetch_optional(&self.read)
        .await?;
        self.with_grants(row).await
    }

    /// At most `limit` users with an id above `after`, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn users(&self, after: UserId, limit: i64) -> Result<Vec<User>, StoreError> {
        let rows: Vec<UserRow> = sqlx::query_as(
            "SELECT id, name, display_name, email, CAST(administrator AS BIGINT),
                    CAST(disabled AS BIGINT), created_at
             FROM users WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        let mut users = Vec::with_capacity(rows.len());
        for row in rows {
            users.extend(self.with_grants(Some(row)).await?);
        }
        Ok(users)
    }

    async fn with_grants(&self, row: Option<UserRow>) -> Result<Option<User>, StoreError> {
        let Some((id, name, display_name, email, administrator, disabled, created_at)) = row else {
            return Ok(None);
        };
        let (granted, by_groups) = self.granted_to(UserId(id)).await?;
        Ok(Some(User {
            id: UserId(id),
            name,
            display_name,
            email,
            administrator: administrator == 1,
            disabled: disabled == 1,
            created_at: Timestamp(created_at),
            granted,
            by_groups,
        }))
    }

    /// A session by the hash of its cookie.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn session_by_hash(&self, hash: &KeyHash) -> Result<Option<Session>, StoreError> {
        let row: Option<SessionRow> = sqlx::query_as(
            "SELECT id, user_id, key_id, created_at, seen_at FROM sessions WHERE hash = $1",
        )
        .bind(hash.as_str())
        .fetch_optional(&self.read)
        .await?;
        Ok(
            row.map(|(id, user_id, key_id, created_at, seen_at)| Session {
                id: SessionId(id),
                user_id: UserId(user_id),
                key_id: KeyId(key_id),
                created_at: Timestamp(created_at),
                seen_at: Timestamp(seen_at),
            }),
        )
    }
}

impl Tx {
    /// Makes a user.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken.
    pub async fn insert_user(
        &mut self,
        user: &NewUser,
        now: Timestamp,
    ) -> Result<UserId, StoreError> {
        let id: UserId = self.id(UserId::KIND).await?;
        let done = sqlx::query(
            "INSERT INTO users (id, name, name_key, display_name, email, administrator, disabled,
                                created_at)
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7)",
        )
        .bind(id.0)
        .bind(&user.name)
        .bind(user.name.to_lowercase())
        .bind(&user.display_name)
        .bind(&user.email)
        .bind(i64::from(user.administrator))
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the user's name"))?;
        exactly(1, done.rows_affected(), "the user")?;
        self.insert_grants(id, &user.granted).await?;
        Ok(id)
    }

    /// Replaces what a user may do.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such user.
    pub async fn set_grants(
        &mut self,
        user: UserId,
        granted: &BTreeSet<Permission>,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM grants WHERE user_id = $1")
            .bind(user.0)
            .execute(&mut *self.inner)
            .await?;
        self.insert_grants(user, granted).await
    }

    async fn insert_grants(
        &mut self,
        user: UserId,
        granted: &BTreeSet<Permission>,
    ) -> Result<(), StoreError> {
        for permission in granted {
            let done = sqlx::query("INSERT INTO grants (user_id, permission) VALUES ($1, $2)")
                .bind(user.0)
                .bind(permission.as_str())
                .execute(&mut *self.inner)
                .await
                .map_err(|error| StoreError::from(error).about("the user"))?;
            exactly(1, done.rows_affected(), "the grant")?;
        }
        Ok(())
    }

    /// Lets a user sign in, or no longer; then its sessions and tokens end too.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such user.
    pub async fn set_user_disabled(
        &mut self,
        user: UserId,
        disabled: bool,
    ) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE users SET disabled = $2 WHERE id = $1")
            .bind(user.0)
            .bind(i64::from(disabled))
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the user")?;
        if disabled {
            self.end_sessions_of(user).await?;
            sqlx::query(
                "DELETE FROM access_tokens
                 WHERE key_id IN (SELECT id FROM api_keys WHERE user_id = $1)",
            )
            .bind(user.0)
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn open_session(
        &mut self,
        cookie: &KeyHash,
        user: UserId,
        key: KeyId,
        now: Timestamp,
    ) -> Result<SessionId, StoreError> {
        let id: SessionId = self.id(SessionId::KIND).await?;
        let done = sqlx::query(
            "INSERT INTO sessions (id, hash, user_id, key_id, created_at, seen_at)
             VALUES ($1, $2, $3, $4, $5, $5)",
        )
        .bind(id.0)
        .bind(cookie.as_str())
        .bind(user.0)
        .bind(key.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the session"))?;
        exactly(1, done.rows_affected(), "the session")?;
        Ok(id)
    }

    /// Notes that a session was used. It may have ended meanwhile; that is no error.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn touch_session(&mut self, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2")
            .bind(id.0)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Ends a session; true if it was there.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_session(&mut self, id: SessionId) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM sessions WHERE id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends the sessions that were last seen before `before`; how many.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_idle_sessions(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM sessions WHERE seen_at < $1")
            .bind(before.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(done.rows_affected())
    }
}
