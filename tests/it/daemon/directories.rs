//! The service on each kind of directory: found out, pinned, and changed by every name.

use keywheel::generate::{SystemDice, key_pair};
use keywheel::model::key_rule::KeyRule;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::directory::Directory;

/// Changes these accounts in one bulk order, and logs in to each of them.
async fn changes(client: &Client, directory: &Directory, system: i64, accounts: &[(&str, i64)]) {
    let path = format!("ManagedSystems/{system}/ManagedAccounts/Credentials/Change");
    let ordered = client.post(&path, &json!({})).await.expect(204);
    let location = ordered.location.expect("a Location");
    let ended = client.await_quarantine(&location).await;
    assert_eq!(ended["counts"]["succeeded"], accounts.len(), "{ended}");
    for (name, account) in accounts {
        let current = client.reveal(*account).await;
        assert_ne!(current, directory.initial(), "{name}");
        assert!(directory.accepts(name, &current), "{name}");
    }
}

async fn flavour(client: &Client, system: i64) -> serde_json::Value {
    let path = format!("/api/v1/systems/{system}");
    client.native(&path).await.expect(200).json()["flavour"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_directory_is_found_out_pinned_and_changed() {
    let home = Home::new();
    let daemon = home.serve_with(&[("KEYWHEEL_QUEUE__RETRY_FIRST_S", "1")]);
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    for (directory, name, other) in [
        (Directory::openldap(), "openldap", "389ds"),
        (Directory::ds389(), "389ds", "openldap"),
    ] {
        let system = directory.onboard(&client, None).await;
        assert_eq!(flavour(&client, system).await, json!(null));
        let mut accounts = Vec::new();
        for name in ["u0", "u1", "u2"] {
            let account = directory.onboard_account(&client, system, name).await;
            accounts.push((name, account));
        }
        // By its login name alone: it is looked up below the base DN.
        let looked_up = directory
            .onboard_named(&client, system, "u3", json!({}))
            .await;
        accounts.push(("u3", looked_up));
        changes(&client, &directory, system, &accounts).await;
        assert_eq!(flavour(&client, system).await, json!(name));
        for (name, _) in &accounts {
            assert!(!directory.accepts(name, directory.initial()), "{name}");
        }
        // Another product at this address hears nothing.
        let path = format!("/api/v1/systems/{system}");
        client.edit(&path, &json!({"flavour": other})).await;
        let (_, account) = accounts[0];
        let change = format!("ManagedAccounts/{account}/Credentials/Change");
        let before = client.reveal(account).await;
        let refused = client.post(&change, &json!({"Queue": false})).await;
        assert!(refused.expect(400).body.contains("another product"));
        assert_eq!(client.reveal(account).await, before);
        // Null has it found out anew.
        client.edit(&path, &json!({"flavour": null})).await;
        client
            .post(&change, &json!({"Queue": false}))
            .await
            .expect(204);
        assert_eq!(flavour(&client, system).await, json!(name));
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_s_accounts_are_found_by_each_of_their_names() {
    let directory = Directory::samba();
    let home = Home::new();
    let daemon = home.serve_with(&[("KEYWHEEL_QUEUE__RETRY_FIRST_S", "1")]);
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = directory.onboard(&client, None).await;
    let mut accounts = Vec::new();
    let by_dn = directory.onboard_account(&client, system, "u0").await;
    accounts.push(("u0", by_dn));
    // What people call them is none of their names in the domain.
    for (name, shown, names) in [
        ("u1", "first", json!({"UserPrincipalName": "u1@ad.test"})),
        (
            "u2",
            "second",
            json!({"DomainName": "ADTEST", "SAMAccountName": "u2"}),
        ),
        ("u3", "third", json!({"SAMAccountName": "u3"})),
    ] {
        let account = directory.onboard_named(&client, system, shown, names);
        accounts.push((name, account.await));
    }
    changes(&client, &directory, system, &accounts).await;
    assert_eq!(flavour(&client, system).await, json!("samba"));
    // How long the old password may still be taken stands in the record.
    let (_, account) = accounts[0];
    let change = format!("ManagedAccounts/{account}/Credentials/Change");
    let changed = client.post(&change, &json!({"Queue": false})).await;
    let location = changed.expect(204).location.expect("a Location");
    let job = client.native(&location).await.expect(200).body;
    assert!(
        job.contains("the domain may take the old one until"),
        "{job}"
    );
    let record = client.native("/api/v1/audit").await.expect(200).body;
    assert!(record.contains("the domain may take the old one until"));
    assert_eq!(daemon.stop(), 0);
}

/// The key pairs of an entry, as the directory's own client shows them.
fn keys(directory: &Directory, name: &str, password: &str) -> Vec<String> {
    let shown = directory.shown(name, password, "nsSshPublicKey");
    let values = shown
        .lines()
        .filter_map(|line| line.strip_prefix("nsSshPublicKey: "));
    values.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_directory_move_with_the_password_and_others_stay() {
    let directory = Directory::ds389();
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = directory.onboard(&client, None).await;
    let account = directory.onboard_account(&client, system, "keyed").await;
    let others = keys(&directory, "keyed", directory.initial());
    assert_eq!(others.len(), 2, "{others:?}");

    let first = key_pair(&KeyRule::all()[1], &SystemDice).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test gives it")]
    let private = first.given.private.expose_secret();
    let given = json!({"PublicKey": first.public, "PrivateKey": private});
    let path = format!("ManagedAccounts/{account}/Credentials");
    client.put(&path, &given).await.expect(204);
    let held = keys(&directory, "keyed", directory.initial());
    assert!(held.iter().any(|key| key.starts_with(&first.public)));

    let now = json!({"Queue": false});
    let path = format!("{path}/Change");
    client.post(&path, &now).await.expect(204);
    let password = client.reveal(account).await;
    assert!(!directory.accepts("keyed", directory.initial()));
    let held = keys(&directory, "keyed", &password);
    assert_eq!(held.len(), 3, "{held:?}");
    assert!(others.iter().all(|key| held.contains(key)), "{held:?}");
    assert!(!held.iter().any(|key| key.starts_with(&first.public)));
    assert_eq!(daemon.stop(), 0);
}
