//! Times that a clock which ran far ahead has left behind.
//!
//! Invariant: nothing here makes work wait longer, and no counted login is given back.

use super::dialect::skip_locked;
use super::{Store, StoreError, Tx};
use crate::model::Timestamp;
use crate::model::id::SystemId;

/// Systems that one look brings back.
const SYSTEMS_MAX: i64 = 1_000;

impl Store {
    /// True if something stands later than `farthest`.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn is_ahead(&self, farthest: Timestamp) -> Result<bool, StoreError> {
        let (is_ahead,): (i64,) = sqlx::query_as(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM login_budget WHERE window_at > $1)
                 OR EXISTS (SELECT 1 FROM functional_links WHERE wanted_until > $1)
                 OR EXISTS (SELECT 1 FROM systems WHERE paused_until > $1 OR head0 > $1
                     OR head1 > $1 OR head2 > $1)
                 OR EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND queued_at > $1)
             THEN 1 ELSE 0 END",
        )
        .bind(farthest.0)
        .fetch_one(&self.read)
        .await?;
        Ok(is_ahead == 1)
    }
}

impl Tx {
    /// Brings what stands later than `farthest` back to `now`: nothing is planned for that late,
    /// so whoever wrote it had a clock that was wrong.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn bring_back(
        &mut self,
        farthest: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for statement in [
            // What was counted stays counted; its window begins anew.
            "UPDATE login_budget SET window_at = $2 WHERE window_at > $1",
            "UPDATE functional_links SET wanted_until = $2 WHERE wanted_until > $1",
        ] {
            sqlx::query(statement)
                .bind(farthest.0)
                .bind(now.0)
                .execute(&mut *self.inner)
                .await?;
        }
        let ahead: Vec<(i64,)> = sqlx::query_as(
            "SELECT id FROM systems WHERE paused_until > $1 OR head0 > $1 OR head1 > $1
                 OR head2 > $1
                 OR id IN (SELECT system_id FROM jobs WHERE state = 'queued' AND queued_at > $1)
             ORDER BY id LIMIT $2",
        )
        .bind(farthest.0)
        .bind(SYSTEMS_MAX)
        .fetch_all(&mut *self.inner)
        .await?;
        for (system,) in ahead {
            // Whoever holds it now goes on; the next look comes back to it.
            let free: Option<(i64,)> = sqlx::query_as(skip_locked!(
                self.backend,
                "SELECT id FROM systems WHERE id = $1"
            ))
            .bind(system)
            .fetch_optional(&mut *self.inner)
            .await?;
            if free.is_none() {
                continue;
            }
            for statement in [
                "UPDATE jobs SET run_at = $2 WHERE system_id = $3 AND state = 'queued' AND run_at > $1",
                "UPDATE jobs SET queued_at = $2
                 WHERE system_id = $3 AND state = 'queued' AND queued_at > $1",
                "UPDATE systems SET paused_until = $2 WHERE id = $3 AND paused_until > $1",
            ] {
                sqlx::query(statement)
                    .bind(farthest.0)
                    .bind(now.0)
                    .bind(system)
                    .execute(&mut *self.inner)
                    .await?;
            }
            self.refresh(SystemId(system), 0).await?;
        }
        Ok(())
    }
}
