//! The lockout budget: logins that may fail, counted before they are sent.
//!
//! Invariant: what was counted is durable before the login it was counted for is sent.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::wide::Wide;
use super::{Store, StoreError, Tx};
use crate::model::Timestamp;
use crate::model::id::AccountId;

static SPEND: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        3,
        "account",
        "INSERT INTO login_budget (account_id, window_at, spent)
         SELECT account, CAST($1 AS BIGINT), 1 FROM r
         WHERE account > 0 AND CAST($3 AS BIGINT) > 0
         ON CONFLICT (account_id) DO UPDATE SET window_at = $1,
             spent = CASE WHEN login_budget.window_at <= $1 - $2 THEN 1
                 ELSE login_budget.spent + 1 END
         WHERE login_budget.window_at <= $1 - $2 OR login_budget.spent < $3
         RETURNING account_id",
    )
});
// A window that has ended meanwhile has nothing left to take back.
static REFUND: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account",
        "UPDATE login_budget SET spent = spent - 1
         FROM r WHERE account_id = r.account AND spent > 0",
    )
});

impl Store {
    /// Logins of an account that are counted now: they have failed, or may fail yet.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn logins_spent(
        &self,
        account: AccountId,
        window_ms: i64,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT CAST(spent AS BIGINT) FROM login_budget
             WHERE account_id = $1 AND window_at > $2",
        )
        .bind(account.0)
        .bind(now.0 - window_ms)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map_or(0, |(spent,)| spent))
    }
}

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
        let granted = self
            .spend_logins(&[account], budget, window_ms, now)
            .await?;
        Ok(granted.contains(&account))
    }

    /// The same for one login of each of several accounts: those that may log in.
    ///
    /// # Errors
    /// [`StoreError`] of the database; then nothing may be sent.
    pub async fn spend_logins(
        &mut self,
        accounts: &[AccountId],
        budget: i64,
        window_ms: i64,
        now: Timestamp,
    ) -> Result<HashSet<AccountId>, StoreError> {
        let mut granted = HashSet::with_capacity(accounts.len());
        for cut in SPEND.cuts(accounts) {
            let mut query = sqlx::query_as(cut.text)
                .bind(now.0)
                .bind(window_ms)
                .bind(budget);
            for (account, _) in cut.rows(|account| account.0) {
                query = query.bind(account);
            }
            let rows: Vec<(i64,)> = query.fetch_all(&mut *self.inner).await?;
            granted.extend(rows.into_iter().map(|(account,)| AccountId(account)));
        }
        Ok(granted)
    }

    /// Takes back one counted login: it has succeeded.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn refund_login(&mut self, account: AccountId) -> Result<(), StoreError> {
        self.refund_logins(&[account]).await
    }

    /// The same for one login of each of several accounts.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn refund_logins(&mut self, accounts: &[AccountId]) -> Result<(), StoreError> {
        for cut in REFUND.cuts(accounts) {
            let mut query = sqlx::query(cut.text);
            for (account, _) in cut.rows(|account| account.0) {
                query = query.bind(account);
            }
            query.execute(&mut *self.inner).await?;
        }
        Ok(())
    }
}
