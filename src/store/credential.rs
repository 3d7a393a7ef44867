//! Credential versions: every secret of an account, sealed.
//!
//! Invariant: a version's secret is inserted once, never overwritten and never deleted here.

use std::fmt;
use std::sync::LazyLock;

use super::wide::Wide;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::credential::{Kept, Part};
use crate::model::id::{AccountId, ClaimId};
use crate::model::rotation::HORIZON;

static INSERT: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        1,
        "account_id, version, part, sealed, passphrase, public_key, origin",
        "INSERT INTO credential_versions (account_id, version, part, sealed, passphrase,
             public_key, origin, staged_at, last_sent_at, accepted_at, retired_at, removed_at)
         SELECT account_id, version, part, sealed, passphrase, public_key, origin,
             CAST($1 AS BIGINT), NULL, NULL, NULL, NULL FROM r WHERE account_id > 0",
    )
});
static COUNT: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account_id, version",
        "UPDATE accounts SET last_version = r.version FROM r
         WHERE accounts.id = r.account_id AND accounts.last_version < r.version",
    )
});

/// A secret to be kept, sealed.
#[derive(Clone)]
pub struct NewVersion {
    /// Whose.
    pub account: AccountId,
    /// Its number.
    pub version: i64,
    /// Which part of the credential, and its secrets.
    pub secret: SealedSecret,
    /// `generated`, `supplied` or `stored`.
    pub origin: &'static str,
}

/// One part's secret as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum SealedSecret {
    /// A password.
    Password(Vec<u8>),
    /// An SSH key pair.
    Key {
        /// The private key as it was given.
        private: Vec<u8>,
        /// Its passphrase, if it has one.
        passphrase: Option<Vec<u8>>,
        /// Algorithm and base64, without a comment; no secret.
        public: String,
    },
}

impl SealedSecret {
    /// Which part of a credential it is.
    pub fn part(&self) -> Part {
        match self {
            Self::Password(_) => Part::Password,
            Self::Key { .. } => Part::Key,
        }
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealedSecret").field(&self.part()).finish()
    }
}

/// A version, as people may see it: without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    /// Its number.
    pub version: i64,
    /// Which part of the credential.
    pub part: Part,
    /// `generated`, `supplied` or `stored`.
    pub origin: String,
    /// Of a key pair: algorithm and base64.
    pub public_key: Option<String>,
    /// When it was recorded.
    pub staged_at: Timestamp,
    /// When it was last on its way to the target.
    pub last_sent_at: Option<Timestamp>,
    /// Last conclusive accept.
    pub accepted_at: Option<Timestamp>,
    /// Of a key pair: since when its line is known to be gone from the target.
    pub removed_at: Option<Timestamp>,
    /// An order of it has had no answer, so far or for good.
    pub is_doubtful: bool,
}

impl VersionRow {
    /// As decisions need it.
    pub fn kept(&self) -> Kept {
        Kept {
            version: self.version,
            last_sent_at: self.last_sent_at,
            accepted_at: self.accepted_at,
            is_doubtful: self.is_doubtful,
        }
    }
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
        self.add_versions(std::slice::from_ref(new), now).await
    }

    /// The same for one version each of several accounts.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if one of them exists: a secret is never overwritten.
    pub async fn add_versions(
        &mut self,
        new: &[NewVersion],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for new in new {
            match &new.secret {
                SealedSecret::Password(sealed) => self.holds(sealed),
                SealedSecret::Key {
                    private,
                    passphrase,
                    ..
                } => {
                    self.holds(private);
                    if let Some(sealed) = passphrase {
                        self.holds(sealed);
                    }
                }
            }
        }
        for cut in INSERT.cuts(new) {
            let mut query = sqlx::query(cut.text).bind(now.0);
            for (account, new) in cut.rows(|new| new.account.0) {
                let (sealed, passphrase, public) = match &new.secret {
                    SealedSecret::Password(sealed) => (sealed, None, None),
                    SealedSecret::Key {
                        private,
                        passphrase,
                        public,
                    } => (private, passphrase.clone(), Some(public.as_str())),
                };
                query = query
                    .bind(account)
                    .bind(new.version)
                    .bind(new.secret.part().as_str())
                    .bind(sealed)
                    .bind(passphrase)
                    .bind(public)
                    .bind(new.origin);
            }
            let done = query
                .execute(&mut *self.inner)
                .await
                .map_err(|error| StoreError::from(error).about("the credential version"))?;
            exactly(cut.len(), done.rows_affected(), "the credential version")?;
        }
        for cut in COUNT.cuts(new) {
            let mut query = sqlx::query(cut.text);
            for (account, new) in cut.rows(|new| new.account.0) {
                query = query.bind(account).bind(new.version);
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the account's versions")?;
        }
        Ok(())
    }

    /// Records that a superseded key's line is gone from the target. `false`: an order to add it
    /// may still land, so it is not known.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn record_removed(
        &mut self,
        account: AccountId,
        version: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE credential_versions SET removed_at = $3
             WHERE account_id = $1 AND version = $2 AND part = 'key' AND removed_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM accounts a
                   WHERE a.id = $1 AND a.current_key_version = $2)
               AND (last_sent_at IS NULL OR last_sent_at <= $4 OR NOT EXISTS (
                   SELECT 1 FROM rotations r
                   WHERE r.account_id = $1 AND r.version = $2 AND r.doubt = 1))",
        )
        .bind(account.0)
        .bind(version)
        .bind(now.0)
        .bind(now.minus(HORIZON).0)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// True if this public key was the account's in an earlier version that has been superseded:
    /// an order to remove its line may still land.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn key_was_used(
        &mut self,
        account: AccountId,
        public: &str,
    ) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT v.version FROM credential_versions v JOIN accounts a ON a.id = v.account_id
             WHERE a.id = $1 AND v.part = 'key' AND v.public_key = $2
               AND v.version <> a.current_key_version
               AND NOT EXISTS (SELECT 1 FROM credential_versions c WHERE c.account_id = $1
                   AND c.version = a.current_key_version AND c.public_key = $2)
               AND (v.accepted_at IS NOT NULL OR v.version < a.current_key_version)
             LIMIT 1",
        )
        .bind(account.0)
        .bind(public)
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(row.is_some())
    }
}

macro_rules! versions_where {
    ($which:literal) => {
        concat!(
            "SELECT v.version, v.part, v.origin, v.public_key, v.staged_at, v.last_sent_at,",
            " v.accepted_at, v.removed_at, CAST(CASE WHEN EXISTS (SELECT 1 FROM rotations q",
            " WHERE q.account_id = v.account_id AND q.version = v.version AND (q.doubt = 1",
            " OR q.phase IN ('applying', 'applied', 'verified', 'needs_operator')))",
            // Of what was sent, and came back from a journal, nobody knows what became of it.
            " OR (v.last_sent_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM rotations n",
            " WHERE n.account_id = v.account_id AND n.version = v.version))",
            " THEN 1 ELSE 0 END AS BIGINT) AS doubtful FROM credential_versions v WHERE ",
            $which
        )
    };
}

#[derive(sqlx::FromRow)]
struct RawVersion {
    version: i64,
    part: String,
    origin: String,
    public_key: Option<String>,
    staged_at: i64,
    last_sent_at: Option<i64>,
    accepted_at: Option<i64>,
    removed_at: Option<i64>,
    doubtful: i64,
}

impl RawVersion {
    fn row(self) -> Result<VersionRow, StoreError> {
        Ok(VersionRow {
            version: self.version,
            part: part_of(self.version, &self.part)?,
            origin: self.origin,
            public_key: self.public_key,
            staged_at: Timestamp(self.staged_at),
            last_sent_at: self.last_sent_at.map(Timestamp),
            accepted_at: self.accepted_at.map(Timestamp),
            removed_at: self.removed_at.map(Timestamp),
            is_doubtful: self.doubtful != 0,
        })
    }
}

#[derive(sqlx::FromRow)]
struct RawSecret {
    account_id: i64,
    version: i64,
    part: String,
    sealed: Vec<u8>,
    passphrase: Option<Vec<u8>>,
    public_key: Option<String>,
}

impl RawSecret {
    fn secret(self) -> Result<SealedSecret, StoreError> {
        Ok(match part_of(self.version, &self.part)? {
            Part::Password => SealedSecret::Password(self.sealed),
            Part::Key => SealedSecret::Key {
                private: self.sealed,
                passphrase: self.passphrase,
                public: self.public_key.ok_or(StoreError::Corrupt {
                    table: "credential_versions",
                    row: self.version,
                    problem: "a key pair without its public half",
                })?,
            },
        })
    }
}

fn part_of(row: i64, raw: &str) -> Result<Part, StoreError> {
    Part::parse(raw).ok_or(StoreError::Corrupt {
        table: "credential_versions",
        row,
        problem: "unknown part",
    })
}

impl Store {
    /// The account's versions of both parts, newest first, without their secrets.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn versions(
        &self,
        account: AccountId,
        limit: i64,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let rows: Vec<RawVersion> = sqlx::query_as(versions_where!(
            "v.account_id = $1 ORDER BY v.version DESC LIMIT $2"
        ))
        .bind(account.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(RawVersion::row).collect()
    }

    /// The versions of one part, newest first, without their secrets.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn versions_of_part(
        &self,
        account: AccountId,
        part: Part,
        limit: i64,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let rows: Vec<RawVersion> = sqlx::query_as(versions_where!(
            "v.account_id = $1 AND v.part = $2 ORDER BY v.version DESC LIMIT $3"
        ))
        .bind(account.0)
        .bind(part.as_str())
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(RawVersion::row).collect()
    }

    /// One version's sealed secret.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sealed_version(
        &self,
        account: AccountId,
        version: i64,
    ) -> Result<Option<SealedSecret>, StoreError> {
        let row: Option<RawSecret> = sqlx::query_as(
            "SELECT account_id, version, part, sealed, passphrase, public_key
             FROM credential_versions WHERE account_id = $1 AND version = $2",
        )
        .bind(account.0)
        .bind(version)
        .fetch_optional(&self.read)
        .await?;
        row.map(RawSecret::secret).transpose()
    }

    /// The sealed secrets that a claim's jobs may need: (account, version, secret).
    ///
    /// These are the current versions, the open rotations' candidates and supplied candidates.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn versions_of_claim(
        &self,
        claim: ClaimId,
    ) -> Result<Vec<(AccountId, i64, SealedSecret)>, StoreError> {
        let rows: Vec<RawSecret> = sqlx::query_as(
            "SELECT v.account_id, v.version, v.part, v.sealed, v.passphrase, v.public_key
             FROM jobs j JOIN accounts a ON a.id = j.account_id
                 JOIN credential_versions v ON v.account_id = a.id
             WHERE j.claim_id = $1 AND j.state = 'running'
               AND (v.version = a.current_version OR v.version = a.current_key_version
                 OR v.version = j.version OR v.version = j.key_version
                 OR v.version IN (SELECT r.version FROM rotations r
                     WHERE r.account_id = a.id AND r.phase IN
                     ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator')))
             ORDER BY v.account_id, v.version",
        )
        .bind(claim.0)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter()
            .map(|row| Ok((AccountId(row.account_id), row.version, row.secret()?)))
            .collect()
    }

    /// Superseded keys that may stand on the target, newest first; none while a change of the
    /// account's key is open. A key that is current once more is not among them.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn standing_keys(
        &self,
        account: AccountId,
        limit: i64,
    ) -> Result<Vec<(i64, SealedSecret)>, StoreError> {
        let rows: Vec<RawSecret> = sqlx::query_as(
            "SELECT v.account_id, v.version, v.part, v.sealed, v.passphrase, v.public_key
             FROM accounts a JOIN credential_versions c ON c.account_id = a.id
                     AND c.version = a.current_key_version
                 JOIN credential_versions v ON v.account_id = a.id AND v.part = 'key'
             WHERE a.id = $1 AND v.removed_at IS NULL AND v.public_key <> c.public_key
               AND (v.last_sent_at IS NOT NULL OR v.origin = 'stored')
               AND NOT EXISTS (SELECT 1 FROM rotations r
                   WHERE r.account_id = a.id AND r.part = 'key' AND r.phase IN
                     ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator'))
             ORDER BY v.version DESC LIMIT $2",
        )
        .bind(account.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter()
            .map(|row| Ok((row.version, row.secret()?)))
            .collect()
    }
}
