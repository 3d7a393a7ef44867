//! Synced accounts: subscribers, which take over the passwords of their parent.
//!
//! Invariant: a parent is no subscriber, so a password travels one step; neither is linked to a
//! functional account; which password a subscriber has is read off its current version, never
//! noted beside it.

use super::{NewJob, Page, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::credential::Parts;
use crate::model::id::{AccountId, ClaimId, JobId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};

const GONE: StoreError = StoreError::Stale {
    what: "the managed account",
};
const ELSEWHERE: StoreError = StoreError::Conflict {
    what: "an account that is synced with another one",
};
const NESTED: StoreError = StoreError::Conflict {
    what: "a subscriber as the parent of others",
};
const HAS_SUBSCRIBERS: StoreError = StoreError::Conflict {
    what: "an account that others are synced with",
};

/// A subscriber and its parent, as they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The subscriber.
    pub account: AccountId,
    /// Where it lives.
    pub system: SystemId,
    /// False: suspended.
    pub active: bool,
    /// Whose passwords it takes over.
    pub parent: AccountId,
    /// Where that one lives.
    pub parent_system: SystemId,
    /// False: suspended.
    pub parent_active: bool,
    /// The parent's current password.
    pub parent_version: Option<i64>,
    /// The parent's password that the subscriber's is, or that it found when it joined.
    pub followed: Option<i64>,
    /// The subscriber's job that last waited for one of the parent's, and that one.
    pub waited: Option<(JobId, JobId)>,
}

impl Subscription {
    /// True if the parent has a password that the subscriber has not taken over.
    pub fn is_behind(&self) -> bool {
        self.parent_version.is_some() && self.followed != self.parent_version
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    account_id: i64,
    system_id: i64,
    active: i64,
    parent_id: i64,
    parent_system_id: i64,
    parent_active: i64,
    parent_version: Option<i64>,
    followed: Option<i64>,
    job_id: Option<i64>,
    waits_for: Option<i64>,
}

impl From<Row> for Subscription {
    fn from(row: Row) -> Self {
        Self {
            account: AccountId(row.account_id),
            system: SystemId(row.system_id),
            active: row.active != 0,
            parent: AccountId(row.parent_id),
            parent_system: SystemId(row.parent_system_id),
            parent_active: row.parent_active != 0,
            parent_version: row.parent_version,
            followed: row.followed,
            waited: row.job_id.map(JobId).zip(row.waits_for.map(JobId)),
        }
    }
}

/// What a [`Row`] needs, of `subscriptions y`.
macro_rules! subscriptions {
    ($rest:literal) => {
        concat!(
            "SELECT y.account_id, a.system_id, a.active, y.parent_id,
                 p.system_id AS parent_system_id, p.active AS parent_active,
                 p.current_version AS parent_version,
                 COALESCE(v.parent_version, y.joined_version) AS followed,
                 y.job_id, y.waits_for
             FROM subscriptions y JOIN accounts a ON a.id = y.account_id
                 JOIN accounts p ON p.id = y.parent_id
                 LEFT JOIN synced_versions v ON v.account_id = a.id
                     AND v.version = a.current_version AND v.parent_id = y.parent_id ",
            $rest
        )
    };
}

impl Store {
    /// The subscription of an account; `None` if it is no subscriber.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn subscription(
        &self,
        account: AccountId,
    ) -> Result<Option<Subscription>, StoreError> {
        let row: Option<Row> = sqlx::query_as(subscriptions!("WHERE y.account_id = $1"))
            .bind(account.0)
            .fetch_optional(&self.read)
            .await?;
        Ok(row.map(Subscription::from))
    }

    /// The subscribers of an account, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn subscribers(
        &self,
        parent: AccountId,
        page: Page,
    ) -> Result<Vec<Subscription>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(subscriptions!(
            "WHERE y.parent_id = $1 ORDER BY y.account_id LIMIT $2 OFFSET $3"
        ))
        .bind(parent.0)
        .bind(page.limit)
        .bind(page.offset)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(Subscription::from).collect())
    }

    /// The subscriptions of a claim's accounts.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn subscriptions_of_claim(
        &self,
        claim: ClaimId,
    ) -> Result<Vec<Subscription>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(subscriptions!(
            "JOIN jobs j ON j.account_id = y.account_id
             WHERE j.claim_id = $1 AND j.state = 'running'"
        ))
        .bind(claim.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(Subscription::from).collect())
    }

    /// Active subscribers that nobody works on and that have not taken over their parent's
    /// password; those that were told of it since `told_since` are left in peace.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn stragglers(
        &self,
        told_since: Timestamp,
        limit: i64,
    ) -> Result<Vec<Subscription>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(subscriptions!(
            "JOIN schedule s ON s.account_id = y.account_id
             WHERE a.active = 1 AND s.open_job = 0 AND p.current_version IS NOT NULL
               AND COALESCE(v.parent_version, y.joined_version, 0) <> p.current_version
               AND (y.told_at <= $1 OR COALESCE(y.told_version, 0) <> p.current_version)
             ORDER BY y.account_id LIMIT $2"
        ))
        .bind(told_since.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(Subscription::from).collect())
    }
}

impl Tx {
    /// Makes an account a subscriber: from the parent's next password on it takes them over.
    /// `false`: it is one already. Lock both accounts first.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is another one's subscriber or has subscribers, if the
    /// parent is a subscriber itself, or if a functional account is linked to either;
    /// [`StoreError::Stale`] if one of them is gone.
    pub async fn subscribe(
        &mut self,
        account: AccountId,
        parent: AccountId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match self.parent_of(account).await? {
            Some(found) if found == parent => return Ok(false),
            Some(_) => return Err(ELSEWHERE),
            None => {}
        }
        if self.parent_of(parent).await?.is_some() {
            return Err(NESTED);
        }
        self.has_no_subscribers(account).await?;
        self.not_linked(account).await?;
        self.not_linked(parent).await?;
        let done = sqlx::query(
            "INSERT INTO subscriptions (account_id, parent_id, joined_version, told_version,
                 told_at, job_id, waits_for, subscribed_at)
             SELECT $1, id, current_version, NULL, 0, NULL, NULL, $3 FROM accounts
             WHERE id = $2 AND deleted_at IS NULL",
        )
        .bind(account.0)
        .bind(parent.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the account's parent"))?;
        exactly(1, done.rows_affected(), "the managed account")?;
        // From when it was that one's subscriber before; what it had then counts for nothing now.
        sqlx::query("DELETE FROM synced_versions WHERE account_id = $1")
            .bind(account.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(true)
    }

    /// Lets a subscriber go its own way again; `false`: it is none of that parent's.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn unsubscribe(
        &mut self,
        account: AccountId,
        parent: AccountId,
    ) -> Result<bool, StoreError> {
        let done =
            sqlx::query("DELETE FROM subscriptions WHERE account_id = $1 AND parent_id = $2")
                .bind(account.0)
                .bind(parent.0)
                .execute(&mut *self.inner)
                .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Whose subscriber an account is.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn parent_of(&mut self, account: AccountId) -> Result<Option<AccountId>, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT parent_id FROM subscriptions WHERE account_id = $1")
                .bind(account.0)
                .fetch_optional(&mut *self.inner)
                .await?;
        Ok(row.map(|(id,)| AccountId(id)))
    }

    /// Keeps of which version of the parent's a subscriber's version is a copy. Whatever its job
    /// waited for has come; the same job may have to wait once more.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn record_synced(
        &mut self,
        account: AccountId,
        version: i64,
        (parent, parent_version): (AccountId, i64),
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO synced_versions (account_id, version, parent_id, parent_version)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(account.0)
        .bind(version)
        .bind(parent.0)
        .bind(parent_version)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the copied version"))?;
        sqlx::query(
            "UPDATE subscriptions SET job_id = NULL, waits_for = NULL WHERE account_id = $1",
        )
        .bind(account.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Tells a subscriber to take over its parent's password; `None`: it has an open job. Under
    /// [`Tx::lock_queue`] of its system.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is no subscriber any more.
    pub async fn order_sync(
        &mut self,
        one: &Subscription,
        (actor, priority): (&str, Priority),
        now: Timestamp,
    ) -> Result<Option<JobId>, StoreError> {
        if self.open_job(one.account).await?.is_some() {
            return Ok(None);
        }
        let new = NewJob {
            account: one.account,
            system: one.system,
            kind: JobKind::Rotate,
            cause: Cause::Sync,
            actor: actor.to_owned(),
            priority,
            run_at: now,
            parts: Parts::ALL_THERE_ARE,
            version: None,
            key_version: None,
        };
        let job = self.enqueue(&new, now).await?;
        let done = sqlx::query(
            "UPDATE subscriptions SET told_version = $2, told_at = $3 WHERE account_id = $1",
        )
        .bind(one.account.0)
        .bind(one.parent_version)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the synced account")?;
        let body = serde_json::json!({
            "job": job.0,
            "parent": one.parent,
            "parent_version": one.parent_version,
        });
        let event = Event::by(actor, "change.ordered", one.account, body);
        self.audit(&event, now).await?;
        Ok(Some(job))
    }

    /// Notes that a subscriber's job waits for one of the parent's.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is no subscriber any more.
    pub async fn wait_for_parent(
        &mut self,
        account: AccountId,
        job: JobId,
        waits_for: JobId,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE subscriptions SET job_id = $2, waits_for = $3 WHERE account_id = $1",
        )
        .bind(account.0)
        .bind(job.0)
        .bind(waits_for.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the synced account")
    }

    /// Fails if the account takes over passwords, or others take over its own.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub async fn not_synced(&mut self, account: AccountId) -> Result<(), StoreError> {
        match self.parent_of(account).await? {
            Some(_) => Err(ELSEWHERE),
            None => self.has_no_subscribers(account).await,
        }
    }

    /// Fails if others take over the account's passwords.
    pub(super) async fn has_no_subscribers(
        &mut self,
        account: AccountId,
    ) -> Result<(), StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT account_id FROM subscriptions WHERE parent_id = $1 LIMIT 1")
                .bind(account.0)
                .fetch_optional(&mut *self.inner)
                .await?;
        match row {
            Some(_) => Err(HAS_SUBSCRIBERS),
            None => Ok(()),
        }
    }

    /// Ends the subscriptions of accounts that are going: of one, or of all of a system.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if an account that stays takes over passwords of one that goes.
    pub(super) async fn end_subscriptions(
        &mut self,
        account: Option<AccountId>,
        system: SystemId,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM subscriptions WHERE account_id IN (SELECT id FROM accounts
                 WHERE system_id = $1 AND (CAST($2 AS BIGINT) IS NULL OR id = $2))",
        )
        .bind(system.0)
        .bind(account.map(|id| id.0))
        .execute(&mut *self.inner)
        .await?;
        let left: Option<(i64,)> = sqlx::query_as(
            "SELECT y.account_id FROM subscriptions y JOIN accounts p ON p.id = y.parent_id
             WHERE p.system_id = $1 AND (CAST($2 AS BIGINT) IS NULL OR p.id = $2) LIMIT 1",
        )
        .bind(system.0)
        .bind(account.map(|id| id.0))
        .fetch_optional(&mut *self.inner)
        .await?;
        match left {
            Some(_) => Err(HAS_SUBSCRIBERS),
            None => Ok(()),
        }
    }

    /// Locks two accounts and their systems' queues, in an order in which nobody waits for
    /// another for ever.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if one of them is gone.
    pub async fn lock_both(&mut self, one: AccountId, other: AccountId) -> Result<(), StoreError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT system_id, id FROM accounts WHERE id IN ($1, $2) AND deleted_at IS NULL
             ORDER BY system_id, id",
        )
        .bind(one.0)
        .bind(other.0)
        .fetch_all(&mut *self.inner)
        .await?;
        if rows.len() != 2 {
            return Err(GONE);
        }
        for (system, _) in &rows {
            self.lock_queue(SystemId(*system)).await?;
        }
        for (_, account) in &rows {
            self.locked_account(AccountId(*account))
                .await?
                .ok_or(GONE)?;
        }
        Ok(())
    }
}
