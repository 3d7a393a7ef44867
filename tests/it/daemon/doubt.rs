//! An account that somebody else has changed, on a real directory: seen and settled on the command
//! line.
//!
//! Invariant: no command prints a credential.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::daemon::{Ended, Home};
use crate::support::directory::{Directory, LDAP_INITIAL};

const THEIRS: &str = "Somebody-elses-4417";
const AGAIN: &str = "Somebody-elses-9023";

/// `keywheel doubt`, and what it ended with.
fn doubt(home: &Home, url: &str, arguments: &[&str], code: i32) -> Ended {
    let all = [&["doubt"], arguments, &["--server", url]].concat();
    let ended = home.run(&all);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for secret in [LDAP_INITIAL, THEIRS, AGAIN] {
        assert!(!format!("{ended:?}").contains(secret), "{arguments:?}");
    }
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_has_changed_is_seen_and_settled_on_the_command_line() {
    let slapd = Directory::openldap();
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = slapd.onboard(&client, None).await;
    let locks = json!({"lockout_threshold": 5});
    let path = format!("/api/v1/systems/{system}");
    client.edit(&path, &locks).await;
    let account = slapd.onboard_account(&client, system, "u0").await;
    let id = account.to_string();
    let list = |code| doubt(&home, &daemon.url, &["list", "--output", "json"], code);
    let sure: Value = serde_json::from_str(&list(0).out).unwrap();
    assert_eq!(sure, json!([]));
    slapd.change_own("u0", LDAP_INITIAL, THEIRS);
    let test = format!("/api/v1/accounts/{account}/test");
    let verdict = client.order(&test, &json!({})).await.expect(200).json();
    assert_eq!(verdict, json!({"passed": false}));
    let found: Value = serde_json::from_str(&list(0).out).unwrap();
    assert_eq!(
        (&found[0]["account_id"], &found[0]["last_test"]),
        (&json!(account), &json!("out_of_sync"))
    );
    let shown = doubt(&home, &daemon.url, &["show", &id], 0);
    assert!(shown.out.contains("drifted"), "{shown:?}");
    let file = home.path().join("theirs");
    std::fs::write(&file, format!("{THEIRS}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let given = file.display().to_string();
    let supply = [
        "supply",
        &id,
        "--password-file",
        &given,
        "--reason",
        "INC-1",
    ];
    let exposed = doubt(&home, &daemon.url, &supply, 2);
    assert!(exposed.err.contains(&given), "{exposed:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    doubt(&home, &daemon.url, &supply, 0);
    assert!(slapd.accepts("u0", THEIRS));
    let shown = doubt(&home, &daemon.url, &["show", &id], 0);
    assert!(shown.out.contains("sure"), "{shown:?}");
    let reveal = format!("/api/v1/accounts/{account}/reveal");
    let body = json!({"reason": "look"});
    let current = client.order(&reveal, &body).await.expect(200).json();
    assert_eq!(current["value"], THEIRS);
    // Once more, and now it is set anew.
    slapd.change_own("u0", THEIRS, AGAIN);
    doubt(&home, &daemon.url, &["reset", &id, "--reason", "INC-2"], 0);
    assert!(!slapd.accepts("u0", AGAIN));
    let current = client.order(&reveal, &body).await.expect(200).json();
    assert!(slapd.accepts("u0", current["value"].as_str().unwrap()));
    doubt(&home, &daemon.url, &["probe", &id, "--reason", "INC-3"], 0);
    doubt(&home, &daemon.url, &["use", &id, "99", "--reason", "r"], 1);
    doubt(&home, &daemon.url, &["show", "99"], 5);
}
