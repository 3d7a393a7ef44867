//! `/api/v1/policies`, and what an edit does to accounts.

use axum::http::header;
use serde_json::{Value, json};

use super::world::{Client, Target, World};

async fn ready() -> (World, Client, Target) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let target = world.target(&world.session(&keys).await).await;
    let native = world.native(&keys);
    (world, native, target)
}

fn monthly(days: u32) -> Value {
    json!({"name": "Monthly", "mode": "auto", "max_age": format!("{days}d"), "jitter": 0.0})
}

#[tokio::test]
async fn a_policy_is_made_read_listed_and_deleted() {
    let (world, native, _) = ready().await;
    let made = native.post("/policies", &monthly(30)).await.expect(201);
    let (location, tag) = (made.header(header::LOCATION), made.header(header::ETAG));
    assert_eq!(tag, "\"1\"");
    let read = native.below("").get(location).await.expect(200);
    assert_eq!(read.json(), made.json());
    assert_eq!(read.json()["policy"]["max_age"], "30d");
    let list = native.get("/policies?limit=1").await.expect(200);
    assert_eq!(list.json()["items"][0]["id"], 1);
    assert_eq!(
        list.header(header::LINK),
        "</api/v1/policies?limit=1&cursor=1>; rel=\"next\""
    );
    native
        .post("/policies", &json!({"name": "MONTHLY", "max_age": "1d"}))
        .await
        .expect(409);
    let gone = [("if-match", "\"1\"")];
    native
        .call("DELETE", "/policies/1", None, &gone)
        .await
        .expect(204);
    native.get("/policies/1").await.expect(404);
    let rows = world.store.audit_of("policy 1", 10).await.unwrap();
    let events: Vec<_> = rows.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(events, ["policy.deleted", "policy.created"]);
}

#[tokio::test]
async fn every_fault_of_a_policy_is_pointed_to() {
    let (_world, native, _) = ready().await;
    let body = json!({
        "name": "x", "max_age": "soon",
        "windows": [{"cron": "0 0 31 2 *", "duration": "1h", "zone": "Europe/Berlin"}],
    });
    let answer = native.post("/policies", &body).await.expect(400);
    assert_eq!(
        answer.header(header::CONTENT_TYPE),
        "application/problem+json"
    );
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let pointers: Vec<_> = errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert!(pointers.contains(&"/max_age"), "{pointers:?}");
    assert!(
        pointers
            .iter()
            .any(|pointer| pointer.starts_with("/windows/0")),
        "{pointers:?}"
    );
    let below = native
        .post("/policies/preview", &json!({"policy": body}))
        .await
        .expect(400);
    assert_eq!(
        below.json()["errors"][0]["pointer"]
            .as_str()
            .unwrap()
            .split('/')
            .nth(1),
        Some("policy")
    );
}

#[tokio::test]
async fn an_edit_needs_the_tag_it_is_based_on_and_moves_the_accounts() {
    let (_world, native, target) = ready().await;
    native.post("/policies", &monthly(30)).await.expect(201);
    // One account by itself, the other through its system.
    let account = format!("/accounts/{}", target.root);
    let system = format!("/systems/{}", target.system);
    for (path, body) in [
        (&account, json!({"policy_id": 1})),
        (&system, json!({"policy_id": 1})),
    ] {
        let read = native.get(path).await.expect(200);
        let tag = read.header(header::ETAG).to_owned();
        native
            .call("PATCH", path, Some(&body), &[])
            .await
            .expect(428);
        native
            .call("PATCH", path, Some(&body), &[("if-match", "\"99\"")])
            .await
            .expect(412);
        native
            .call("PATCH", path, Some(&body), &[("if-match", &tag)])
            .await
            .expect(200);
    }
    let due = async |id: i64| {
        let answer = native.get(&format!("/accounts/{id}")).await.expect(200);
        answer.json()["next_change"].as_str().unwrap().to_owned()
    };
    let before = (due(target.root).await, due(target.ann).await);
    assert_eq!(before.0, before.1);
    native
        .call("PUT", "/policies/1", Some(&monthly(10)), &[])
        .await
        .expect(428);
    let tag = [("if-match", "\"1\"")];
    let edited = native
        .call("PUT", "/policies/1", Some(&monthly(10)), &tag)
        .await
        .expect(200);
    assert_eq!(edited.header(header::ETAG), "\"2\"");
    let after = (due(target.root).await, due(target.ann).await);
    assert!(
        after.0 < before.0 && after.1 < before.1,
        "{before:?} {after:?}"
    );
    native
        .call("PUT", "/policies/1", Some(&monthly(5)), &tag)
        .await
        .expect(412);
    let referred = native
        .call("DELETE", "/policies/1", None, &[("if-match", "*")])
        .await;
    assert_eq!(referred.expect(409).json()["code"], "conflict");
}

#[tokio::test]
async fn a_preview_shows_the_next_runs_without_saving() {
    let (_world, native, _) = ready().await;
    let policy = json!({
        "name": "nightly", "max_age": "30d",
        "windows": [{"cron": "30 2 * * *", "duration": "4h", "zone": "Europe/Berlin"}],
    });
    let body = json!({"policy": policy, "runs": 3});
    let answer = native
        .post("/policies/preview", &body)
        .await
        .expect(200)
        .json();
    let runs = answer["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    assert!(
        runs[0]["local"].as_str().unwrap().contains("02:30"),
        "{runs:?}"
    );
    assert!(runs[0]["at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        native.get("/policies").await.expect(200).json()["items"],
        json!([])
    );
}
