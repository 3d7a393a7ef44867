//! Managed accounts: `accounts`, its hot row in `schedule`, and versions that people store.
//!
//! Invariant: no version is ever removed or overwritten, and no account with an open job is
//! deleted or becomes another login.

mod list;
mod row;

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

pub use self::list::{AccountFilter, ListedAccount};
use self::row::{Row, columns, tables};
use super::dialect::for_update;
use super::wide::Wide;
use super::{NewVersion, SealedSecret, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::account::{Account, AccountSettings, NewAccount};
use crate::model::id::{AccountId, SystemId};
use crate::model::schedule::vendor_words;

const GONE: StoreError = StoreError::Stale {
    what: "the managed account",
};
const BUSY: StoreError = StoreError::Conflict {
    what: "an account with a change under way",
};

static LOCK: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account",
        "SELECT account_id FROM schedule WHERE account_id IN (SELECT account FROM r)
         ORDER BY account_id FOR UPDATE",
    )
});
static READ: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account",
        concat!(
            "SELECT ",
            columns!(),
            tables!(),
            " WHERE a.id IN (SELECT account FROM r) AND a.deleted_at IS NULL"
        ),
    )
});

impl Store {
    /// One account; `None` if there is none or it was deleted.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let alike = &self.accounts_asked;
        alike.ask(id, |ids| self.accounts_by_id(ids)).await
    }

    async fn accounts_by_id(
        &self,
        ids: Vec<AccountId>,
    ) -> Result<Vec<Option<Account>>, StoreError> {
        let mut found = HashMap::new();
        for cut in READ.cuts(&ids) {
            let mut query = sqlx::query_as(cut.text);
            for (id, _) in cut.rows(|id| id.0) {
                query = query.bind(id);
            }
            let rows: Vec<Row> = query.fetch_all(&self.read).await?;
            for row in rows {
                let account = Account::try_from(row)?;
                found.insert(account.id, account);
            }
        }
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }
}

impl Tx {
    /// Locks the queue of an account's system and the account's schedule, and reads the account
    /// as it then is; `None` if there is none or it was deleted.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another transaction holds them for too long.
    pub async fn locked_account(&mut self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let system: Option<(i64,)> =
            sqlx::query_as("SELECT system_id FROM accounts WHERE id = $1 AND deleted_at IS NULL")
                .bind(id.0)
                .fetch_optional(&mut *self.inner)
                .await?;
        let Some((system,)) = system else {
            return Ok(None);
        };
        self.lock_queue(SystemId(system)).await?;
        sqlx::query(for_update!(
            self.backend,
            "SELECT account_id FROM schedule WHERE account_id = $1"
        ))
        .bind(id.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        let row: Option<Row> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            tables!(),
            " WHERE a.id = $1 AND a.deleted_at IS NULL"
        ))
        .bind(id.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        row.map(Account::try_from).transpose()
    }

    /// The same for accounts of a system whose queue is locked; in any order, deleted ones are
    /// left out.
    pub(super) async fn locked_accounts(
        &mut self,
        ids: &[AccountId],
    ) -> Result<Vec<Account>, StoreError> {
        if self.backend.locks_rows() {
            for cut in LOCK.cuts(ids) {
                let mut query = sqlx::query(cut.text);
                for (id, _) in cut.rows(|id| id.0) {
                    query = query.bind(id);
                }
                query.fetch_all(&mut *self.inner).await?;
            }
        }
        let mut accounts = Vec::with_capacity(ids.len());
        for cut in READ.cuts(ids) {
            let mut query = sqlx::query_as(cut.text);
            for (id, _) in cut.rows(|id| id.0) {
                query = query.bind(id);
            }
            let rows: Vec<Row> = query.fetch_all(&mut *self.inner).await?;
            for row in rows {
                accounts.push(Account::try_from(row)?);
            }
        }
        Ok(accounts)
    }

    /// Stores an account that is never due yet; [`Tx::set_schedule`] says when it is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its system has an account with that login;
    /// [`StoreError::Stale`] if its system is gone.
    pub async fn insert_account(
        &mut self,
        account: &NewAccount,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.locked_system(account.system_id)
            .await?
            .ok_or(StoreError::Stale {
                what: "the managed system",
            })?;
        let query = sqlx::query(
            "INSERT INTO accounts (id, target_id, name, name_key, domain_name,
                distinguished_name, user_principal_name, sam_account_name, description,
                password_rule_id, api_enabled, auto_management, check_password, reset_on_mismatch,
                change_frequency_type, change_frequency_days, change_time, policy_id,
                next_override_at, extras, key_rule_id, dss_auto_management, use_own_credentials,
                system_id, active, epoch, current_version, current_key_version, last_version, last_change_at,
                last_key_change_at, last_test_at, last_test, in_doubt, key_in_doubt, revision,
                created_at, deleted_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                $18, $19, $20, $21, $22, $23, $24, 1, 0, NULL, NULL, 0, NULL, NULL, NULL,
                'never_tested', 0, 0, 1, $25, NULL)",
        );
        bind_settings(query, account.id, &account.target_id, &account.settings)?
            .bind(account.system_id.0)
            .bind(at.0)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("the account's name"))?;
        sqlx::query(
            "INSERT INTO schedule (account_id, system_id, next_change_at, next_test_at, flag_at,
                stale_at, open_job)
             VALUES ($1, $2, NULL, NULL, NULL, NULL, 0)",
        )
        .bind(account.id.0)
        .bind(account.system_id.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Changes what people set on an account, if nobody has since `revision`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its system has another account with that login, or if it
    /// would become another login while a change is under way or a functional account is linked
    /// to it; [`StoreError::Stale`] if it was edited meanwhile or is gone.
    pub async fn update_account(
        &mut self,
        id: AccountId,
        revision: i64,
        target_id: &str,
        settings: &AccountSettings,
    ) -> Result<(), StoreError> {
        self.locked_account(id).await?.ok_or(GONE)?;
        let (known,): (Option<String>,) =
            sqlx::query_as("SELECT target_id FROM accounts WHERE id = $1")
                .bind(id.0)
                .fetch_one(&mut *self.inner)
                .await?;
        if known.as_deref() != Some(target_id) {
            self.not_linked(id).await?;
            if self.has_open_work(id).await? {
                return Err(BUSY);
            }
            self.forget_identity(id).await?;
        }
        let query = sqlx::query(
            "UPDATE accounts SET target_id = $2, name = $3, name_key = $4, domain_name = $5,
                distinguished_name = $6, user_principal_name = $7, sam_account_name = $8,
                description = $9, password_rule_id = $10, api_enabled = $11,
                auto_management = $12, check_password = $13, reset_on_mismatch = $14,
                change_frequency_type = $15, change_frequency_days = $16, change_time = $17,
                policy_id = $18, next_override_at = $19, extras = $20, key_rule_id = $21,
                dss_auto_management = $22, use_own_credentials = $23, revision = revision + 1
             WHERE id = $1 AND revision = $24 AND deleted_at IS NULL",
        );
        let done = bind_settings(query, id, target_id, settings)?
            .bind(revision)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("the account's name"))?;
        exactly(1, done.rows_affected(), "the managed account")
    }

    /// Suspends an account, or resumes it. Its schedule is the caller's to set.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is gone.
    pub async fn set_account_active(
        &mut self,
        id: AccountId,
        active: bool,
    ) -> Result<(), StoreError> {
        self.locked_account(id).await?.ok_or(GONE)?;
        let done = sqlx::query(
            "UPDATE accounts SET active = $2, revision = revision + 1
             WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(id.0)
        .bind(i64::from(active))
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the managed account")
    }

    /// Stores a sealed secret that somebody says works, as the current version of its part.
    ///
    /// `version` is the account's `last_version` plus one: the secret was sealed for that place,
    /// table `credential_versions`, row account id. The former version is kept.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while a change is under way; [`StoreError::Stale`] if another
    /// version was staged meanwhile, or the account is gone.
    pub async fn add_stored_version(
        &mut self,
        id: AccountId,
        version: i64,
        secret: SealedSecret,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let part = secret.part();
        let account = self.locked_account(id).await?.ok_or(GONE)?;
        if self.has_open_work(id).await? {
            return Err(BUSY);
        }
        if account.credential.last_version + 1 != version {
            return Err(GONE);
        }
        let new = NewVersion {
            account: id,
            version,
            secret,
            origin: "stored",
        };
        self.add_version(&new, at).await?;
        // Somebody knows what is there now: the target says again who that is.
        self.forget_identity(id).await?;
        self.store_current(id, part, account.credential.epoch, version, at)
            .await
    }

    /// Marks an account as deleted. Its name becomes free; its versions are kept.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while it has an open job, a functional account is linked to it, or
    /// others are synced with it;
    /// [`StoreError::Stale`] if it is gone.
    pub async fn delete_account(&mut self, id: AccountId, at: Timestamp) -> Result<(), StoreError> {
        let account = self.locked_account(id).await?.ok_or(GONE)?;
        self.not_linked(id).await?;
        self.end_subscriptions(Some(id), account.system_id).await?;
        let done = sqlx::query(
            "UPDATE schedule SET next_change_at = NULL, next_test_at = NULL, flag_at = NULL,
                stale_at = NULL
             WHERE account_id = $1 AND open_job = 0",
        )
        .bind(id.0)
        .execute(&mut *self.inner)
        .await?;
        if done.rows_affected() == 0 {
            return Err(BUSY);
        }
        let done = sqlx::query(
            "UPDATE accounts SET active = 0, target_id = NULL, policy_id = NULL, deleted_at = $2,
                revision = revision + 1
             WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(id.0)
        .bind(at.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the managed account")?;
        self.forget_names(id).await
    }

    /// Marks every account of a system as deleted; returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while one of them has an open job, a functional account is linked
    /// to it, or accounts elsewhere are synced with it, and none is deleted then;
    /// [`StoreError::Stale`] if the system is gone.
    pub async fn delete_accounts(
        &mut self,
        system: SystemId,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        self.locked_system(system).await?.ok_or(StoreError::Stale {
            what: "the managed system",
        })?;
        self.none_linked(system).await?;
        self.end_subscriptions(None, system).await?;
        let open: Option<(i64,)> = sqlx::query_as(
            "SELECT account_id FROM schedule WHERE system_id = $1 AND open_job = 1 LIMIT 1",
        )
        .bind(system.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        if open.is_some() {
            return Err(BUSY);
        }
        sqlx::query(
            "UPDATE schedule SET next_change_at = NULL, next_test_at = NULL, flag_at = NULL,
                stale_at = NULL
             WHERE system_id = $1",
        )
        .bind(system.0)
        .execute(&mut *self.inner)
        .await?;
        let done = sqlx::query(
            "UPDATE accounts SET active = 0, target_id = NULL, policy_id = NULL, deleted_at = $2,
                revision = revision + 1
             WHERE system_id = $1 AND deleted_at IS NULL",
        )
        .bind(system.0)
        .bind(at.0)
        .execute(&mut *self.inner)
        .await?;
        self.forget_names_of(system).await?;
        Ok(done.rows_affected())
    }

    /// True while a job is open, or a rotation waits for an operator.
    async fn has_open_work(&mut self, id: AccountId) -> Result<bool, StoreError> {
        let (open,): (i64,) = sqlx::query_as(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM schedule
                    WHERE account_id = $1 AND open_job = 1)
                OR EXISTS (SELECT 1 FROM rotations WHERE account_id = $1 AND phase IN
                    ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator'))
                THEN 1 ELSE 0 END",
        )
        .bind(id.0)
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(open != 0)
    }
}

/// Binds `$1`, the id, to `$23`, who changes it.
fn bind_settings<'q>(
    query: Query<'q, Any, AnyArguments>,
    id: AccountId,
    target_id: &str,
    settings: &AccountSettings,
) -> Result<Query<'q, Any, AnyArguments>, StoreError> {
    let (frequency, days, time) = vendor_words(&settings.schedule);
    let extras = serde_json::to_string(&settings.extras).map_err(|_| StoreError::Corrupt {
        table: "accounts",
        row: id.0,
        problem: "the extras are no JSON",
    })?;
    Ok(query
        .bind(id.0)
        .bind(target_id.to_owned())
        .bind(settings.name.clone())
        .bind(settings.name.to_lowercase())
        .bind(settings.domain_name.clone())
        .bind(settings.distinguished_name.clone())
        .bind(settings.user_principal_name.clone())
        .bind(settings.sam_account_name.clone())
        .bind(settings.description.clone())
        .bind(settings.password_rule_id.0)
        .bind(i64::from(settings.api_enabled))
        .bind(i64::from(settings.auto_management))
        .bind(i64::from(settings.check_password))
        .bind(i64::from(settings.reset_on_mismatch))
        .bind(frequency)
        .bind(days)
        .bind(time)
        .bind(settings.policy_id.map(|id| id.0))
        .bind(settings.next_override_at.map(|at| at.0))
        .bind(extras)
        .bind(settings.key_rule_id.0)
        .bind(i64::from(settings.dss_auto_management))
        .bind(i64::from(settings.use_own_credentials)))
}
