//! Looks whether there is anything to claim, before a writer's turn is taken for it.
//!
//! Invariant: it may say yes in vain, and never no where a claim would find work.

use crate::model::Timestamp;
use crate::store::{Store, StoreError};

impl Store {
    /// False if a claim would find nothing now: no system with a free session has due work, and
    /// none is broken. Costs no writer's turn, which orders wait for.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn may_claim(&self, now: Timestamp) -> Result<bool, StoreError> {
        let (may,): (i64,) = sqlx::query_as(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM systems WHERE head0 IS NOT NULL
                    AND running < max_sessions AND head0 <= $1)
                OR EXISTS (SELECT 1 FROM systems WHERE head1 IS NOT NULL
                    AND running < max_sessions AND head1 <= $1)
                OR EXISTS (SELECT 1 FROM systems WHERE head2 IS NOT NULL
                    AND running < max_sessions AND head2 <= $1)
                OR EXISTS (SELECT 1 FROM systems WHERE trips >= 3 AND running < max_sessions)
             THEN 1 ELSE 0 END",
        )
        .bind(now.0)
        .fetch_one(&self.read)
        .await?;
        Ok(may == 1)
    }
}
