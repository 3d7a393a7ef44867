//! What is read of regressions.
//!
//! Invariant: an account is listed for as long as it is marked, whatever became of its jobs.

use super::RawRegression;
use crate::model::Timestamp;
use crate::model::id::{AccountId, RegressionId, SystemId};
use crate::model::regression::{Consent, RegressedAccount, RegressionView, Standing};
use crate::store::{Store, StoreError};

#[derive(sqlx::FromRow)]
struct RawAccount {
    account_id: i64,
    system_id: i64,
    name: String,
    system_name: String,
    regression_id: i64,
    consent: String,
    actor: String,
    ordered_at: Option<i64>,
    forgotten: i64,
    last_test: String,
    has_job: i64,
}

fn consent_of(account: i64, raw: &str) -> Result<Consent, StoreError> {
    Consent::parse(raw).ok_or(StoreError::Corrupt {
        table: "regressed_accounts",
        row: account,
        problem: "unknown consent",
    })
}

/// What a claim reads of an account.
pub(in crate::store) fn standing(
    account: i64,
    consent: Option<&str>,
) -> Result<Standing, StoreError> {
    match consent {
        None => Ok(Standing::Sound),
        Some(raw) => consent_of(account, raw).map(Standing::Regressed),
    }
}

impl Store {
    /// The newest regressions first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn regressions(&self, limit: i64) -> Result<Vec<RegressionView>, StoreError> {
        let rows: Vec<RawRegression> = sqlx::query_as(
            "SELECT id, generation, expected, named, accounts, missing, found_at, ended_at
             FROM regressions ORDER BY id DESC LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(RegressionView::from).collect())
    }

    /// The newest regression that has not ended.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn open_regression(&self) -> Result<Option<RegressionView>, StoreError> {
        let row: Option<RawRegression> = sqlx::query_as(
            "SELECT id, generation, expected, named, accounts, missing, found_at, ended_at
             FROM regressions WHERE ended_at IS NULL ORDER BY id DESC LIMIT 1",
        )
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(RegressionView::from))
    }

    /// Marked accounts by what was agreed to.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_regressed(&self) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT g.consent, COUNT(*) FROM regressed_accounts g
                 JOIN accounts a ON a.id = g.account_id
             WHERE g.recovered_at IS NULL AND a.deleted_at IS NULL
             GROUP BY g.consent ORDER BY g.consent",
        )
        .fetch_all(&self.read)
        .await?)
    }

    /// Marked accounts by id, after one.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn regressed_accounts(
        &self,
        after: Option<AccountId>,
        limit: i64,
    ) -> Result<Vec<RegressedAccount>, StoreError> {
        let rows: Vec<RawAccount> = sqlx::query_as(
            "SELECT g.account_id, a.system_id, a.name, d.name AS system_name, g.regression_id,
                 g.consent, g.actor, g.ordered_at, a.last_test,
                 (SELECT COUNT(*) FROM forgotten_values f WHERE f.account_id = g.account_id)
                     AS forgotten,
                 CASE WHEN EXISTS (SELECT 1 FROM jobs j WHERE j.account_id = g.account_id
                     AND j.state IN ('queued', 'running')) THEN 1 ELSE 0 END AS has_job
             FROM regressed_accounts g JOIN accounts a ON a.id = g.account_id
                 JOIN system_details d ON d.system_id = a.system_id
             WHERE g.recovered_at IS NULL AND a.deleted_at IS NULL
               AND (CAST($1 AS BIGINT) IS NULL OR g.account_id > $1)
             ORDER BY g.account_id LIMIT $2",
        )
        .bind(after.map(|id| id.0))
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        let account = |row: RawAccount| {
            Ok(RegressedAccount {
                account: AccountId(row.account_id),
                system: SystemId(row.system_id),
                name: row.name,
                system_name: row.system_name,
                regression: RegressionId(row.regression_id),
                consent: consent_of(row.account_id, &row.consent)?,
                actor: row.actor,
                ordered_at: row.ordered_at.map(Timestamp),
                forgotten: row.forgotten,
                last_test: row.last_test,
                has_job: row.has_job == 1,
            })
        };
        rows.into_iter().map(account).collect()
    }

    /// True if the account is marked.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn is_regressed(&self, account: AccountId) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT account_id FROM regressed_accounts
             WHERE account_id = $1 AND recovered_at IS NULL",
        )
        .bind(account.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.is_some())
    }

    /// Accounts whose recovery is agreed to and to be ordered now: those first that others are
    /// changed by.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn recoveries_due(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<(AccountId, SystemId, Consent, String)>, StoreError> {
        let rows: Vec<(i64, i64, String, String)> = sqlx::query_as(
            "SELECT g.account_id, a.system_id, g.consent, g.actor
             FROM regressed_accounts g JOIN accounts a ON a.id = g.account_id
             WHERE g.turn_at IS NOT NULL AND g.turn_at <= $2 AND a.active = 1
             ORDER BY CASE WHEN EXISTS (SELECT 1 FROM functional_links l
                 WHERE l.account_id = g.account_id) THEN 0 ELSE 1 END, g.account_id LIMIT $1",
        )
        .bind(limit)
        .bind(now.0)
        .fetch_all(&self.read)
        .await?;
        let due = |(account, system, consent, actor): (i64, i64, String, String)| {
            let consent = consent_of(account, &consent)?;
            Ok((AccountId(account), SystemId(system), consent, actor))
        };
        rows.into_iter().map(due).collect()
    }

    /// How many recoveries have been ordered since.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn recoveries_since(&self, since: Timestamp) -> Result<i64, StoreError> {
        let (count,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM regressed_accounts
             WHERE ordered_at IS NOT NULL AND ordered_at > $1",
        )
        .bind(since.0)
        .fetch_one(&self.read)
        .await?;
        Ok(count)
    }
}
