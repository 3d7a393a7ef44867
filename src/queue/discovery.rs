//! Orders discoveries, claims them, and records what they found.
//!
//! Invariant: a listing that was begun is ended, given back, or reaped with its node; whatever
//! becomes of it, no credential moves.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connectors::{Listing, Reason};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{OrderError, Orders};
use crate::clock::SharedClock;
use crate::engine::Engine;
use crate::generate::{self, Dice};
use crate::model::audit::Event;
use crate::model::discovery::{Asked, DiscoveryView, Wanted, recorded};
use crate::model::fault::Fault;
use crate::model::id::{DiscoveryId, NodeId, PlatformId, SystemId};
use crate::model::platform::Platform;
use crate::store::{ClaimedDiscovery, Discovered, NewDiscovery, Store, StoreError};

/// Listings of one node at once: people wait for them, but nothing expires meanwhile.
const LISTINGS_MAX: usize = 4;
/// How often the end of a listing is recorded again before it is left to the reaper.
const END_TRIES: u32 = 30;
/// How often a waiting call looks, should it miss the bell: another node may list.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why a discovery was not ordered.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// Correct the order.
    #[error("the order has {} faults", .0.len())]
    Invalid(Vec<Fault>),
    /// Wait for the one under way, then order again.
    #[error("a discovery of this system with another query is under way")]
    Another,
    /// As it says.
    #[error(transparent)]
    Order(#[from] OrderError),
}

impl From<StoreError> for DiscoverError {
    fn from(error: StoreError) -> Self {
        Self::Order(error.into())
    }
}

impl Orders {
    /// Orders a listing of the system's accounts. An identical open order is joined.
    ///
    /// # Errors
    /// [`DiscoverError`].
    pub async fn discover(
        &self,
        system: SystemId,
        wanted: &Wanted,
        actor: &str,
    ) -> Result<DiscoveryId, DiscoverError> {
        let mut tx = self.store.begin().await?;
        let found = tx.locked_system(system).await?;
        let found = found.ok_or(OrderError::NotFound)?;
        let platform = platform(&self.engine, found.place.platform_id)?;
        let asked = Asked::of(wanted, platform).map_err(DiscoverError::Invalid)?;
        if found.settings.functional_account_id.is_none() {
            return Err(OrderError::Refused(
                "The managed system has no functional account to list by; set \
                 FunctionalAccountID"
                    .into(),
            )
            .into());
        }
        let query = asked.json().to_string();
        if let Some((open, under_way)) = tx.open_discovery(system).await? {
            return if under_way == query {
                Ok(open)
            } else {
                Err(DiscoverError::Another)
            };
        }
        let now = self.clock.now();
        let new = NewDiscovery {
            system,
            query,
            actor: actor.to_owned(),
        };
        let id = tx.insert_discovery(&new, now).await?;
        let body = serde_json::json!({"discovery": id, "query": asked.json()});
        tx.audit(
            &Event::by(actor, "system.discovery_ordered", system, body),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Waits until the discovery has ended; at most `limit`. `None`: no such discovery.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wait_discovery(
        &self,
        discovery: DiscoveryId,
        limit: Duration,
    ) -> Result<Option<DiscoveryView>, StoreError> {
        let until = self.clock.monotonic() + limit;
        loop {
            let settled = self.store.settled().notified();
            let Some(view) = self.store.discovery(discovery).await? else {
                return Ok(None);
            };
            if view.state.is_final() || self.clock.monotonic() >= until {
                return Ok(Some(view));
            }
            tokio::select! {
                () = settled => {}
                () = self.clock.sleep(LOOK_EVERY) => {}
            }
        }
    }
}

fn platform(engine: &Engine, id: PlatformId) -> Result<&Platform, OrderError> {
    engine
        .platform(id.0)
        .ok_or_else(|| OrderError::Refused("The system's platform is not known here".into()))
}

/// One node's share of the listings.
#[derive(Clone)]
pub struct Discoverer {
    store: Store,
    engine: Engine,
    clock: SharedClock,
    dice: Arc<dyn Dice>,
    node: NodeId,
    poll: Duration,
}

impl fmt::Debug for Discoverer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discoverer")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Discoverer {
    /// The listings of a registered node; `poll` is the longest wait between looks.
    pub fn new(
        store: Store,
        engine: Engine,
        clock: SharedClock,
        dice: Arc<dyn Dice>,
        node: NodeId,
        poll: Duration,
    ) -> Self {
        Self {
            store,
            engine,
            clock,
            dice,
            node,
            poll,
        }
    }

    /// Lists until `drain` is cancelled. What is under way then is given back: reading twice is
    /// harmless.
    pub async fn run(&self, drain: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut claimed = HashMap::new();
        while !drain.is_cancelled() {
            // Listen before looking, or an order that comes in between waits for the next poll.
            let bell = self.store.bell().notified();
            while tasks.len() < LISTINGS_MAX
                && let Some(next) = self.next().await
            {
                let (one, work, drain) = (self.clone(), next.clone(), drain.clone());
                let task = tasks.spawn(async move { one.work(&work, &drain).await });
                claimed.insert(task.id(), next);
            }
            let pause = generate::jittered(self.poll, self.dice.as_ref());
            tokio::select! {
                () = bell => {}
                () = self.clock.sleep(pause) => {}
                () = drain.cancelled() => {}
                Some(ended) = tasks.join_next_with_id() => self.bury(ended, &mut claimed).await,
            }
        }
        while let Some(ended) = tasks.join_next_with_id().await {
            self.bury(ended, &mut claimed).await;
        }
    }

    /// Lists whatever waits; for tests, which own the clock. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when nothing could be claimed.
    pub async fn run_until_idle(&self) -> Result<usize, StoreError> {
        let drain = CancellationToken::new();
        let mut count = 0;
        while let Some(claimed) = self.claim().await? {
            self.work(&claimed, &drain).await;
            count += 1;
        }
        Ok(count)
    }

    async fn bury(
        &self,
        ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>,
        claimed: &mut HashMap<tokio::task::Id, ClaimedDiscovery>,
    ) {
        match ended {
            Ok((id, ())) => drop(claimed.remove(&id)),
            Err(error) => {
                if let Some(died) = claimed.remove(&error.id()) {
                    tracing::error!(discovery = died.id.0, "a discovery's task died");
                    let why = "the task that listed it died; the log says more".to_owned();
                    let class = "unknown";
                    self.end(&died, &Discovered::Failed { class, why }).await;
                }
            }
        }
    }

    async fn next(&self) -> Option<ClaimedDiscovery> {
        match self.claim().await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "no discovery could be claimed");
                None
            }
        }
    }

    async fn claim(&self) -> Result<Option<ClaimedDiscovery>, StoreError> {
        let now = self.clock.now();
        // A look costs no write: the bell rings for every job.
        if !self.store.discovery_waits(now).await? {
            return Ok(None);
        }
        let mut tx = self.store.begin().await?;
        let claimed = tx.claim_discovery(self.node, now).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn work(&self, claimed: &ClaimedDiscovery, drain: &CancellationToken) {
        let ended = tokio::select! {
            ended = self.list(claimed) => ended,
            () = drain.cancelled() => Discovered::GivenBack,
        };
        self.end(claimed, &ended).await;
    }

    async fn list(&self, claimed: &ClaimedDiscovery) -> Discovered {
        let failed = |class, why: &str| Discovered::Failed {
            class,
            why: why.to_owned(),
        };
        let platform = match self.store.system(claimed.system).await {
            Ok(Some(system)) => self.engine.platform(system.place.platform_id.0),
            Ok(None) => return failed("no_account", "the system was deleted"),
            Err(error) => {
                tracing::error!(discovery = claimed.id.0, %error, "a system could not be read");
                return failed("unknown", "the database did not say what to list");
            }
        };
        let Some(platform) = platform else {
            return failed("incompatible", "the system's platform is not known here");
        };
        let Some(asked) = Asked::parse(&claimed.query, platform) else {
            return failed("incompatible", "what is to be listed cannot be read");
        };
        match self.engine.list(claimed.system, &asked).await {
            Ok(Ok(listing)) => succeeded(listing, platform),
            Ok(Err(Reason { class, text, .. })) => failed(class.name(), &text),
            Err(error) => {
                tracing::error!(discovery = claimed.id.0, %error, "a listing could not begin");
                failed(
                    "unknown",
                    "the service could not begin it; its log says why",
                )
            }
        }
    }

    /// Records an end, trying again while the database is busy or out of space.
    async fn end(&self, claimed: &ClaimedDiscovery, ended: &Discovered) {
        let mut tries = 0;
        loop {
            match self.end_once(claimed, ended).await {
                Ok(()) => break,
                Err(StoreError::LeaseLost) => {
                    tracing::warn!(discovery = claimed.id.0, "another node goes on with it");
                    break;
                }
                Err(error) if tries >= END_TRIES => {
                    tracing::error!(discovery = claimed.id.0, %error, "an end was not recorded");
                    break;
                }
                Err(error) => {
                    tries += 1;
                    tracing::warn!(discovery = claimed.id.0, %error, "an end is recorded again");
                    self.clock.sleep(Duration::from_secs(1)).await;
                }
            }
        }
        self.store.settled().notify_waiters();
    }

    async fn end_once(
        &self,
        claimed: &ClaimedDiscovery,
        ended: &Discovered,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        tx.end_discovery(claimed, ended, now).await?;
        let body = match ended {
            Discovered::Succeeded {
                rows, truncated, ..
            } => Some(serde_json::json!({
                "discovery": claimed.id, "found": rows.len(), "truncated": truncated,
            })),
            Discovered::Failed { class, .. } => Some(serde_json::json!({
                "discovery": claimed.id, "class": class,
            })),
            Discovered::GivenBack => None,
        };
        if let Some(body) = body {
            let actor = claimed.actor.clone();
            let event = Event::by(actor, "system.discovered", claimed.system, body);
            tx.audit(&event, now).await?;
        }
        tx.commit().await
    }
}

fn succeeded(listing: Listing, platform: &Platform) -> Discovered {
    let (unreadable, truncated) = (i64::from(listing.unreadable), listing.truncated);
    Discovered::Succeeded {
        rows: recorded(listing, platform),
        unreadable,
        truncated,
    }
}
