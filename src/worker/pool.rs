//! Which processes of a connector there are: a few that systems share, one each for suspects.
//!
//! Invariant: a process that ended unmeant is counted, and its successor is started after a pause
//! that doubles with each end in a row.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keywheel_connectors::wire::Confinement;
use keywheel_connectors::{Class, Reason};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::lease::{Lease, Suspects, System};
use super::process::{End, Line, Process};
use super::start::{Program, StartError, lacks};
use crate::clock::SharedClock;
use crate::generate::Dice;
use crate::metrics::Metrics;

/// Suspects that may have a process at once.
const ALONE_MAX: usize = 16;
/// Pause before the first successor; doubles.
const REST_FIRST: Duration = Duration::from_millis(250);
const REST_MAX: Duration = Duration::from_secs(10);
/// A process that lived so long has started well.
const STEADY: Duration = Duration::from_mins(1);

/// How the processes of a connector are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// This very program. `/proc/self/exe` is it even after the file was replaced.
    pub program: PathBuf,
    /// Most processes that systems share, at least 1.
    pub processes: usize,
    /// Whom they become if the service is root.
    pub user: String,
    /// What the command needs for its log.
    pub log: Vec<String>,
    /// How often each is asked for a sign of life.
    pub beat: Duration,
    /// Signs it may owe before it counts as hung.
    pub beats_max: u64,
}

impl Options {
    /// The defaults for this program: a process is hung after 15 s of silence.
    pub fn new(program: PathBuf, processes: usize, user: &str) -> Self {
        Self {
            program,
            processes,
            user: user.to_owned(),
            log: Vec::new(),
            beat: Duration::from_secs(3),
            beats_max: 5,
        }
    }

    pub(super) fn program(&self, connector: &'static str, seed: u64) -> Program {
        let mut arguments: Vec<String> = ["connector-worker", connector, "--user", &self.user]
            .map(str::to_owned)
            .into();
        arguments.extend(["--seed".to_owned(), seed.to_string()]);
        arguments.extend(self.log.iter().cloned());
        Program {
            path: self.program.clone(),
            arguments,
            connector,
        }
    }
}

/// The processes of one connector.
#[derive(Debug)]
pub struct Pool {
    connector: &'static str,
    options: Options,
    clock: SharedClock,
    dice: Arc<dyn Dice>,
    metrics: Arc<Metrics>,
    slots: Vec<Slot>,
    /// Changes whenever a process has started.
    started: watch::Sender<u64>,
    live: AtomicUsize,
    suspects: Suspects,
    alone: Arc<Semaphore>,
    asks: mpsc::UnboundedSender<Ask>,
    asked: Mutex<Option<mpsc::UnboundedReceiver<Ask>>>,
    said: AtomicBool,
}

/// Place for one shared process.
#[derive(Debug, Default)]
struct Slot {
    process: Mutex<Option<Arc<Process>>>,
    wanted: Notify,
    /// It was needed once, and is kept running since.
    begun: AtomicBool,
}

impl Slot {
    fn process(&self) -> Option<Arc<Process>> {
        let held = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone().filter(|process| process.lives())
    }

    fn set(&self, process: Option<Arc<Process>>) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }
}

/// Somebody needs a process for a suspect.
type Ask = oneshot::Sender<Arc<Process>>;

impl Pool {
    /// The processes of this connector; none before [`Pool::run`].
    pub fn new(
        connector: &'static str,
        options: Options,
        clock: SharedClock,
        dice: Arc<dyn Dice>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let (asks, asked) = mpsc::unbounded_channel();
        Arc::new(Self {
            connector,
            slots: (0..options.processes.max(1))
                .map(|_| Slot::default())
                .collect(),
            options,
            clock,
            dice,
            metrics,
            started: watch::channel(0).0,
            live: AtomicUsize::new(0),
            suspects: Suspects::default(),
            alone: Arc::new(Semaphore::new(ALONE_MAX)),
            asks,
            asked: Mutex::new(Some(asked)),
            said: AtomicBool::new(false),
        })
    }

    /// The processes that systems share now: their ids.
    pub fn processes(&self) -> Vec<u32> {
        let live = self.slots.iter().filter_map(Slot::process);
        live.map(|process| process.id).collect()
    }

    /// How the shared processes are confined, as they found by trying.
    pub fn confinements(&self) -> Vec<Confinement> {
        let live = self.slots.iter().filter_map(Slot::process);
        live.map(|process| process.confinement).collect()
    }

    /// True if a session could be opened now without waiting for a process.
    pub fn ready(&self) -> bool {
        self.slots.iter().any(|slot| slot.process().is_some())
    }

    /// Starts processes as they are needed, and ends them all once `stop` is cancelled. Runs once.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let asked = self
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut asked) = asked else {
            return;
        };
        let mut tasks = JoinSet::new();
        for number in 0..self.slots.len() {
            let (pool, stop) = (Arc::clone(&self), stop.clone());
            tasks.spawn(async move { pool.keep(number, &stop).await });
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                ask = asked.recv() => {
                    let Some(ask) = ask else { break };
                    let (pool, stop) = (Arc::clone(&self), stop.clone());
                    tasks.spawn(async move { pool.serve_alone(ask, &stop).await });
                }
                Some(_) = tasks.join_next() => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Keeps one slot's process running: the first from the start, the others from need.
    async fn keep(&self, number: usize, stop: &CancellationToken) {
        let Some(slot) = self.slots.get(number) else {
            return;
        };
        if number > 0 {
            tokio::select! {
                () = stop.cancelled() => return,
                () = slot.wanted.notified() => {}
            }
        }
        slot.begun.store(true, Ordering::SeqCst);
        let mut ends = 0;
        loop {
            let since = self.clock.monotonic();
            let end = self.live_once(stop, |process| slot.set(process)).await;
            if stop.is_cancelled() {
                return;
            }
            if self.clock.monotonic().saturating_sub(since) > STEADY {
                ends = 0;
            }
            ends += 1;
            let rest = self.rest(ends);
            tracing::warn!(
                connector = self.connector,
                reason = end.reason(),
                pause_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX),
                "a connector process has ended; its calls are taken for lost replies"
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(rest) => {}
            }
            self.metrics.connector_process_restarted(self.connector);
        }
    }

    /// Doubles with each end, up to a limit, less a random part up to its half.
    fn rest(&self, ends: u32) -> Duration {
        let whole = doubled(ends);
        let mut byte = [0];
        self.dice.fill(&mut byte);
        jittered(whole, byte[0])
    }

    /// Starts a process, shows it, drives it to its end, and hides it.
    async fn live_once(
        &self,
        stop: &CancellationToken,
        mut show: impl FnMut(Option<Arc<Process>>),
    ) -> End {
        let (process, line) = match self.start().await {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(connector = self.connector, %error, "no connector process");
                self.count_end(End::NotStarted);
                return End::NotStarted;
            }
        };
        show(Some(Arc::clone(&process)));
        self.started.send_modify(|count| *count += 1);
        let end = self.drive(&process, line, stop).await;
        show(None);
        end
    }

    async fn start(&self) -> Result<(Arc<Process>, Line), StartError> {
        let mut seed = [0; 8];
        self.dice.fill(&mut seed);
        let program = self
            .options
            .program(self.connector, u64::from_be_bytes(seed));
        let started = program.start().await?;
        let lacks = lacks(&started.0.confinement);
        if !self.said.swap(true, Ordering::Relaxed) {
            if lacks.is_empty() {
                tracing::info!(connector = self.connector, "its processes are confined");
            } else {
                tracing::warn!(
                    connector = self.connector,
                    lacks = lacks.join("; "),
                    "its processes are not wholly confined"
                );
            }
        }
        Ok(started)
    }

    async fn drive(&self, process: &Process, line: Line, stop: &CancellationToken) -> End {
        self.count_live(1);
        let beats = (self.options.beat, self.options.beats_max);
        let driven = process.drive(line, &self.suspects, &self.clock, beats);
        tokio::pin!(driven);
        let end = tokio::select! {
            end = &mut driven => end,
            () = stop.cancelled() => {
                process.stop.cancel();
                driven.await
            }
        };
        self.count_live(-1);
        self.count_end(end);
        end
    }

    fn count_live(&self, by: isize) {
        let live = if by > 0 {
            self.live.fetch_add(1, Ordering::SeqCst) + 1
        } else {
            self.live.fetch_sub(1, Ordering::SeqCst) - 1
        };
        self.metrics.connector_processes(self.connector, live);
    }

    fn count_end(&self, end: End) {
        if let Some(reason) = end.reason() {
            self.metrics.connector_process_ended(self.connector, reason);
        }
    }

    /// Runs the process of one suspect's session.
    async fn serve_alone(&self, ask: Ask, stop: &CancellationToken) {
        let mut ask = Some(ask);
        let end = self.live_once(stop, |process| {
            if let (Some(process), Some(ask)) = (process, ask.take()) {
                // Nobody waits any more: the process has nothing to do.
                if let Err(process) = ask.send(process) {
                    process.stop.cancel();
                }
            }
        });
        if let Some(reason) = end.await.reason() {
            tracing::warn!(
                connector = self.connector,
                reason,
                "the connector process of a system that had one of its own has ended"
            );
        }
    }

    /// Gives a session with this system its place. `limit` bounds the wait for a process.
    ///
    /// # Errors
    /// A [`Reason`] of the system's scope; nothing was sent.
    pub(super) async fn lease(&self, system: System, limit: Duration) -> Result<Lease, Reason> {
        let found = if self.suspects.has(&system) {
            timeout(limit, self.lease_alone(system)).await
        } else {
            timeout(limit, self.lease_shared(system)).await
        };
        found.ok().flatten().ok_or_else(|| {
            let text = "no connector process is running; nothing was sent. The log says why";
            Reason::system(Class::Unreachable, text)
        })
    }

    async fn lease_alone(&self, system: System) -> Option<Lease> {
        let permit: OwnedSemaphorePermit = Arc::clone(&self.alone).acquire_owned().await.ok()?;
        let (ask, answer) = oneshot::channel();
        self.asks.send(ask).ok()?;
        let process = answer.await.ok()?;
        Some(Lease::alone(process, system, permit, self.suspects.clone()))
    }

    async fn lease_shared(&self, system: System) -> Option<Lease> {
        let mut started = self.started.subscribe();
        loop {
            let live = self.slots.iter().filter_map(Slot::process);
            if let Some(process) = live.min_by_key(|process| process.load()) {
                if process.load() > 0 {
                    self.grow();
                }
                return Some(Lease::shared(process, system));
            }
            self.grow();
            started.changed().await.ok()?;
        }
    }

    /// Asks for one more process, if there may be one.
    fn grow(&self) {
        let mut slots = self.slots.iter().skip(1);
        if let Some(slot) = slots.find(|slot| !slot.begun.load(Ordering::SeqCst)) {
            slot.wanted.notify_one();
        }
    }
}

/// The whole pause after so many ends in a row.
fn doubled(ends: u32) -> Duration {
    REST_FIRST
        .saturating_mul(2_u32.saturating_pow(ends.saturating_sub(1).min(16)))
        .min(REST_MAX)
}

/// From half of the pause to all of it.
fn jittered(whole: Duration, byte: u8) -> Duration {
    whole.saturating_sub(whole / 2 * u32::from(byte) / 255)
}

/// Starts one process of a connector to see how it is confined, and ends it.
///
/// # Errors
/// A sentence that says why there is none.
pub async fn look(options: &Options, connector: &'static str) -> Result<Vec<String>, String> {
    let (process, line) = options
        .program(connector, 0)
        .start()
        .await
        .map_err(|error| error.to_string())?;
    let lacks = lacks(&process.confinement);
    // Its socket closes, and it ends.
    drop(line);
    Ok(lacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_is_never_less_than_half() {
        assert_eq!(doubled(1), REST_FIRST);
        assert_eq!(doubled(2), REST_FIRST * 2);
        assert_eq!(doubled(4), REST_FIRST * 8);
        assert_eq!(doubled(u32::MAX), REST_MAX);
        assert_eq!(jittered(REST_MAX, 0), REST_MAX);
        assert_eq!(jittered(REST_MAX, 255), REST_MAX / 2);
    }
}
