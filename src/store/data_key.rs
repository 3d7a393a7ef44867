//! Wrapped data keys, and which store this is.
//!
//! The store knows sealed bytes alone: the app hands them to the vault.
//!
//! Invariant: a data key is never deleted and never replaced by another, and its seals are
//! reserved before they are made, so that their count may be too high but never too low.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::DataKeyId;

/// A data key as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKeyRow {
    /// Its id, also in the head of every value it sealed.
    pub id: DataKeyId,
    /// Which KEK wraps it.
    pub kek_id: String,
    /// The wrapped bytes.
    pub wrapped: Vec<u8>,
    /// Seals reserved so far.
    pub seals: i64,
    /// When it was drawn.
    pub created_at: Timestamp,
    /// Since when it seals nothing new.
    pub retired_at: Option<Timestamp>,
}

/// Which store this is.
#[derive(Clone, Debug)]
pub struct StoreIdentity {
    /// Drawn once.
    pub uuid: String,
    /// A sealed constant; opens only with the right KEK.
    pub probe: Option<Vec<u8>>,
    /// When the store was made.
    pub created_at: Timestamp,
}

type KeyRow = (i64, String, Vec<u8>, i64, i64, Option<i64>);

impl Store {
    /// Every data key, by id.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that no data key can have.
    pub async fn data_keys(&self) -> Result<Vec<DataKeyRow>, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(
            "SELECT id, kek_id, wrapped, seals, created_at, retired_at FROM data_keys ORDER BY id",
        )
        .fetch_all(&self.read)
        .await
        .map_err(|error| unreadable(error, "data_keys"))?;
        rows.into_iter()
            .map(|(id, kek_id, wrapped, seals, created_at, retired_at)| {
                if id < 1 || seals < 0 {
                    return Err(StoreError::Corrupt {
                        table: "data_keys",
                        row: id,
                        problem: "the id or the count of seals is negative",
                    });
                }
                Ok(DataKeyRow {
                    id: DataKeyId(id),
                    kek_id,
                    wrapped,
                    seals,
                    created_at: Timestamp(created_at),
                    retired_at: retired_at.map(Timestamp),
                })
            })
            .collect()
    }

    /// The store's own identity; `None` until its first start has made it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that no release wrote.
    pub async fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        let row: Option<(String, Option<Vec<u8>>, i64)> =
            sqlx::query_as("SELECT uuid, probe, created_at FROM store_identity WHERE one = 1")
                .fetch_optional(&self.read)
                .await
                .map_err(|error| unreadable(error, "store_identity"))?;
        Ok(row.map(|(uuid, probe, created_at)| StoreIdentity {
            uuid,
            probe,
            created_at: Timestamp(created_at),
        }))
    }
}

/// A value of another type than the column's: SQLite keeps whatever somebody writes.
fn unreadable(error: sqlx::Error, table: &'static str) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Corrupt {
            table,
            row: 1,
            problem: "a column holds a value of another type",
        },
        other => other.into(),
    }
}

impl Tx {
    /// Records a data key. Nothing may be sealed with it before this has committed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is a key with that id.
    pub async fn insert_data_key(
        &mut self,
        id: DataKeyId,
        kek_id: &str,
        wrapped: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO data_keys (id, kek_id, wrapped, seals, created_at, retired_at)
             VALUES ($1, $2, $3, 0, $4, NULL)",
        )
        .bind(id.0)
        .bind(kek_id)
        .bind(wrapped)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the data key"))?;
        exactly(1, done.rows_affected(), "the data key")
    }

    /// Lets a data key seal no more; it still opens what it sealed.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such key, or it has retired before.
    pub async fn retire_data_key(
        &mut self,
        id: DataKeyId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE data_keys SET retired_at = $2 WHERE id = $1 AND retired_at IS NULL",
        )
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the data key")
    }

    /// Reserves seals with a data key: how many are reserved now, over all nodes.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such key.
    pub async fn reserve_seals(&mut self, id: DataKeyId, count: i64) -> Result<i64, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("UPDATE data_keys SET seals = seals + $2 WHERE id = $1 RETURNING seals")
                .bind(id.0)
                .bind(count)
                .fetch_optional(&mut *self.inner)
                .await?;
        row.map(|(seals,)| seals).ok_or(StoreError::Stale {
            what: "the data key",
        })
    }

    /// Says once and for all which store this is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it has an identity: another node was first.
    pub async fn insert_identity(
        &mut self,
        uuid: &str,
        probe: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO store_identity (one, uuid, probe, created_at) VALUES (1, $1, $2, $3)",
        )
        .bind(uuid)
        .bind(probe)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the store's identity"))?;
        exactly(1, done.rows_affected(), "the store's identity")
    }
}
