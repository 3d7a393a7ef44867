//! The real service, whose processes are killed and stopped in mid-change.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::{children, series, signal};
use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::directory::{Directory, LDAP_INITIAL};
use crate::support::proxy::Proxy;
use crate::support::wait::until;

/// How long the line holds back each of the directory's answers.
const HOLD: Duration = Duration::from_millis(400);

/// A process is struck in the middle of a change; the change ends right, and others go on.
async fn strike(blow: &str, reason: &str) {
    let slapd = Directory::openldap();
    let proxy = Proxy::start(SocketAddr::from((slapd.ip, slapd.port)), HOLD).await;
    let home = Home::new();
    let daemon = home.serve_with(&[("KEYWHEEL_QUEUE__RETRY_FIRST_S", "1")]);
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let slow = slapd.onboard(&client, Some(proxy.port)).await;
    let locks = json!({"lockout_threshold": 5});
    client
        .edit(&format!("/api/v1/systems/{slow}"), &locks)
        .await;
    let account = slapd.onboard_account(&client, slow, "u0").await;
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    let ordered = client
        .post(&path, &json!({"Queue": true}))
        .await
        .expect(204);
    let location = ordered.location.expect("a Location");
    let database = crate::daemon::database(&home.data("keywheel.db")).await;
    until("the change is intended", async || {
        let found: Option<(i64,)> =
            sqlx::query_as("SELECT id FROM rotations WHERE phase = 'applying'")
                .fetch_optional(&database)
                .await
                .unwrap();
        found
    })
    .await;
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
    client.await_job(&location, &["succeeded"]).await;
    let current = client.reveal(account).await;
    assert_ne!(current, LDAP_INITIAL);
    assert!(slapd.accepts("u0", &current));
    assert!(!slapd.accepts("u0", LDAP_INITIAL));
    let job = client.native(&location).await.expect(200).body;
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
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_in_mid_change_loses_nothing() {
    strike("KILL", "killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_in_mid_change_loses_nothing() {
    strike("STOP", "hung").await;
}
