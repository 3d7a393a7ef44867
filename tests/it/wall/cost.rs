//! What the wall costs, in one run beside the same calls without it.

use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::SystemClock;
use keywheel_connectors::fake::{Fake, FakeWorld};
use keywheel_connectors::{Checked, Connector, Credential};

use serde_json::json;

use super::{Stage, account, children, status, target};
use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::fleet::Sshd;

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
    clock.monotonic().saturating_sub(since) / CHECKS
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
    assert!(far.saturating_sub(near) < ADDED_MAX, "{near:?} {far:?}");
    stage.end().await;
}

/// Rotations whose processor time is taken together.
const ROTATIONS: u64 = 20;
/// Of the service and its processes, for one rotation of an unoptimised build; an optimised one
/// takes a small part of it.
const ROTATION_MAX_MS: u64 = 150;

/// Processor time of a process so far, in milliseconds. The kernel counts in hundredths.
fn spent_ms(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let own = fields
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap());
    own.sum::<u64>() * 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_over_ssh_takes_little_of_the_processor() {
    let sshd = Sshd::start("Functional-5hB-host");
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let host = sshd.onboard(&client).await;
    let account = sshd.onboard_account(&client, host, "kw_u0").await;
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    let change = async || {
        let body = json!({"Queue": false});
        client.post(&path, &body).await.expect(204);
    };
    change().await;
    let spent = || {
        let processes = children(daemon.pid());
        let connectors: u64 = processes.iter().map(|(id, _)| spent_ms(*id)).sum();
        (spent_ms(daemon.pid()), connectors)
    };
    let before = spent();
    for _ in 0..ROTATIONS {
        change().await;
    }
    let after = spent();
    let service = after.0 - before.0;
    let connectors = after.1 - before.1;
    println!(
        "{ROTATIONS} rotations: {service} ms in the service, {connectors} ms in its processes"
    );
    assert!(service + connectors < ROTATION_MAX_MS * ROTATIONS);
    assert!(sshd.accepts("kw_u0", &client.reveal(account).await));
    assert_eq!(daemon.stop(), 0);
}
