//! The end of a service in the middle of its work.

use std::net::SocketAddr;
use std::time::Duration;

use keywheel::clock::SystemClock;
use serde_json::json;

use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::directory::{Directory, LDAP_INITIAL};
use crate::support::proxy::Proxy;
use crate::support::under_way::{HOLD, UnderWay};
use crate::support::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_change_under_way_is_recorded_before_the_service_ends() {
    let mut under_way = UnderWay::begin().await;
    let daemon = under_way.daemon;
    daemon.signal("TERM");
    daemon.await_said("draining");
    assert_eq!(daemon.ended().code(), Some(0));
    under_way.daemon = under_way.home.serve();
    assert_eq!(under_way.phase().await.as_deref(), Some("committed"));
    let client = Client::signed_in(&under_way.daemon.url, &under_way.home.keys()).await;
    assert_eq!(client.job_state(&under_way.location).await, "succeeded");
    let current = client.reveal(under_way.account).await;
    assert_ne!(current, LDAP_INITIAL);
    assert!(under_way.slapd.accepts("u0", &current));
    assert!(!under_way.slapd.accepts("u0", LDAP_INITIAL));
    assert_eq!(under_way.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_cut_a_change_short() {
    let under_way = UnderWay::begin().await;
    under_way.daemon.signal("TERM");
    under_way.daemon.await_said("draining");
    under_way.daemon.signal("TERM");
    under_way.daemon.await_said("callers are not waited for");
    assert_eq!(under_way.daemon.ended().code(), Some(0));
    let phase: (String,) = sqlx::query_as("SELECT phase FROM rotations")
        .fetch_one(&under_way.database)
        .await
        .unwrap();
    assert_eq!(phase.0, "committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_waits_for_a_silent_target_no_longer_than_five_seconds() {
    let mut under_way = UnderWay::begin().await;
    under_way.proxy.silence(true);
    let daemon = under_way.daemon;
    daemon.signal("TERM");
    daemon.await_said("draining");
    let clock = SystemClock::shared();
    daemon.signal("TERM");
    assert_eq!(daemon.ended().code(), Some(0));
    // Alone, the connector would have waited for 30 s.
    let took = clock.monotonic();
    let span = Duration::from_millis(4_500)..Duration::from_secs(20);
    assert!(span.contains(&took), "{took:?}");
    let left: (String, i64, String) = sqlx::query_as(
        "SELECT rotations.phase, jobs.attempt, jobs.state FROM rotations
         JOIN jobs ON jobs.account_id = rotations.account_id",
    )
    .fetch_one(&under_way.database)
    .await
    .unwrap();
    assert!(
        ["applying", "applied"].contains(&left.0.as_str()),
        "{left:?}"
    );
    assert_eq!(
        (left.1, left.2.as_str()),
        (0, "queued"),
        "it counts for nothing"
    );
    under_way.proxy.silence(false);
    under_way.daemon = under_way.home.serve();
    let client = Client::signed_in(&under_way.daemon.url, &under_way.home.keys()).await;
    client.await_job(&under_way.location, &["succeeded"]).await;
    let current = client.reveal(under_way.account).await;
    assert_ne!(current, LDAP_INITIAL);
    assert!(under_way.slapd.accepts("u0", &current));
    assert_eq!(under_way.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_taken_for_dead_does_not_wait_for_its_targets() {
    let mut under_way = UnderWay::begin().await;
    under_way.proxy.silence(true);
    // A peer does so that has not seen its beat for too long.
    sqlx::query("UPDATE nodes SET state = 'dead' WHERE state = 'alive'")
        .execute(&under_way.database)
        .await
        .unwrap();
    let daemon = under_way.daemon;
    daemon.await_said("peers have declared this node dead");
    let clock = SystemClock::shared();
    assert_ne!(daemon.ended().code(), Some(0));
    // Alone, the connector would have waited for 30 s.
    let took = clock.monotonic();
    assert!(took < Duration::from_secs(20), "{took:?}");
    under_way.proxy.silence(false);
    under_way.daemon = under_way.home.serve();
    let client = Client::signed_in(&under_way.daemon.url, &under_way.home.keys()).await;
    client.await_job(&under_way.location, &["succeeded"]).await;
    let current = client.reveal(under_way.account).await;
    assert!(under_way.slapd.accepts("u0", &current));
    assert_eq!(under_way.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_mid_change_loses_nothing() {
    let mut under_way = UnderWay::begin().await;
    under_way.daemon.kill();
    under_way.daemon = under_way.home.serve();
    under_way.daemon.await_said("is queued again");
    let client = Client::signed_in(&under_way.daemon.url, &under_way.home.keys()).await;
    client.await_job(&under_way.location, &["succeeded"]).await;
    let current = client.reveal(under_way.account).await;
    assert!(under_way.slapd.accepts("u0", &current));
    assert_eq!(under_way.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_waits_gets_the_answer_of_a_draining_service() {
    let slapd = Directory::openldap();
    let proxy = Proxy::start(SocketAddr::from((slapd.ip, slapd.port)), HOLD).await;
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = slapd.onboard(&client, Some(proxy.port)).await;
    let account = slapd.onboard_account(&client, system, "u1").await;
    let database = super::database(&home.data("keywheel.db")).await;
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    let body = json!({"Queue": false});
    let waits = client.post(&path, &body);
    let stops = async {
        until("the change is intended", async || {
            let found: Option<(i64,)> =
                sqlx::query_as("SELECT id FROM rotations WHERE phase = 'applying'")
                    .fetch_optional(&database)
                    .await
                    .unwrap();
            found
        })
        .await;
        daemon.signal("TERM");
    };
    let (answer, ()) = tokio::join!(waits, stops);
    answer.expect(204);
    assert_eq!(daemon.ended().code(), Some(0));
}
