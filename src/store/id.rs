//! Hands out ids: dense integers, from the `ids` table.
//!
//! Invariant: no id is ever given to two rows; gaps after a crash or a rollback are fine.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use sqlx::{AnyExecutor, AnyPool};

use super::{Backend, StoreError, StoreOptions, Tx};

/// Ids a process has reserved and not used yet.
#[derive(Debug)]
pub(super) struct Blocks {
    /// PostgreSQL reserves blocks in a transaction of its own, or every writer would wait for
    /// the one that holds the row. SQLite has one writer: there a block is the transaction's that
    /// has reserved it, and everybody's once that is committed.
    own: Option<AnyPool>,
    free: Mutex<HashMap<&'static str, Range<i64>>>,
}

impl Blocks {
    pub(super) async fn new(backend: Backend, options: &StoreOptions) -> Result<Self, StoreError> {
        let own = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(backend.writer(options, 1).await?),
        };
        Ok(Self {
            own,
            free: Mutex::default(),
        })
    }

    fn take(&self, kind: &'static str, count: i64) -> Option<i64> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        cut(free.get_mut(kind), count)
    }

    fn keep(&self, kind: &'static str, block: Range<i64>) {
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(kind, block);
    }

    /// What a committed transaction has reserved and not used.
    pub(super) fn keep_all(&self, reserved: HashMap<&'static str, Range<i64>>) {
        for (kind, block) in reserved {
            self.keep(kind, block);
        }
    }

    pub(super) async fn close(&self) {
        if let Some(pool) = &self.own {
            pool.close().await;
        }
    }
}

/// Takes the first `count` ids of a block that has as many.
fn cut(block: Option<&mut Range<i64>>, count: i64) -> Option<i64> {
    let block = block.filter(|block| block.end - block.start >= count)?;
    let first = block.start;
    block.start += count;
    Some(first)
}

/// How many ids to reserve at once: nouns that come in masses take larger blocks, nouns that
/// people read stay dense.
fn block_size(kind: &str) -> i64 {
    match kind {
        "audit" | "job" | "rotation" | "claim" | "delivery" => 1_000,
        _ => 1,
    }
}

impl Tx {
    /// The next `count` ids of a noun: the first of them.
    pub(crate) async fn ids(&mut self, kind: &'static str, count: i64) -> Result<i64, StoreError> {
        let blocks = self.store.ids.clone();
        if let Some(first) = cut(self.reserved.get_mut(kind), count) {
            return Ok(first);
        }
        if let Some(first) = blocks.take(kind, count) {
            return Ok(first);
        }
        let reserve = count.max(block_size(kind));
        let end = match &blocks.own {
            Some(own) => raise(own, kind, reserve).await?,
            None => raise(&mut *self.inner, kind, reserve).await?,
        };
        let first = end - reserve;
        let rest = first + count..end;
        if blocks.own.is_some() {
            blocks.keep(kind, rest);
        } else {
            self.reserved.insert(kind, rest);
        }
        Ok(first)
    }

    /// The next id of a noun.
    pub(crate) async fn id<T: From<i64>>(&mut self, kind: &'static str) -> Result<T, StoreError> {
        Ok(T::from(self.ids(kind, 1).await?))
    }
}

async fn raise<'e>(
    executor: impl AnyExecutor<'e>,
    kind: &'static str,
    by: i64,
) -> Result<i64, StoreError> {
    let (next,): (i64,) = sqlx::query_as(
        "INSERT INTO ids (kind, next) VALUES ($1, $2 + 1)
         ON CONFLICT (kind) DO UPDATE SET next = ids.next + $2 RETURNING next",
    )
    .bind(kind)
    .bind(by)
    .fetch_one(executor)
    .await?;
    Ok(next)
}
