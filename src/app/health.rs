//! Watches the components, and tells readiness, metrics and systemd.
//!
//! Invariant: the watchdog is fed by ticks that ended, never by this loop alone.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::wall::Wall;
use crate::api::Readiness;
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::scheduler::Scheduler;
use crate::store::{Store, StoreError};
use crate::vault::Vault;

/// How often the components are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often until the service is ready: somebody waits.
const LOOK_FIRST: Duration = Duration::from_millis(50);
/// How long the database may take to answer.
const PING_MAX: Duration = Duration::from_secs(5);
/// How often systemd is told what is going on, in looks.
const STATUS_EVERY: u64 = 10;
/// Ticks that the scheduler runs at once when it starts.
const FIRST_TICKS: u64 = 3;
/// Seals that are reserved at once.
const SEALS_BLOCK: u64 = 65_536;

/// What is watched.
pub(super) struct Health {
    pub(super) store: Store,
    pub(super) vault: Arc<Vault>,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Readiness,
    pub(super) scheduler: Scheduler,
    /// Silence of the ticks after which they count as stalled.
    pub(super) stalled_after: Duration,
    /// Cancelled once the service stops: from then on nothing is ready.
    pub(super) drain: CancellationToken,
    /// The connectors' processes.
    pub(super) wall: Wall,
}

/// What the last look saw.
#[derive(Default)]
struct Seen {
    ticks: u64,
    ticked_at: Duration,
    reserved: u64,
    said_ready: bool,
}

impl Health {
    /// Watches until the service ends.
    pub(super) async fn watch(&self) {
        let mut seen = Seen {
            ticked_at: self.clock.monotonic(),
            ..Seen::default()
        };
        for look in 0_u64.. {
            self.look(&mut seen).await;
            let every = if seen.said_ready {
                LOOK_EVERY
            } else {
                LOOK_FIRST
            };
            if look.is_multiple_of(STATUS_EVERY) {
                self.status().await;
            }
            self.clock.sleep(every).await;
        }
    }

    async fn look(&self, seen: &mut Seen) {
        let answers = matches!(
            tokio::time::timeout(PING_MAX, self.store.ping()).await,
            Ok(Ok(()))
        );
        self.report("db", answers, "the database does not answer");
        let sealing = self.reserve(&mut seen.reserved).await;
        self.report("keyring", sealing, "seals cannot be reserved");
        let ticks = self.scheduler.ticks_ended();
        let now = self.clock.monotonic();
        if ticks != seen.ticks {
            (seen.ticks, seen.ticked_at) = (ticks, now);
            tell(&[NotifyState::Watchdog]);
        }
        let started = ticks >= FIRST_TICKS;
        let ticking = started && now.saturating_sub(seen.ticked_at) < self.stalled_after;
        self.report("scheduler", ticking, "the ticks stand still");
        // The service ends if the worker does.
        self.report("queue", true, "");
        let reachable = self.wall.ready();
        self.report("connectors", reachable, "a connector has no process");
        if !seen.said_ready && answers && sealing && ticking && reachable {
            seen.said_ready = true;
            tracing::info!("ready");
            tell(&[NotifyState::Ready]);
        }
    }

    fn report(&self, component: &'static str, passes: bool, otherwise: &str) {
        let stops = self.drain.is_cancelled();
        let (passes, otherwise) = if stops {
            (false, "the service stops")
        } else {
            (passes, otherwise)
        };
        let state = if passes {
            Ok(())
        } else {
            Err(otherwise.to_owned())
        };
        self.readiness.report(component, state);
        self.metrics.ready(component, passes);
    }

    /// Keeps at least half a block of seals in hand. Nodes that stop waste the rest: a data key's
    /// count may be too high, never too low.
    async fn reserve(&self, reserved: &mut u64) -> bool {
        if self.vault.sealed() + SEALS_BLOCK / 2 < *reserved {
            return true;
        }
        let reserve = async {
            let mut tx = self.store.begin().await?;
            tx.reserve_seals(self.vault.active_key_id(), 65_536).await?;
            tx.commit().await?;
            Ok::<_, StoreError>(())
        };
        match reserve.await {
            Ok(()) => {
                *reserved += SEALS_BLOCK;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "seals could not be reserved");
                // Those in hand can still be used up.
                self.vault.sealed() < *reserved
            }
        }
    }

    /// Says how busy the service is; silent if the database is.
    async fn status(&self) {
        let Ok(jobs) = self.store.count_jobs().await else {
            return;
        };
        let Ok(due) = self.store.due_now(self.clock.now()).await else {
            return;
        };
        let of = |wanted: &str| -> i64 {
            let counts = jobs.iter().filter(|(_, state, _)| state == wanted);
            counts.map(|(_, _, count)| count).sum()
        };
        let (running, waiting) = (of("running"), of("queued") + of("retrying"));
        let status = format!("{running} running, {waiting} waiting, {due} due");
        tell(&[NotifyState::Status(&status)]);
    }
}

/// Tells systemd, if it asked to be told.
pub(super) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
