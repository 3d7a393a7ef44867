//! Password records on the command line, against a running service.
//!
//! Invariant: a value is in the file that was named, or on the terminal, and nowhere else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::certificate::Authority;
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Ended, Home};
use crate::support::program::{command, find};
use crate::support::receiver::Receiver;

/// With what JSON, shells and trimming would change.
const VALUE: &str = " Canary-cli-8842 \"&\\ü ";

/// A running service with an organization, and its administrator.
pub(super) struct Stage {
    pub(super) home: Home,
    pub(super) daemon: Daemon,
    pub(super) client: Client,
    organization: i64,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(super) async fn with(variables: &[(&str, &str)]) -> Self {
        let home = Home::new();
        let daemon = home.serve_with(variables);
        let client = Client::new(&daemon.url, &home.keys().0);
        let credentials = fs::read_to_string(home.data("admin-credentials.toml")).unwrap();
        let credentials: toml::Table = toml::from_str(&credentials).unwrap();
        let order = json!({"data": {"type": "organizations", "attributes": {"name": "Acme"}}});
        let made = reqwest::Client::new()
            .post(format!("{}/itglue/organizations", daemon.url))
            .header("x-api-key", credentials["itglue_key"].as_str().unwrap())
            .header("Content-Type", "application/vnd.api+json")
            .body(order.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(made.status(), 201);
        let made: Value = made.json().await.unwrap();
        let organization = made["data"]["id"].as_str().unwrap().parse().unwrap();
        Self {
            home,
            daemon,
            client,
            organization,
        }
    }

    /// A record's id.
    pub(super) async fn record(&self, body: &Value) -> i64 {
        let path = format!("/api/v1/organizations/{}/passwords", self.organization);
        self.client.order(&path, body).await.expect(201).id("id")
    }

    /// Runs `keywheel password` against the service.
    fn run(&self, arguments: &[&str]) -> Ended {
        let server = ["--server", &self.daemon.url];
        self.home
            .run(&[&["password"], arguments, &server[..]].concat())
    }

    /// The bodies of the audit rows of reveals.
    async fn reveals(&self) -> Vec<Value> {
        let found = self.client.native("/api/v1/audit?limit=200").await;
        let found = found.expect(200).json();
        let rows = found["items"].as_array().unwrap().iter();
        rows.filter(|row| row["event"] == "password.viewed")
            .map(|row| row["details"].clone())
            .collect()
    }
}

#[track_caller]
pub(super) fn ends(ended: &Ended, code: i32, says: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.err.contains(says), "{ended:?}");
    assert!(!format!("{ended:?}").contains("Canary"), "{ended:?}");
    assert!(!ended.err.contains("kw_live_") || says.contains("kw_live_"));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file of this folder, with a mode.
pub(super) fn file(home: &Home, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = home.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// Whether a file below a folder holds the value, apart from one.
fn holds(folder: &Path, but: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holds(&path, but));
        } else if path != but && path.is_file() {
            let bytes = fs::read(&path).unwrap();
            if bytes.windows(10).any(|part| part == b"Canary-cli") {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_listed_to_the_end_and_shown_without_values() {
    let stage = Stage::new().await;
    let first = json!({"name": "Web", "username": "root", "password": VALUE});
    let id = stage.record(&first).await;
    for number in 0..200 {
        let body =
            json!({"name": format!("db{number:03}"), "url": "ssh://dc01", "password": VALUE});
        stage.record(&body).await;
    }
    let organization = stage.organization.to_string();
    let list = ["list", "--organization", &organization];
    let all = stage.run(&[&list[..], &["--output", "json"]].concat());
    ends(&all, 0, "");
    let all: Vec<Value> = serde_json::from_str(&all.out).unwrap();
    assert_eq!(all.len(), 201, "more than one page");
    let one = &all[0];
    assert_eq!(
        (&one["id"], &one["name"], &one["username"]),
        (&json!(id), &first["name"], &json!("root"))
    );
    assert!(one["changed_at"].as_str().unwrap().ends_with('Z'), "{one}");
    assert_eq!(one.as_object().unwrap().len(), 4, "{one}");
    let table = stage.run(&list);
    ends(&table, 0, "");
    assert!(table.out.contains("USERNAME"), "{table:?}");
    let some = stage.run(&[&list[..], &["--server-name", "DC01"]].concat());
    ends(&some, 0, "");
    assert!(some.out.contains("db199") && !some.out.contains("Web"));
    let id = id.to_string();
    let shown = stage.run(&["get", &id]);
    ends(&shown, 0, "");
    assert!(shown.out.contains("Acme"), "{shown:?}");
    let shown = stage.run(&["get", &id, "--output", "json"]);
    ends(&shown, 0, "");
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["state"], "stored");
    assert!(stage.reveals().await.is_empty(), "nothing was revealed");
    // Without --server it is where the settings let the service listen.
    let address = stage.daemon.url.trim_start_matches("http://");
    let here = [("KEYWHEEL_SERVER__LISTEN", address)];
    let here = stage.home.run_with(&["password", "get", &id], &here);
    ends(&here, 0, "");
    assert_eq!(stage.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_goes_to_a_new_file_and_the_reveal_is_on_record() {
    let stage = Stage::new().await;
    let id = stage
        .record(&json!({"name": "db", "password": VALUE}))
        .await;
    let id = id.to_string();
    let path = stage.home.path().join("db.password");
    let get = ["get", &id, "--reason", "INC-7 é"];
    let written = stage.run(&[&get[..], &["--out", text(&path)]].concat());
    ends(&written, 0, "db.password");
    assert_eq!(written.out, "");
    assert_eq!(fs::read_to_string(&path).unwrap(), VALUE);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let reveals = stage.reveals().await;
    assert_eq!(reveals.len(), 1, "{reveals:?}");
    assert_eq!(
        (&reveals[0]["method"], &reveals[0]["reason"]),
        (&json!("cli"), &json!("INC-7 é"))
    );
    let accesses = "/api/v1/reports/at-risk?user_id=1&tab=all_accessed";
    let accesses = stage.client.native(accesses).await.expect(200).json();
    assert_eq!(accesses["items"][0]["last_action"], "cli", "{accesses}");

    let taken = file(&stage.home, "taken", "mine", 0o600);
    let refused = stage.run(&[&get[..], &["--out", text(&taken)]].concat());
    ends(&refused, 7, "is not replaced");
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
    let nowhere = stage.home.path().join("no/where");
    let refused = stage.run(&[&get[..], &["--out", text(&nowhere)]].concat());
    ends(&refused, 1, "cannot be made");
    let piped = stage.run(&[&get[..], &["--reveal"]].concat());
    ends(&piped, 2, "--out");
    let other = stage.home.path().join("other");
    for arguments in [
        &["get", &id, "--out", text(&other)][..],
        &["get", &id, "--reveal"],
        &[&get[..], &["--reveal", "--out", text(&other)]].concat(),
        &["get", &id, "--key", "kw_live_x"],
    ] {
        assert_eq!(stage.run(arguments).code, Some(2), "{arguments:?}");
    }
    let blank = stage.run(&["get", &id, "--reason", "", "--out", text(&other)]);
    ends(&blank, 1, "/reason");
    assert!(!other.exists(), "a file that got nothing is gone");
    assert_eq!(stage.reveals().await.len(), 1, "no value without its place");
    let logs = stage.daemon.said();
    assert!(!logs.contains("Canary"), "{logs}");
    assert_eq!(stage.daemon.stop(), 0);
    assert_eq!(holds(stage.home.path(), &path), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_a_value_unless_it_would_obey_it() {
    let stage = Stage::new().await;
    let plain = stage
        .record(&json!({"name": "db", "password": "Canary-8 x"}))
        .await;
    let hostile = json!({"name": "web", "password": "Canary-9\u{1b}[2J"});
    let hostile = stage.record(&hostile).await;
    let on_terminal = |id: i64| {
        let line = format!(
            "{} password get {id} --reason seen --reveal --server {}",
            env!("CARGO_BIN_EXE_keywheel"),
            stage.daemon.url
        );
        let mut terminal = command(find("script", "bsdutils"));
        terminal.args(["-qec", &line, "/dev/null"]);
        let output = terminal.current_dir(stage.home.path()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, seen) = on_terminal(plain);
    assert_eq!((code, seen.trim_end()), (Some(0), "Canary-8 x"));
    let (code, seen) = on_terminal(hostile);
    assert_eq!(code, Some(1), "{seen}");
    assert!(seen.contains("--out") && !seen.contains("Canary"), "{seen}");
    assert_eq!(stage.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_says_why_and_has_its_exit_code() {
    let stage = Stage::new().await;
    let home = &stage.home;
    let id = stage
        .record(&json!({"name": "db", "password": VALUE}))
        .await;
    let id = id.to_string();
    let out = home.path().join("out");
    let get = |id: &str, key: &Path| {
        let key = text(key).to_owned();
        let to = ["--reason", "INC-7", "--out", text(&out), "--key-file", &key];
        let ended = stage.run(&[&["get", id], &to[..]].concat());
        assert!(!out.exists(), "{ended:?}");
        ended
    };
    let native = home.keys().0;
    let own = file(home, "own", &format!("{native}\n"), 0o600);
    ends(&get("999999", &own), 5, "not found (not_found, trace ");
    let missing = stage.run(&["list", "--organization", "999999"]);
    ends(&missing, 5, "Organization not found");

    let user = json!({"name": "bob", "display_name": "Bob", "email": ""});
    let user = stage.client.order("/api/v1/users", &user).await;
    let user = user.expect(201).id("id");
    let key = json!({"kind": "native", "user_id": user, "name": "bare"});
    let key = stage.client.order("/api/v1/keys", &key).await.expect(201);
    let bare = file(home, "bare", key.json()["key"].as_str().unwrap(), 0o600);
    ends(&get(&id, &bare), 6, "(forbidden, trace ");
    let unknown = "kw_live_0000000000000000000000000000000";
    for (name, content, mode, says) in [
        ("open", native.as_str(), 0o644, "chmod 0600"),
        ("wrong", unknown, 0o600, "holds no native key (kw_live_…)"),
        ("empty", "", 0o600, "holds no native key (kw_live_…)"),
    ] {
        ends(&get(&id, &file(home, name, content, mode)), 1, says);
    }
    ends(&get(&id, &home.path().join("absent")), 1, "cannot be read");
    let admin = home.data("admin-credentials.toml");
    fs::set_permissions(&admin, fs::Permissions::from_mode(0o644)).unwrap();
    ends(&stage.run(&["get", &id]), 1, "chmod 0600");
    fs::rename(&admin, home.data("moved")).unwrap();
    ends(&stage.run(&["get", &id]), 2, "--key-file");
    ends(&stage.run(&["get", &id, "--key-file", text(&own)]), 0, "");
    assert!(stage.reveals().await.is_empty());
    let url = stage.daemon.url.clone();
    assert_eq!(stage.daemon.stop(), 0);
    let gone = ["password", "get", &id, "--server", &url];
    let gone = home.run(&[&gone[..], &["--key-file", text(&own)]].concat());
    ends(&gone, 75, "could not be reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_to_no_other_machine_unasked_and_follows_no_redirect() {
    let home = Home::new();
    let made = home.run(&["init", "--data-dir", "keywheel-data"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let own = file(&home, "own", &home.keys().0, 0o600);
    let get = |server: &str, more: &[&str]| {
        let get = ["password", "get", "1", "--server", server];
        home.run(&[&get[..], more].concat())
    };
    let key = ["--key-file", text(&own)];
    ends(&get("http://192.0.2.1", &key), 2, "in the clear");
    ends(&get("https://192.0.2.1", &[]), 2, "no other machine");
    ends(&get("https://a:b@192.0.2.1", &key), 2, "without user");
    let receiver = Receiver::start().await;
    let redirected = get(&receiver.url("/moved"), &key);
    ends(&redirected, 1, "a redirect, which is not followed");
    let mentions = receiver.received();
    assert_eq!(mentions.len(), 1, "{mentions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_named() {
    let home = Home::new();
    let authority = Authority::new(home.path(), "ca");
    let stranger = Authority::new(home.path(), "stranger");
    let issued = authority.service("service", 30);
    let daemon = home.serve_with(&[
        (
            "KEYWHEEL_SERVER__TLS_CERTIFICATE_FILE",
            text(&issued.certificate),
        ),
        ("KEYWHEEL_SERVER__TLS_KEY_FILE", text(&issued.key)),
    ]);
    let get = |more: &[&str]| {
        let get = ["password", "get", "1", "--server", &daemon.url];
        home.run(&[&get[..], more].concat())
    };
    let trusting = |authority: &Authority| {
        let path = authority.certificate();
        get(&["--ca-file", text(&path)])
    };
    ends(&trusting(&authority), 5, "not found");
    ends(&trusting(&stranger), 1, "--ca-file");
    ends(&get(&["--ca-file", text(&issued.key)]), 1, "no certificate");
    assert_eq!(get(&[]).code, Some(1), "it is no public one");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_password_is_made_up_without_a_service() {
    let home = Home::new();
    let one = home.run(&["password", "generate"]);
    assert_eq!(one.code, Some(0), "{one:?}");
    assert_eq!(one.out.trim_end().len(), 32);
    let two = home.run(&["password", "generate", "--rule", "0", "--output", "json"]);
    let two: Value = serde_json::from_str(&two.out).unwrap();
    assert_ne!(two["password"], one.out.trim_end());
    let none = home.run(&["password", "generate", "--rule", "77"]);
    assert_eq!(none.code, Some(5), "{none:?}");
    assert!(!home.path().join("keywheel-data").exists());
}
