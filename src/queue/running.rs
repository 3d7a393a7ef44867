//! What a worker holds: claims that are being worked on, and claims it owes back.
//!
//! Invariant: a claim leaves here only when it was settled or taken back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::model::id::{ClaimId, SystemId};
use crate::model::job::Priority;
use crate::store::Claim;

/// Claims of this node that nobody works on, and that could not be ended.
#[derive(Clone, Default)]
pub(super) struct Owed(Arc<Mutex<Vec<(ClaimId, SystemId)>>>);

impl Owed {
    pub(super) fn add(&self, claim: ClaimId, system: SystemId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((claim, system));
    }

    pub(super) fn take(&self) -> Vec<(ClaimId, SystemId)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Claims that are being worked on.
#[derive(Default)]
pub(super) struct Running {
    tasks: JoinSet<Priority>,
    claims: HashMap<tokio::task::Id, (Priority, ClaimId, SystemId)>,
    pub(super) busy: [usize; 3],
}

impl Running {
    pub(super) fn spawn(&mut self, worker: Worker, claim: Claim, drain: CancellationToken) {
        let (priority, id, system) = (claim.priority, claim.id, claim.system);
        let task = self.tasks.spawn(async move {
            worker.work(claim, &drain).await;
            priority
        });
        self.claims.insert(task.id(), (priority, id, system));
        self.count(priority, 1);
    }

    /// Waits for one to end: outer `None` if there is none; inner `Some` if its task died.
    pub(super) async fn join(&mut self) -> Option<Option<(ClaimId, SystemId)>> {
        let ended = self.tasks.join_next_with_id().await?;
        let (id, died) = match ended {
            Ok((id, _)) => (id, false),
            Err(error) => (error.id(), true),
        };
        let (priority, claim, system) = self.claims.remove(&id)?;
        self.count(priority, -1);
        Some(died.then_some((claim, system)))
    }

    fn count(&mut self, priority: Priority, by: isize) {
        let at = usize::try_from(priority.rank()).ok();
        if let Some(class) = at.and_then(|at| self.busy.get_mut(at)) {
            *class = class.saturating_add_signed(by);
        }
    }
}
