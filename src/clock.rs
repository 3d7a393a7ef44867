//! The only place that reads the time or waits for it.
//!
//! Invariant: wall time is for due dates; whatever measures a span uses the monotonic clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::model::Timestamp;

/// What time it is, and how to wait.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall time, UTC. May jump.
    fn now(&self) -> Timestamp;

    /// Time since some fixed instant of this process. Never jumps back.
    fn monotonic(&self) -> Duration;

    /// Waits for `span` of monotonic time.
    async fn sleep(&self, span: Duration);
}

/// A clock that rooms share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// The machine's clock, ready to share.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the time"
    )]
    pub fn shared() -> SharedClock {
        Arc::new(Self {
            start: std::time::Instant::now(),
        })
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the time"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::from_utc(std::time::SystemTime::now().into())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that waits"
    )]
    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// A clock that moves only when told, for tests.
#[derive(Debug)]
pub struct ManualClock {
    millis: AtomicI64,
    start: i64,
    moved: tokio::sync::Notify,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            millis: AtomicI64::new(now.0),
            start: now.0,
            moved: tokio::sync::Notify::new(),
        })
    }

    /// Moves the clock and wakes whoever waits.
    pub fn advance(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.millis.fetch_add(millis, Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.millis.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.now().since(Timestamp(self.start))
    }

    async fn sleep(&self, span: Duration) {
        let until = self.monotonic() + span;
        loop {
            // Listen before looking, or a move in between is missed.
            let moved = self.moved.notified();
            if self.monotonic() >= until {
                return;
            }
            moved.await;
        }
    }
}
