//! Takes orders: what the interfaces call, and all that they call.
//!
//! Invariant: an order is durable before it is answered, and a given secret is sealed before
//! it is stored.

use std::fmt;
use std::sync::Arc;

use keywheel_connectors::{Credential, Secret};

use super::wait::TEST_WAIT_MAX;
use crate::clock::SharedClock;
use crate::engine::{Engine, credential_place};
use crate::generate::{self, Dice};
use crate::metrics::Metrics;
use crate::model::audit::Event;
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};
use crate::model::password_rule::PasswordRule;
use crate::store::{AccountRow, NewJob, NewVersion, OpenJob, Store, StoreError, Tx};
use crate::vault::{Vault, VaultError, same_secret};

/// Takes orders for changes, tests and quarantines.
#[derive(Clone)]
pub struct Orders {
    pub(super) store: Store,
    pub(super) vault: Arc<Vault>,
    pub(super) clock: SharedClock,
    pub(super) dice: Arc<dyn Dice>,
    pub(super) engine: Engine,
    pub(super) metrics: Arc<Metrics>,
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Orders")
    }
}

/// A change of one account.
#[derive(Debug)]
pub struct ChangeOrder {
    /// Whose credential.
    pub account: AccountId,
    /// The new password; `None`: a random one by the account's rule.
    pub password: Option<Secret>,
    /// True: somebody waits for it. False: in the background.
    pub immediate: bool,
}

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// No such account or system, or it was deleted.
    #[error("not found")]
    NotFound,
    /// Another change of the account is under way.
    #[error("A change is already running")]
    AlreadyRunning,
    /// The order can never be carried out as it stands.
    #[error("{0}")]
    Refused(String),
    /// The key ring did not seal or open; nothing was ordered.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database did not take it; nothing was ordered.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Orders {
    /// Takes orders for the systems that the engine reaches.
    pub fn new(
        store: Store,
        vault: Arc<Vault>,
        clock: SharedClock,
        dice: Arc<dyn Dice>,
        engine: Engine,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            vault,
            clock,
            dice,
            engine,
            metrics,
        }
    }

    /// Orders a change of one account. An identical open order is joined.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn change(&self, order: ChangeOrder, actor: &str) -> Result<JobId, OrderError> {
        let system = self
            .fit(order.account, order.password.as_ref(), true)
            .await?;
        loop {
            let mut tx = self.store.begin().await?;
            tx.lock_queue(system).await?;
            let open = tx.open_job(order.account).await?;
            if let Some(job) = &open
                && job.running
                && job.kind == JobKind::Test
            {
                // A test is short: let it end.
                tx.rollback().await?;
                self.wait_end(job.id, TEST_WAIT_MAX).await?;
                continue;
            }
            return self.change_in(tx, system, &order, open, actor).await;
        }
    }

    async fn change_in(
        &self,
        mut tx: Tx,
        system: SystemId,
        order: &ChangeOrder,
        open: Option<OpenJob>,
        actor: &str,
    ) -> Result<JobId, OrderError> {
        let now = self.clock.now();
        let priority = if order.immediate {
            Priority::Immediate
        } else {
            Priority::Routine
        };
        if let Some(job) = &open
            && job.kind == JobKind::Rotate
            && (job.running || order.password.is_none())
        {
            if job.running && !self.same_order(order, job).await? {
                return Err(OrderError::AlreadyRunning);
            }
            if !job.running && order.immediate {
                tx.hasten(job.id, system, priority, now).await?;
                tx.audit(&ordered(order, actor, job.id), now).await?;
                tx.commit().await?;
            }
            self.metrics.jobs_joined(JobKind::Rotate.as_str(), 1);
            return Ok(job.id);
        }
        let version = match &order.password {
            None => None,
            Some(password) => Some(
                self.keep(&mut tx, order.account, password, "supplied")
                    .await?
                    .1,
            ),
        };
        let job = if let Some(job) = open {
            tx.redirect_job(job.id, version, actor).await?;
            tx.hasten(job.id, system, priority, now).await?;
            job.id
        } else {
            let new = NewJob {
                account: order.account,
                system,
                kind: JobKind::Rotate,
                cause: Cause::Order,
                actor: actor.to_owned(),
                priority,
                run_at: now,
                version,
            };
            tx.enqueue(&new, now).await?
        };
        tx.audit(&ordered(order, actor, job), now).await?;
        tx.commit().await?;
        self.metrics
            .jobs_enqueued(JobKind::Rotate.as_str(), Cause::Order.as_str(), 1);
        Ok(job)
    }

    /// True if a running job does what the order asks for.
    async fn same_order(&self, order: &ChangeOrder, job: &OpenJob) -> Result<bool, OrderError> {
        match (&order.password, job.version) {
            (None, None) => Ok(true),
            (Some(given), Some(version)) => {
                let sealed = self.store.sealed_version(order.account, version).await?;
                let Some(sealed) = sealed else {
                    return Ok(false);
                };
                let kept = self
                    .vault
                    .open(&credential_place(order.account, version), &sealed)?;
                Ok(same_secret(given, &kept))
            }
            (None, Some(_)) | (Some(_), None) => Ok(false),
        }
    }

    /// Seals a secret and keeps it as the account's next version: (epoch, version).
    async fn keep(
        &self,
        tx: &mut Tx,
        account: AccountId,
        secret: &Secret,
        origin: &'static str,
    ) -> Result<(i64, i64), OrderError> {
        let row = tx.account_row(account).await?.ok_or(OrderError::NotFound)?;
        let version = row.last_version + 1;
        let place = credential_place(account, version);
        let sealed = self.vault.seal(&place, secret, self.dice.as_ref())?.0;
        tx.add_version(
            &NewVersion {
                account,
                version,
                sealed,
                origin,
            },
            self.clock.now(),
        )
        .await?;
        Ok((row.epoch, version))
    }

    /// Refuses what can never be carried out, before anything is stored or connected.
    pub(super) async fn fit(
        &self,
        account: AccountId,
        secret: Option<&Secret>,
        changes: bool,
    ) -> Result<SystemId, OrderError> {
        let row = self
            .store
            .account_row(account)
            .await?
            .ok_or(OrderError::NotFound)?;
        let system = self
            .store
            .system_of(account)
            .await?
            .ok_or(OrderError::NotFound)?;
        let details = self
            .store
            .system_row(system)
            .await?
            .ok_or(OrderError::NotFound)?;
        if row.active == 0 {
            return Err(OrderError::Refused(
                "The account is suspended; resume it first".into(),
            ));
        }
        if changes && details.functional_account_id.is_none() {
            return Err(OrderError::Refused(
                "The managed system has no functional account; set FunctionalAccountID first"
                    .into(),
            ));
        }
        let credential = secret.cloned().map(Credential::from);
        self.engine
            .admit(&details, &row, credential.as_ref())
            .map_err(|reason| OrderError::Refused(reason.text.into_owned()))?;
        Ok(system)
    }

    /// Stores a credential without touching the target: the given one, or a random one.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn store_only(
        &self,
        account: AccountId,
        password: Option<Secret>,
        actor: &str,
    ) -> Result<JobId, OrderError> {
        let row = self
            .store
            .account_row(account)
            .await?
            .ok_or(OrderError::NotFound)?;
        let system = self
            .store
            .system_of(account)
            .await?
            .ok_or(OrderError::NotFound)?;
        let given = password.is_some();
        let password = password.map_or_else(|| self.draw(&row), Ok)?;
        let mut tx = self.store.begin().await?;
        tx.lock_queue(system).await?;
        if tx.open_job(account).await?.is_some_and(|job| job.running) {
            return Err(OrderError::AlreadyRunning);
        }
        let now = self.clock.now();
        let (epoch, version) = self.keep(&mut tx, account, &password, "stored").await?;
        tx.store_current(account, epoch, version, now).await?;
        let new = NewJob {
            account,
            system,
            kind: JobKind::Rotate,
            cause: Cause::Order,
            actor: actor.to_owned(),
            priority: Priority::Immediate,
            run_at: now,
            version: Some(version),
        };
        let job = tx
            .record_done(&new, "stored; the target was not contacted", now)
            .await?;
        let body = serde_json::json!({"job": job.0, "version": version, "given": given});
        tx.audit(&Event::by(actor, "credential.stored", account, body), now)
            .await?;
        tx.replan(account, now).await?;
        tx.commit().await?;
        Ok(job)
    }

    fn draw(&self, row: &AccountRow) -> Result<Secret, OrderError> {
        let rule = PasswordRule::built_in(row.password_rule_id)
            .ok_or_else(|| OrderError::Refused("The account's password rule is gone".into()))?;
        generate::password(&rule, self.dice.as_ref())
            .map_err(|error| OrderError::Refused(error.to_string()))
    }
}

fn ordered(order: &ChangeOrder, actor: &str, job: JobId) -> Event {
    let body = serde_json::json!({
        "job": job.0,
        "immediate": order.immediate,
        "given": order.password.is_some(),
    });
    Event::by(actor, "change.ordered", order.account, body)
}
