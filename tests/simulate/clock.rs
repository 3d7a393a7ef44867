//! A clock whose wall time may jump; time itself does not.
//!
//! Invariant: whoever sleeps is woken by the run alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use keywheel::clock::Clock;
use keywheel::model::Timestamp;

use crate::stage::{Stage, Wait};

#[derive(Debug)]
pub(crate) struct JumpingClock {
    stage: Stage,
    start: i64,
    /// Milliseconds that have passed.
    passed: AtomicI64,
    /// How far the wall clock is off.
    off: AtomicI64,
}

impl JumpingClock {
    pub(crate) fn at(now: Timestamp, stage: &Stage) -> Arc<Self> {
        Arc::new(Self {
            stage: stage.clone(),
            start: now.0,
            passed: AtomicI64::new(0),
            off: AtomicI64::new(0),
        })
    }

    /// Time passes.
    pub(crate) fn advance(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap();
        self.passed.fetch_add(millis, Ordering::SeqCst);
    }

    /// The wall clock is off by so many milliseconds from now on.
    pub(crate) fn set_off(&self, millis: i64) {
        self.off.store(millis, Ordering::SeqCst);
    }

    pub(crate) fn off(&self) -> i64 {
        self.off.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.start + self.passed.load(Ordering::SeqCst) + self.off())
    }

    fn monotonic(&self) -> Duration {
        let millis = self.passed.load(Ordering::SeqCst);
        Duration::from_millis(u64::try_from(millis).unwrap())
    }

    async fn sleep(&self, span: Duration) {
        let until = self.monotonic() + span;
        self.stage.gate(Wait::Until(until)).await;
    }
}
