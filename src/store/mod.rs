//! The only place with SQL: one text for SQLite and PostgreSQL.
//!
//! Reads are methods of [`Store`], writes of [`Tx`]; both are spread over files that are named
//! after their nouns.
//!
//! Invariant: a write without a transaction does not compile, and every write says how many rows
//! it meant.

mod access_policy;
mod account;
mod ahead;
mod asset;
mod audit;
mod audit_chain;
mod audit_export;
mod audit_key;
mod claim;
mod credential;
mod data_key;
mod delivery;
pub mod dialect;
mod discovery;
mod error;
mod escrow;
mod export;
mod functional_account;
mod functional_link;
mod functional_secret;
mod gauge;
mod generation;
mod group;
mod hurdle;
mod id;
mod identity;
mod job;
mod key;
mod key_warning;
mod last_access;
mod line;
mod login_budget;
mod migrate;
mod node;
mod order;
mod organization;
mod page;
mod password;
mod password_category;
mod password_folder;
mod password_reader;
mod password_record;
mod password_version;
mod policy;
mod principal;
mod quarantine;
mod regression;
mod report;
mod request;
mod rotation;
mod scan;
mod schedule;
mod session;
mod settle;
mod shared;
mod signed_in;
mod smart_rule;
mod subscription;
mod system;
mod target;
mod totp;
mod wide;
mod workflow;
mod workgroup;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{Any, AnyPool, Transaction};
use tokio::sync::Notify;

use crate::escrow::{Journal, Print};
use crate::metrics::Metrics;
use crate::model::account::Account;
use crate::model::id::{AccountId, SystemId};
use crate::model::system::System;
pub use account::{AccountFilter, ListedAccount};
pub use asset::AssetFilter;

pub use audit_chain::AUDIT_HEAD;
pub use audit_export::AuditExport;
pub use audit_key::AuditKeysRow;
pub use claim::{BREAKER_TRIPS, Claim, ClaimedJob};
pub use credential::{NewVersion, SealedSecret, VersionRow};
pub use data_key::{DataKeyRow, StoreIdentity};
pub use delivery::{ClaimedDelivery, DueAlert, Lane, NewDelivery, Outcome, Settlement};
pub use dialect::Backend;
pub use discovery::{ClaimedDiscovery, Discovered, DiscoveredFilter, NewDiscovery};
pub(crate) use error::exactly;
pub use error::{SchemaError, StoreError};
pub use escrow::{KEPT_KINDS, KeptKind, KeptValue};
pub use functional_link::{FunctionalLink, FunctionalSecret};
pub use functional_secret::SealedKey;
pub use hurdle::{Hurdle, Moment, Pass};
pub use identity::{Holder, Standing};
pub use job::{NewJob, OpenJob};
pub use last_access::LastAccess;
pub use migrate::SchemaState;
pub use order::{NewRotationJob, Orderable};
pub use page::Page;
pub use password_folder::FolderFields;
pub use password_reader::Seeing;
pub use password_record::{NewPasswordRecord, PasswordFilter, PasswordOrder, PasswordSort};
pub use policy::StoredPolicy;
pub use quarantine::QUARANTINE_CHUNK;
pub use regression::{ForgottenValue, Named, NewRegression};
pub use report::SealedValue;
pub use request::RequestFilter;
pub use rotation::{NewRotation, RotationRow, Step};
pub use scan::Scanned;
pub use settle::{Ending, Settled, SystemHealth};
pub(crate) use shared::Shared;
pub use signed_in::SignedIn;
pub use subscription::Subscription;
pub use system::SystemFilter;
pub use target::{AccountRow, FunctionalRow, Pin, SystemRow};
pub use workflow::{LiveAction, LiveWorkflow, NewAction, SealedAction};

/// Shared statements of one kind that read at once: those who come later share the next.
const READS_AT_ONCE: usize = 2;

/// How to reach the database.
#[derive(Clone)]
pub struct StoreOptions {
    /// `sqlite:///path` or `postgres://…`.
    pub url: String,
    /// Connections that read.
    pub readers: u32,
    /// Connections that write; SQLite always has one.
    pub writers: u32,
    /// Longest wait for a free connection; then [`StoreError::Busy`].
    pub acquire_timeout: Duration,
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("StoreOptions")
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}

/// The database.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    options: StoreOptions,
    read: hurdle::Reader,
    write: AnyPool,
    ids: Arc<id::Blocks>,
    bell: Arc<Notify>,
    settled: Arc<Notify>,
    outbox: Arc<Notify>,
    metrics: Option<Arc<Metrics>>,
    journal: Option<Arc<Journal>>,
    commits: Arc<AtomicU64>,
    /// Calls that ask who makes them.
    callers: Arc<Shared<String, Option<SignedIn>>>,
    /// Calls that ask for an account.
    accounts_asked: Arc<Shared<AccountId, Option<Account>>>,
    /// Calls that ask for a system.
    systems_asked: Arc<Shared<SystemId, Option<System>>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// A write transaction. Dropping it rolls everything back.
#[derive(Debug)]
pub struct Tx {
    backend: Backend,
    inner: Transaction<'static, Any>,
    store: Store,
    rings: bool,
    posts: bool,
    audited: Vec<&'static str>,
    /// Sealed values that this transaction stores.
    holds: Vec<Print>,
    /// Versions that it lets a target hear of.
    sends: Vec<(i64, i64)>,
    /// Ids that this transaction has reserved and not used.
    reserved: HashMap<&'static str, Range<i64>>,
    _pass: Option<Pass>,
}

impl Store {
    /// Connects; changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the database cannot be reached.
    pub async fn connect(options: &StoreOptions) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let backend = Backend::of_url(&options.url).ok_or_else(|| {
            StoreError::Database(sqlx::Error::Configuration(
                "database.url must begin with sqlite: or postgres:".into(),
            ))
        })?;
        // The writer first: it creates the file and its WAL.
        let write = backend.writer(options, options.writers).await?;
        let read = hurdle::Reader {
            pool: backend.reader(options).await?,
            hurdle: None,
        };
        let ids = Arc::new(id::Blocks::new(backend, options).await?);
        Ok(Self {
            backend,
            options: options.clone(),
            read,
            write,
            ids,
            bell: Arc::default(),
            settled: Arc::default(),
            outbox: Arc::default(),
            metrics: None,
            journal: None,
            commits: Arc::default(),
            callers: Arc::new(Shared::new(READS_AT_ONCE)),
            accounts_asked: Arc::new(Shared::new(READS_AT_ONCE)),
            systems_asked: Arc::new(Shared::new(READS_AT_ONCE)),
        })
    }

    /// Counts audit rows in these metrics.
    #[must_use]
    pub fn counting(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Commits nothing from now on before this journal has what it was handed.
    #[must_use]
    pub fn escrowing(mut self, journal: Arc<Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// From now on this hurdle stands before the database; for tests.
    #[must_use]
    pub fn behind(mut self, hurdle: Arc<dyn Hurdle>) -> Self {
        self.read.hurdle = Some(hurdle);
        self
    }

    /// Which database this is.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Begins a write transaction.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when no connection comes free in time.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let pass = hurdle::pass(self.read.hurdle.as_ref(), Moment::Begin).await?;
        let inner = self.write.begin_with(self.backend.begin()).await?;
        Ok(Tx {
            backend: self.backend,
            inner,
            store: self.clone(),
            rings: false,
            posts: false,
            audited: Vec::new(),
            holds: Vec::new(),
            sends: Vec::new(),
            reserved: HashMap::new(),
            _pass: pass,
        })
    }

    /// Rings when work was enqueued in this process.
    pub fn bell(&self) -> &Notify {
        &self.bell
    }

    /// Rings the bell when another node has enqueued work, until the connection breaks. Look for
    /// work after every call: what was announced in between is not repeated.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the connection breaks.
    pub async fn listen(&self) -> Result<(), StoreError> {
        self.backend.listen(&self.options.url, &self.bell).await
    }

    /// Rings when jobs were settled in this process.
    pub fn settled(&self) -> &Notify {
        &self.settled
    }

    /// Rings when deliveries were queued in this process; a ring that nobody hears is kept.
    pub fn outbox(&self) -> &Notify {
        &self.outbox
    }

    /// Transactions that this process has committed.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Connections that read and write: (idle, used).
    pub fn connections(&self) -> (u32, u32) {
        let ((idle_read, used_read), (idle_write, used_write)) =
            (in_pool(&self.read.pool), in_pool(&self.write));
        (idle_read + idle_write, used_read + used_write)
    }

    /// Answers once the database has answered.
    ///
    /// # Errors
    /// [`StoreError::Database`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// Closes every connection, after the work in hand.
    pub async fn close(&self) {
        self.ids.close().await;
        self.read.pool.close().await;
        self.write.close().await;
    }

    /// Refreshes the planner's figures; after a bulk load.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the database cannot.
    pub async fn analyze(&self) -> Result<(), StoreError> {
        self.backend.analyze(&self.write).await
    }
}

impl Tx {
    /// Makes everything durable.
    ///
    /// # Errors
    /// [`StoreError::CommitUnknown`]: read back before believing anything.
    /// [`StoreError::Escrow`]: nothing was written.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.escrow().await?;
        if self.rings
            && let Some(notify) = self.backend.notify()
        {
            sqlx::query(notify).execute(&mut *self.inner).await?;
        }
        let hurdle = self.store.read.hurdle.as_ref();
        hurdle::pass(hurdle, Moment::Commit).await.map_err(answer)?;
        self.inner.commit().await.map_err(answer)?;
        hurdle::pass(hurdle, Moment::Committed)
            .await
            .map_err(answer)?;
        if let Some(journal) = &self.store.journal {
            journal.acknowledge(&self.holds, &self.sends);
        }
        if let Some(metrics) = &self.store.metrics {
            for event in &self.audited {
                metrics.audited(event);
            }
        }
        self.store.commits.fetch_add(1, Ordering::SeqCst);
        self.store.ids.keep_all(self.reserved);
        if self.rings {
            self.store.bell.notify_waiters();
        }
        if self.posts {
            self.store.outbox.notify_one();
        }
        Ok(())
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// [`StoreError::Database`]; the database then undoes it by itself.
    pub async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.inner.rollback().await?)
    }

    /// Rings the bell when this transaction commits.
    pub(crate) fn ring(&mut self) {
        self.rings = true;
    }

    /// Wakes this process's sender when this transaction commits.
    fn post(&mut self) {
        self.posts = true;
    }
}

/// What a commit's failure says.
fn answer(error: sqlx::Error) -> StoreError {
    match StoreError::from(error) {
        // The database says no: that is known.
        known @ (StoreError::Busy | StoreError::Full(_) | StoreError::Conflict { .. }) => known,
        StoreError::Database(cause) => StoreError::CommitUnknown(cause),
        other => other,
    }
}

/// A pool's connections: (idle, used). For a moment the pool counts fewer than none idle, which it
/// shows as a very large number.
fn in_pool(pool: &AnyPool) -> (u32, u32) {
    let size = pool.size();
    let idle = u32::try_from(pool.num_idle()).map_or(0, |idle| idle.min(size));
    (idle, size - idle)
}
