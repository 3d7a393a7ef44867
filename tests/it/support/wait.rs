//! Waits for a condition, with a limit.
//!
//! Invariant: a condition that never comes fails the test with what was waited for.

use std::time::Duration;

use keywheel::clock::SystemClock;

/// The longest that a test waits for anything.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `look` gives something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::shared();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.monotonic() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Waits until an asynchronous `look` gives something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let clock = SystemClock::shared();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(clock.monotonic() < LIMIT, "not within {LIMIT:?}: {what}");
        clock.sleep(PAUSE).await;
    }
}
