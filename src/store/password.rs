//! The hashes of users' passwords.
//!
//! Invariant: a hash leaves the store for a verification alone; the caller audits each write but
//! a use in the same transaction.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::UserId;
use crate::model::password::PasswordHash;

impl Store {
    /// The hash of a user's password; `None` if they have none.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_of(&self, user: UserId) -> Result<Option<PasswordHash>, StoreError> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT hash FROM user_passwords WHERE user_id = $1")
                .bind(user.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(|(hash,)| PasswordHash::of_phc(hash)))
    }
}

impl Tx {
    /// Sets a user's password; the caller ends what was opened with the one before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such user.
    pub async fn set_password(
        &mut self,
        user: UserId,
        hash: &PasswordHash,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO user_passwords (user_id, hash, set_at, used_at)
             VALUES ($1, $2, $3, NULL)
             ON CONFLICT (user_id)
             DO UPDATE SET hash = excluded.hash, set_at = excluded.set_at, used_at = NULL",
        )
        .bind(user.0)
        .bind(hash.as_str())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the user"))?;
        exactly(1, done.rows_affected(), "the password")
    }

    /// Notes that a user has proven themselves by the password with this hash, and keeps it from
    /// being replaced until the transaction ends: what is opened in it ends with a later change.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it was replaced meanwhile, or the user may sign in no longer.
    pub async fn use_password(
        &mut self,
        user: UserId,
        hash: &PasswordHash,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE user_passwords SET used_at = $3
             WHERE user_id = $1 AND hash = $2
               AND EXISTS (SELECT 1 FROM users u WHERE u.id = $1 AND u.disabled = 0)",
        )
        .bind(user.0)
        .bind(hash.as_str())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the password")
    }
}
