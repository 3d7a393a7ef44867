//! API keys and access tokens.
//!
//! Invariant: no key and no token is stored, only their hashes; the caller audits each write but
//! a last use in the same transaction.

use std::time::Duration;

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{KeyId, UserId};
use crate::model::key::{AccessToken, Addresses, ApiKey, KeyEdit, KeyHash, KeyKind, NewKey, Reach};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: i64,
    kind: String,
    pub(super) user_id: i64,
    name: String,
    prefix: String,
    addresses: String,
    created_at: i64,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
    successor_id: Option<i64>,
    password_required: i64,
    password_access: i64,
    organizations: String,
    revision: i64,
}

impl Store {
    /// A key by its hash, of an OAuth registration by its secret's: revoked and expired ones too.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn key_by_hash(
        &self,
        kind: KeyKind,
        hash: &KeyHash,
    ) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, kind, user_id, name, prefix, addresses, created_at,
                    expires_at, revoked_at, last_used_at, successor_id,
                    CAST(password_required AS BIGINT) AS password_required,
                    CAST(password_access AS BIGINT) AS password_access, organizations, revision
             FROM api_keys WHERE hash = $1 AND kind = $2",
        )
        .bind(hash.as_str())
        .bind(kind.as_str())
        .fetch_optional(&self.read)
        .await?;
        row.map(Row::key).transpose()
    }

    /// A key by its id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, kind, user_id, name, prefix, addresses, created_at,
                    expires_at, revoked_at, last_used_at, successor_id,
                    CAST(password_required AS BIGINT) AS password_required,
                    CAST(password_access AS BIGINT) AS password_access, organizations, revision
             FROM api_keys WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        row.map(Row::key).transpose()
    }

    /// At most `limit` keys with an id above `after`, by id; of one user, or of all.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn keys(
        &self,
        of: Option<UserId>,
        after: KeyId,
        limit: i64,
    ) -> Result<Vec<ApiKey>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, kind, user_id, name, prefix, addresses, created_at,
                    expires_at, revoked_at, last_used_at, successor_id,
                    CAST(password_required AS BIGINT) AS password_required,
                    CAST(password_access AS BIGINT) AS password_access, organizations, revision
             FROM api_keys
             WHERE (CAST($1 AS BIGINT) IS NULL OR user_id = $1) AND id > $2
             ORDER BY id LIMIT $3",
        )
        .bind(of.map(|user| user.0))
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(Row::key).collect()
    }

    /// When the next key of each kind ends by itself: by its expiry, or of the IT Glue dialect for
    /// want of use. Keys that have a successor are left out, since their end is planned; so are
    /// those of users who may not sign in.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn next_key_expiries(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT kind, MIN(ends_at) FROM (
                 SELECT k.kind AS kind, k.expires_at AS ends_at
                 FROM api_keys k JOIN users u ON u.id = k.user_id
                 WHERE k.revoked_at IS NULL AND k.expires_at IS NOT NULL AND k.expires_at > $1
                   AND k.successor_id IS NULL AND u.disabled = 0
                 UNION ALL
                 SELECT k.kind AS kind, COALESCE(k.last_used_at, k.created_at) + $2 AS ends_at
                 FROM api_keys k JOIN users u ON u.id = k.user_id
                 WHERE k.kind = 'itglue' AND k.revoked_at IS NULL
                   AND (k.expires_at IS NULL OR k.expires_at > $1)
                   AND COALESCE(k.last_used_at, k.created_at) + $2 > $1
                   AND k.successor_id IS NULL AND u.disabled = 0
             ) ends
             GROUP BY kind ORDER BY kind",
        )
        .bind(now.0)
        .bind(millis(ApiKey::IDLE_MAX))
        .fetch_all(&self.read)
        .await?;
        let ends = rows.into_iter();
        Ok(ends.map(|(kind, at)| (kind, Timestamp(at))).collect())
    }

    /// An access token by its hash, live or expired.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn access_token(&self, hash: &KeyHash) -> Result<Option<AccessToken>, StoreError> {
        let row: Option<(i64, i64)> =
            sqlx::query_as("SELECT key_id, expires_at FROM access_tokens WHERE hash = $1")
                .bind(hash.as_str())
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(|(key_id, expires_at)| AccessToken {
            key_id: KeyId(key_id),
            expires_at: Timestamp(expires_at),
        }))
    }
}

impl Row {
    pub(super) fn key(self) -> Result<ApiKey, StoreError> {
        let corrupt = |problem| StoreError::Corrupt {
            table: "api_keys",
            row: self.id,
            problem,
        };
        let kind = KeyKind::parse(&self.kind).ok_or_else(|| corrupt("unknown kind"))?;
        // To take it for anywhere would be the wrong guess.
        let addresses = Addresses::parse(&self.addresses);
        let addresses = addresses.ok_or_else(|| corrupt("unreadable addresses"))?;
        // Likewise to take it for all.
        let organizations = Reach::read(&self.organizations);
        let organizations = organizations.ok_or_else(|| corrupt("unreadable organizations"))?;
        Ok(ApiKey {
            id: KeyId(self.id),
            kind,
            user_id: UserId(self.user_id),
            name: self.name,
            prefix: self.prefix,
            addresses,
            created_at: Timestamp(self.created_at),
            expires_at: self.expires_at.map(Timestamp),
            revoked_at: self.revoked_at.map(Timestamp),
            last_used_at: self.last_used_at.map(Timestamp),
            successor_id: self.successor_id.map(KeyId),
            password_required: self.password_required == 1,
            reach: Reach {
                password_access: self.password_access == 1,
                organizations,
            },
            revision: self.revision,
        })
    }
}

impl Tx {
    /// Records a key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such user.
    pub async fn insert_key(&mut self, key: &NewKey, now: Timestamp) -> Result<KeyId, StoreError> {
        let id: KeyId = self.id(KeyId::KIND).await?;
        let done = sqlx::query(
            "INSERT INTO api_keys (id, kind, user_id, name, hash, prefix, addresses, created_at,
                                   expires_at, revoked_at, last_used_at, successor_id,
                                   password_required, password_access, organizations, revision)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, NULL, NULL, $10, $11, $12, 1)",
        )
        .bind(id.0)
        .bind(key.kind.as_str())
        .bind(key.user_id.0)
        .bind(&key.name)
        .bind(key.hash.as_str())
        .bind(&key.prefix)
        .bind(key.addresses.to_string())
        .bind(now.0)
        .bind(key.expires_at.map(|at| at.0))
        .bind(i64::from(key.password_required))
        .bind(i64::from(key.reach.password_access))
        .bind(key.reach.written())
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the key"))?;
        exactly(1, done.rows_affected(), "the key")?;
        Ok(id)
    }

    /// Ends a key, its tokens and every session that was opened with it.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such key, or it has been revoked before.
    pub async fn revoke_key(&mut self, id: KeyId, now: Timestamp) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE api_keys SET revoked_at = $2, revision = revision + 1
             WHERE id = $1 AND revoked_at IS NULL",
        )
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the key")?;
        self.end_key_sessions(id).await?;
        sqlx::query("DELETE FROM access_tokens WHERE key_id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Revokes keys of the IT Glue dialect that were last used, or made, at `before` or earlier, at
    /// most `limit`; which, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn revoke_idle_keys(
        &mut self,
        before: Timestamp,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<ApiKey>, StoreError> {
        let mut rows: Vec<Row> = sqlx::query_as(
            "UPDATE api_keys SET revoked_at = $2, revision = revision + 1
             WHERE revoked_at IS NULL AND id IN
                 (SELECT id FROM api_keys
                  WHERE kind = 'itglue' AND revoked_at IS NULL
                    AND COALESCE(last_used_at, created_at) <= $1
                  ORDER BY id LIMIT $3)
             RETURNING id, kind, user_id, name, prefix, addresses, created_at,
                    expires_at, revoked_at, last_used_at, successor_id,
                    CAST(password_required AS BIGINT) AS password_required,
                    CAST(password_access AS BIGINT) AS password_access, organizations, revision",
        )
        .bind(before.0)
        .bind(now.0)
        .bind(limit)
        .fetch_all(&mut *self.inner)
        .await?;
        rows.sort_unstable_by_key(|row| row.id);
        rows.into_iter().map(Row::key).collect()
    }

    /// Ends every session that was opened with a key; how many.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_key_sessions(&mut self, id: KeyId) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM sessions WHERE key_id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(done.rows_affected())
    }

    /// Edits a key that is at this revision.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such key, it was revoked, or was edited meanwhile.
    pub async fn edit_key(
        &mut self,
        id: KeyId,
        edit: &KeyEdit,
        revision: i64,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE api_keys SET name = $3, addresses = $4, expires_at = $5,
                    password_required = $6, password_access = $7, organizations = $8,
                    revision = revision + 1
             WHERE id = $1 AND revision = $2 AND revoked_at IS NULL",
        )
        .bind(id.0)
        .bind(revision)
        .bind(&edit.name)
        .bind(edit.addresses.to_string())
        .bind(edit.expires_at.map(|at| at.0))
        .bind(i64::from(edit.password_required))
        .bind(i64::from(edit.reach.password_access))
        .bind(edit.reach.written())
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the key")
    }

    /// Lets a key end at `end`, since another one takes its place.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such key, or it was revoked or has a successor.
    pub async fn succeed_key(
        &mut self,
        id: KeyId,
        successor: KeyId,
        end: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE api_keys SET expires_at = $2, successor_id = $3, revision = revision + 1
             WHERE id = $1 AND revoked_at IS NULL AND successor_id IS NULL",
        )
        .bind(id.0)
        .bind(end.0)
        .bind(successor.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the key")
    }

    /// Notes that a key was used. An earlier use that arrives late changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn touch_key(&mut self, id: KeyId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE api_keys SET last_used_at = $2
             WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
        )
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Records an access token of an OAuth registration.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such key.
    pub async fn insert_access_token(
        &mut self,
        hash: &KeyHash,
        token: &AccessToken,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO access_tokens (hash, key_id, created_at, expires_at)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(hash.as_str())
        .bind(token.key_id.0)
        .bind(now.0)
        .bind(token.expires_at.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the access token"))?;
        exactly(1, done.rows_affected(), "the access token")
    }

    /// Removes the access tokens that have ended by `now`; how many.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_expired_tokens(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM access_tokens WHERE expires_at <= $1")
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(done.rows_affected())
    }
}

/// A span as the database counts it.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
