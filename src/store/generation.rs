//! How old the store is, and whether it still has what it acknowledged.
//!
//! Invariant: the generation only grows; a store whose generation is lower than one that was read
//! before has come back older.

use std::sync::LazyLock;

use super::wide::Wide;
use super::{Store, StoreError, Tx};
use crate::model::Timestamp;

static THERE: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account, number",
        "SELECT v.account_id, v.version FROM r JOIN credential_versions v
             ON v.account_id = r.account AND v.version = r.number",
    )
});
static UNSENT: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account, number, noted",
        "SELECT v.account_id, v.version FROM r JOIN credential_versions v
             ON v.account_id = r.account AND v.version = r.number
         WHERE v.last_sent_at IS NULL AND v.staged_at <= r.noted",
    )
});
static FORGOTTEN: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account, which",
        "SELECT f.account_id, f.print FROM r JOIN forgotten_values f
             ON f.account_id = r.account AND f.print = r.which",
    )
});

impl Store {
    /// The generation; 0 before the first start has made the store.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn generation(&self) -> Result<i64, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT generation FROM store_identity WHERE one = 1")
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map_or(0, |(generation,)| generation))
    }

    /// Those of these versions (account, version) that are there, in any order.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn versions_there(
        &self,
        versions: &[(i64, i64)],
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut there = Vec::with_capacity(versions.len());
        for cut in THERE.cuts(versions) {
            let mut query = sqlx::query_as(cut.text);
            for (account, (_, version)) in cut.rows(|(account, _)| *account) {
                query = query.bind(account).bind(version);
            }
            let rows: Vec<(i64, i64)> = query.fetch_all(&self.read).await?;
            there.extend(rows);
        }
        Ok(there)
    }

    /// Those of these versions (account, version, when it was noted) that were sent, as somebody
    /// noted, and of which the store does not know it.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn versions_unsent(
        &self,
        versions: &[(i64, i64, Timestamp)],
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut unsent = Vec::new();
        for cut in UNSENT.cuts(versions) {
            let mut query = sqlx::query_as(cut.text);
            for (account, (_, version, at)) in cut.rows(|(account, ..)| *account) {
                query = query.bind(account).bind(version).bind(at.0);
            }
            let rows: Vec<(i64, i64)> = query.fetch_all(&self.read).await?;
            unsent.extend(rows);
        }
        Ok(unsent)
    }

    /// Those of these values (account, print) that are known to be forgotten.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn known_forgotten(
        &self,
        values: &[(i64, String)],
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let mut known = Vec::new();
        for cut in FORGOTTEN.cuts(values) {
            let mut query = sqlx::query_as(cut.text);
            for (account, (_, print)) in cut.rows(|(account, _)| *account) {
                query = query.bind(account).bind(print.clone());
            }
            let rows: Vec<(i64, String)> = query.fetch_all(&self.read).await?;
            known.extend(rows);
        }
        Ok(known)
    }
}

impl Tx {
    /// Raises the generation by one: what it is now.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the store has no identity yet.
    pub async fn raise_generation(&mut self) -> Result<i64, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "UPDATE store_identity SET generation = generation + 1 WHERE one = 1
             RETURNING generation",
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        row.map(|(generation,)| generation)
            .ok_or(StoreError::Stale {
                what: "the store's identity",
            })
    }
}
