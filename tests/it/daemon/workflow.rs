//! Workflows on the command line, against a running service and a real receiver.
//!
//! Invariant: no command prints the secret part of an address, nor what a receiver has said.

use serde_json::{Value, json};

use super::password::{Stage, ends, file};
use crate::support::daemon::Ended;
use crate::support::receiver::Receiver;
use crate::support::wait::until;

/// Stands in the secret part of every address here.
const SECRET: &str = "Canary-hook-7731";

/// A service that may send to this machine, with one workflow that is off, and its receiver.
struct Post {
    stage: Stage,
    receiver: Receiver,
    id: String,
    actions: Vec<String>,
}

impl Post {
    async fn new() -> Self {
        let stage = Stage::with(&[("KEYWHEEL_NOTIFY__ALLOW_ADDRESSES", "127.0.0.1")]).await;
        let receiver = Receiver::start().await;
        let url = receiver.url(&format!("/as-told?k={SECRET}"));
        let workflow = json!({
            "trigger": "password_access", "name": "Tier 0 é",
            "failure_email": "ops@example.org",
            "filters": [{"field": "description", "operator": "contains", "values": ["db"]}],
            "actions": [
                {"type": "webhook", "name": "SIEM", "url": url, "payload": {"who": "[user_name]"}},
                {"type": "slack", "name": "Chat", "url": url, "subject": "s", "body": "b"},
            ],
        });
        let made = stage.client.order("/api/v1/workflows", &workflow).await;
        let made = made.expect(201);
        let id = made.id("id").to_string();
        let actions = made.json()["actions"].as_array().unwrap().clone();
        let actions = actions.iter().map(|one| one["id"].to_string()).collect();
        Self {
            stage,
            receiver,
            id,
            actions,
        }
    }

    /// Runs `keywheel workflow` against the service.
    fn run(&self, arguments: &[&str]) -> Ended {
        let server = ["--server", &self.stage.daemon.url];
        let all = [&["workflow"], arguments, &server[..]].concat();
        let ended = self.stage.home.run(&all);
        for secret in [SECRET, "s3cret-echo", "whsec_"] {
            assert!(!format!("{ended:?}").contains(secret), "{ended:?}");
        }
        ended
    }

    /// What a command prints as JSON.
    #[track_caller]
    fn json(&self, arguments: &[&str], code: i32) -> Value {
        let ended = self.run(&[arguments, &["--output", "json"]].concat());
        ends(&ended, code, "");
        serde_json::from_str(&ended.out).unwrap()
    }

    /// Somebody sees a record of this name.
    async fn seen(&self, name: &str) {
        let record = json!({"name": name, "password": "Canary-8842"});
        let record = self.stage.record(&record).await;
        let path = format!("/api/v1/passwords/{record}/reveal");
        let order = json!({"reason": "a test"});
        self.stage.client.order(&path, &order).await.expect(200);
    }

    /// The notices, once all of them are in this state; alerts go by mail, and there is no server.
    async fn deliveries(&self, status: &str) -> Vec<Value> {
        until(&format!("every delivery is {status}"), async || {
            let found = self.json(&["deliveries", &self.id], 0);
            let all = found.as_array().unwrap().iter();
            let all: Vec<Value> = all.filter(|one| one["kind"] == "notice").cloned().collect();
            let settled = all.iter().all(|one| one["status"] == status);
            (settled && !all.is_empty()).then_some(all)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_listed_shown_and_switched() {
    let post = Post::new().await;
    let listed = post.json(&["list"], 0);
    assert_eq!(listed[0]["status"], "off");
    assert_eq!(listed[0]["actions"][1]["type"], "slack", "{listed}");
    let table = post.run(&["list"]);
    ends(&table, 0, "");
    for part in [
        "FAILURE E-MAIL",
        "webhook SIEM, slack Chat",
        "ops@example.org",
    ] {
        assert!(table.out.contains(part), "{table:?}");
    }

    let shown = post.json(&["show", &post.id], 0);
    assert_eq!(shown["filters"][0]["field"], "description");
    let masked = shown["actions"][0]["url"].as_str().unwrap();
    assert!(masked.ends_with("/***"), "{masked}");
    let table = post.run(&["show", &post.id]);
    ends(&table, 0, "");
    let action = format!("action {}", post.actions[0]);
    for part in ["description contains [\"db\"]", &action, masked] {
        assert!(table.out.contains(part), "{part}: {table:?}");
    }

    let on = post.json(&["on", &post.id], 0);
    assert_eq!((&on["status"], &on["name"]), (&json!("on"), &shown["name"]));
    let again = post.run(&["on", &post.id]);
    ends(&again, 0, "is on already");
    let after = post.json(&["show", &post.id], 0);
    assert_eq!(after["revision"], 2, "switched once: {after}");
    let mut expected = shown.clone();
    for field in ["status", "revision", "updated_at"] {
        expected[field] = after[field].clone();
    }
    assert_eq!(after, expected, "and nothing else has changed");
    let off = post.run(&["off", &post.id]);
    ends(&off, 0, "");
    assert!(off.out.contains("off"), "{off:?}");
    assert_eq!(post.json(&["list"], 0)[0]["status"], "off");
    assert_eq!(post.stage.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_sends_what_is_kept_and_says_what_became_of_it() {
    let post = Post::new().await;
    let sent = post.json(&["test", &post.id], 0);
    let statuses: Vec<_> = sent.as_array().unwrap().iter().collect();
    assert!(statuses.iter().all(|one| one["status"] == "sent"), "{sent}");
    let received = post.receiver.received();
    assert_eq!(received.len(), 2);
    // The address behind the mask, and the signature of the action's own secret.
    assert!(received[0].header("webhook-signature").starts_with("v1,"));
    let one = post.run(&["test", &post.id, "--action", &post.actions[1]]);
    ends(&one, 0, "");
    assert!(one.out.contains("Chat") && !one.out.contains("SIEM"));
    assert_eq!(post.receiver.received().len(), 3);

    post.receiver.tell(500);
    let failed = post.json(&["test", &post.id], 1);
    let error = failed[0]["error"].as_str().unwrap();
    assert!(error.contains("500"), "{failed}");
    let table = post.run(&["test", &post.id]);
    ends(&table, 1, "");
    assert!(table.out.contains("failed"), "{table:?}");
    let other = post.run(&["test", &post.id, "--action", "999"]);
    ends(&other, 5, "no such action");
    assert_eq!(post.stage.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_shown_and_sent_again() {
    let post = Post::new().await;
    let none = post.json(&["deliveries", &post.id], 0);
    assert_eq!(none, json!([]));
    ends(&post.run(&["on", &post.id]), 0, "");
    // 4xx ends a delivery at once.
    post.receiver.tell(410);
    post.seen("db one").await;
    post.seen("other").await;
    let failed = post.deliveries("failed").await;
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed.iter().all(|one| one["about"] == "db one"));
    let webhook = failed.iter().find(|one| one["channel"] == "webhook");
    let webhook = webhook.unwrap();
    assert_eq!(webhook["attempts"][0]["status"], 410, "{webhook}");
    let table = post.run(&["deliveries", &post.id]);
    ends(&table, 0, "");
    for part in ["ATTEMPTS", "webhook", "failed", "db one", "410"] {
        assert!(table.out.contains(part), "{part}: {table:?}");
    }
    let last = post.json(&["deliveries", &post.id, "--last", "1"], 0);
    assert_eq!(last.as_array().unwrap().len(), 1);
    assert_eq!(
        post.run(&["deliveries", &post.id, "--last", "0"]).code,
        Some(2)
    );

    post.receiver.tell(200);
    let id = webhook["id"].to_string();
    let again = post.json(&["redeliver", &id], 0);
    assert_eq!(again["id"], webhook["id"], "under its old id");
    let sent = until("it is sent", async || {
        let all = post.json(&["deliveries", &post.id], 0);
        let all = all.as_array().unwrap().clone();
        let mut sent = all.into_iter().filter(|one| one["status"] == "sent");
        sent.next()
    })
    .await;
    assert_eq!(sent["id"], webhook["id"]);
    let received = post.receiver.received();
    assert_eq!(received.last().unwrap().header("webhook-id"), id);
    let table = post.run(&["redeliver", &id]);
    ends(&table, 0, "");
    assert!(table.out.contains("webhook"), "{table:?}");
    assert_eq!(post.stage.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_says_why_and_has_its_exit_code() {
    let post = Post::new().await;
    for arguments in [
        &["show", "999"][..],
        &["on", "999"],
        &["test", "999"],
        &["deliveries", "999"],
        &["redeliver", "999"],
    ] {
        ends(&post.run(arguments), 5, "not found");
    }
    // What still goes is not sent a second time.
    ends(&post.run(&["on", &post.id]), 0, "");
    post.receiver.tell(503);
    post.seen("db two").await;
    let pending = post.deliveries("pending").await;
    let id = pending[0]["id"].to_string();
    ends(&post.run(&["redeliver", &id]), 7, "still being delivered");

    let user = json!({"name": "bob", "display_name": "Bob", "email": ""});
    let user = post.stage.client.order("/api/v1/users", &user).await;
    let user = user.expect(201).id("id");
    let key = json!({"kind": "native", "user_id": user, "name": "bare"});
    let key = post.stage.client.order("/api/v1/keys", &key).await;
    let key = key.expect(201).json()["key"].as_str().unwrap().to_owned();
    let bare = file(&post.stage.home, "bare", &key, 0o600);
    let bare = ["--key-file", bare.to_str().unwrap()];
    ends(&post.run(&[&["list"], &bare[..]].concat()), 6, "forbidden");
    ends(
        &post.run(&[&["off", &post.id], &bare[..]].concat()),
        6,
        "forbidden",
    );
    assert_eq!(post.json(&["list"], 0)[0]["status"], "on");
    assert_eq!(post.stage.daemon.stop(), 0);
}
