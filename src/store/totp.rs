//! Second factors and their recovery codes.
//!
//! Invariant: a secret is stored sealed, a code hashed; a step and a code are used once, in one
//! guarded write; the caller audits each in the same transaction.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::UserId;
use crate::model::key::KeyHash;
use crate::model::totp::Totp;

type Row = (Vec<u8>, Option<i64>, i64);

impl Store {
    /// A user's second factor, confirmed or not.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn totp_of(&self, user: UserId) -> Result<Option<Totp>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT sealed, confirmed_at, last_step FROM user_totp WHERE user_id = $1",
        )
        .bind(user.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(|(sealed, confirmed_at, last_step)| Totp {
            sealed,
            confirmed_at: confirmed_at.map(Timestamp),
            last_step,
        }))
    }

    /// Recovery codes of a user that are still unused.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn recovery_codes_left(&self, user: UserId) -> Result<i64, StoreError> {
        let (left,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL",
        )
        .bind(user.0)
        .fetch_one(&self.read)
        .await?;
        Ok(left)
    }
}

impl Tx {
    /// Keeps the sealed secret of a factor that its user has yet to confirm; an earlier one that
    /// was not confirmed is forgotten.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the user has a confirmed one.
    pub async fn enrol_totp(
        &mut self,
        user: UserId,
        sealed: Vec<u8>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO user_totp (user_id, sealed, enrolled_at, confirmed_at, last_step)
             VALUES ($1, $2, $3, NULL, 0)
             ON CONFLICT (user_id)
             DO UPDATE SET sealed = excluded.sealed, enrolled_at = excluded.enrolled_at,
                 last_step = 0
             WHERE user_totp.confirmed_at IS NULL",
        )
        .bind(user.0)
        .bind(sealed)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the user"))?;
        exactly(1, done.rows_affected(), "the second factor")
    }

    /// Takes a factor into use, with the step whose code has confirmed it, and its recovery codes.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is none with this secret, or it was confirmed before.
    pub async fn confirm_totp(
        &mut self,
        user: UserId,
        (sealed, step): (&[u8], i64),
        codes: &[KeyHash],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE user_totp SET confirmed_at = $4, last_step = $3
             WHERE user_id = $1 AND sealed = $2 AND confirmed_at IS NULL",
        )
        .bind(user.0)
        .bind(sealed.to_vec())
        .bind(step)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the second factor")?;
        for code in codes {
            let done = sqlx::query(
                "INSERT INTO recovery_codes (user_id, hash, used_at) VALUES ($1, $2, NULL)",
            )
            .bind(user.0)
            .bind(code.as_str())
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("a recovery code"))?;
            exactly(1, done.rows_affected(), "a recovery code")?;
        }
        Ok(())
    }

    /// Uses up a step of a confirmed factor; false if it, or a later one, was used before.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn use_totp_step(&mut self, user: UserId, step: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE user_totp SET last_step = $2
             WHERE user_id = $1 AND confirmed_at IS NOT NULL AND last_step < $2",
        )
        .bind(user.0)
        .bind(step)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Uses up a recovery code; false if the user has no such code, or has used it before.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn use_recovery_code(
        &mut self,
        user: UserId,
        code: &KeyHash,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE recovery_codes SET used_at = $3
             WHERE user_id = $1 AND hash = $2 AND used_at IS NULL",
        )
        .bind(user.0)
        .bind(code.as_str())
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Forgets a user's second factor and its recovery codes; true if there was one.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn remove_totp(&mut self, user: UserId) -> Result<bool, StoreError> {
        sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1")
            .bind(user.0)
            .execute(&mut *self.inner)
            .await?;
        let done = sqlx::query("DELETE FROM user_totp WHERE user_id = $1")
            .bind(user.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}
