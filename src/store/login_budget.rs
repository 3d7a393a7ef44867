//! The lockout budget: logins that may fail, counted before they are sent.
//!
//! Invariant: what was counted is durable before the login it was counted for is sent.

use super::{StoreError, Tx};
use crate::model::Timestamp;
use crate::model::id::AccountId;

impl Tx {
    /// Counts one login that may fail, before it is sent. `false`: the budget is spent.
    ///
    /// What was counted is forgotten once nothing has been counted for a whole window: so no span
    /// of that length ever holds more than the budget.
    ///
    /// # Errors
    /// [`StoreError`] of the database; then nothing may be sent.
    pub async fn spend_login(
        &mut self,
        account: AccountId,
        budget: i64,
        window_ms: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        sqlx::query(
            "INSERT INTO login_budget (account_id, window_at, spent) VALUES ($1, $2, 0)
             ON CONFLICT (account_id) DO UPDATE SET
                 spent = CASE WHEN login_budget.window_at <= $2 - $3 THEN 0
                     ELSE login_budget.spent END",
        )
        .bind(account.0)
        .bind(now.0)
        .bind(window_ms)
        .execute(&mut *self.inner)
        .await?;
        let done = sqlx::query(
            "UPDATE login_budget SET spent = spent + 1, window_at = $3
             WHERE account_id = $1 AND spent < $2",
        )
        .bind(account.0)
        .bind(budget)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes back one counted login: it has succeeded.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn refund_login(&mut self, account: AccountId) -> Result<(), StoreError> {
        // A window that has ended meanwhile has nothing left to take back.
        sqlx::query(
            "UPDATE login_budget SET spent = spent - 1 WHERE account_id = $1 AND spent > 0",
        )
        .bind(account.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
