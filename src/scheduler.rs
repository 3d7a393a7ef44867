//! Ticks: the crate's scheduler only wakes them; what is due is in the database.
//!
//! Every tick may run on any node, at any time, twice: the stale scan, the head repair, the session
//! reaper, the end of requests, the sync of accounts, the seals and anchors of the audit trail take turns by a row each; the heartbeat, the
//! lease reaper and the look at the audit chain belong to the node.
//!
//! Invariant: a tick that is run again finds nothing left to do.

mod audit;
mod gauge;
mod regression;
mod request;
mod session;
mod sink;
mod sync;
mod tick;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::model::id::NodeId;
use crate::model::platform::Platforms;
use crate::model::session::SessionLife;
use crate::store::{Store, StoreError};

pub use audit::Auditing;
pub use regression::{Ground, Memory, RegressionError};
pub use sink::{AnchorSink, SinkError};
pub use tick::Tick;

/// Heads that one repair looks at.
const REPAIR_MAX: i64 = 1_000;

/// How often each tick comes, and what bounds it.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// How often stale credentials are looked for.
    pub scan_every: Duration,
    /// Most accounts that one scan queues.
    pub scan_max: i64,
    /// How often the node shows that it lives.
    pub beat_every: Duration,
    /// How often dead nodes' work is looked for.
    pub reap_every: Duration,
    /// Silence after which a node counts as dead.
    pub dead_after: Duration,
    /// How often requests are looked for whose time is over, and synced accounts that are behind.
    pub expiry_every: Duration,
    /// How often queue heads are checked and idle sessions removed.
    pub housekeeping_every: Duration,
    /// After which time users' sessions end; those of the dialect only when idle.
    pub sessions: SessionLife,
    /// How often the database is counted for the metrics.
    pub gauges_every: Duration,
    /// What systems' platforms are called.
    pub platforms: Arc<Platforms>,
    /// How often audit rows are sealed.
    pub seal_every: Duration,
    /// How often the chain is anchored.
    pub anchor_every: Duration,
    /// What seals and anchors; `None`: this node does neither.
    pub audit: Option<Auditing>,
    /// What is remembered of the database outside of it; `None`: nothing is.
    pub memory: Option<Memory>,
    /// How often the database's generation is raised and echoed.
    pub generation_every: Duration,
    /// The generation that the start has read.
    pub generation: i64,
    /// Accounts that are tested or reset in a minute after the database has come back older.
    pub recoveries_per_minute: i64,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            scan_every: Duration::from_mins(1),
            scan_max: 10_000,
            beat_every: Duration::from_secs(5),
            reap_every: Duration::from_secs(5),
            dead_after: Duration::from_secs(30),
            expiry_every: Duration::from_secs(5),
            housekeeping_every: Duration::from_mins(1),
            sessions: SessionLife::default(),
            gauges_every: Duration::from_secs(15),
            platforms: Arc::default(),
            seal_every: Duration::from_secs(1),
            anchor_every: Duration::from_mins(1),
            audit: None,
            memory: None,
            generation_every: Duration::from_mins(1),
            generation: 0,
            recoveries_per_minute: 60,
        }
    }
}

/// How a tick ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// It has done its work.
    Done,
    /// Another node has, or this one still does.
    Skipped,
}

/// Why a tick has not done its work.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// The next one tries again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The next one tries again: the anchor counts for nothing inside the database alone.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The next one tries again.
    #[error(transparent)]
    Regression(#[from] RegressionError),
}

/// Runs the ticks of one node.
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    node: NodeId,
    options: SchedulerOptions,
    /// Peers' beats, and when this node first saw each.
    seen: Mutex<HashMap<NodeId, (i64, Duration)>>,
    /// What this node has found sound of the audit chain.
    verified: Mutex<audit::Verified>,
    /// What this node remembers of the database.
    recall: Mutex<regression::Recall>,
    at_work: [AtomicBool; Tick::ALL.len()],
    declared_dead: CancellationToken,
    ended: AtomicU64,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("node", &self.inner.node)
            .finish_non_exhaustive()
    }
}

/// Why the ticks do not run.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// Restart the process.
    #[error("the scheduler did not start: {0}")]
    Start(#[from] JobSchedulerError),
    /// Restart the process: its work has been taken over, it needs a new node id.
    #[error("peers have declared this node dead and taken over its work")]
    DeclaredDead,
}

impl Scheduler {
    /// A scheduler of a registered node.
    pub fn new(
        store: Store,
        clock: SharedClock,
        metrics: Arc<Metrics>,
        node: NodeId,
        options: SchedulerOptions,
    ) -> Self {
        for tick in Tick::ALL {
            metrics.tick_configured(tick.as_str(), options.every(tick));
        }
        let recall = Mutex::new(regression::Recall::at(options.generation));
        let inner = Inner {
            store,
            recall,
            clock,
            metrics,
            node,
            options,
            seen: Mutex::default(),
            verified: Mutex::default(),
            at_work: std::array::from_fn(|_| AtomicBool::new(false)),
            declared_dead: CancellationToken::new(),
            ended: AtomicU64::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Ticks until `stop` is cancelled. Cancel it only when the node's work has drained: without
    /// its beat, peers would take the work over.
    ///
    /// # Errors
    /// [`SchedulerError::DeclaredDead`] if this node's peers believe it dead.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), SchedulerError> {
        let mut wakes = JobScheduler::new().await?;
        for tick in Tick::ALL {
            let scheduler = self.clone();
            let job = Job::new_repeated_async(self.inner.options.every(tick), move |_, _| {
                let scheduler = scheduler.clone();
                Box::pin(async move { scheduler.tick_and_report(tick).await })
            })?;
            wakes.add(job).await?;
        }
        wakes.start().await?;
        for tick in [Tick::Beat, Tick::StaleScan, Tick::Gauges] {
            self.tick_and_report(tick).await;
        }
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = self.inner.declared_dead.cancelled() => Err(SchedulerError::DeclaredDead),
        };
        wakes.shutdown().await?;
        self.note_commits().await;
        ended
    }

    async fn tick_and_report(&self, tick: Tick) {
        let start = self.inner.clock.monotonic();
        let ended = self.tick(tick).await;
        let took = self.inner.clock.monotonic().saturating_sub(start);
        let outcome = match &ended {
            Ok(Ticked::Done) => "success",
            Ok(Ticked::Skipped) => "skipped",
            Err(TickError::Store(StoreError::LeaseLost)) => {
                tracing::error!("peers have declared this node dead; stopping");
                self.inner.declared_dead.cancel();
                "failure"
            }
            Err(error) => {
                tracing::warn!(tick = tick.as_str(), %error, "a tick failed; the next one tries again");
                "failure"
            }
        };
        self.inner
            .metrics
            .tick_ended(tick.as_str(), outcome, took, self.inner.clock.now());
        self.inner.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// How many ticks have ended: what does not grow stands still.
    pub fn ticks_ended(&self) -> u64 {
        self.inner.ended.load(Ordering::Relaxed)
    }

    /// Runs one tick now.
    ///
    /// # Errors
    /// [`TickError`]; the next tick tries again. [`StoreError::LeaseLost`] from the heartbeat:
    /// peers believe this node dead.
    pub async fn tick(&self, tick: Tick) -> Result<Ticked, TickError> {
        let Some(_turn) = self.turn(tick) else {
            return Ok(Ticked::Skipped);
        };
        if tick == Tick::AuditSeal && !self.inner.store.has_unsealed_audit().await? {
            // Each second: no turn is written down for nothing.
            return Ok(Ticked::Done);
        }
        if tick.takes_turns() && !self.take_row(tick).await? {
            return Ok(Ticked::Skipped);
        }
        match tick {
            Tick::StaleScan => self.scan().await?,
            Tick::Beat => self.beat().await?,
            Tick::LeaseReaper => self.reap().await?,
            Tick::HeadRepair => self.repair().await?,
            Tick::SessionReaper => {
                self.end_sessions().await?;
                self.revoke_idle_keys().await?;
                self.end_exports().await?;
            }
            Tick::RequestExpiry => self.end_requests().await?,
            Tick::AccountSync => self.sync().await?,
            Tick::Generation => self.age().await?,
            Tick::Recovery => self.recover().await?,
            Tick::Gauges => self.count().await?,
            Tick::AuditSeal => self.seal().await?,
            Tick::AuditAnchor => self.anchor().await?,
            Tick::AuditVerify => self.verify().await?,
        }
        if tick.takes_turns() {
            let mut tx = self.inner.store.begin().await?;
            tx.tick_done(tick.as_str(), self.inner.clock.now()).await?;
            tx.commit().await?;
        }
        Ok(Ticked::Done)
    }

    /// A tick that is slower than its interval is not run twice at once.
    fn turn(&self, tick: Tick) -> Option<Turn<'_>> {
        let at = Tick::ALL.iter().position(|one| *one == tick)?;
        let flag = self.inner.at_work.get(at)?;
        (!flag.swap(true, Ordering::AcqRel)).then_some(Turn(flag))
    }

    async fn take_row(&self, tick: Tick) -> Result<bool, StoreError> {
        let now = self.inner.clock.now();
        // A little early is on time: the wakes of several nodes are not in step.
        let every = self.inner.options.every(tick).mul_f64(0.9);
        let mut tx = self.inner.store.begin().await?;
        let mine = tx
            .take_tick(tick.as_str(), self.inner.node, now.plus(every), now)
            .await?;
        tx.commit().await?;
        Ok(mine)
    }

    async fn scan(&self) -> Result<(), StoreError> {
        loop {
            let now = self.inner.clock.now();
            let mut tx = self.inner.store.begin().await?;
            let scanned = tx.scan_stale(now, self.inner.options.scan_max).await?;
            tx.commit().await?;
            self.inner
                .metrics
                .jobs_enqueued("rotate", "schedule", scanned.changes);
            self.inner
                .metrics
                .jobs_enqueued("test", "schedule", scanned.tests);
            if scanned.changes + scanned.flagged > 0 {
                for (policy, count) in self.inner.store.flagged_at(now).await? {
                    let count = u64::try_from(count).unwrap_or(0);
                    self.inner.metrics.flagged(&policy, "age", count);
                }
                tracing::info!(
                    queued = scanned.changes,
                    tests = scanned.tests,
                    flagged = scanned.flagged,
                    "stale credentials were found"
                );
            }
            if !scanned.more {
                return Ok(());
            }
        }
    }

    async fn beat(&self) -> Result<(), StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let beat = tx.beat(self.inner.node).await?;
        tx.commit().await?;
        self.heard_beat(beat).await;
        self.note_commits().await;
        Ok(())
    }

    /// Watches peers' beats on this node's own clock, and takes over from those that stand still.
    async fn reap(&self) -> Result<(), StoreError> {
        let now = self.inner.clock.monotonic();
        let living = self.inner.store.living_nodes().await?;
        let mut seen = self.inner.seen.lock().await;
        seen.retain(|node, _| living.iter().any(|(one, _)| one == node));
        for (node, beat) in living {
            if node == self.inner.node {
                continue;
            }
            let known = seen.entry(node).or_insert((beat, now));
            if known.0 != beat {
                *known = (beat, now);
            } else if now.saturating_sub(known.1) >= self.inner.options.dead_after {
                let mut tx = self.inner.store.begin().await?;
                if tx.declare_dead(node, beat).await? {
                    tracing::warn!(node = node.0, "a node is silent; its work is taken over");
                }
                tx.commit().await?;
            }
        }
        drop(seen);
        for (claim, system) in self.inner.store.orphaned_claims(self.inner.node).await? {
            let mut tx = self.inner.store.begin().await?;
            let reaped = tx.reap(claim, system).await?;
            tx.commit().await?;
            if reaped {
                self.inner.metrics.leases_expired("rotate", 1);
            }
        }
        self.reap_discoveries().await
    }

    async fn reap_discoveries(&self) -> Result<(), StoreError> {
        if !self
            .inner
            .store
            .has_orphaned_discovery(self.inner.node)
            .await?
        {
            return Ok(());
        }
        let mut tx = self.inner.store.begin().await?;
        let now = self.inner.clock.now();
        let (queued, given_up) = tx.reap_discoveries(self.inner.node, now).await?;
        tx.commit().await?;
        if queued + given_up > 0 {
            tracing::warn!(queued, given_up, "discoveries of nodes that have ended");
        }
        Ok(())
    }

    /// What a clock that ran far ahead has planned comes back, once the clock is right.
    async fn bring_back(&self) -> Result<(), StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let farthest = now.plus(FARTHEST);
        if !store.is_ahead(farthest).await? {
            return Ok(());
        }
        tracing::warn!("something was planned for much later than now; the clock was wrong");
        let mut tx = store.begin().await?;
        tx.bring_back(farthest, now).await?;
        tx.commit().await
    }

    async fn repair(&self) -> Result<(), StoreError> {
        let mut tx = self.inner.store.begin().await?;
        let repaired = tx.repair_heads(REPAIR_MAX).await?;
        tx.commit().await?;
        if repaired > 0 {
            tracing::warn!(systems = repaired, "queue heads were later than their jobs");
        }
        self.bring_back().await?;
        let now = self.inner.clock.now();
        if self.inner.store.resume_quarantines(now).await? > 0 {
            tracing::warn!("quarantines whose ordering was cut short go on");
        }
        Ok(())
    }
}

/// Later than this nothing of the queue is planned: a job is given up after a day.
const FARTHEST: Duration = Duration::from_hours(48);

/// One run of a tick; the next may begin when it is dropped.
struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
