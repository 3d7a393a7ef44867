//! A credential that is checked out while the service dies.

use serde_json::{Value, json};

use super::tamper;
use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::directory::{Directory, LDAP_INITIAL};
use crate::support::wait::until;

/// The trail's rows about a request, newest first.
async fn rows(client: &Client, request: &Value) -> Vec<Value> {
    let path = format!("/api/v1/audit?subject=request%20{request}");
    let rows = client.native(&path).await.expect(200).json();
    rows["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_runs_out_while_the_service_is_down_ends_and_its_credential_changes() {
    let slapd = Directory::openldap();
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = slapd.onboard(&client, None).await;
    let account = slapd.onboard_account(&client, system, "u0").await;
    let released = json!({
        "ApiEnabled": true, "AutoManagementFlag": true,
        "ChangePasswordAfterAnyReleaseFlag": true,
        "ChangeFrequencyType": "xdays", "ChangeFrequencyDays": 999,
    });
    let path = format!("ManagedAccounts/{account}");
    client.put(&path, &released).await.expect(200);
    let order = json!({"SystemID": system, "AccountID": account, "DurationMinutes": 30});
    let request = client.post("Requests", &order).await.expect(201).json();
    let credential = format!("Credentials/{request}");
    let given = client.get(&credential).await.expect(200).json();
    assert_eq!(given, LDAP_INITIAL);
    daemon.kill();

    // An hour passes, for the request: everything that it knows of time was an hour earlier.
    tamper(
        &home.data("keywheel.db"),
        "UPDATE requests SET requested_at = requested_at - 3600000,
             approved_at = approved_at - 3600000, expires_at = expires_at - 3600000",
    )
    .await;
    assert!(slapd.accepts("u0", LDAP_INITIAL), "nobody has changed it");

    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    // Not even before the service has noted the end.
    client.get(&credential).await.expect(404);
    let ended = until("the end is on record", async || {
        let found = rows(&client, &request).await;
        let expired = found.into_iter().next()?;
        (expired["event"] == "request.expired").then_some(expired)
    })
    .await;
    assert_eq!(ended["actor"], "keywheel");
    let shown = client.get(&format!("Requests/{request}")).await.expect(200);
    assert_eq!(shown.json()["Status"], "Expired");
    let job = format!("/api/v1/jobs/{}", ended["details"]["job"]);
    client.await_job(&job, &["succeeded"]).await;
    let job = client.native(&job).await.expect(200).json();
    assert_eq!(job["trigger"], "release", "{job}");
    let current = client.reveal(account).await;
    assert_ne!(current, LDAP_INITIAL);
    assert!(slapd.accepts("u0", &current));
    assert!(
        !slapd.accepts("u0", LDAP_INITIAL),
        "what was given opens nothing"
    );
    client.get(&credential).await.expect(404);
    // Once, whatever looks again.
    client
        .put(&format!("Requests/{request}/Checkin"), &json!({}))
        .await
        .expect(204);
    let events: Vec<Value> = rows(&client, &request).await;
    let events: Vec<&Value> = events.iter().map(|row| &row["event"]).collect();
    assert_eq!(events, ["request.expired", "request.made"]);
    assert_eq!(daemon.stop(), 0);
}
