//! `itglue` 0.2.0, the package that scripts use: everything that it can ask of passwords, and what
//! of it came to be.

use std::process::Command;

use serde_json::{Value, json};

use super::installed;
use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::program::{command, root};

/// The first administrator's key of the dialect.
fn key(home: &Home) -> String {
    let text = std::fs::read_to_string(home.data("admin-credentials.toml")).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    table["itglue_key"].as_str().unwrap().to_owned()
}

fn ran(mut program: Command) -> Value {
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_the_package_does_what_it_says() {
    let home = Home::new();
    // As the vendor does: the package asks for no value, and expects one.
    let daemon = home.serve_with(&[("KEYWHEEL_ITGLUE__SHOW_PASSWORD_DEFAULT", "true")]);
    let mut program = command(installed("itglue/bin/python"));
    program
        .arg(root().join("tests/clients/itglue_calls.py"))
        .env_clear()
        .env("LANG", "C.UTF-8")
        .env("ITGLUE_API_URL", format!("{}/itglue", daemon.url))
        .env("ITGLUE_API_KEY", key(&home))
        .current_dir(home.path());
    let made = ran(program);
    let native = Client::new(&daemon.url, &home.keys().0);
    let reveal = async |record: &Value| {
        let order = json!({"reason": "what the package has set"});
        let path = format!("/api/v1/passwords/{record}/reveal");
        native.order(&path, &order).await.expect(200).json()["value"].clone()
    };
    assert_eq!(reveal(&made["one"]).await, "second");
    assert_eq!(reveal(&made["bulk"]).await, "q");
    // Of the first value, the edit of it, and nothing for what was read and saved.
    let trail = native
        .native("/api/v1/audit?limit=200")
        .await
        .expect(200)
        .json();
    let of = format!("password record {}", made["one"]);
    let rows = trail["items"].as_array().unwrap().iter();
    let rows: Vec<&Value> = rows.filter(|row| row["subject"] == of.as_str()).collect();
    let changes = rows.iter().filter(|row| {
        let body = row["details"].to_string();
        row["event"] == "password.updated" && body.contains("\"value\":true")
    });
    assert_eq!(changes.count(), 1, "{rows:?}");
    let edits = rows.iter().filter(|row| row["event"] == "password.updated");
    assert_eq!(edits.count(), 3, "{rows:?}");
    let gone = trail["items"].as_array().unwrap().iter();
    let gone = gone.filter(|row| row["event"] == "password.deleted");
    assert_eq!(gone.count(), 59);
    assert_eq!(daemon.stop(), 0);
}
