//! Seats: how many connections there are, and which of them gives way to a new one.
//!
//! Invariant: a connection whose request is with a handler is not told to leave; among the others the
//! one goes that has waited longest.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rlimit::Resource;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Most connections: each may take a hundred kilobytes.
const SEATS_MAX: u64 = 2_048;
/// Fewest: what a machine that allows next to nothing gets all the same.
const SEATS_MIN: u64 = 16;

/// All seats.
#[derive(Debug)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    room: Arc<Room>,
}

#[derive(Debug, Default)]
struct Room {
    turns: AtomicU64,
    /// Those who wait, by when they began to.
    waiting: Mutex<BTreeMap<u64, CancellationToken>>,
    freed: Notify,
}

/// The seat of one connection; free again once it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    turn: AtomicU64,
    asked: AtomicBool,
    works: AtomicBool,
    leave: CancellationToken,
    permit: Option<OwnedSemaphorePermit>,
}

impl Seats {
    /// Half of the descriptors that the process may open: database, connectors and files need some.
    pub(super) fn new() -> Self {
        let (soft, _) = rlimit::getrlimit(Resource::NOFILE).unwrap_or((SEATS_MIN, SEATS_MIN));
        Self::of((soft / 2).clamp(SEATS_MIN, SEATS_MAX))
    }

    fn of(count: u64) -> Self {
        Self {
            free: Arc::new(Semaphore::new(usize::try_from(count).unwrap_or_default())),
            room: Arc::default(),
        }
    }

    /// A seat, if one is free. Its connection counts as waiting.
    pub(super) fn take(&self) -> Option<Seat> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        let seat = Seat {
            room: self.room.clone(),
            turn: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            works: AtomicBool::new(false),
            leave: CancellationToken::new(),
            permit: Some(permit),
        };
        seat.waits();
        Some(seat)
    }

    /// Tells the connection to leave that has waited longest.
    pub(super) fn make_room(&self) {
        if let Some((_, leave)) = self.room.waiting().pop_first() {
            leave.cancel();
        }
    }

    /// Waits until a seat may be free, or may be freed.
    pub(super) async fn freed(&self) {
        self.room.freed.notified().await;
    }
}

impl Room {
    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// A whole head has come: the connection stays until it is answered.
    pub(super) fn works(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.works.store(true, Ordering::Relaxed);
        self.room
            .waiting()
            .remove(&self.turn.load(Ordering::Relaxed));
    }

    /// Nothing is asked of us.
    pub(super) fn waits(&self) {
        self.works.store(false, Ordering::Relaxed);
        let turn = self.room.turns.fetch_add(1, Ordering::Relaxed);
        self.turn.store(turn, Ordering::Relaxed);
        self.room.waiting().insert(turn, self.leave.clone());
        self.room.freed.notify_one();
    }

    /// True if it has ever asked for anything.
    pub(super) fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// True if a request is with a handler.
    pub(super) fn is_at_work(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }

    /// Waits until the seat is needed by another.
    pub(super) async fn needed(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room
            .waiting()
            .remove(&self.turn.load(Ordering::Relaxed));
        drop(self.permit.take());
        self.room.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_waited_longest_leaves_and_one_at_work_never_does() {
        let seats = Seats::of(3);
        let [works, older, newer] = std::array::from_fn(|_| seats.take().unwrap());
        works.works();
        assert!(works.has_asked() && works.is_at_work());
        assert!(!older.has_asked() && !older.is_at_work());
        assert!(seats.take().is_none());
        seats.make_room();
        let left = [&works, &older, &newer].map(|seat| seat.leave.is_cancelled());
        assert_eq!(left, [false, true, false]);
        drop(older);
        let newest = seats.take().unwrap();
        // What was answered waits again, as the last in the row.
        works.waits();
        assert!(works.has_asked() && !works.is_at_work());
        for seat in [&newer, &newest, &works] {
            assert!(!seat.leave.is_cancelled());
            seats.make_room();
            assert!(seat.leave.is_cancelled());
        }
        seats.make_room();
        assert!(seats.take().is_none());
        drop(works);
        assert!(seats.take().is_some());
        assert!(seats.room.waiting().is_empty(), "nobody is left in the row");
    }
}
