//! Sessions that users opened with their passwords.
//!
//! Invariant: no cookie is stored, only its hash; the caller audits each write but a call's time
//! in the same transaction.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{UserId, UserSessionId};
use crate::model::key::KeyHash;
use crate::model::session::{NewUserSession, UserSession};

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    user_id: i64,
    address: String,
    created_at: i64,
    seen_at: i64,
}

impl From<Row> for UserSession {
    fn from(row: Row) -> Self {
        Self {
            id: UserSessionId(row.id),
            user_id: UserId(row.user_id),
            address: row.address,
            created_at: Timestamp(row.created_at),
            seen_at: Timestamp(row.seen_at),
        }
    }
}

impl Store {
    /// A session by the hash of its cookie, live or not.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn user_session_by_hash(
        &self,
        cookie: &KeyHash,
    ) -> Result<Option<UserSession>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, user_id, address, created_at, seen_at
             FROM user_sessions WHERE hash = $1",
        )
        .bind(cookie.as_str())
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(UserSession::from))
    }

    /// A session by its id, live or not.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn user_session(&self, id: UserSessionId) -> Result<Option<UserSession>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, user_id, address, created_at, seen_at
             FROM user_sessions WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(UserSession::from))
    }

    /// At most `limit` of a user's sessions with an id above `after`, by id; live or not.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn user_sessions(
        &self,
        of: UserId,
        after: UserSessionId,
        limit: i64,
    ) -> Result<Vec<UserSession>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, user_id, address, created_at, seen_at
             FROM user_sessions WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(of.0)
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(UserSession::from).collect())
    }
}

impl Tx {
    /// Opens a session.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn open_user_session(
        &mut self,
        new: &NewUserSession,
        now: Timestamp,
    ) -> Result<UserSessionId, StoreError> {
        let id: UserSessionId = self.id(UserSessionId::KIND).await?;
        let done = sqlx::query(
            "INSERT INTO user_sessions (id, hash, user_id, address, created_at, seen_at)
             VALUES ($1, $2, $3, $4, $5, $5)",
        )
        .bind(id.0)
        .bind(new.cookie.as_str())
        .bind(new.user_id.0)
        .bind(&new.address)
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
    pub async fn touch_user_session(
        &mut self,
        id: UserSessionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE user_sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2")
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
    pub async fn end_user_session(&mut self, id: UserSessionId) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM user_sessions WHERE id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends every session for which a user gave their password, those of keys that demand it
    /// included; how many.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_password_sessions(&mut self, user: UserId) -> Result<u64, StoreError> {
        let mut ended = 0;
        for gone in [
            "DELETE FROM user_sessions WHERE user_id = $1",
            "DELETE FROM sessions WHERE user_id = $1
               AND key_id IN (SELECT id FROM api_keys WHERE password_required = 1)",
        ] {
            let done = sqlx::query(gone).bind(user.0).execute(&mut *self.inner);
            ended += done.await?.rows_affected();
        }
        Ok(ended)
    }

    /// Ends every session of a user, those of the Password Safe dialect included; how many.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_sessions_of(&mut self, user: UserId) -> Result<u64, StoreError> {
        let mut ended = 0;
        for gone in [
            "DELETE FROM user_sessions WHERE user_id = $1",
            "DELETE FROM sessions WHERE user_id = $1",
        ] {
            let done = sqlx::query(gone).bind(user.0).execute(&mut *self.inner);
            ended += done.await?.rows_affected();
        }
        Ok(ended)
    }

    /// Ends the users' sessions that were last seen, or opened, at these times or earlier; which,
    /// and whose, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_old_user_sessions(
        &mut self,
        (seen, made): (Timestamp, Timestamp),
    ) -> Result<Vec<(UserSessionId, UserId)>, StoreError> {
        let mut rows: Vec<(i64, i64)> = sqlx::query_as(
            "DELETE FROM user_sessions WHERE seen_at <= $1 OR created_at <= $2
             RETURNING id, user_id",
        )
        .bind(seen.0)
        .bind(made.0)
        .fetch_all(&mut *self.inner)
        .await?;
        rows.sort_unstable();
        let ended = rows.into_iter();
        Ok(ended
            .map(|(id, user)| (UserSessionId(id), UserId(user)))
            .collect())
    }
}
