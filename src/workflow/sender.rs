//! Sends what is due: claims deliveries, tries several at once, and records what came of each.
//!
//! Deliveries of one action share a lane, and lanes of one way a channel; each has room for so many
//! at once. A receiver that hangs holds its own lane alone, and a mail server that hangs holds mail
//! alone.
//!
//! Invariant: what this node holds in the database is in this task's hands; where a commit leaves
//! that in doubt, nothing new is claimed until all of it is given back.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::model::id::NodeId;
use crate::model::workflow::{Attempt, Channel};
use crate::store::{ClaimedDelivery, Lane, Outcome, Settlement, StoreError};

/// Attempts at once of one action.
const LANE_MAX: usize = 8;
/// Attempts at once by one way.
const CHANNEL_MAX: usize = 32;
/// How often deliveries are looked for that nobody announced.
const POLL: Duration = Duration::from_secs(1);

/// Sends deliveries.
#[derive(Debug)]
pub struct Sender {
    pub(super) parts: Parts,
    pub(super) node: NodeId,
    under_way: JoinSet<Settlement>,
    held: HashMap<Id, ClaimedDelivery>,
    /// What has ended, but is not recorded yet.
    unsettled: Vec<Settlement>,
    /// True: rows may be held that are not in our hands.
    in_doubt: bool,
    pub(super) pruned_at: Option<Duration>,
}

impl Sender {
    /// For this node.
    pub fn new(parts: Parts, node: NodeId) -> Self {
        Self {
            parts,
            node,
            under_way: JoinSet::new(),
            held: HashMap::new(),
            unsettled: Vec::new(),
            in_doubt: true, // a start knows nothing
            pruned_at: None,
        }
    }

    /// Sends until `drain`, then ends what is under way.
    pub async fn run(mut self, drain: CancellationToken) {
        let store = self.parts.store.clone();
        loop {
            // Listen before looking, or a ring in between is missed.
            let rung = store.outbox().notified();
            if let Err(error) = self.round(drain.is_cancelled()).await {
                tracing::warn!(%error, "notices wait for the database");
            }
            if drain.is_cancelled() && self.under_way.is_empty() {
                return;
            }
            let clock = self.parts.clock.clone();
            tokio::select! {
                () = rung, if !drain.is_cancelled() => {}
                () = clock.sleep(POLL) => {}
                () = drain.cancelled(), if !drain.is_cancelled() => {}
                Some(ended) = self.under_way.join_next_with_id() => self.ended(ended),
            }
        }
    }

    /// Records what has ended, and begins what is due.
    async fn round(&mut self, draining: bool) -> Result<(), StoreError> {
        while let Some(ended) = self.under_way.try_join_next_with_id() {
            self.ended(ended);
        }
        self.settle().await?;
        if self.in_doubt && self.under_way.is_empty() {
            let mut tx = self.parts.store.begin().await?;
            tx.release_deliveries(self.node).await?;
            tx.commit().await?;
            self.in_doubt = false;
        }
        if draining {
            return Ok(());
        }
        self.upkeep().await?;
        if self.in_doubt {
            return Ok(());
        }
        self.claim().await
    }

    fn ended(&mut self, ended: Result<(Id, Settlement), JoinError>) {
        match ended {
            Ok((id, settlement)) => {
                self.held.remove(&id);
                self.unsettled.push(settlement);
            }
            Err(error) => {
                // A defect of ours; its words stand in the log, by the process's hook.
                if let Some(claimed) = self.held.remove(&error.id()) {
                    self.unsettled.push(self.broken(&claimed));
                }
            }
        }
    }

    /// What becomes of an attempt that panicked.
    fn broken(&self, claimed: &ClaimedDelivery) -> Settlement {
        let now = self.parts.clock.now();
        let wait = self.parts.wait(claimed.tries + 1, None);
        Settlement {
            lane: claimed.lane,
            node: claimed.node,
            attempt: Attempt {
                delivery: claimed.id,
                number: claimed.attempts + 1,
                at: now,
                took_ms: 0,
                status: None,
                error: "the attempt failed by a fault of the service: its log says more".to_owned(),
            },
            outcome: wait.map_or(Outcome::Failed, |wait| Outcome::Again(now.plus(wait))),
        }
    }

    async fn settle(&mut self) -> Result<(), StoreError> {
        if self.unsettled.is_empty() {
            return Ok(());
        }
        let now = self.parts.clock.now();
        let mut tx = self.parts.store.begin().await?;
        let mut recorded = Vec::with_capacity(self.unsettled.len());
        for settlement in &self.unsettled {
            recorded.push(tx.settle_delivery(settlement, now).await?);
        }
        // If the commit is unknown, the next round asks again: what is settled stays so.
        tx.commit().await?;
        for (settlement, recorded) in self.unsettled.drain(..).zip(recorded) {
            if recorded {
                tell(&self.parts, &settlement);
            }
        }
        Ok(())
    }

    /// Room for more of a lane.
    fn room(&self, lane: Lane) -> usize {
        let held = self.held.values();
        let (mut own, mut alike) = (0, 0);
        for one in held {
            own += usize::from(one.lane == lane);
            alike += usize::from(one.lane.channel == lane.channel);
        }
        (LANE_MAX - LANE_MAX.min(own)).min(CHANNEL_MAX - CHANNEL_MAX.min(alike))
    }

    async fn claim(&mut self) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        let mut lanes = self.parts.store.due_lanes(now).await?;
        lanes.retain(|lane| self.room(*lane) > 0);
        if lanes.is_empty() {
            return Ok(());
        }
        // Those that have least under way first: what hangs comes last.
        lanes.sort_by_key(|lane| std::cmp::Reverse(self.room(*lane)));
        let mut tx = self.parts.store.begin().await?;
        let mut left: HashMap<Channel, usize> = HashMap::new();
        let mut claimed = Vec::new();
        for lane in lanes {
            let alike = self
                .held
                .values()
                .filter(|one| one.lane.channel == lane.channel);
            let free = CHANNEL_MAX.saturating_sub(alike.count());
            let left = left.entry(lane.channel).or_insert(free);
            let room = self.room(lane).min(*left);
            if room == 0 {
                continue;
            }
            let limit = i64::try_from(room).unwrap_or(1);
            let found = tx.claim_deliveries(self.node, lane, limit, now).await?;
            *left = left.saturating_sub(found.len());
            claimed.extend(found);
        }
        if let Err(error) = tx.commit().await {
            self.in_doubt = true;
            return Err(error);
        }
        for one in claimed {
            let parts = self.parts.clone();
            let handle = self.under_way.spawn({
                let one = one.clone();
                async move { parts.attempt(&one).await }
            });
            self.held.insert(handle.id(), one);
        }
        Ok(())
    }
}

fn tell(parts: &Parts, settlement: &Settlement) {
    let (delivery, action) = (settlement.attempt.delivery.0, settlement.lane.action.0);
    let outcome = match settlement.outcome {
        Outcome::Sent => "sent",
        Outcome::Again(_) => "retried",
        Outcome::Failed => {
            let why = &settlement.attempt.error;
            tracing::warn!(delivery, action, why, "a notice was given up");
            "failed"
        }
    };
    let channel = settlement.lane.channel.as_str();
    parts.metrics.delivery(channel, outcome);
}
