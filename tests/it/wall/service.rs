//! The real service, whose processes are killed and stopped in mid-change.

use serde_json::json;

use super::{children, series, signal};
use crate::support::client::Client;
use crate::support::directory::LDAP_INITIAL;
use crate::support::under_way::UnderWay;

/// A process is struck in the middle of a change; the change ends right, and others go on.
async fn strike(blow: &str, reason: &str) {
    let under_way = UnderWay::begin_with(&[("KEYWHEEL_QUEUE__RETRY_FIRST_S", "1")]).await;
    let (slapd, daemon) = (&under_way.slapd, &under_way.daemon);
    let client = Client::signed_in(&daemon.url, &under_way.home.keys()).await;
    let struck: Vec<u32> = children(daemon.pid())
        .into_iter()
        .filter(|(_, line)| line.contains("connector-worker ldap"))
        .map(|(id, _)| id)
        .collect();
    assert!(!struck.is_empty());
    for id in struck {
        signal(blow, id);
    }
    // Another connector's processes, and the interface, know nothing of it.
    client.nobody("/healthz").await.expect(200);
    client.await_job(&under_way.location, &["succeeded"]).await;
    let current = client.reveal(under_way.account).await;
    assert_ne!(current, LDAP_INITIAL);
    assert!(slapd.accepts("u0", &current));
    assert!(!slapd.accepts("u0", LDAP_INITIAL));
    let job = client.native(&under_way.location).await.expect(200).body;
    assert!(
        job.contains("probe"),
        "it was asked which credential works: {job}"
    );
    // Nobody else's work waits: a second account on the same directory, by the straight way.
    let straight = slapd.onboard(&client, None).await;
    let other = slapd.onboard_account(&client, straight, "u1").await;
    let path = format!("ManagedAccounts/{other}/Credentials/Change");
    client
        .post(&path, &json!({"Queue": false}))
        .await
        .expect(204);
    assert!(slapd.accepts("u1", &client.reveal(other).await));
    let page = client.native("/metrics").await.expect(200).body;
    let exits = format!("connector_process_exits_total{{connector=\"ldap\",reason=\"{reason}\"}}");
    assert!(series(&page, &exits) >= 1, "{page}");
    assert!(
        series(
            &page,
            "connector_process_restarts_total{connector=\"ldap\"}"
        ) >= 1
    );
    assert_eq!(under_way.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_in_mid_change_loses_nothing() {
    strike("KILL", "killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_in_mid_change_loses_nothing() {
    strike("STOP", "hung").await;
}
