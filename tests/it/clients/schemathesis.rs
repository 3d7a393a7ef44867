//! `schemathesis` reads the descriptions that the service serves, calls every operation with what
//! they allow and with what they do not, and compares the answers with what they promise.
//! `tests/clients/schemathesis.toml` says how it calls, `hooks.py` what it leaves alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, SET_COOKIE};
use serde_json::{Value, json};

use super::installed;
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::program::{command, root};

/// Things of every kind that stay; there are as many that may be deleted: see `hooks.py`.
const STAY: i64 = 6;
const SECRET: &str = "Seeded-4wQ-secret";
/// Nothing listens there: what is ordered for these systems fails at once.
const PORT: i64 = 9;

/// What a run has found.
struct Findings {
    output: Output,
    /// By operation: each status, and how often it was answered.
    answers: BTreeMap<String, BTreeMap<u64, u64>>,
    /// The operations that have answered with a value that was brought in.
    told: BTreeSet<String>,
}

/// Who calls: names of `schemathesis.toml`, and what stands for them.
type Callers = Vec<(&'static str, String)>;

/// Brings in something of every kind, by each of its interfaces.
async fn seed(client: &Client, itglue_key: &str) {
    for n in 1..=2 * STAY {
        let post = async |path: &str, body: Value| drop(client.post(path, &body).await.expect(201));
        post("Workgroups", json!({"Name": format!("group {n}")})).await;
        let asset = json!({
            "IPAddress": format!("127.0.1.{n}"), "AssetName": format!("host{n}"),
        });
        post("Workgroups/1/Assets", asset).await;
        let functional = json!({
            "PlatformID": 2, "AccountName": format!("func{n}"), "Password": SECRET,
        });
        post("FunctionalAccounts", functional).await;
        let mut system = json!({"PlatformID": 2, "Port": PORT, "Timeout": 1});
        if n <= STAY {
            system["FunctionalAccountID"] = json!(n);
            system["AutoManagementFlag"] = json!(true);
        }
        if n <= STAY + 3 {
            post(&format!("Assets/{n}/ManagedSystems"), system).await;
            for name in ["user0", "user1", &format!("func{n}")] {
                let account = json!({
                    "AccountName": name, "Password": SECRET, "ApiEnabled": true,
                });
                post(&format!("ManagedSystems/{n}/ManagedAccounts"), account).await;
            }
        } else {
            // Neither it nor its asset is in use.
            system["EntityTypeID"] = json!(1);
            system["HostName"] = json!(format!("bare{n}"));
            post("Workgroups/1/ManagedSystems", system).await;
        }
    }
    for n in 1..=2 * STAY {
        let post = async |path: &str, body: Value| drop(client.post(path, &body).await.expect(201));
        let rule = json!({"IDs": [1, 2, 3, 4, 5, 6], "Title": format!("rule {n}")});
        post("QuickRules", rule).await;
        if n <= STAY {
            let request = json!({"SystemID": n, "AccountID": 3 * n - 2});
            post("Requests", request).await;
        }
    }
    let synced = "ManagedAccounts/2/SyncedAccounts/3";
    client.post(synced, &json!({})).await.expect(201);
    seed_natively(client).await;
    seed_records(client, itglue_key).await;
}

async fn seed_natively(client: &Client) {
    let order = async |path: &str, body: Value| {
        let answer = client.order(&format!("/api/v1/{path}"), &body).await;
        drop(answer.expect(201));
    };
    for n in 1..=2 * STAY {
        order("users", json!({"name": format!("user{n}")})).await;
        let key = json!({"user_id": n + 1, "name": "a key", "kind": "native"});
        order("keys", key).await;
        order("groups", json!({"name": format!("group{n}")})).await;
        let policy = json!({"name": format!("policy{n}"), "max_age": "90d"});
        order("policies", policy).await;
        let policy = json!({"name": format!("policy{n}"), "approvals": 1});
        order("access-policies", policy).await;
    }
}

/// A key of the IT Glue dialect that shows and takes values.
async fn dialects_key(client: &Client) -> String {
    let key = json!({"user_id": 1, "name": "records", "kind": "itglue", "password_access": true});
    let made = client.order("/api/v1/keys", &key).await.expect(201);
    made.json()["key"].as_str().unwrap().to_owned()
}

/// Organizations are made through the dialect that they belong to; records and workflows natively.
async fn seed_records(client: &Client, key: &str) {
    let http = reqwest::Client::builder().build().unwrap();
    let post = async |path: &str, attributes: Value| {
        let url = format!("{}/itglue/{path}", client.url);
        let body = json!({"data": {"attributes": attributes}});
        let call = http.post(url).header("x-api-key", key).json(&body);
        assert_eq!(call.send().await.unwrap().status(), 201, "{path}");
    };
    for n in 1..=2 * STAY {
        post(
            "organizations",
            json!({"name": format!("organization {n}")}),
        )
        .await;
        let order = async |path: &str, body: Value| {
            let answer = client.order(&format!("/api/v1/{path}"), &body).await;
            drop(answer.expect(201));
        };
        let record = json!({
            "name": format!("record {n}"), "password": SECRET, "otp_secret": "GEZDGNBVGY3TQOJQ",
        });
        order(&format!("organizations/{n}/passwords"), record).await;
        let workflow = json!({
            "trigger": "password_access", "name": format!("workflow {n}"),
            "failure_email": "ops@example.com", "filters": [],
            "actions": [{"type": "webhook", "name": "hook", "url": "https://siem.example.com/hook"}],
        });
        order("workflows", workflow).await;
    }
    for n in 1..=2 * STAY + STAY {
        let of = json!({"organization-id": 1 + n % STAY, "zip-password": SECRET});
        post("exports", of).await;
    }
    // Of the records above, each is its organization's; so are these, and the folders: see `hooks.py`.
    for (kind, rounds) in [("password_folders", 3), ("passwords", 4)] {
        for round in 1..=rounds {
            for n in 1..=2 * STAY {
                let path = format!("organizations/{n}/relationships/{kind}");
                let mut one = json!({"name": format!("{kind} {round} of {n}")});
                if kind == "passwords" {
                    one["password"] = json!(SECRET);
                }
                post(&path, one).await;
            }
        }
    }
}

/// Signs the first administrator in: a cookie.
async fn session(daemon: &Daemon, registration: &str) -> String {
    let path = format!("{}/BeyondTrust/api/public/v3/Auth/SignAppin", daemon.url);
    let http = reqwest::Client::builder().build().unwrap();
    let authorization = format!("PS-Auth key={registration}; runas=admin;");
    let call = http.post(path).header(AUTHORIZATION, authorization);
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

fn run(home: &Home, daemon: &Daemon, description: &str, callers: &Callers) -> Findings {
    let report = home.path().join("report.ndjson");
    let mut program = command(installed("schemathesis/bin/schemathesis"));
    program
        .arg("--config-file")
        .arg(root().join("tests/clients/schemathesis.toml"))
        .args(["run", &format!("{}{description}", daemon.url)])
        // One seed and one worker: what was found once is found again.
        .args(["--seed", "7", "--workers", "1"])
        .args(["--max-examples", &examples()])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--continue-on-failure", "--no-color", "--report", "ndjson"])
        .arg("--report-ndjson-path")
        .arg(&report)
        .env_clear()
        .env("HOME", home.path())
        .env("LANG", "C.UTF-8")
        .env("SCHEMATHESIS_HOOKS", root().join("tests/clients/hooks.py"))
        // The hooks lie in the sources, which tests leave as they are.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(callers.iter().map(|(name, value)| (*name, value)))
        .current_dir(home.path());
    let output = program.output().unwrap();
    let (answers, told) = read(&report);
    Findings {
        output,
        answers,
        told,
    }
}

/// Cases drawn for each operation, beside those that its limits give. More on demand: see
/// CONTRIBUTING.md.
fn examples() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    std::env::var("KEYWHEEL_EXAMPLES").unwrap_or_else(|_| "10".to_owned())
}

/// What a report says of every call: how it was answered, and which operations told a value.
fn read(report: &Path) -> (BTreeMap<String, BTreeMap<u64, u64>>, BTreeSet<String>) {
    let mut answers: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    let report = std::fs::read_to_string(report).unwrap_or_default();
    for line in report.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let recorder = &event["ScenarioFinished"]["recorder"];
        let (Some(label), Some(calls)) = (
            recorder["label"].as_str(),
            recorder["interactions"].as_object(),
        ) else {
            continue;
        };
        let of_it = answers.entry(label.to_owned()).or_default();
        for call in calls.values() {
            let status = call["response"]["status_code"].as_u64();
            *of_it.entry(status.unwrap_or(0)).or_default() += 1;
            let content = call["response"]["content"]["$base64"].as_str();
            let content = STANDARD.decode(content.unwrap_or_default()).unwrap();
            if String::from_utf8_lossy(&content).contains(SECRET) {
                told.insert(label.to_owned());
            }
        }
    }
    (answers, told)
}

/// Lets `schemathesis` examine one interface. `never` are operations that no call of the run can
/// succeed with; of all others some call must, or the run would be blind for them. `tells` are the
/// operations that show a value: no other ever does.
async fn examine(description: &str, never: &[&str], tells: &[&str]) {
    let home = Home::new();
    let many = "1000000";
    let daemon = home.serve_with(&[
        ("KEYWHEEL_AUTH__REVEALS_PER_MINUTE", many),
        ("KEYWHEEL_AUTH__QUARANTINES_PER_MINUTE", many),
        ("KEYWHEEL_AUTH__FAILURES_BY_ADDRESS", many),
        ("KEYWHEEL_AUTH__FAILURES_BY_NAME", many),
        ("KEYWHEEL_ITGLUE__REQUESTS_PER_5_MINUTES", many),
    ]);
    let (native, registration) = home.keys();
    let client = Client::signed_in(&daemon.url, &(native.clone(), registration.clone())).await;
    let itglue_key = dialects_key(&client).await;
    seed(&client, &itglue_key).await;
    let callers = vec![
        ("KEYWHEEL_ITGLUE_KEY", itglue_key),
        ("KEYWHEEL_KEY", native),
        ("KEYWHEEL_COOKIE", session(&daemon, &registration).await),
        (
            "KEYWHEEL_SPARE_COOKIE",
            session(&daemon, &registration).await,
        ),
        ("KEYWHEEL_REGISTRATION", registration),
    ];
    let found = run(&home, &daemon, description, &callers);
    let mut said = String::from_utf8_lossy(&found.output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&found.output.stderr));
    for secret in callers.iter().map(|(_, secret)| secret.as_str()) {
        said = said.replace(secret, "…");
    }
    let said = said.replace(SECRET, "…");
    assert!(found.output.status.success(), "{said}");

    let described = client.nobody(description).await.expect(200).json();
    let mut operations = BTreeSet::new();
    for (path, item) in described["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            if item.get(method).is_some() {
                operations.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    let cases: u64 = found.answers.values().flat_map(BTreeMap::values).sum();
    println!(
        "{description}: {} operations, {cases} cases",
        operations.len()
    );
    let called: BTreeSet<String> = found.answers.keys().cloned().collect();
    assert_eq!(called, operations, "{said}");
    let unseen: Vec<_> = found
        .answers
        .iter()
        .filter(|(_, answers)| !answers.keys().any(|status| (200..300).contains(status)))
        .filter(|(operation, _)| !never.contains(&operation.as_str()))
        .collect();
    assert!(unseen.is_empty(), "never answered well: {unseen:?}");
    println!("values were told by {:?}", found.told);
    assert!(!found.told.is_empty(), "no value was looked for");
    let others: Vec<_> = found
        .told
        .iter()
        .filter(|operation| !tells.contains(&operation.as_str()))
        .collect();
    assert!(others.is_empty(), "told a value: {others:?}");
    assert_eq!(daemon.stop(), 0);
}

/// A sign-in and a second factor need what no description tells, and so there is no such session.
/// No edit of a key that is drawn is a valid one, and no password that is drawn is a strong one. There
/// is no file of breached values, nobody to send a test to, and no delivery yet.
const NEVER_IN_NATIVE: &[&str] = &[
    "PUT /api/v1/users/{id}/password",
    "GET /api/v1/reports/breached",
    "POST /api/v1/workflows/test-action",
    "POST /api/v1/deliveries/{id}/redeliver",
    "POST /api/v1/workflows/{id}/actions/{action}/signing-secret",
    "POST /api/v1/sessions",
    "PATCH /api/v1/keys/{id}",
    "POST /api/v1/users/{id}/totp/confirm",
    "DELETE /api/v1/sessions/{id}",
];

/// A token needs a secret that no description tells, and nobody judges their own requests, which
/// are all there are.
const NEVER_IN_PASSWORD_SAFE: &[&str] = &[
    "POST /auth/connect/token",
    "PUT /requests/{id}/approve",
    "PUT /requests/{id}/deny",
];

/// There is something for every operation.
const NEVER_IN_ITGLUE: &[&str] = &[];

/// What shows values.
const TELLS_IN_NATIVE: &[&str] = &[
    "POST /api/v1/accounts/{id}/reveal",
    "POST /api/v1/passwords/{id}/reveal",
    "GET /api/v1/passwords/export",
    "GET /api/v1/organizations/{id}/passwords/export",
];

/// What shows values.
const TELLS_IN_PASSWORD_SAFE: &[&str] = &["GET /credentials/{request}", "POST /isarequests"];

/// What shows values, where `show_password` asks for them: of new and edited records those that they
/// have then.
const TELLS_IN_ITGLUE: &[&str] = &[
    "GET /passwords/{id}",
    "GET /organizations/{oid}/relationships/passwords/{id}",
    "PATCH /passwords",
    "PATCH /passwords/{id}",
    "PATCH /organizations/{oid}/relationships/passwords/{id}",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_native_api_answers_as_it_is_described() {
    examine("/openapi.json", NEVER_IN_NATIVE, TELLS_IN_NATIVE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_safe_dialect_answers_as_it_is_described() {
    let description = "/openapi-passwordsafe.json";
    examine(description, NEVER_IN_PASSWORD_SAFE, TELLS_IN_PASSWORD_SAFE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_itglue_dialect_answers_as_it_is_described() {
    examine("/openapi-itglue.json", NEVER_IN_ITGLUE, TELLS_IN_ITGLUE).await;
}
