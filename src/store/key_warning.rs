//! Who was told that which key is about to be revoked for want of use.
//!
//! Invariant: a key that was used since may be told of again; one that was not, is not.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{KeyId, UserId};
use crate::model::key_warning::{IdleKey, KeyWarning};

type Row = (i64, String, String, i64, Option<i64>, Option<String>);

fn read((id, name, owner, idle_since, user, email): Row) -> KeyWarning {
    KeyWarning {
        key: IdleKey {
            id: KeyId(id),
            name,
            owner,
            idle_since: Timestamp(idle_since),
        },
        to: user.map(UserId).zip(email),
    }
}

impl Store {
    /// Warnings that are due: of keys of the IT Glue dialect that lie idle since `since` or longer,
    /// to every administrator with an address who was not told yet; by administrator and key, at
    /// most `limit`. Keys that end otherwise are left out, and those of users who may not sign in.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn due_key_warnings(
        &self,
        since: Timestamp,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<KeyWarning>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT k.id, k.name, o.name AS owner, COALESCE(k.last_used_at, k.created_at) AS idle_since,
                    u.id AS user_id, u.email
             FROM api_keys k JOIN users o ON o.id = k.user_id
             LEFT JOIN users u ON u.administrator = 1 AND u.disabled = 0 AND u.email <> ''
             WHERE k.kind = 'itglue' AND k.revoked_at IS NULL AND k.successor_id IS NULL
               AND (k.expires_at IS NULL OR k.expires_at > $2) AND o.disabled = 0
               AND COALESCE(k.last_used_at, k.created_at) <= $1
               AND NOT EXISTS (
                   SELECT 1 FROM key_warnings w WHERE w.key_id = k.id AND w.user_id = u.id
                     AND w.idle_since = COALESCE(k.last_used_at, k.created_at))
             ORDER BY u.id, k.id LIMIT $3",
        )
        .bind(since.0)
        .bind(now.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(read).collect())
    }
}

impl Tx {
    /// Notes that an administrator was told of a key. Told again of the same idle time, nothing
    /// changes but the date.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such key or user.
    pub async fn note_key_warning(
        &mut self,
        to: UserId,
        (key, idle_since): (KeyId, Timestamp),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO key_warnings (key_id, user_id, idle_since, told_at)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (key_id, user_id) DO UPDATE SET
                 idle_since = excluded.idle_since, told_at = excluded.told_at",
        )
        .bind(key.0)
        .bind(to.0)
        .bind(idle_since.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the warning"))?;
        exactly(1, done.rows_affected(), "the warning")
    }
}
