//! One exchange's watchdog: a deadline that closes the connection under the thread that uses it.
//!
//! Invariant: a turn that was cut before it sent its secret never sends it; so whoever cuts knows
//! which of the two came first.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

/// What an exchange's thread and its watchdog share.
#[derive(Debug, Default)]
pub(super) struct Turn {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    wire: Option<Arc<TcpStream>>,
    cut: bool,
    sent: bool,
}

impl Turn {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a connection under the watchdog; false when time is up already.
    pub(super) fn watch(&self, wire: &Arc<TcpStream>) -> bool {
        let mut state = self.lock();
        if state.cut {
            hang_up(wire);
            return false;
        }
        state.wire = Some(Arc::clone(wire));
        true
    }

    /// Asks to send the secret; false when time is up.
    pub(super) fn may_send(&self) -> bool {
        let mut state = self.lock();
        state.sent |= !state.cut;
        !state.cut
    }

    /// Whether the first byte of the secret may have left.
    pub(super) fn was_sent(&self) -> bool {
        self.lock().sent
    }

    /// Ends the turn: what is under way fails, what has not begun never does.
    fn cut(&self) {
        let mut state = self.lock();
        state.cut = true;
        if let Some(wire) = state.wire.take() {
            hang_up(&wire);
        }
    }

    /// Awaits the exchange; cuts it and returns `None` when time is up or nobody waits any more.
    pub(super) async fn within<T>(
        self: &Arc<Self>,
        limit: Duration,
        exchange: impl Future<Output = T>,
    ) -> Option<T> {
        let watchdog = Watchdog(self);
        let ended = timeout(limit, exchange).await;
        if ended.is_ok() {
            // The connection lives on; only this turn is over.
            watchdog.0.lock().wire = None;
        }
        drop(watchdog);
        ended.ok()
    }
}

/// Cuts its turn when dropped: after the deadline, and when the call itself is dropped.
struct Watchdog<'a>(&'a Turn);

impl Drop for Watchdog<'_> {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// Ends a connection in both directions; a thread that reads from it returns at once.
pub(super) fn hang_up(wire: &TcpStream) {
    if let Err(error) = wire.shutdown(Shutdown::Both) {
        // The other side was faster.
        tracing::trace!(%error, "connection already closed");
    }
}
