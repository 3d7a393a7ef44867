//! An SSH key pair on a real host, from the interface to OpenSSH's own client.

use keywheel::generate::{Pair, SystemDice, key_pair};
use keywheel::model::key_rule::KeyRule;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::fleet::Sshd;

/// Somebody else's line, which stays.
const FOREIGN: &str = "from=\"10.0.0.0/8\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJvYlmlpGYFJkxCT4ZC1jw0BvTPbV0O1pIqr6FTvQ0Kq bob@example.net";

fn drawn(rule: usize) -> Pair {
    key_pair(&KeyRule::all()[rule], &SystemDice).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test logs in with it by another client"
)]
fn private(pair: &Pair) -> String {
    pair.given.private.expose_secret().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the test gives it")]
fn passphrase(pair: &Pair) -> String {
    let passphrase = pair.given.passphrase.as_ref().unwrap();
    passphrase.expose_secret().to_owned()
}

/// The account's lines, as the host has them.
fn lines(sshd: &Sshd) -> Vec<String> {
    let file = sshd.run("cat /home/kw_u0/.ssh/authorized_keys");
    file.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn password_and_key_move_together_and_the_old_key_is_gone() {
    let sshd = Sshd::start_with("Functional-7kR-host", &[("KEYS", "1")]);
    sshd.run(&format!(
        "cd /home/kw_u0 && mkdir -m 700 .ssh && printf '%s\\n' '{FOREIGN}' >.ssh/authorized_keys && \
         chmod 600 .ssh/authorized_keys && chown -R kw_u0: .ssh"
    ));
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = sshd.onboard(&client).await;
    let account = sshd.onboard_account(&client, system, "kw_u0").await;

    let first = drawn(1);
    let given = json!({"PublicKey": first.public, "PrivateKey": private(&first)});
    let path = format!("ManagedAccounts/{account}/Credentials");
    client.put(&path, &given).await.expect(204);
    assert!(sshd.accepts_key("kw_u0", &private(&first)));
    assert!(
        sshd.accepts("kw_u0", &Sshd::initial("kw_u0")),
        "a key alone was given"
    );

    let now = json!({"Queue": false});
    client
        .post(&format!("{path}/Change"), &now)
        .await
        .expect(204);
    let password = client.reveal(account).await;
    let key = client.reveal_kind(account, "key").await;
    assert!(sshd.accepts("kw_u0", &password));
    assert!(!sshd.accepts("kw_u0", &Sshd::initial("kw_u0")));
    assert!(sshd.accepts_key("kw_u0", &key));
    assert!(
        !sshd.accepts_key("kw_u0", &private(&first)),
        "the old key is gone"
    );
    let held = lines(&sshd);
    assert_eq!(held.len(), 2, "{held:?}");
    assert!(held.contains(&FOREIGN.to_owned()), "{held:?}");
    assert!(
        held.iter()
            .any(|line| line.contains(&format!(" keywheel:{account}:"))),
        "{held:?}"
    );

    let tested = client.post(&format!("{path}/Test"), &json!({})).await;
    assert_eq!(tested.expect(200).json(), json!({"Success": true}));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_functional_account_may_have_nothing_but_a_key_under_a_passphrase() {
    let sshd = Sshd::start("Functional-4tQ-host");
    let pair = drawn(6);
    sshd.run(&format!(
        "cd /home/kw_func && mkdir -m 700 .ssh && printf '%s\\n' '{}' >.ssh/authorized_keys && \
         chmod 600 .ssh/authorized_keys && chown -R kw_func: .ssh",
        pair.public
    ));
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let key = json!({"PrivateKey": private(&pair), "Passphrase": passphrase(&pair)});
    let system = sshd.onboard_by_key(&client, &key).await;
    let account = sshd.onboard_account(&client, system, "kw_u0").await;
    let change = format!("ManagedAccounts/{account}/Credentials/Change");
    let now = json!({"Queue": false});
    client.post(&change, &now).await.expect(204);
    let first = client.reveal(account).await;
    assert!(sshd.accepts("kw_u0", &first));
    assert!(!sshd.accepts("kw_u0", &Sshd::initial("kw_u0")));

    // The key wins: a password that is no good changes nothing as long as there is a key.
    let path = "/api/v1/functional-accounts/1";
    client.edit(path, &json!({"password": "not-its-own"})).await;
    client.post(&change, &now).await.expect(204);
    assert_ne!(client.reveal(account).await, first);
    let edit = json!({"private_key": null, "password": "Functional-4tQ-host"});
    client.edit(path, &edit).await;
    client.post(&change, &now).await.expect(204);
    assert!(sshd.accepts("kw_u0", &client.reveal(account).await));
    assert_eq!(daemon.stop(), 0);
}
