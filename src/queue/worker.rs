//! Claims work, runs the engine on it and settles what comes of it.
//!
//! Invariant: every claimed job is settled or given back; a claim that could not be is owed, and
//! taken back as soon as the database allows. Only a dead node leaves claims to the reaper.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::running::{Owed, Running};
use crate::clock::SharedClock;
use crate::engine::{Engine, EngineError, Finished};
use crate::generate::{self, Dice};
use crate::metrics::Metrics;
use crate::model::Timestamp;
use crate::model::id::{ClaimId, NodeId, QuarantineId, SystemId};
use crate::model::job::Priority;
use crate::store::{
    BREAKER_TRIPS, Claim, ClaimedJob, Ending, Settled, Store, StoreError, SystemHealth,
};

/// Results that one settling takes at most.
const SETTLE_MAX: usize = 64;
/// The longest a result waits for others before it is settled.
const SETTLE_WAIT: Duration = Duration::from_millis(250);
/// First pause of a system that keeps failing; doubles up to an hour.
const PAUSE_BASE: Duration = Duration::from_secs(30);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_hours(1);
/// How often a settling is tried again before its claim is taken back whole.
const SETTLE_TRIES: u32 = 30;

/// What bounds a worker.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Claims at once.
    pub sessions: usize,
    /// Most accounts of one claim; a system may allow fewer.
    pub batch_max: i64,
    /// Longest wait between looks at the queue.
    pub poll: Duration,
}

/// One node's share of the work.
#[derive(Clone)]
pub struct Worker {
    store: Store,
    engine: Engine,
    clock: SharedClock,
    dice: Arc<dyn Dice>,
    metrics: Arc<Metrics>,
    node: NodeId,
    options: WorkerOptions,
    owed: Owed,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker of a registered node.
    pub fn new(
        store: Store,
        engine: Engine,
        clock: SharedClock,
        dice: Arc<dyn Dice>,
        metrics: Arc<Metrics>,
        node: NodeId,
        options: WorkerOptions,
    ) -> Self {
        Self {
            store,
            engine,
            clock,
            dice,
            metrics,
            node,
            options,
            owed: Owed::default(),
        }
    }

    /// Works until `drain` is cancelled and everything begun has reached a safe point.
    pub async fn run(&self, drain: CancellationToken) {
        let mut running = Running::default();
        while !drain.is_cancelled() {
            // Listen before looking, or work that comes in between waits for the next poll.
            let bell = self.store.bell().notified();
            self.take_back().await;
            match self.claim(&running.busy).await {
                Ok(claims) => {
                    for claim in claims {
                        running.spawn(self.clone(), claim, drain.clone());
                    }
                }
                Err(error) => tracing::warn!(%error, "no work could be claimed"),
            }
            self.show(&running.busy);
            let pause = generate::jittered(self.options.poll, self.dice.as_ref());
            let died = tokio::select! {
                () = bell => None,
                () = self.clock.sleep(pause) => None,
                () = drain.cancelled() => None,
                Some(died) = running.join() => died,
            };
            self.bury(died);
        }
        while let Some(died) = running.join().await {
            self.bury(died);
        }
        self.take_back().await;
        self.show(&running.busy);
    }

    fn show(&self, busy: &[usize; 3]) {
        let limit = u32::try_from(self.options.sessions).unwrap_or(u32::MAX);
        for (priority, busy) in Priority::ALL.into_iter().zip(busy) {
            self.metrics.workers(
                priority.lane(),
                u32::try_from(*busy).unwrap_or(u32::MAX),
                limit,
            );
        }
    }

    fn bury(&self, died: Option<(ClaimId, SystemId)>) {
        let Some((claim, system)) = died else { return };
        tracing::error!(
            claim = claim.0,
            "a claim's task died; its jobs are queued again"
        );
        self.owed.add(claim, system);
    }

    /// Takes owed claims back. Their attempts stay counted, so work that kills its task ends.
    async fn take_back(&self) {
        for (claim, system) in self.owed.take() {
            let reap = async {
                let mut tx = self.store.begin().await?;
                tx.reap(claim, system).await?;
                tx.commit().await
            };
            if let Err(error) = reap.await {
                tracing::error!(claim = claim.0, %error, "a claim could not be taken back yet");
                self.owed.add(claim, system);
            }
        }
    }

    /// Claims and settles until nothing is runnable; for tests, which own the clock.
    ///
    /// # Errors
    /// [`StoreError`] when nothing could be claimed.
    pub async fn run_until_idle(&self, drain: &CancellationToken) -> Result<usize, StoreError> {
        let mut jobs = 0;
        while !drain.is_cancelled() {
            self.take_back().await;
            let claims = self.claim(&[0; 3]).await?;
            if claims.is_empty() {
                break;
            }
            for claim in claims {
                jobs += claim.jobs.len();
                self.work(claim, drain).await;
            }
        }
        Ok(jobs)
    }

    /// Claims what is due, most urgent first. Every class keeps a session free for the others.
    async fn claim(&self, busy: &[usize; 3]) -> Result<Vec<Claim>, StoreError> {
        let now = self.clock.now();
        if !self.store.may_claim(now).await? {
            return Ok(Vec::new());
        }
        let total = self.options.sessions.max(1);
        let mut used: usize = busy.iter().sum();
        let mut claims = Vec::new();
        let mut tx = self.store.begin().await?;
        if let Some(claim) = tx
            .claim_expired(self.node, self.give_up_before(now), now)
            .await?
        {
            used += 1;
            claims.push(claim);
        }
        for priority in Priority::ALL {
            let ceiling = match priority {
                Priority::Immediate => total,
                Priority::Quarantine => (total * 8 / 10).max(1),
                Priority::Routine => total.saturating_sub(2).max(1),
            };
            let free = ceiling.saturating_sub(used);
            if free == 0 {
                continue;
            }
            let limit = i64::try_from(free).unwrap_or(i64::MAX);
            let batch_max = self.options.batch_max;
            let found = tx.claim(self.node, priority, limit, batch_max, now).await?;
            used += found.len();
            claims.extend(found);
        }
        // Even without a claim: heads that were too urgent have been put right, and would come
        // first again.
        if let Err(error) = tx.commit().await {
            if matches!(error, StoreError::CommitUnknown(_)) {
                for claim in &claims {
                    self.owed.add(claim.id, claim.system);
                }
            }
            return Err(error);
        }
        for claim in &claims {
            for job in &claim.jobs {
                self.metrics
                    .job_started(claim.priority.lane(), now.since(job.run_at));
            }
        }
        Ok(claims)
    }

    fn give_up_before(&self, now: Timestamp) -> Timestamp {
        now.minus(self.engine.limits().give_up_after)
    }

    /// Runs one claim to its end.
    pub(super) async fn work(&self, claim: Claim, drain: &CancellationToken) {
        let (sender, results) = mpsc::unbounded_channel();
        let run = async {
            let ended = self.engine.run(&claim, &sender, drain).await;
            drop(sender);
            ended
        };
        let (ended, settled) = tokio::join!(run, self.settle_as_they_come(&claim, results));
        let settled = match (ended, settled) {
            (_, Err(error)) => Err(error),
            (Err(EngineError::LeaseLost), Ok(_)) => Err(StoreError::LeaseLost),
            (ended, Ok(open)) => self.settle_rest(&claim, open, ended.err()).await,
        };
        match settled {
            Ok(()) => {}
            Err(StoreError::LeaseLost) => tracing::warn!(
                claim = claim.id.0,
                "the lease was lost; another node goes on"
            ),
            Err(error) => {
                tracing::error!(claim = claim.id.0, %error, "a claim could not be settled");
                self.owed.add(claim.id, claim.system);
            }
        }
    }

    /// Settles what the engine gave no result for. Its state is in the store.
    async fn settle_rest(
        &self,
        claim: &Claim,
        open: Vec<ClaimedJob>,
        error: Option<EngineError>,
    ) -> Result<(), StoreError> {
        if let Some(error) = &error {
            tracing::error!(claim = claim.id.0, %error, "a claim could not be worked on");
        }
        if open.is_empty() {
            return Ok(());
        }
        let rest: Vec<Finished> = open
            .into_iter()
            .map(|job| match &error {
                None => Finished::given_back(job),
                // Given back, it would be claimed again at once, and for ever.
                Some(error) => self.engine.conclude_error(job, error),
            })
            .collect();
        self.settle(claim, &rest, true).await
    }

    /// Settles results; with the last of them the claim ends. Jobs without a result come back.
    async fn settle_as_they_come(
        &self,
        claim: &Claim,
        mut results: mpsc::UnboundedReceiver<Finished>,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        let mut open: Vec<_> = claim.jobs.clone();
        let mut batch: Vec<Finished> = Vec::new();
        loop {
            let more = results.recv_many(&mut batch, SETTLE_MAX).await;
            if more == 0 {
                break;
            }
            // A result waits a moment for others: they share a commit. The engine's end closes
            // the channel, so the last ones do not wait.
            while batch.len() < SETTLE_MAX && batch.len() < open.len() {
                let room = SETTLE_MAX - batch.len();
                tokio::select! {
                    more = results.recv_many(&mut batch, room) => if more == 0 { break },
                    () = self.clock.sleep(SETTLE_WAIT) => break,
                }
            }
            open.retain(|job| batch.iter().all(|finished| finished.job.id != job.id));
            self.settle(claim, &batch, open.is_empty()).await?;
            batch.clear();
            if open.is_empty() {
                break;
            }
        }
        Ok(open)
    }

    /// Settles, trying again while the database is busy or out of space: the results are safe in
    /// the rotations already, but the jobs must not stay open for longer than needed.
    async fn settle(
        &self,
        claim: &Claim,
        finished: &[Finished],
        last: bool,
    ) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            match self.settle_once(claim, finished, last).await {
                Ok(()) => break,
                Err(StoreError::LeaseLost) => return Err(StoreError::LeaseLost),
                Err(error) if tries >= SETTLE_TRIES => return Err(error),
                Err(error) => {
                    tries += 1;
                    tracing::warn!(claim = claim.id.0, %error, "settling failed; trying again");
                    self.clock.sleep(Duration::from_secs(1)).await;
                }
            }
        }
        self.store.settled().notify_waiters();
        let connector = self.engine.connector_name(claim.system).await;
        for one in finished {
            self.report(claim, connector, one);
        }
        Ok(())
    }

    async fn settle_once(
        &self,
        claim: &Claim,
        finished: &[Finished],
        last: bool,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let health = self.health(claim, finished, now).await?;
        let settled: Vec<Settled> = finished.iter().map(Finished::settled).collect();
        let mut tx = self.store.begin().await?;
        let finished = tx.settle(claim, &settled, health, last, now).await?;
        tx.commit().await?;
        for (quarantine, ordered_at) in finished {
            self.report_quarantine(quarantine, now.since(ordered_at))
                .await;
        }
        Ok(())
    }

    /// What these results say about the system, and how long it should rest if it is at fault.
    async fn health(
        &self,
        claim: &Claim,
        finished: &[Finished],
        now: Timestamp,
    ) -> Result<SystemHealth, StoreError> {
        if finished.iter().any(|one| one.system_fault) {
            let trips = self
                .store
                .breaker(claim.system)
                .await?
                .map_or(0, |(trips, _)| trips);
            let doublings = u32::try_from((trips + 1 - BREAKER_TRIPS).clamp(0, 16)).unwrap_or(0);
            let pause = PAUSE_BASE.saturating_mul(1 << doublings).min(PAUSE_MAX);
            let pause_until = now.plus(generate::jittered(pause, self.dice.as_ref()));
            return Ok(SystemHealth::Faulty { pause_until });
        }
        if finished.iter().any(|one| one.answered) {
            return Ok(SystemHealth::Answers);
        }
        Ok(SystemHealth::Unknown)
    }

    async fn report_quarantine(&self, id: QuarantineId, took: Duration) {
        let Ok(Some(view)) = self.store.quarantine(id).await else {
            return;
        };
        let outcome = match (view.counts.succeeded, view.accounts) {
            (done, all) if done == all => "succeeded",
            (0, _) => "failed",
            (_, _) => "partial",
        };
        self.metrics.quarantine_finished(outcome, took);
        tracing::info!(
            quarantine = id.0,
            accounts = view.accounts,
            outcome,
            "a quarantine ended"
        );
    }

    fn report(&self, claim: &Claim, connector: &'static str, one: &Finished) {
        let kind = one.job.kind.as_str();
        let (outcome, state) = match &one.ending {
            Ending::Succeeded => ("success", Some("succeeded")),
            Ending::Failed => ("refused", Some("failed")),
            Ending::NeedsOperator => ("unknown", Some("needs_operator")),
            Ending::Retry { .. } => ("retryable", None),
            Ending::GivenBack => return,
        };
        let took = self.clock.now().since(claim.claimed_at);
        self.metrics.job_attempt(kind, connector, outcome, took);
        if let Some(state) = state {
            self.metrics.job_finished(kind, connector, state);
        }
        if !one.class.is_empty() {
            self.metrics.job_error(connector, one.phase, one.class);
        }
        for _ in 0..one.failed_logins {
            self.metrics.failed_login_spent(connector);
        }
        let outcome = state.unwrap_or("will be tried again");
        tracing::info!(
            job = one.job.id.0,
            account = one.job.account.0,
            system = claim.system.0,
            attempt = one.job.attempt,
            class = one.class,
            "{kind} {outcome}",
        );
    }
}
