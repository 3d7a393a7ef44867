//! Workflows over the native API: saved, tried, listed, sent again.

use keywheel::api::Settings;
use keywheel::model::id::{DeliveryId, OrganizationId};
use keywheel::model::organization::OrganizationFields;
use keywheel::model::principal::Permission;
use keywheel::model::workflow::DeliveryState;
use keywheel::workflow::Sender;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::world::{Client, NOON, World};
use crate::support::receiver::Receiver;
use crate::support::wait::until;
use crate::workflow::fire::reveal;

/// Stands in the secret part of every address here.
const CANARY: &str = "hook-canary-7Q";

async fn world() -> (World, Client) {
    let world = World::with(Settings::default()).await;
    let (_, keys) = world.user("policy", &[Permission::WorkflowsWrite]).await;
    let client = world.native(&keys);
    (world, client)
}

fn document(url: &str) -> Value {
    json!({
        "trigger": "password_access", "name": "Tier 0", "failure_email": "secops@example.org",
        "filters": [{"field": "description", "operator": "does_not_contain", "values": ["lab"]}],
        "actions": [
            {"type": "email", "name": "Mail", "subject": "[resource_name]", "body": "[user_name]",
             "recipients": ["oncall@example.org"]},
            {"type": "webhook", "name": "SIEM", "url": url, "payload": {"who": "[user_name]"}},
            {"type": "slack", "name": "Chat", "url": url, "subject": "s", "body": "b"},
        ],
    })
}

async fn put(client: &Client, path: &str, body: &Value, tag: &str) -> super::world::Answer {
    let headers = [("If-Match", tag)];
    client.call("PUT", path, Some(body), &headers).await
}

#[tokio::test]
async fn a_workflow_starts_off_masked_and_shows_its_secret_once() {
    let (world, client) = world().await;
    let url = format!("https://siem.example.com/{CANARY}?k=1");
    let made = client.post("/workflows", &document(&url)).await.expect(201);
    assert_eq!(made.header(axum::http::header::ETAG), "\"1\"");
    let shown = made.json();
    assert_eq!((&shown["status"], &shown["id"]), (&json!("off"), &json!(1)));
    let secret = shown["actions"][1]["signing_secret"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        secret.starts_with("whsec_") && secret.len() == 50,
        "{secret}"
    );
    assert_eq!(shown["actions"][1]["url"], "https://siem.example.com/***");
    assert_eq!(shown["actions"][2]["signing_secret"], Value::Null);
    let read = client.get("/workflows/1").await.expect(200);
    let listed = client.get("/workflows").await.expect(200);
    assert_eq!(listed.json()["items"][0], read.json());
    // What was read can be sent back whole; nothing changes but the revision.
    let again = put(&client, "/workflows/1", &read.json(), "\"1\"")
        .await
        .expect(200);
    let (mut before, mut after) = (read.json(), again.json());
    assert_eq!(after["revision"], 2);
    before["revision"] = Value::Null;
    after["revision"] = Value::Null;
    assert_eq!(before, after);
    put(&client, "/workflows/1", &read.json(), "\"1\"")
        .await
        .expect(412);
    client.put("/workflows/1", &read.json()).await.expect(428);
    let renewed = client
        .post("/workflows/1/actions/2/signing-secret", &json!({}))
        .await
        .expect(200);
    let new = renewed.json()["signing_secret"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(new, secret);
    client
        .post("/workflows/1/actions/3/signing-secret", &json!({}))
        .await
        .expect(409);
    client
        .post("/workflows/1/actions/9/signing-secret", &json!({}))
        .await
        .expect(404);
    client
        .call("DELETE", "/workflows/1", None, &[("If-Match", "\"2\"")])
        .await
        .expect(204);
    client.get("/workflows/1").await.expect(404);
    let audit = world.store.audit_rows(None, None, 100).await.unwrap();
    let names: Vec<_> = audit.iter().map(|row| row.event.as_str()).collect();
    for name in ["created", "updated", "signing_secret_renewed", "deleted"] {
        assert!(
            names.contains(&format!("workflow.{name}").as_str()),
            "{names:?}"
        );
    }
    let all = format!("{audit:?}{}{}{}", read.body, listed.body, again.body);
    for secret in [CANARY, &secret, &new] {
        assert!(!all.contains(secret));
    }
    let database = world.number("SELECT COUNT(*) FROM workflow_actions WHERE content LIKE '%hook-canary%' OR masked_url LIKE '%hook-canary%'").await;
    assert_eq!(database, 0);
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_place() {
    let (_world, client) = world().await;
    let url = format!("https://siem.example.com/{CANARY}");
    for (pointer, value, status, at, says) in [
        (
            "/trigger",
            json!("password_change"),
            400,
            "/trigger",
            "password_access",
        ),
        ("/name", json!(" "), 400, "/name", "required"),
        (
            "/failure_email",
            json!("nobody"),
            400,
            "/failure_email",
            "mail address",
        ),
        ("/status", json!("maybe"), 400, "/status", "on or off"),
        ("/actions", json!([]), 400, "/actions", "1 to 10"),
        (
            "/filters/0/field",
            json!("value"),
            400,
            "/filters/0/field",
            "no field",
        ),
        (
            "/filters/0/operator",
            json!("any_of"),
            400,
            "/filters/0/operator",
            "contains",
        ),
        (
            "/filters/0/values",
            json!([]),
            400,
            "/filters/0/values",
            "never match",
        ),
        (
            "/filters/0/values",
            json!([""]),
            400,
            "/filters/0/values/0",
            "blank",
        ),
        (
            "/filters",
            json!([
                {"field": "notes", "operator": "contains", "values": ["lab"]},
                {"field": "notes", "operator": "does_not_contain", "values": ["LAB"]},
            ]),
            400,
            "/filters/1/values",
            "refuses",
        ),
        (
            "/filters",
            json!([{"field": "organization", "operator": "any_of", "values": [7]}]),
            400,
            "/filters/0/values/0",
            "is no organization",
        ),
        (
            "/filters",
            json!([{"field": "password", "operator": "none_of", "values": [7]}]),
            400,
            "/filters/0/values/0",
            "is no password",
        ),
        (
            "/filters",
            json!([{"field": "updated_by", "operator": "any_of", "values": [999]}]),
            400,
            "/filters/0/values/0",
            "is no updated by",
        ),
        (
            "/filters",
            json!([{"field": "password_category", "operator": "any_of", "values": [999]}]),
            400,
            "/filters/0/values/0",
            "is no password category",
        ),
        (
            "/actions/0/recipients",
            json!([]),
            400,
            "/actions/0/recipients",
            "at least one",
        ),
        (
            "/actions/0/recipients",
            json!(["a\r\nb@c"]),
            400,
            "/actions/0/recipients",
            "mail",
        ),
        (
            "/actions/0/subject",
            json!("a\nb"),
            400,
            "/actions/0/subject",
            "control",
        ),
        (
            "/actions/0/subject",
            json!("seen: [password]"),
            422,
            "/actions/0/subject",
            "[password] at character 7 is no variable",
        ),
        (
            "/actions/1/payload/who",
            json!("[secret]"),
            422,
            "/actions/1/payload/who",
            "[secret] at character 1 is no variable",
        ),
        (
            "/actions/1/url",
            json!("siem"),
            400,
            "/actions/1/url",
            "https://",
        ),
        (
            "/actions/1/url",
            json!("https://u:hook-canary-7Q@x.test/"),
            400,
            "/actions/1/url",
            "user",
        ),
        (
            "/actions/1/url",
            json!("https://siem.example.com/***"),
            400,
            "/actions/1/url",
            "masked",
        ),
        (
            "/actions/1/type",
            json!("pager"),
            400,
            "/actions/1/type",
            "email, webhook",
        ),
        (
            "/actions/1/type",
            json!("slack"),
            400,
            "/actions/1/payload",
            "no field of slack",
        ),
        ("/actions/1/id", json!(1), 400, "/actions/1/id", "no action"),
        ("/color", json!("red"), 400, "/color", "no field"),
    ] {
        let mut body = document(&url);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match body.pointer_mut(parent).unwrap() {
            Value::Object(object) => drop(object.insert(name.to_owned(), value)),
            list => list[name.parse::<usize>().unwrap()] = value,
        }
        let refused = client.post("/workflows", &body).await;
        assert_eq!(refused.status, status, "{pointer}: {refused:?}");
        let fault = refused.json()["errors"][0].clone();
        assert_eq!(fault["pointer"], at, "{pointer}: {refused:?}");
        let text = fault["detail"].as_str().unwrap();
        assert!(text.contains(says), "{pointer}: {text}");
        assert!(!refused.body.contains(CANARY));
    }
    assert_eq!(client.get("/workflows").await.json()["items"], json!([]));
}

#[tokio::test]
async fn ids_that_are_there_are_taken_and_names_come_once() {
    let (world, client) = world().await;
    let mut tx = world.store.begin().await.unwrap();
    let acme = OrganizationFields::named("Acme");
    let id: OrganizationId = tx.insert_organization(&acme, NOON).await.unwrap();
    tx.commit().await.unwrap();
    let mut body = document("https://siem.example.com/");
    body["filters"] = json!([
        {"field": "organization", "operator": "any_of", "values": [id.0]},
        {"field": "organization_status", "operator": "none_of", "values": [2]},
        {"field": "password_category", "operator": "any_of", "values": [1, 7]},
        {"field": "updated_by", "operator": "any_of", "values": [1]},
    ]);
    let made = client.post("/workflows", &body).await.expect(201);
    assert_eq!(made.json()["filters"], body["filters"]);
    body["name"] = json!("TIER 0");
    client.post("/workflows", &body).await.expect(409);
    let (_, keys) = world.user("viewer", &[Permission::PoliciesWrite]).await;
    world.native(&keys).get("/workflows").await.expect(403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_is_tried_before_it_is_saved_and_after() {
    let (world, client) = world().await;
    let receiver = Receiver::start().await;
    let hook = json!({"type": "webhook", "name": "SIEM", "url": receiver.url("/as-told")});
    let sent = json!({"status": "sent", "message": "Notification Sent"});
    let tried = client
        .post("/workflows/test-action", &hook)
        .await
        .expect(200);
    assert_eq!(tried.json(), sent);
    let came = receiver.received().remove(0);
    assert_eq!(came.json()["resource_name"], "Sample Password");
    assert_eq!(came.json()["user_name"], "policy");
    assert_eq!(came.header("webhook-signature"), "", "it has no secret yet");
    let body = document(&receiver.url("/as-told"));
    let made = client.post("/workflows", &body).await.expect(201).json();
    let mut saved = client.get("/workflows/1").await.json()["actions"][1].take();
    client
        .post("/workflows/test-action", &saved)
        .await
        .expect(200);
    assert!(
        receiver.received()[1]
            .header("webhook-signature")
            .starts_with("v1,")
    );
    saved["url"] = json!(format!("http://127.0.0.1:{}/***", receiver.port + 1));
    client
        .post("/workflows/test-action", &saved)
        .await
        .expect(400);
    receiver.tell(500);
    let refused = client
        .post("/workflows/test-action", &hook)
        .await
        .expect(422);
    assert_eq!(refused.json()["detail"], "the receiver answered 500");
    let mail = made["actions"][0].clone();
    let refused = client
        .post("/workflows/test-action", &mail)
        .await
        .expect(422);
    assert!(
        refused.body.contains("no mail server is set"),
        "{refused:?}"
    );
    let audit = world.store.audit_rows(None, None, 100).await.unwrap();
    let tested = audit
        .iter()
        .filter(|row| row.event == "workflow.action_tested");
    assert_eq!(tested.count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_listed_with_their_attempts_and_sent_again() {
    let (world, client) = world().await;
    let receiver = Receiver::start().await;
    receiver.tell(410);
    let mut body = document(&receiver.url(&format!("/as-told?k={CANARY}")));
    body["status"] = json!("on");
    body["actions"] = json!([body["actions"][1]]);
    client.post("/workflows", &body).await.expect(201);
    let mut tx = world.store.begin().await.unwrap();
    let seen = reveal(&["Domain Admin"], false);
    world.api.workflows.fire(&mut tx, &seen).await.unwrap();
    tx.commit().await.unwrap();
    let waiting = client
        .get("/workflows/1/deliveries")
        .await
        .expect(200)
        .json();
    let id = waiting["items"][0]["id"].as_i64().unwrap();
    assert_eq!(waiting["items"][0]["status"], "pending");
    let path = format!("/deliveries/{id}/redeliver");
    client.post(&path, &json!({})).await.expect(409);
    let drain = CancellationToken::new();
    let sender = Sender::new(world.parts(), world.node());
    #[expect(clippy::disallowed_methods, reason = "it is drained below")]
    let task = tokio::task::spawn(sender.run(drain.clone()));
    let reached = async |state, attempts| {
        until("the delivery ends", async || {
            let found = world.store.delivery(DeliveryId(id)).await.unwrap().unwrap();
            (found.state == state && found.attempts == attempts).then_some(())
        })
        .await;
    };
    reached(DeliveryState::Failed, 1).await;
    receiver.tell(200);
    client.post(&path, &json!({})).await.expect(202);
    reached(DeliveryState::Sent, 2).await;
    let listed = client.get("/workflows/1/deliveries").await.expect(200);
    let one = listed.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] == id)
        .unwrap()
        .clone();
    assert_eq!(
        (&one["about"], &one["status"]),
        (&json!("Domain Admin"), &json!("sent"))
    );
    assert_eq!(one["attempts"][0]["error"], "the receiver answered 410");
    assert_eq!(
        (&one["attempts"][0]["status"], &one["attempts"][1]["error"]),
        (&json!(410), &Value::Null)
    );
    assert!(!listed.body.contains(CANARY) && !listed.body.contains("alice"));
    let ids: Vec<_> = receiver
        .received()
        .iter()
        .map(|one| one.header("webhook-id").to_owned())
        .collect();
    assert_eq!(ids, [id.to_string(), id.to_string()]);
    client.get("/workflows/9/deliveries").await.expect(404);
    client
        .post("/deliveries/999/redeliver", &json!({}))
        .await
        .expect(404);
    client
        .call("DELETE", "/workflows/1", None, &[("If-Match", "*")])
        .await
        .expect(204);
    client.get("/workflows/1/deliveries").await.expect(200);
    client.post(&path, &json!({})).await.expect(409);
    drain.cancel();
    task.await.unwrap();
}
