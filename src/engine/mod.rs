//! Drives rotations: performs what the pure machine asks for, and commits each step.
//!
//! One claim is one batch on one system over one functional session. Accounts move side by side,
//! at most [`Limits::intended_max`] of them between intent and result, and their steps share
//! commits, so a slow account holds nobody up and a crash leaves few to probe.
//!
//! Invariant: a candidate and the intent to send it are durable before a connector sees a byte
//! of it, and no transaction is open while a target is spoken to.

mod attempt;
mod commit;
mod conclude;
mod drive;
mod functional;
mod identity;
mod linked;
mod list;
mod probe;
mod remove;
mod resolve;
mod stage;
mod synced;
mod target;
mod test;
mod work;

pub use attempt::Finished;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use keywheel_connectors::{Class, Connector, Credential, Reason, Session, TargetKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::generate::{Dice, GivenKey, KeyError};
use crate::model::id::{AccountId, PlatformId, SystemId};
use crate::model::platform::{ConnectorKind, Platform, Platforms};
use crate::store::{AccountRow, Claim, Ending, SealedSecret, Store, StoreError, SystemRow};
use crate::vault::{Place, Vault, VaultError};

use attempt::Log;
use commit::Committer;
use work::Work;

/// What is left to a call on a target once the engine is hurried.
const HURRIED_MAX: Duration = Duration::from_secs(5);

/// Why an engine could not go on with an account. Whatever it knew is in the store; the next
/// attempt reads it back.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Stop and write nothing: another node owns the work.
    #[error("the lease is lost")]
    LeaseLost,
    /// Try later; what is stored is read back first.
    #[error(transparent)]
    Store(StoreError),
    /// Try later; what is stored is read back first.
    #[error("the database did not say whether it committed a step; it is read back")]
    Unacknowledged,
    /// A person repairs the row or the key ring.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A person gives the account another key: what is kept cannot be read.
    #[error("a stored private key cannot be read: {0}")]
    Key(#[from] KeyError),
    /// A defect: the machine was asked for an impossible step.
    #[error(transparent)]
    Machine(#[from] crate::model::rotation::InvalidTransition),
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LeaseLost => Self::LeaseLost,
            other => Self::Store(other),
        }
    }
}

/// What bounds the engine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Attempts a job gets.
    pub attempts_max: i64,
    /// After this a job is ended even if its system never answered.
    pub give_up_after: Duration,
    /// First wait between attempts; doubles with each further one.
    pub retry_base: Duration,
    /// Longest wait between attempts, before half to one and a half times of it are drawn.
    pub retry_max: Duration,
    /// Accounts of one claim between intent and result.
    pub intended_max: usize,
    /// How long a failing login counts against the lockout budget.
    pub lockout_window: Duration,
    /// Exchanges a session has in flight, by connector, where the system does not say.
    pub ssh_in_flight: usize,
    /// Likewise.
    pub ldap_in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            give_up_after: Duration::from_hours(24),
            retry_base: Duration::from_mins(1),
            retry_max: Duration::from_hours(1),
            intended_max: 16,
            lockout_window: Duration::from_hours(1),
            ssh_in_flight: 4,
            ldap_in_flight: 8,
        }
    }
}

/// The connectors there are.
#[derive(Clone, Default)]
pub struct Connectors {
    /// Hosts that are reached by SSH.
    pub ssh: Option<Arc<dyn Connector>>,
    /// Directories that are reached by LDAP.
    pub ldap: Option<Arc<dyn Connector>>,
    /// Systems that are spoken to as a definition says.
    pub dialogue: Option<Arc<dyn Connector>>,
    /// The target in memory, for tests.
    pub fake: Option<Arc<dyn Connector>>,
    /// What belongs to the target in memory alone.
    pub fixed: Option<TargetKind>,
    /// The platforms that they serve.
    pub platforms: Arc<Platforms>,
}

impl Connectors {
    /// The connector that serves a kind of platform.
    pub fn of(&self, kind: ConnectorKind) -> Option<Arc<dyn Connector>> {
        match kind {
            ConnectorKind::Ssh => self.ssh.clone(),
            ConnectorKind::Ldap => self.ldap.clone(),
            ConnectorKind::Dialogue => self.dialogue.clone(),
            ConnectorKind::Fake => self.fake.clone(),
        }
    }
}

/// Drives the rotations and tests of claims.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    vault: Arc<Vault>,
    clock: SharedClock,
    dice: Arc<dyn Dice>,
    connectors: Arc<Connectors>,
    limits: Limits,
    hurried: CancellationToken,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What the accounts of one claim share.
struct Batch<'a> {
    claim: &'a Claim,
    session: &'a dyn Session,
    connector: &'a dyn Connector,
    committer: &'a Committer,
    budget: i64,
    timeout: Duration,
    /// True: a domain, which takes the old password for a while.
    domain: bool,
    drain: &'a CancellationToken,
    /// Set once the system is at fault: accounts not yet intended go back.
    broken: AtomicBool,
}

impl Batch<'_> {
    fn stops(&self) -> bool {
        self.drain.is_cancelled() || self.broken.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// An engine over these connectors.
    pub fn new(
        store: Store,
        vault: Arc<Vault>,
        clock: SharedClock,
        dice: Arc<dyn Dice>,
        connectors: Connectors,
        limits: Limits,
    ) -> Self {
        Self {
            store,
            vault,
            clock,
            dice,
            connectors: Arc::new(connectors),
            limits,
            hurried: CancellationToken::new(),
        }
    }

    /// Which connector serves a system, as the metrics call it.
    pub async fn connector_name(&self, system: SystemId) -> &'static str {
        let row = self.store.system_row(system).await.ok().flatten();
        row.and_then(|row| self.platform(row.platform_id))
            .map_or("none", |platform| platform.connector.as_str())
    }

    /// One of the platforms that are offered.
    pub fn platform(&self, id: i64) -> Option<&Platform> {
        self.connectors.platforms.find(PlatformId(id))
    }

    /// True if accounts of this system may have SSH keys.
    pub fn takes_keys(&self, system: &SystemRow) -> bool {
        let platform = self.platform(system.platform_id);
        platform.is_some_and(|platform| platform.ssh_keys)
    }

    /// What bounds it.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// From now on a call on a target, one under way included, has five seconds at most. Safe
    /// points stay where they are: a call whose time is up is a lost reply, and what it may have
    /// changed is probed by the next attempt.
    pub fn hurry(&self) {
        self.hurried.cancel();
    }

    /// A call on a target within its time; `None` when time is up.
    async fn within<T>(&self, limit: Duration, call: impl Future<Output = T>) -> Option<T> {
        let hurried = async {
            self.hurried.cancelled().await;
            self.clock.sleep(HURRIED_MAX).await;
        };
        tokio::select! {
            biased; // an answer that is there counts
            answer = tokio::time::timeout(limit, call) => answer.ok(),
            () = hurried => None,
        }
    }

    /// Attempts every job of a claim; results come as they fall.
    ///
    /// Once `drain` is cancelled nothing new is sent to the target: what has been intended is
    /// brought to its recorded result, the rest goes back.
    ///
    /// # Errors
    /// [`EngineError::LeaseLost`]: write nothing. [`EngineError::Store`]: the claim could not be
    /// read; nothing was sent.
    pub async fn run(
        &self,
        claim: &Claim,
        results: &mpsc::UnboundedSender<Finished>,
        drain: &CancellationToken,
    ) -> Result<(), EngineError> {
        let (works, refused) = self.load(claim).await?;
        for finished in refused {
            deliver(results, finished);
        }
        let (works, ended) = self.end_without_contact(claim, works).await?;
        for finished in ended {
            deliver(results, finished);
        }
        let (mut works, waiting) = self.follow_parents(claim, works).await?;
        for finished in waiting {
            deliver(results, finished);
        }
        if works.is_empty() {
            return Ok(());
        }
        let open = match self.open_session(claim, &mut works).await? {
            Ok(open) => {
                if open.domain {
                    works.iter_mut().for_each(Work::name_for_domain);
                }
                open
            }
            // Its time was cut short, which says nothing of the system; nothing was sent.
            Err(_) if self.hurried.is_cancelled() => {
                for work in works {
                    deliver(results, work.log.finish(work.job, Ending::GivenBack));
                }
                return Ok(());
            }
            Err(reason) => {
                for work in works {
                    deliver(
                        results,
                        self.conclude_unreached(claim, work, &reason).await?,
                    );
                }
                return Ok(());
            }
        };
        let (works, ended) = self.prepare(claim, &open, works).await?;
        for finished in ended {
            deliver(results, finished);
        }
        let (committer, requests) = Committer::new();
        let batch = Batch {
            claim,
            session: open.session.as_ref(),
            connector: open.connector.as_ref(),
            committer: &committer,
            budget: open.budget,
            timeout: open.timeout,
            domain: open.domain,
            drain,
            broken: AtomicBool::new(false),
        };
        let drive = async {
            futures::stream::iter(works)
                .for_each_concurrent(self.limits.intended_max, |work| {
                    self.attempt(&batch, work, results)
                })
                .await;
            committer.close();
        };
        let ((), written) = tokio::join!(drive, self.commit_loop(claim, requests));
        self.within(open.timeout, open.session.close()).await;
        written
    }

    fn lockout_window_ms(&self) -> i64 {
        i64::try_from(self.limits.lockout_window.as_millis()).unwrap_or(i64::MAX)
    }

    async fn attempt(
        &self,
        batch: &Batch<'_>,
        work: Work,
        results: &mpsc::UnboundedSender<Finished>,
    ) {
        let job = work.job.clone();
        if batch.stops() {
            deliver(results, Log::default().finish(job, Ending::GivenBack));
            return;
        }
        match self.parts(batch, work).await {
            Ok(finished) => {
                if finished.system_fault {
                    batch.broken.store(true, Ordering::Relaxed);
                }
                deliver(results, finished);
            }
            // The new owner writes.
            Err(EngineError::LeaseLost) => batch.broken.store(true, Ordering::Relaxed),
            Err(error) => deliver(results, self.conclude_error(job, &error)),
        }
    }

    /// Says whether a target could misread this account's name or this credential.
    ///
    /// # Errors
    /// A [`Reason`] naming what is wrong, never the secret.
    pub fn admit(
        &self,
        system: &SystemRow,
        account: &AccountRow,
        credential: Option<&Credential>,
    ) -> Result<(), Reason> {
        let target =
            stage::address(account).map_err(|problem| Reason::account(Class::Refused, problem))?;
        self.admit_new(PlatformId(system.platform_id), &target, credential)
    }

    /// Opens one version of an account's credential, once an attempt.
    async fn open_version(&self, work: &mut Work, version: i64) -> Result<Credential, EngineError> {
        if let Some(opened) = work.opened.get(&version) {
            return Ok(opened.clone());
        }
        let id = work.id();
        let secret = work.versions.get(&version).ok_or_else(|| {
            EngineError::Store(StoreError::Corrupt {
                table: "credential_versions",
                row: work.account.id,
                problem: "the version is missing",
            })
        })?;
        let opened = self.open_secret(id, version, secret).await?;
        work.opened.insert(version, opened.clone());
        Ok(opened)
    }

    /// A kept version as connectors take it.
    async fn open_secret(
        &self,
        id: AccountId,
        version: i64,
        secret: &SealedSecret,
    ) -> Result<Credential, EngineError> {
        let opened = match secret {
            SealedSecret::Password(sealed) => {
                let password = self.vault.open(&Place::credential(id, version), sealed)?;
                Credential::from(password)
            }
            SealedSecret::Key {
                private,
                passphrase,
                public,
            } => {
                let given = GivenKey {
                    private: self.vault.open(&Place::credential(id, version), private)?,
                    passphrase: match passphrase {
                        Some(sealed) => {
                            let place = Place::passphrase(id, version);
                            Some(self.vault.open(&place, sealed)?)
                        }
                        None => None,
                    },
                };
                functional::unlocked(given, public.clone(), marker(id, version)).await?
            }
        };
        Ok(opened)
    }
}

/// The comment of the line that is ours.
pub fn marker(account: AccountId, version: i64) -> String {
    format!("keywheel:{}:{version}", account.0)
}

fn deliver(results: &mpsc::UnboundedSender<Finished>, finished: Finished) {
    if results.send(finished).is_err() {
        tracing::warn!("a result came after its claim had been given up");
    }
}
