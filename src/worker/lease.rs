//! Who speaks with which system through which process, and which systems are suspects.
//!
//! Invariant: a system that had a session on a process when that ended unmeant shares no process
//! with others, until a session with it has come to a good end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use keywheel_connectors::Target;
use tokio::sync::OwnedSemaphorePermit;

use super::process::Process;

/// Suspects that are remembered; beyond that the first in order is forgotten.
const SUSPECTS_MAX: usize = 10_000;

/// Where a system answers: host and port.
pub(super) type System = (String, u16);

pub(super) fn system(target: &Target) -> System {
    (target.host.clone(), target.port)
}

/// Systems whose next session gets a process of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects(Arc<Mutex<BTreeSet<System>>>);

impl Suspects {
    pub(super) fn add(&self, systems: impl Iterator<Item = System>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(systems);
        while all.len() > SUSPECTS_MAX {
            all.pop_first();
        }
    }

    pub(super) fn has(&self, system: &System) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.contains(system)
    }

    fn clear(&self, system: &System) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(system);
    }
}

/// One session's place in a process; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) process: Arc<Process>,
    pub(super) session: u64,
    system: System,
    /// Of a suspect: the process ends with the session.
    alone: Option<(OwnedSemaphorePermit, Suspects)>,
}

impl Lease {
    /// A place among others.
    pub(super) fn shared(process: Arc<Process>, system: System) -> Self {
        Self::new(process, system, None)
    }

    /// A process of its own.
    pub(super) fn alone(
        process: Arc<Process>,
        system: System,
        permit: OwnedSemaphorePermit,
        suspects: Suspects,
    ) -> Self {
        Self::new(process, system, Some((permit, suspects)))
    }

    fn new(
        process: Arc<Process>,
        system: System,
        alone: Option<(OwnedSemaphorePermit, Suspects)>,
    ) -> Self {
        Self {
            session: process.enter(&system),
            process,
            system,
            alone,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.process.leave(self.session);
        if let Some((_, suspects)) = &self.alone {
            if self.process.lives() {
                suspects.clear(&self.system);
            }
            self.process.stop.cancel();
        }
    }
}
