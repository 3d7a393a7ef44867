//! Nodes and their heartbeats, and which node may run a tick.
//!
//! Invariant: no clock of one node is compared with another's; peers watch a counter change.

use super::{Backend, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::NodeId;

impl Tx {
    /// Registers a node that has just started. On SQLite every other node is dead by then.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn register_node(
        &mut self,
        name: &str,
        now: Timestamp,
    ) -> Result<NodeId, StoreError> {
        let id: NodeId = self.id(NodeId::KIND).await?;
        if self.backend == Backend::Sqlite {
            sqlx::query("UPDATE nodes SET state = 'dead' WHERE state = 'alive'")
                .execute(&mut *self.inner)
                .await?;
        }
        sqlx::query(
            "INSERT INTO nodes (id, name, beat, state, started_at) VALUES ($1, $2, 0, 'alive', $3)",
        )
        .bind(id.0)
        .bind(name)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(id)
    }

    /// Shows that the node lives: how often it has now.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if a peer has declared it dead: it must take a new id.
    pub async fn beat(&mut self, node: NodeId) -> Result<i64, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "UPDATE nodes SET beat = beat + 1 WHERE id = $1 AND state = 'alive' RETURNING beat",
        )
        .bind(node.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        row.map(|(beat,)| beat).ok_or(StoreError::LeaseLost)
    }

    /// Declares a node dead whose beat is still the one that was seen. `false`: it has moved.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn declare_dead(&mut self, node: NodeId, seen: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE nodes SET state = 'dead' WHERE id = $1 AND beat = $2 AND state = 'alive'",
        )
        .bind(node.0)
        .bind(seen)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Signs a node off; its claims have been settled.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sign_off(&mut self, node: NodeId) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE nodes SET state = 'dead' WHERE id = $1")
            .bind(node.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the node")
    }

    /// Takes a tick's turn: one node of all wins, and the next turn comes at `next`.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn take_tick(
        &mut self,
        name: &str,
        node: NodeId,
        next: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        sqlx::query(
            "INSERT INTO ticks (name, next_at, node_id, succeeded_at) VALUES ($1, 0, $2, 0)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(node.0)
        .execute(&mut *self.inner)
        .await?;
        let done = sqlx::query(
            // A turn ten minutes later than the one after this was planned by a clock that ran ahead.
            "UPDATE ticks SET next_at = $2, node_id = $3
             WHERE name = $1 AND (next_at <= $4 OR next_at > $2 + 600000)",
        )
        .bind(name)
        .bind(next.0)
        .bind(node.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Records that a tick has completed.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn tick_done(&mut self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE ticks SET succeeded_at = $2 WHERE name = $1")
            .bind(name)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the tick")
    }
}

impl Store {
    /// Nodes that count as alive, with their beats.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn living_nodes(&self) -> Result<Vec<(NodeId, i64)>, StoreError> {
        let rows: Vec<(i64, i64)> =
            sqlx::query_as("SELECT id, beat FROM nodes WHERE state = 'alive' ORDER BY id")
                .fetch_all(&self.read)
                .await?;
        Ok(rows
            .into_iter()
            .map(|(id, beat)| (NodeId(id), beat))
            .collect())
    }

    /// When each tick last completed; 0 for never.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn ticks(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, succeeded_at FROM ticks ORDER BY name")
                .fetch_all(&self.read)
                .await?;
        Ok(rows
            .into_iter()
            .map(|(name, at)| (name, Timestamp(at)))
            .collect())
    }
}
