//! The service: starts its tasks, listens to signals, and drains.
//!
//! Invariant: no task is started before the schema fits and the probe has opened, and a task
//! that ends by itself ends the service.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::database::place;
use super::error::AppError;
use super::health::Health;
use super::listener::{self, Bound};
use super::log::Log;
use super::notify::notices;
use super::options::{audited_ticks, health_patience, interface, limits, seconds, share};
use super::platforms::platforms;
use super::reload::Reload;
use super::signal::{Asked, Signals};
use super::wall::Wall;
use super::{Base, escrow, prepare, regression, tls};
use crate::api::{self, Api, Readiness};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Inputs, Loaded, Settings};
use crate::engine::{Connectors, Engine};
use crate::generate::{Dice, SystemDice};
use crate::metrics::{Metrics, value};
use crate::model::id::NodeId;
use crate::model::platform::Platforms;
use crate::queue::{Discoverer, Orders, Worker};
use crate::scheduler::{Scheduler, SchedulerError, SchedulerOptions};
use crate::store::{Store, StoreError};
use crate::vault::Passwords;

/// Pause before a broken connection to other nodes' notices is made anew.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// The service's tasks, and the switches that end them.
pub(super) struct Running {
    pub(super) worker: JoinHandle<()>,
    /// Shortens what the worker waits for.
    pub(super) engine: Engine,
    pub(super) scheduler: JoinHandle<Result<(), SchedulerError>>,
    pub(super) api: JoinHandle<()>,
    /// Sends notices, and warnings of keys that lie idle.
    pub(super) sender: JoinHandle<()>,
    pub(super) health: JoinHandle<()>,
    /// Hears of work that other nodes enqueue.
    pub(super) peers: JoinHandle<()>,
    /// The connectors' processes.
    pub(super) wall: JoinHandle<()>,
    /// No new claim, no new connection.
    pub(super) drain: CancellationToken,
    /// No more ticks: only once the work has drained, or peers would take it over.
    pub(super) stop: CancellationToken,
    /// No more calls to targets: once nothing is under way.
    pub(super) raze: CancellationToken,
    pub(super) store: Store,
    pub(super) node: NodeId,
    pub(super) clock: SharedClock,
}

/// Runs the service until a signal has drained it.
///
/// # Errors
/// [`AppError`]: why it did not start, or stopped by itself.
pub async fn serve(inputs: &Inputs, loaded: Loaded, log: &Log) -> Result<(), AppError> {
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        tracing::warn!(%error, "core dumps could not be switched off: one would hold secrets");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut signals = Signals::listen()?;
    let clock = SystemClock::shared();
    let dice: Arc<dyn Dice> = Arc::new(SystemDice);
    let settings = loaded.settings.clone();
    let platforms = Arc::new(platforms(&settings)?);
    let files = tls::Files::of(&settings.server);
    let keeper = files.map(|files| tls::Keeper::open(files, &clock));
    let keeper = keeper.transpose()?;
    let bound = listener::bind(settings.server.listen).await?;
    let url = settings.server.url(bound.address);
    let mut base = prepare(&settings, &url, &clock, dice.as_ref()).await?;
    if let Some(path) = &base.credentials {
        tracing::info!(
            path = %path.display(),
            "first start: the administrator's keys are in this file; move them and delete it"
        );
    }
    let identity = regression::identify(&settings, &base).await?;
    let kept = escrow::keep(&settings, &mut base, (&identity, &clock)).await?;
    let memory = regression::watch(&settings, &base, (identity, kept), &clock).await?;
    let metrics = Arc::new(Metrics::new()?);
    base.store = base.store.counting(metrics.clone());
    let means = (&clock, &dice, &metrics);
    let current = keeper.as_ref().map(tls::Keeper::current);
    let ticks = audited_ticks(&settings, &base, &platforms, memory);
    let mut running = start(
        &settings,
        (bound, current),
        &base,
        means,
        (&platforms, ticks),
    )
    .await?;
    let mut reload = Reload::new(inputs, &loaded, log, metrics, keeper, clock);
    let ended = supervise(&mut running, &mut signals, &mut reload).await;
    let is_disowned = matches!(
        ended,
        Err(AppError::Scheduler(SchedulerError::DeclaredDead))
    );
    let limit_s = settings.server.drain_timeout_s;
    let drained = super::drain::drain(running, &mut signals, limit_s, is_disowned).await;
    ended.and(drained)
}

async fn start(
    settings: &Settings,
    (bound, tls): (Bound, Option<tls::Current>),
    base: &Base,
    (clock, dice, metrics): (&SharedClock, &Arc<dyn Dice>, &Arc<Metrics>),
    (platforms, ticks): (&Arc<Platforms>, SchedulerOptions),
) -> Result<Running, AppError> {
    let store = base.store.clone();
    let place = place(settings);
    let fault = AppError::store(&place);
    let node = register(&store, clock).await.map_err(&fault)?;
    let wall = Wall::new(settings, clock, dice, metrics);
    let engine = engine(settings, base, clock, dice, &wall, platforms);
    let orders = orders(base, &engine, (clock, dice, metrics)).await;
    let orders = orders.map_err(&fault)?;
    let work = work(settings, base, &engine, (clock, dice, metrics), node);
    let scheduler = Scheduler::new(store.clone(), clock.clone(), metrics.clone(), node, ticks);
    let readiness = Readiness::expecting(value::COMPONENTS);
    let [drain, stop, raze] = std::array::from_fn(|_| CancellationToken::new());
    let health = Health {
        store: store.clone(),
        vault: base.vault.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        scheduler: scheduler.clone(),
        stalled_after: health_patience(settings),
        drain: drain.clone(),
        wall: wall.clone(),
    };
    let url = settings.server.url(bound.address);
    let (workflows, sender) = notices(settings, base, (clock, dice, metrics), (node, &url))?;
    let router = api::router(Api {
        store: store.clone(),
        orders,
        workflows,
        vault: base.vault.clone(),
        audit: base.audit.clone(),
        clock: clock.clone(),
        dice: dice.clone(),
        metrics: metrics.clone(),
        limits: Arc::default(),
        passwords: Passwords::default(),
        readiness,
        platforms: platforms.clone(),
        settings: interface(settings, bound.address.ip().is_loopback()),
    });
    tracing::info!(address = url, node = node.0, "listening");
    Ok(Running {
        worker: spawn(work.run(drain.clone())),
        engine,
        scheduler: spawn({
            let stop = stop.clone();
            async move { scheduler.run(stop).await }
        }),
        api: spawn(bound.serve(
            router,
            tls,
            seconds(settings.server.request_timeout_s),
            drain.clone(),
            clock.clone(),
        )),
        sender: spawn(sender.run(drain.clone())),
        health: spawn(async move { health.watch().await }),
        peers: spawn(hear_peers(store.clone(), clock.clone())),
        wall: spawn(wall.run(raze.clone())),
        drain,
        stop,
        raze,
        store,
        node,
        clock: clock.clone(),
    })
}

/// What this node works on: jobs, and listings.
struct Work {
    worker: Worker,
    discoverer: Discoverer,
}

impl Work {
    async fn run(self, drain: CancellationToken) {
        tokio::join!(self.worker.run(drain.clone()), self.discoverer.run(drain));
    }
}

fn work(
    settings: &Settings,
    base: &Base,
    engine: &Engine,
    (clock, dice, metrics): (&SharedClock, &Arc<dyn Dice>, &Arc<Metrics>),
    node: NodeId,
) -> Work {
    let share = share(settings);
    let discoverer = Discoverer::new(
        base.store.clone(),
        engine.clone(),
        clock.clone(),
        dice.clone(),
        node,
        share.poll,
    );
    let worker = Worker::new(
        base.store.clone(),
        engine.clone(),
        clock.clone(),
        dice.clone(),
        metrics.clone(),
        node,
        share,
    );
    Work { worker, discoverer }
}

/// Takes orders, and first those to their end that a stop cut short.
async fn orders(
    base: &Base,
    engine: &Engine,
    (clock, dice, metrics): (&SharedClock, &Arc<dyn Dice>, &Arc<Metrics>),
) -> Result<Orders, StoreError> {
    let orders = Orders::new(
        base.store.clone(),
        base.vault.clone(),
        clock.clone(),
        dice.clone(),
        engine.clone(),
        metrics.clone(),
    );
    if orders.resume_quarantines().await? > 0 {
        tracing::warn!("a quarantine whose ordering was cut short was ordered to its end");
    }
    Ok(orders)
}

fn engine(
    settings: &Settings,
    base: &Base,
    clock: &SharedClock,
    dice: &Arc<dyn Dice>,
    wall: &Wall,
    platforms: &Arc<Platforms>,
) -> Engine {
    let connectors = Connectors {
        platforms: platforms.clone(),
        ..wall.connectors()
    };
    Engine::new(
        base.store.clone(),
        base.vault.clone(),
        clock.clone(),
        dice.clone(),
        connectors,
        limits(settings),
    )
}

#[expect(clippy::disallowed_methods, reason = "the app owns the tasks")]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn(task)
}

/// Rings the bell when other nodes enqueue work. While the connection is broken, work is found by
/// looking for it.
async fn hear_peers(store: Store, clock: SharedClock) {
    loop {
        if let Err(error) = store.listen().await {
            tracing::warn!(%error, "other nodes are not heard; trying again");
        }
        clock.sleep(LISTEN_AGAIN).await;
    }
}

/// Registers this process, and takes over what dead ones held.
async fn register(store: &Store, clock: &SharedClock) -> Result<NodeId, StoreError> {
    let mut tx = store.begin().await?;
    let node = tx.register_node(&host_name(), clock.now()).await?;
    let reaped = tx.reap_discoveries(node, clock.now()).await?;
    tx.commit().await?;
    if reaped != (0, 0) {
        tracing::info!(
            queued = reaped.0,
            given_up = reaped.1,
            "discoveries were taken over"
        );
    }
    loop {
        let orphans = store.orphaned_claims(node).await?;
        if orphans.is_empty() {
            return Ok(node);
        }
        tracing::info!(
            claims = orphans.len(),
            "work of a process that has ended is queued again"
        );
        for (claim, system) in orphans {
            let mut tx = store.begin().await?;
            tx.reap(claim, system).await?;
            tx.commit().await?;
        }
    }
}

/// For people to read; two nodes may share it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "keywheel".to_owned(),
        name => name.to_owned(),
    }
}

/// Waits for a reason to stop, and does what other signals ask for meanwhile.
async fn supervise(
    running: &mut Running,
    signals: &mut Signals,
    reload: &mut Reload<'_>,
) -> Result<(), AppError> {
    loop {
        let asked = tokio::select! {
            asked = signals.next() => asked,
            () = reload.certificate_changed() => {
                reload.certificate();
                continue;
            }
            ended = &mut running.scheduler => {
                ended.unwrap_or(Ok(()))?;
                return Err(AppError::TaskEnded("the scheduler"));
            }
            _ = &mut running.worker => return Err(AppError::TaskEnded("the worker")),
            _ = &mut running.sender => return Err(AppError::TaskEnded("the sender of notices")),
            _ = &mut running.api => return Err(AppError::TaskEnded("the listener")),
            _ = &mut running.health => return Err(AppError::TaskEnded("the health check")),
            _ = &mut running.wall => return Err(AppError::TaskEnded("the connectors' keeper")),
        };
        match asked {
            Asked::Stop => return Ok(()),
            Asked::Reload => reload.settings(),
            Asked::Verbosity => {
                let level = reload.log.toggle();
                tracing::info!(level = level.name(), "the log level was switched");
            }
        }
    }
}
