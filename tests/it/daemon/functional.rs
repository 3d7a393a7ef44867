//! The login of a real system is rotated itself: last in a quarantine, and the service goes on
//! with what came of it.

use keywheel::generate::{SystemDice, key_pair};
use keywheel::model::key_rule::KeyRule;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::directory::{Directory, LDAP_FUNCTIONAL, LDAP_INITIAL};
use crate::support::fleet::Sshd;

/// The login changed after every other account.
async fn is_last(client: &Client, own: i64, others: &[i64]) {
    let last = client.changed_at(own).await;
    for &other in others {
        let changed = client.changed_at(other).await;
        assert!(changed <= last, "account {other}: {changed} after {last}");
    }
}

async fn tested(client: &Client, account: i64) {
    let path = format!("/api/v1/accounts/{account}/test");
    let answer = client.order(&path, &json!({})).await.expect(200);
    assert_eq!(answer.json(), json!({"passed": true}));
}

async fn rotated(client: &Client, account: i64, order: &serde_json::Value) {
    let path = format!("/api/v1/accounts/{account}/rotate?wait=60");
    let answer = client.order(&path, order).await.expect(202);
    assert_eq!(answer.json()["state"], "succeeded", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_changes_its_own_login_last_and_goes_on_with_it() {
    let old = Sshd::initial("kw_func");
    let sshd = Sshd::start_with(&old, &[("KEYS", "1")]);
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = sshd.onboard(&client).await;
    let own = sshd.onboard_account(&client, system, "kw_func").await;
    let mut others = Vec::new();
    for name in ["kw_u0", "kw_u1", "kw_u2"] {
        others.push(sshd.onboard_account(&client, system, name).await);
    }
    // It has a key as well, which changes with it.
    let pair = key_pair(&KeyRule::all()[1], &SystemDice).unwrap();
    sshd.run(&format!(
        "cd /home/kw_func && mkdir -m 700 .ssh && printf '%s\\n' '{}' >.ssh/authorized_keys && \
         chmod 600 .ssh/authorized_keys && chown -R kw_func: .ssh",
        pair.public
    ));
    #[expect(
        clippy::disallowed_methods,
        reason = "the test gives it, and logs in with it by another client"
    )]
    let private = pair.given.private.expose_secret().to_owned();
    let given = json!({
        "PublicKey": pair.public, "PrivateKey": private, "UpdateSystem": false,
    });
    let path = format!("ManagedAccounts/{own}/Credentials");
    client.put(&path, &given).await.expect(204);
    assert!(sshd.accepts_key("kw_func", &private));
    tested(&client, own).await;
    client.link(system, own).await;

    client.quarantine(system, 4).await;
    is_last(&client, own, &others).await;
    for (name, &account) in ["kw_u0", "kw_u1", "kw_u2"].iter().zip(&others) {
        assert!(sshd.accepts(name, &client.reveal(account).await), "{name}");
        assert!(!sshd.accepts(name, &Sshd::initial(name)), "{name}");
    }
    let new = client.reveal(own).await;
    assert!(sshd.accepts("kw_func", &new));
    assert!(!sshd.accepts("kw_func", &old));
    let key = client.reveal_kind(own, "key").await;
    assert!(sshd.accepts_key("kw_func", &key));
    assert!(!sshd.accepts_key("kw_func", &private));

    // The others are changed by it as it is now; it itself only where that is meant.
    rotated(&client, others[0], &json!({})).await;
    assert!(sshd.accepts("kw_u0", &client.reveal(others[0]).await));
    let path = format!("/api/v1/accounts/{own}/rotate");
    let refused = client.order(&path, &json!({})).await.expect(409);
    assert!(refused.body.contains("confirm_functional"), "{refused:?}");
    rotated(&client, own, &json!({"confirm_functional": true})).await;
    assert!(!sshd.accepts("kw_func", &new));
    assert!(sshd.accepts("kw_func", &client.reveal(own).await));
    rotated(&client, others[1], &json!({})).await;
    assert!(sshd.accepts("kw_u1", &client.reveal(others[1]).await));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_changes_its_own_login_last_and_goes_on_with_it() {
    let slapd = Directory::openldap();
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = slapd.onboard(&client, None).await;
    let own = slapd.onboard_functional(&client, system).await;
    let mut others = Vec::new();
    for name in ["u0", "u1", "u2"] {
        others.push(slapd.onboard_account(&client, system, name).await);
    }
    tested(&client, own).await;
    client.link(system, own).await;

    client.quarantine(system, 4).await;
    is_last(&client, own, &others).await;
    for (name, &account) in ["u0", "u1", "u2"].iter().zip(&others) {
        assert!(slapd.accepts(name, &client.reveal(account).await), "{name}");
        assert!(!slapd.accepts(name, LDAP_INITIAL), "{name}");
    }
    let new = client.reveal(own).await;
    assert!(slapd.accepts_functional(&new));
    assert!(!slapd.accepts_functional(LDAP_FUNCTIONAL));

    rotated(&client, others[0], &json!({})).await;
    assert!(slapd.accepts("u0", &client.reveal(others[0]).await));
    rotated(&client, own, &json!({"confirm_functional": true})).await;
    assert!(!slapd.accepts_functional(&new));
    assert!(slapd.accepts_functional(&client.reveal(own).await));
    rotated(&client, others[1], &json!({})).await;
    assert!(slapd.accepts("u1", &client.reveal(others[1]).await));
    assert_eq!(daemon.stop(), 0);
}
