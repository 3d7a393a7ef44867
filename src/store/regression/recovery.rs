//! Recoveries: what operators agree to, whose turn it is, and what came of it.
//!
//! Invariant: a consent is used up by the attempt that it led to, unless the target was not heard.

use std::sync::LazyLock;
use std::time::Duration;

use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::{AccountId, SystemId};
use crate::model::job::Priority;
use crate::model::regression::{Consent, Standing};
use crate::store::claim::ClaimedJob;
use crate::store::wide::Wide;
use crate::store::{StoreError, Tx};

/// A target that was not heard is left alone for so long.
const TURN_AGAIN: Duration = Duration::from_mins(1);

static AGREE: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        2,
        "account",
        "UPDATE regressed_accounts SET consent = $1, actor = $2, turn_at = 0
         FROM r WHERE account_id = r.account AND recovered_at IS NULL",
    )
});
static UNMARK: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        1,
        "account",
        "UPDATE regressed_accounts SET recovered_at = $1, turn_at = NULL
         FROM r WHERE account_id = r.account AND recovered_at IS NULL",
    )
});
/// What was agreed to anew meanwhile stands.
static SPENT: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account",
        "UPDATE regressed_accounts SET consent = 'none'
         FROM r WHERE account_id = r.account AND turn_at IS NULL AND recovered_at IS NULL",
    )
});
static AGAIN: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        1,
        "account",
        "UPDATE regressed_accounts SET turn_at = $1
         FROM r WHERE account_id = r.account AND consent <> 'none' AND recovered_at IS NULL",
    )
});

impl Tx {
    /// An operator agrees to the recovery of these accounts: of how many that are marked.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn agree(
        &mut self,
        accounts: &[AccountId],
        consent: Consent,
        actor: &str,
    ) -> Result<u64, StoreError> {
        let mut agreed = 0;
        for cut in AGREE.cuts(accounts) {
            let mut query = sqlx::query(cut.text).bind(consent.as_str()).bind(actor);
            for (account, _) in cut.rows(|account| account.0) {
                query = query.bind(account);
            }
            agreed += query.execute(&mut *self.inner).await?.rows_affected();
        }
        Ok(agreed)
    }

    /// Notes that an account's recovery has been ordered: its turn is over. `false`: it has no
    /// turn any more.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn take_turn(
        &mut self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE regressed_accounts SET ordered_at = $2, turn_at = NULL
             WHERE account_id = $1 AND turn_at IS NOT NULL",
        )
        .bind(account.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Makes an account's queued job due now, whatever it waits for; under [`Tx::lock_queue`].
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn wake_job(
        &mut self,
        account: AccountId,
        (system, priority): (SystemId, Priority),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.raise_head(system, priority, now).await?;
        sqlx::query(
            "UPDATE jobs SET run_at = $2
             WHERE account_id = $1 AND state IN ('queued', 'running') AND state = 'queued'
               AND run_at > $2",
        )
        .bind(account.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        self.ring();
        Ok(())
    }

    /// Takes the marks from accounts: how many had one.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn unmark(
        &mut self,
        accounts: &[AccountId],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut done = 0;
        for cut in UNMARK.cuts(accounts) {
            let mut query = sqlx::query(cut.text).bind(now.0);
            for (account, _) in cut.rows(|account| account.0) {
                query = query.bind(account);
            }
            done += query.execute(&mut *self.inner).await?.rows_affected();
        }
        Ok(done)
    }

    /// What attempts have shown of accounts that were marked when they were claimed.
    pub(in crate::store) async fn settle_standings(
        &mut self,
        jobs: impl Iterator<Item = &ClaimedJob>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut recovered, mut spent, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job.standing {
                Standing::Recovered => recovered.push(job.account),
                Standing::Spent => spent.push(job.account),
                Standing::Postponed(_) => again.push(job.account),
                Standing::Sound | Standing::Regressed(_) => {}
            }
        }
        self.unmark(&recovered, now).await?;
        for account in recovered {
            let event = Event::by_service("account.recovered", account, serde_json::json!({}));
            self.audit(&event, now).await?;
        }
        for cut in SPENT.cuts(&spent) {
            let mut query = sqlx::query(cut.text);
            for (account, _) in cut.rows(|account| account.0) {
                query = query.bind(account);
            }
            query.execute(&mut *self.inner).await?;
        }
        for cut in AGAIN.cuts(&again) {
            let mut query = sqlx::query(cut.text).bind(now.plus(TURN_AGAIN).0);
            for (account, _) in cut.rows(|account| account.0) {
                query = query.bind(account);
            }
            query.execute(&mut *self.inner).await?;
        }
        Ok(())
    }
}
