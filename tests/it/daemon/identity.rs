//! One login of a real target under two records: the target tells, and the second is left alone.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;

use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::directory::Directory;
use crate::support::fleet::{Sshd, onboard_host};
use crate::support::proxy::Proxy;

const FUNCTIONAL: &str = "Functional-7kR-identity";

/// Orders a change and answers with the job.
async fn change(client: &Client, account: i64) -> serde_json::Value {
    let path = format!("/api/v1/accounts/{account}/rotate?wait=60");
    client.order(&path, &json!({})).await.expect(202).json()
}

/// The second record's job is refused for the first one's sake, and says so.
async fn is_refused(client: &Client, second: i64, first: (i64, i64)) {
    let job = change(client, second).await;
    assert_eq!(job["state"], "failed", "{job}");
    let text = job.to_string();
    assert!(text.contains("identity_mismatch"), "{text}");
    let want = format!(
        "is account {} of system {} by another name",
        first.0, first.1
    );
    assert!(text.contains(&want), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_at_another_address_is_known_by_what_it_says_of_itself() {
    let sshd = Sshd::start(FUNCTIONAL);
    let (ip, port) = sshd.place();
    let behind = format!("{ip}:{port}").parse().unwrap();
    let proxy = Proxy::start(behind, Duration::ZERO).await;
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = sshd.onboard(&client).await;
    let first = sshd.onboard_account(&client, system, "kw_u0").await;
    let alias = onboard_host(&client, Ipv4Addr::LOCALHOST, proxy.port, FUNCTIONAL).await;
    let second = sshd.onboard_account(&client, alias, "kw_u0").await;
    let other = sshd.onboard_account(&client, alias, "kw_u1").await;
    assert_eq!(change(&client, first).await["state"], "succeeded");
    let before = sshd.run("getent shadow kw_u0");
    is_refused(&client, second, (first, system)).await;
    assert_eq!(sshd.run("getent shadow kw_u0"), before);
    // Whoever is there once is changed by either address.
    assert_eq!(change(&client, other).await["state"], "succeeded");
    assert!(sshd.accepts("kw_u0", &client.reveal(first).await));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_account_whose_names_nobody_linked_is_known_by_its_identifier() {
    let directory = Directory::samba();
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = directory.onboard(&client, None).await;
    let principal = json!({"UserPrincipalName": "u1@ad.test"});
    let first = directory
        .onboard_named(&client, system, "one", principal)
        .await;
    let dn = json!({"DistinguishedName": directory.dn("u1")});
    let second = directory.onboard_named(&client, system, "other", dn).await;
    assert_eq!(change(&client, first).await["state"], "succeeded");
    is_refused(&client, second, (first, system)).await;
    assert_eq!(change(&client, first).await["state"], "succeeded");
    assert_eq!(daemon.stop(), 0);
}
