//! Regressions: what the store has forgotten, and the accounts that are not changed until they are
//! known again.
//!
//! Invariant: an account that is marked is in doubt in the same commit; a mark goes by a login with
//! what is current, or by an operator who is on record.

mod recovery;
mod view;

pub(super) use view::standing;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::wide::Wide;
use super::{StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{AccountId, RegressionId};
use crate::model::regression::RegressionView;

/// A value that a journal has and the store has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenValue {
    /// Whose.
    pub account: AccountId,
    /// The number that it had.
    pub version: i64,
    /// What tells it from others.
    pub print: String,
    /// When the journal got it.
    pub at: Timestamp,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct NewRegression {
    /// What the store says.
    pub generation: i64,
    /// What it had said before.
    pub expected: i64,
    /// What a journal names; `None`: nobody can tell, so every account is concerned.
    pub named: Option<Named>,
}

/// What a journal names.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Values that the store had acknowledged and has not.
    pub values: Vec<ForgottenValue>,
    /// Versions that were sent (whose, which, when), and of which the store does not know it.
    pub sent: Vec<(AccountId, i64, Timestamp)>,
}

static KNOW: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account, number, which, written",
        "INSERT INTO forgotten_values (account_id, version, print, written_at)
         SELECT account, number, which, written FROM r WHERE account > 0
         ON CONFLICT (account_id, print) DO NOTHING",
    )
});
// An account that came later has the number of one that was forgotten.
static MARK: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        2,
        "account, written",
        "INSERT INTO regressed_accounts (account_id, regression_id, consent, actor, turn_at,
             ordered_at, marked_at, recovered_at)
         SELECT a.id, CAST($1 AS BIGINT), 'none', '', CAST(NULL AS BIGINT), CAST(NULL AS BIGINT),
             CAST($2 AS BIGINT), CAST(NULL AS BIGINT)
         FROM r JOIN accounts a ON a.id = r.account
         WHERE a.deleted_at IS NULL AND a.created_at <= r.written
         ON CONFLICT (account_id) DO UPDATE SET regression_id = $1, consent = 'none', actor = '',
             turn_at = NULL, marked_at = $2, recovered_at = NULL",
    )
});
static SENT: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account, number, noted",
        "UPDATE credential_versions SET last_sent_at = r.noted FROM r
         WHERE account_id = r.account AND version = r.number AND last_sent_at IS NULL",
    )
});
static GONE: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account",
        "SELECT COUNT(*) FROM r WHERE account > 0
           AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = r.account)",
    )
});

impl Tx {
    /// Records that the store has come back older, marks the accounts concerned, puts them in doubt
    /// and lifts the generation above all that was ever read. Which, and how many were marked.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn record_regression(
        &mut self,
        new: &NewRegression,
        now: Timestamp,
    ) -> Result<(RegressionId, i64), StoreError> {
        let id: RegressionId = self.id(RegressionId::KIND).await?;
        sqlx::query(
            "INSERT INTO regressions (id, generation, expected, named, accounts, missing, found_at,
                 ended_at) VALUES ($1, $2, $3, $4, 0, 0, $5, NULL)",
        )
        .bind(id.0)
        .bind(new.generation)
        .bind(new.expected)
        .bind(i64::from(new.named.is_some()))
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        let missing = match &new.named {
            Some(named) => self.mark_named(id, named, now).await?,
            None => {
                self.mark_all(id, now).await?;
                0
            }
        };
        sqlx::query(
            "UPDATE accounts SET
                 in_doubt = CASE WHEN current_version IS NULL THEN in_doubt ELSE 1 END,
                 key_in_doubt = CASE WHEN current_key_version IS NULL THEN key_in_doubt ELSE 1 END
             WHERE id IN (SELECT account_id FROM regressed_accounts WHERE regression_id = $1)",
        )
        .bind(id.0)
        .execute(&mut *self.inner)
        .await?;
        let (accounts,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM regressed_accounts WHERE regression_id = $1")
                .bind(id.0)
                .fetch_one(&mut *self.inner)
                .await?;
        let done = sqlx::query("UPDATE regressions SET accounts = $2, missing = $3 WHERE id = $1")
            .bind(id.0)
            .bind(accounts)
            .bind(missing)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the regression")?;
        sqlx::query(
            "UPDATE store_identity SET generation = $1 + 1 WHERE one = 1 AND generation <= $1",
        )
        .bind(new.expected)
        .execute(&mut *self.inner)
        .await?;
        Ok((id, accounts))
    }

    /// How many accounts are named that the store does not have.
    async fn mark_named(
        &mut self,
        id: RegressionId,
        named: &Named,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        for cut in KNOW.cuts(&named.values) {
            let mut query = sqlx::query(cut.text);
            for (account, one) in cut.rows(|one| one.account.0) {
                let (version, at) = (one.version, one.at.0);
                query = query.bind(account).bind(version).bind(&one.print).bind(at);
            }
            query.execute(&mut *self.inner).await?;
        }
        for cut in SENT.cuts(&named.sent) {
            let mut query = sqlx::query(cut.text);
            for (account, (_, version, at)) in cut.rows(|(account, ..)| account.0) {
                query = query.bind(account).bind(version).bind(at.0);
            }
            query.execute(&mut *self.inner).await?;
        }
        // Of each account once: one statement touches no row twice.
        let mut accounts = BTreeMap::new();
        let values = named.values.iter().map(|one| (one.account.0, one.at.0));
        let sent = named.sent.iter().map(|(account, _, at)| (account.0, at.0));
        for (account, at) in values.chain(sent) {
            let latest = accounts.entry(account).or_insert(at);
            *latest = at.max(*latest);
        }
        let accounts: Vec<(i64, i64)> = accounts.into_iter().collect();
        let mut missing = 0;
        for cut in GONE.cuts(&accounts) {
            let mut query = sqlx::query_as(cut.text);
            for (account, _) in cut.rows(|(account, _)| *account) {
                query = query.bind(account);
            }
            let (count,): (i64,) = query.fetch_one(&mut *self.inner).await?;
            missing += count;
        }
        for cut in MARK.cuts(&accounts) {
            let mut query = sqlx::query(cut.text).bind(id.0).bind(now.0);
            for (account, (_, at)) in cut.rows(|(account, _)| *account) {
                query = query.bind(account).bind(at);
            }
            query.execute(&mut *self.inner).await?;
        }
        Ok(missing)
    }

    async fn mark_all(&mut self, id: RegressionId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO regressed_accounts (account_id, regression_id, consent, actor, turn_at,
                 ordered_at, marked_at, recovered_at)
             SELECT id, CAST($1 AS BIGINT), 'none', '', CAST(NULL AS BIGINT), CAST(NULL AS BIGINT),
                 CAST($2 AS BIGINT), CAST(NULL AS BIGINT)
             FROM accounts WHERE deleted_at IS NULL
             ON CONFLICT (account_id) DO UPDATE SET regression_id = $1, consent = 'none',
                 actor = '', turn_at = NULL, marked_at = $2, recovered_at = NULL",
        )
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Notes that a target may have heard of a version, which the store had forgotten.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if there is no such version, or the store knows better.
    pub async fn note_sent(
        &mut self,
        account: AccountId,
        version: i64,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE credential_versions SET last_sent_at = $3
             WHERE account_id = $1 AND version = $2 AND last_sent_at IS NULL",
        )
        .bind(account.0)
        .bind(version)
        .bind(at.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the credential version")
    }

    /// Ends every regression once no account is left; with `all` even if none ever was concerned.
    /// Which.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn end_regressions(
        &mut self,
        all: bool,
        now: Timestamp,
    ) -> Result<Vec<RegressionId>, StoreError> {
        let rows: Vec<(i64,)> = sqlx::query_as(
            "UPDATE regressions SET ended_at = $1
             WHERE ended_at IS NULL AND ($2 = 1 OR EXISTS (SELECT 1 FROM regressions o
                     WHERE o.ended_at IS NULL AND o.accounts > 0))
               AND NOT EXISTS (SELECT 1 FROM regressed_accounts g
                     JOIN accounts a ON a.id = g.account_id
                     WHERE g.recovered_at IS NULL AND a.deleted_at IS NULL)
             RETURNING id",
        )
        .bind(now.0)
        .bind(i64::from(all))
        .fetch_all(&mut *self.inner)
        .await?;
        let mut ended: Vec<_> = rows.into_iter().map(|(id,)| RegressionId(id)).collect();
        ended.sort_unstable();
        Ok(ended)
    }
}

#[derive(sqlx::FromRow)]
struct RawRegression {
    id: i64,
    generation: i64,
    expected: i64,
    named: i64,
    accounts: i64,
    missing: i64,
    found_at: i64,
    ended_at: Option<i64>,
}

impl From<RawRegression> for RegressionView {
    fn from(row: RawRegression) -> Self {
        Self {
            id: RegressionId(row.id),
            generation: row.generation,
            expected: row.expected,
            named: row.named == 1,
            accounts: row.accounts,
            missing: row.missing,
            found_at: Timestamp(row.found_at),
            ended_at: row.ended_at.map(Timestamp),
        }
    }
}
