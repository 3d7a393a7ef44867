//! What the wall costs, in one run beside the same calls without it.

use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::SystemClock;
use keywheel_connectors::fake::{Fake, FakeWorld};
use keywheel_connectors::{Checked, Connector, Credential};

use super::{Stage, account, status, target};

/// Logins that are timed.
const CHECKS: u32 = 300;
/// A login's share of the wall may be this much: a connection to a target takes longer.
const ADDED_MAX: Duration = Duration::from_millis(25);

async fn each(connector: Arc<dyn Connector>) -> Duration {
    let session = connector
        .open(&target("good", Duration::from_secs(5)), None)
        .await
        .unwrap();
    let (u1, secret) = (account("u1"), Credential::from("secret"));
    let clock = SystemClock::shared();
    let since = clock.monotonic();
    for _ in 0..CHECKS {
        assert_eq!(session.check(&u1, &secret).await, Checked::Accepted);
    }
    (clock.monotonic() - since) / CHECKS
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_over_the_wall_costs_little_more_than_one_without() {
    let stage = Stage::fake(1).await;
    let near = each(Arc::new(Fake::new(&FakeWorld::preset()))).await;
    let far = each(Arc::new(stage.remote.clone())).await;
    let [id] = stage.pool.processes()[..] else {
        panic!("not one process");
    };
    println!(
        "a check: {near:?} without the wall, {far:?} over it; the process: {} in all, {} its own",
        status(id, "VmRSS"),
        status(id, "RssAnon"),
    );
    assert!(far - near.min(far) < ADDED_MAX, "{near:?} {far:?}");
    stage.end().await;
}
