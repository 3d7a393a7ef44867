//! Credential versions: every secret of an account, sealed.
//!
//! Invariant: a version's secret is inserted once, never overwritten and never deleted here.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{AccountId, ClaimId};

/// A secret to be kept, sealed.
#[derive(Clone)]
pub struct NewVersion {
    /// Whose.
    pub account: AccountId,
    /// Its number.
    pub version: i64,
    /// The sealed secret.
    pub sealed: Vec<u8>,
    /// `generated`, `supplied` or `stored`.
    pub origin: &'static str,
}

/// A version, as people may see it: without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    /// Its number.
    pub version: i64,
    /// `generated`, `supplied` or `stored`.
    pub origin: String,
    /// When it was recorded.
    pub staged_at: Timestamp,
    /// When it was last on its way to the target.
    pub last_sent_at: Option<Timestamp>,
    /// Last conclusive accept.
    pub accepted_at: Option<Timestamp>,
}

impl Tx {
    /// Keeps a secret for good.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the version exists: a secret is never overwritten.
    pub async fn add_version(
        &mut self,
        new: &NewVersion,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO credential_versions (account_id, version, sealed, origin, staged_at,
                 last_sent_at, accepted_at, retired_at)
             VALUES ($1, $2, $3, $4, $5, NULL, NULL, NULL)",
        )
        .bind(new.account.0)
        .bind(new.version)
        .bind(&new.sealed)
        .bind(new.origin)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the credential version"))?;
        let done = sqlx::query(
            "UPDATE accounts SET last_version = $2 WHERE id = $1 AND last_version < $2",
        )
        .bind(new.account.0)
        .bind(new.version)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the account's versions")
    }
}

/// Version, origin, and when it was staged, sent and accepted.
type VersionColumns = (i64, String, i64, Option<i64>, Option<i64>);

impl Store {
    /// The account's versions, newest first, without their secrets.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn versions(
        &self,
        account: AccountId,
        limit: i64,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let rows: Vec<VersionColumns> = sqlx::query_as(
            "SELECT version, origin, staged_at, last_sent_at, accepted_at
             FROM credential_versions WHERE account_id = $1 ORDER BY version DESC LIMIT $2",
        )
        .bind(account.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(version, origin, staged_at, sent, accepted)| VersionRow {
                version,
                origin,
                staged_at: Timestamp(staged_at),
                last_sent_at: sent.map(Timestamp),
                accepted_at: accepted.map(Timestamp),
            })
            .collect())
    }

    /// One version's sealed secret.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sealed_version(
        &self,
        account: AccountId,
        version: i64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(
            "SELECT sealed FROM credential_versions WHERE account_id = $1 AND version = $2",
        )
        .bind(account.0)
        .bind(version)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(|(sealed,)| sealed))
    }

    /// The sealed secrets that a claim's jobs may need: (account, version, sealed).
    ///
    /// These are the current version, an open rotation's candidate and a supplied candidate.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn versions_of_claim(
        &self,
        claim: ClaimId,
    ) -> Result<Vec<(AccountId, i64, Vec<u8>)>, StoreError> {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT v.account_id, v.version, v.sealed
             FROM jobs j JOIN accounts a ON a.id = j.account_id
                 JOIN credential_versions v ON v.account_id = a.id
             WHERE j.claim_id = $1 AND j.state = 'running'
               AND (v.version = a.current_version OR v.version = j.version
                 OR v.version = (SELECT r.version FROM rotations r
                     WHERE r.account_id = a.id AND r.phase IN
                     ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator')))
             ORDER BY v.account_id, v.version",
        )
        .bind(claim.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, version, sealed)| (AccountId(id), version, sealed))
            .collect())
    }

    /// Versions that were sent, never accepted, and may be live: newest first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn doubtful_versions(
        &self,
        account: AccountId,
    ) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT version, sealed FROM credential_versions
             WHERE account_id = $1 AND last_sent_at IS NOT NULL AND accepted_at IS NULL
               AND retired_at IS NULL
             ORDER BY version DESC LIMIT 3",
        )
        .bind(account.0)
        .fetch_all(&self.read)
        .await?)
    }
}
