//! The sealed secrets of functional accounts beside their password: a private key, and what raises
//! rights on network devices.
//!
//! Invariant: secrets come in sealed and are read by their one reader alone.

use std::fmt;

use super::{Store, StoreError, Tx, exactly};
use crate::model::id::FunctionalAccountId;

/// A functional account's key pair, sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// The private key as it was given.
    pub private: Vec<u8>,
    /// Its passphrase, if it has one.
    pub passphrase: Option<Vec<u8>>,
    /// Algorithm and base64, without a comment; no secret.
    pub public: String,
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The sealed key pair of a functional account; `None` if there is none.
    ///
    /// Its places in the vault: table `functional_accounts`, the row's id, columns `private_key`
    /// and `passphrase`, version 0.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn functional_key(
        &self,
        id: FunctionalAccountId,
    ) -> Result<Option<SealedKey>, StoreError> {
        type Row = (Option<Vec<u8>>, Option<Vec<u8>>, Option<String>);
        let row: Option<Row> = sqlx::query_as(
            "SELECT private_key, passphrase, public_key FROM functional_accounts WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.and_then(|(private, passphrase, public)| {
            Some(SealedKey {
                private: private?,
                passphrase,
                public: public.unwrap_or_default(),
            })
        }))
    }

    /// The sealed enable secret of a functional account; `None` if there is none.
    ///
    /// Its place in the vault: table `functional_accounts`, the row's id, column
    /// `enable_secret`, version 0.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn functional_enable(
        &self,
        id: FunctionalAccountId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Option<Vec<u8>>,)> =
            sqlx::query_as("SELECT enable_secret FROM functional_accounts WHERE id = $1")
                .bind(id.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.and_then(|(sealed,)| sealed))
    }
}

impl Tx {
    /// Removes the sealed password of a functional account.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the account is gone.
    pub async fn clear_functional_password(
        &mut self,
        id: FunctionalAccountId,
    ) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE functional_accounts SET password = NULL WHERE id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the functional account")
    }

    /// Replaces or removes the sealed key pair of a functional account.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the account is gone.
    pub async fn set_functional_key(
        &mut self,
        id: FunctionalAccountId,
        key: Option<SealedKey>,
    ) -> Result<(), StoreError> {
        let (private, passphrase, public) = match key {
            Some(key) => (Some(key.private), key.passphrase, Some(key.public)),
            None => (None, None, None),
        };
        for sealed in private.iter().chain(&passphrase) {
            self.holds(sealed);
        }
        let done = sqlx::query(
            "UPDATE functional_accounts SET private_key = $2, passphrase = $3, public_key = $4
             WHERE id = $1",
        )
        .bind(id.0)
        .bind(private)
        .bind(passphrase)
        .bind(public)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the functional account")
    }

    /// Replaces or removes the sealed enable secret of a functional account.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the account is gone.
    pub async fn set_functional_enable(
        &mut self,
        id: FunctionalAccountId,
        sealed: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        if let Some(sealed) = &sealed {
            self.holds(sealed);
        }
        let done = sqlx::query("UPDATE functional_accounts SET enable_secret = $2 WHERE id = $1")
            .bind(id.0)
            .bind(sealed)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the functional account")
    }
}
