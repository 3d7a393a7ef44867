//! `ps-cli`, the vendor's command line for Password Safe: every command that its users call, from
//! the sign-in by OAuth to a login on the host. It exits with 0 after most failures, so that its
//! words and the effects are what counts.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};

use super::installed;
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home, read_registration};
use crate::support::fleet::Sshd;
use crate::support::program::command;
use crate::support::wait::until;

const FUNCTIONAL: &str = "Functional-9sK-host";

/// The client with its settings, which come from the environment alone.
struct PsCli {
    program: PathBuf,
    home: PathBuf,
    settings: Vec<(&'static str, String)>,
}

/// What a command has printed.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl PsCli {
    /// The client of a service, with the OAuth registration of its first administrator.
    fn of(home: &Home, daemon: &Daemon) -> Self {
        let (id, secret) = read_registration(&home.data("admin-credentials.toml"));
        let base = format!("{}/BeyondTrust/api/public/v3", daemon.url);
        Self {
            program: installed("ps-cli/bin/ps-cli"),
            home: home.path().to_owned(),
            settings: vec![
                ("PSCLI_API_URL", base),
                ("PSCLI_CLIENT_ID", id),
                ("PSCLI_CLIENT_SECRET", secret),
                ("PSCLI_VERIFY_CA", "false".to_owned()),
                // A fault is to be seen at once, not on the third try.
                ("PSCLI_AUTH_RETRIES", "1".to_owned()),
            ],
        }
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut program = command(&self.program);
        program
            .args(arguments)
            .env_clear()
            .env("HOME", &self.home)
            .env("LANG", "C.UTF-8")
            .envs(self.settings.iter().map(|(name, value)| (*name, value)))
            .current_dir(&self.home);
        let output = program.output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What a command prints that goes well.
    #[track_caller]
    fn says(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let said = self.run(&words);
        assert_eq!(said.code, Some(0), "{line}: {said:?}");
        assert_eq!(said.err, "", "{line}: {said:?}");
        for failure in ["not possible", "rror:", "Status:"] {
            assert!(!said.out.contains(failure), "{line}: {said:?}");
        }
        said.out.trim().to_owned()
    }

    /// What a command prints as JSON.
    #[track_caller]
    fn json(&self, line: &str) -> Value {
        let said = self.says(&format!("--format json {line}"));
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{line} says no JSON: {said}"))
    }
}

fn id(made: &Value, field: &str) -> i64 {
    made[field]
        .as_i64()
        .unwrap_or_else(|| panic!("no {field}: {made}"))
}

/// The row of a list in which a field has this value.
fn row(list: &Value, field: &str, value: &Value) -> Value {
    let mut rows = list.as_array().expect("a list").iter();
    let found = rows.find(|row| row[field] == *value);
    found
        .unwrap_or_else(|| panic!("no {field} {value} in {list}"))
        .clone()
}

/// Brings the host in as its commands do: the managed system.
fn onboard(cli: &PsCli, sshd: &Sshd) -> i64 {
    let (ip, port) = sshd.place();
    let groups = cli.json("workgroups list");
    row(&groups, "Name", &json!("Default"));
    let group = id(&one(cli.json("workgroups create -n harbour")), "ID");
    let asset = cli.json(&format!("assets create -wgn harbour -n web1 -ip {ip}"));
    let assets = cli.json(&format!("assets list -wgi {group}"));
    let asset = one(asset);
    assert_eq!(
        row(&assets, "AssetName", &json!("web1"))["AssetID"],
        asset["AssetID"]
    );
    let line = format!("functional-accounts create -p 2 -n kw_func -d fa -pwd {FUNCTIONAL}");
    let made = cli.says(&format!("--format json {line}"));
    assert!(!made.contains(FUNCTIONAL), "{made}");
    let functional = one(serde_json::from_str(&made).unwrap());
    let functional = id(&functional, "FunctionalAccountID");
    cli.says(&format!(
        "managed-systems create-by-asset -a {} -p 2 -e ada@example.org -d web --timeout 30 \
         --change-frequency-type first --change-time 23:30 --port {port} --auto-management-flag \
         --functional-account-id {functional} --ssh-key-enforcement-mode 1 \
         --elevation-command sudo",
        asset["AssetID"]
    ));
    let systems = cli.json("managed-systems list");
    let system = row(&systems, "SystemName", &json!("web1"));
    assert_eq!(
        (&system["Port"], &system["ElevationCommand"]),
        (&json!(port), &json!("sudo"))
    );
    id(&system, "ManagedSystemID")
}

/// A single thing is printed as such, or as a list of one.
fn one(made: Value) -> Value {
    match made {
        Value::Array(mut rows) if rows.len() == 1 => rows.remove(0),
        other => other,
    }
}

/// Brings an account of the host in: its id.
fn add(cli: &PsCli, system: i64, name: &str) -> i64 {
    let password = Sshd::initial(name);
    let line = format!("managed-accounts create -s {system} -an {name} -p {password} -ae -amf");
    let made = one(cli.json(&line));
    assert_eq!(made["ApiEnabled"], json!(true), "{made}");
    assert!(made.get("Password").is_none_or(Value::is_null), "{made}");
    id(&made, "ManagedAccountID")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_client_works_unmodified() {
    let sshd = Sshd::start(FUNCTIONAL);
    let home = Home::new();
    let daemon = home.serve();
    let cli = PsCli::of(&home, &daemon);
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let version = cli.says("raw GET Configuration/Version");
    assert!(version.contains("24.3.0"), "{version}");

    let system = onboard(&cli, &sshd);
    let names = ["kw_u0", "kw_u1", "kw_u2"];
    let [first, second, third] = names.map(|name| add(&cli, system, name));
    lists(&cli, system, first);
    changes(&cli, &client, &sshd, first).await;
    gives(&cli, &client, &sshd, (second, third)).await;
    asks(&cli, &client, &sshd, (system, first)).await;
    not_served(&cli, &client, first).await;

    // Everything on the host at once, by a cookie alone.
    let before = [
        client.reveal(first).await,
        client.reveal(second).await,
        client.reveal(third).await,
    ];
    let path = format!("ManagedSystems/{system}/ManagedAccounts/Credentials/Change");
    let said = cli.says(&format!("raw POST {path}"));
    assert!(said.contains("successfully, but no content"), "{said}");
    let all = client.native("/api/v1/quarantines").await.expect(200);
    let quarantine = format!("/api/v1/quarantines/{}", all.json()["items"][0]["id"]);
    let ended = client.await_quarantine(&quarantine).await;
    assert_eq!(ended["counts"]["succeeded"], 3, "{ended}");
    for ((name, account), before) in names.iter().zip([first, second, third]).zip(before) {
        assert!(!sshd.accepts(name, &before), "{name}");
        assert!(sshd.accepts(name, &client.reveal(account).await), "{name}");
    }

    let said = cli.run(&[
        "-y",
        "managed-accounts",
        "delete",
        "-id",
        &third.to_string(),
    ]);
    assert!(!said.out.contains("not possible"), "{said:?}");
    let path = format!("ManagedAccounts/{third}");
    client.get(&path).await.expect(404);
    assert_eq!(daemon.stop(), 0);
}

fn lists(cli: &PsCli, system: i64, account: i64) {
    let requestable = cli.json("managed-accounts list-accounts");
    let found = row(&requestable, "AccountId", &json!(account));
    assert_eq!(
        (&found["SystemId"], &found["AccountName"]),
        (&json!(system), &json!("kw_u0"))
    );
    let full = cli.json(&format!("managed-accounts list -id {system}"));
    assert_eq!(full.as_array().unwrap().len(), 3, "{full}");
    let got = one(cli.json(&format!("managed-accounts get -id {account}")));
    assert_eq!(got["AccountName"], "kw_u0");
    for (line, field, value) in [
        ("password-rules list", "PasswordRuleID", json!(0)),
        ("platforms list", "Name", json!("Linux")),
        ("dss-key-policies list", "KeyType", json!("RSA")),
        ("entity-types list", "EntityTypeID", json!(3)),
        ("roles list", "Name", json!("Requestor")),
        ("access-levels list", "AccessLevelID", json!(2)),
        ("permissions list", "PermissionID", json!(1)),
        ("smart-rules list", "Title", json!("All Managed Accounts")),
    ] {
        row(&cli.json(line), field, &value);
    }
}

/// Random passwords, at once and in the background; tests; an edit.
async fn changes(cli: &PsCli, client: &Client, sshd: &Sshd, account: i64) {
    let initial = Sshd::initial("kw_u0");
    let test = format!("managed-accounts test-credentials -id {account}");
    assert_eq!(one(cli.json(&test))["Success"], json!(true));
    let change = format!("managed-accounts change-credentials -id {account}");
    let said = cli.says(&change);
    assert!(said.contains("changed successfully"), "{said}");
    let now = client.reveal(account).await;
    assert!(sshd.accepts("kw_u0", &now) && !sshd.accepts("kw_u0", &initial));

    let changed = client.changed_at(account).await;
    cli.says(&format!("{change} -q"));
    until("the queued change has ended", async || {
        (client.changed_at(account).await != changed).then_some(())
    })
    .await;
    let next = client.reveal(account).await;
    assert!(sshd.accepts("kw_u0", &next) && !sshd.accepts("kw_u0", &now));

    // Stored, and the host hears nothing.
    cli.says(&format!("{change} -p Kept-5xW-alone -not-upd-sys"));
    assert_eq!(client.reveal(account).await, "Kept-5xW-alone");
    assert!(sshd.accepts("kw_u0", &next));
    cli.says(&format!("{change} -p {next} -not-upd-sys"));
    assert_eq!(one(cli.json(&test))["Success"], json!(true));
}

/// Given passwords, by the account's id and by its names.
async fn gives(cli: &PsCli, client: &Client, sshd: &Sshd, (second, third): (i64, i64)) {
    cli.says(&format!(
        "managed-accounts update-credentials -id {second} -p Given-8hT-first"
    ));
    assert!(sshd.accepts("kw_u1", "Given-8hT-first"));
    cli.says("managed-accounts force-reset web1 kw_u1 Given-2mV-second");
    assert!(sshd.accepts("kw_u1", "Given-2mV-second"));
    assert!(!sshd.accepts("kw_u1", "Given-8hT-first"));
    assert_eq!(client.reveal(second).await, "Given-2mV-second");

    // It sends the account back whole, but takes no date with a time: so it wants a day.
    let update = format!("managed-accounts update -id {third} -an kw_u2 -d edited");
    let said = cli.run(&update.split(' ').collect::<Vec<_>>());
    assert!(said.out.contains("next_change_date"), "{said:?}");
    let edited = one(cli.json(&format!("{update} --next-change-date 2098-12-31")));
    assert_eq!(edited["Description"], "edited", "{edited}");
    let path = format!("ManagedAccounts/{third}");
    let kept = client.get(&path).await.expect(200).json();
    assert_eq!(kept["NextChangeDate"], "2098-12-31T23:30:00", "{kept}");
    assert!(sshd.accepts("kw_u2", &Sshd::initial("kw_u2")));
}

/// Commands whose routes are not there yet: arguments, method and path. One that is served must
/// leave this table for a test of what it does.
const NOT_SERVED: [(&str, &str, &str); 3] = [
    ("aliases list", "GET", "aliases"),
    ("databases list", "GET", "databases"),
    ("directories list", "GET", "directories"),
];

/// Asks for a credential, sees it, and gives it back: then it changes on the host.
async fn asks(cli: &PsCli, client: &Client, sshd: &Sshd, (system, account): (i64, i64)) {
    let before = client.reveal(account).await;
    cli.says(&format!(
        "requests create -s-id {system} -a-id {account} -d 60"
    ));
    let listed = cli.json("requests list");
    let request = row(&listed, "AccountID", &json!(account));
    assert_eq!(
        (&request["Status"], &request["SystemName"]),
        (&json!("Active"), &json!("web1"))
    );
    let request = id(&request, "RequestID");
    let seen = cli.says(&format!("credentials get-by-request-id -r {request}"));
    assert!(seen.contains(&before), "the password, and nobody else's");
    let changed = client.changed_at(account).await;
    cli.says(&format!("requests rotate-on-checkin -r-id {request}"));
    cli.says(&format!("requests checkin-request -r-id {request}"));
    until("the change after the release has ended", async || {
        (client.changed_at(account).await != changed).then_some(())
    })
    .await;
    let after = client.reveal(account).await;
    assert!(sshd.accepts("kw_u0", &after) && !sshd.accepts("kw_u0", &before));
    let said = cli.run(&[
        "credentials",
        "get-by-request-id",
        "-r",
        &request.to_string(),
    ]);
    assert!(said.out.contains("not possible"), "{said:?}");
    assert!(!said.out.contains(&after), "it has ended");
}

async fn not_served(cli: &PsCli, client: &Client, account: i64) {
    for (line, method, path) in NOT_SERVED {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = client.raw(method, path, String::new()).await.expect(404);
        assert_eq!(answer.json(), json!("Resource not found"), "{path}");
        let said = cli.run(&line.split(' ').collect::<Vec<_>>());
        assert!(said.out.contains("not possible"), "{line}: {said:?}");
    }
    // The service is none the worse for it.
    cli.json(&format!("managed-accounts get -id {account}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_client_says_when_it_is_not_let_in() {
    let home = Home::new();
    let daemon = home.serve();
    let mut cli = PsCli::of(&home, &daemon);
    let secret = std::mem::replace(&mut cli.settings[2].1, "x".repeat(48));
    let said = cli.run(&["workgroups", "list"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains(r#"{"error":"invalid_client"}"#),
        "{said:?}"
    );
    cli.settings[2].1 = secret;
    row(&cli.json("workgroups list"), "Name", &json!("Default"));
    assert_eq!(daemon.stop(), 0);
}
