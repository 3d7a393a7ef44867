//! `GET` and `PATCH /api/v1/keys/{id}`: what a key may be used for, after it was made.

use std::time::Duration;

use axum::http::header;
use keywheel::model::Timestamp;
use keywheel::model::principal::Permission;
use keywheel::scheduler::Tick;
use serde_json::{Value, json};

use super::world::{Answer, Client, NOON, PS, World, sign_in};

/// A key of this kind, made by the caller for itself.
async fn made(client: &Client, order: Value) -> Value {
    client.post("/keys", &order).await.expect(201).json()
}

/// Edits a key as it was read.
async fn edit(client: &Client, key: &Value, edited: &Value) -> Answer {
    let path = format!("/keys/{}", key["id"]);
    let read = client.get(&path).await;
    let tag = read.header(header::ETAG).to_owned();
    let headers = [("if-match", tag.as_str())];
    client.call("PATCH", &path, Some(edited), &headers).await
}

/// A session of the dialect, opened with this key from this address.
async fn session(world: &World, key: &Value, from: &str) -> Client {
    let header = format!("PS-Auth key={};", key["key"].as_str().unwrap());
    let caller = world.nobody().from(from);
    let answer = sign_in(&caller, &header).await.expect(200);
    let cookie = answer.header(header::SET_COOKIE);
    let cookie = cookie.split(';').next().unwrap().to_owned();
    Client {
        header: Some((header::COOKIE, cookie)),
        ..caller.below(PS)
    }
}

#[tokio::test]
async fn an_edit_is_based_on_what_was_read_and_stands_in_the_audit_trail() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let key = made(&admin, json!({"kind": "native", "name": "laptop"})).await;
    let path = format!("/keys/{}", key["id"]);
    let read = admin.get(&path).await.expect(200);
    assert_eq!(read.header(header::ETAG), "\"1\"");
    assert!(!read.body.contains(key["key"].as_str().unwrap()));
    let end = Timestamp(NOON.0 + 3_600_000).rfc3339();
    let edited = json!({"name": " desk ", "addresses": ["10.1.2.3/8"], "expires_at": end});
    admin
        .call("PATCH", &path, Some(&edited), &[])
        .await
        .expect(428);
    let headers = [("if-match", "\"1\"")];
    let done = admin
        .call("PATCH", &path, Some(&edited), &headers)
        .await
        .expect(200);
    assert_eq!(done.header(header::ETAG), "\"2\"");
    let shown = done.json();
    assert_eq!(
        (&shown["name"], &shown["expires_at"]),
        (&json!("desk"), &json!(end))
    );
    assert_eq!(shown["addresses"], json!(["10.0.0.0/8"]));
    admin
        .call("PATCH", &path, Some(&edited), &headers)
        .await
        .expect(412);
    assert_eq!(admin.get(&path).await.expect(200).json(), shown);
    let cleared = edit(&admin, &key, &json!({"expires_at": null}))
        .await
        .expect(200);
    assert_eq!(cleared.json()["expires_at"], json!(null));
    let rows = world
        .store
        .audit_of(&format!("key {}", key["id"]), 10)
        .await
        .unwrap();
    let events: Vec<_> = rows.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(events, ["key.edited", "key.edited", "key.created"]);
    assert!(rows[1].body.contains("10.0.0.0/8"), "{:?}", rows[1]);
    for (edited, pointer) in [
        (json!({"name": ""}), "/name"),
        (json!({"name": null}), "/name"),
        (json!({"addresses": ["example.org"]}), "/addresses/0"),
        (json!({"addresses": null}), "/addresses"),
        (json!({"expires_at": NOON.rfc3339()}), "/expires_at"),
        (json!({"password_required": true}), "/password_required"),
        (json!({"kind": "oauth"}), "/kind"),
    ] {
        let refused = edit(&admin, &key, &edited).await.expect(400);
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer);
    }
    let revoke = format!("{path}/revoke");
    admin.call("POST", &revoke, None, &[]).await.expect(204);
    edit(&admin, &key, &json!({"name": "x"})).await.expect(409);
}

#[tokio::test]
async fn an_edit_holds_at_once_for_the_sessions_of_the_key() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let key = made(&admin, json!({"kind": "passwordsafe", "name": "script"})).await;
    let open = session(&world, &key, "192.0.2.7").await;
    open.get("/Workgroups").await.expect(200);
    edit(&admin, &key, &json!({"addresses": ["10.0.0.0/8"]}))
        .await
        .expect(200);
    open.get("/Workgroups").await.expect(401);
    open.from("10.0.0.1").get("/Workgroups").await.expect(200);
    edit(&admin, &key, &json!({"addresses": []}))
        .await
        .expect(200);
    open.get("/Workgroups").await.expect(200);
    let end = Timestamp(NOON.0 + 60_000).rfc3339();
    edit(&admin, &key, &json!({"expires_at": end}))
        .await
        .expect(200);
    open.get("/Workgroups").await.expect(200);
    world.clock.advance(Duration::from_mins(1));
    open.get("/Workgroups").await.expect(401);
    edit(&admin, &key, &json!({"expires_at": null}))
        .await
        .expect(200);
    open.get("/Workgroups").await.expect(200);
    // What was opened without a password ends once one is demanded.
    edit(&admin, &key, &json!({"password_required": true}))
        .await
        .expect(200);
    open.get("/Workgroups").await.expect(401);
}

#[tokio::test]
async fn nobody_edits_the_key_of_somebody_who_may_do_more() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let theirs = made(&admin, json!({"kind": "native", "name": "root's"})).await;
    let (_, keys) = world.user("ida", &[Permission::KeysWrite]).await;
    let ida = world.native(&keys);
    let (_, keys) = world.user("eve", &[]).await;
    let eve = world.native(&keys);
    let path = format!("/keys/{}", theirs["id"]);
    ida.get(&path).await.expect(200);
    edit(&ida, &theirs, &json!({"name": "mine"}))
        .await
        .expect(403);
    for path in [path.as_str(), "/keys/4711"] {
        eve.get(path).await.expect(403);
        eve.call("PATCH", path, None, &[("if-match", "*")])
            .await
            .expect(403);
    }
    ida.get("/keys/4711").await.expect(404);
    let own = made(&eve, json!({"kind": "native", "name": "own"})).await;
    eve.get(&format!("/keys/{}", own["id"])).await.expect(200);
    edit(&eve, &own, &json!({"name": "my own"}))
        .await
        .expect(200);
    edit(&ida, &own, &json!({"name": "eve's"}))
        .await
        .expect(200);
    let rotate = format!("/keys/{}/rotate", own["id"]);
    eve.post(&rotate, &json!({})).await.expect(201);
    edit(&eve, &own, &json!({"name": "old"})).await.expect(200);
    edit(&eve, &own, &json!({"expires_at": null}))
        .await
        .expect(409);
}

#[tokio::test]
async fn the_metrics_say_when_the_next_key_ends() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let end = Timestamp(NOON.0 + 3_600_000);
    let order = json!({"kind": "oauth", "name": "ci", "expires_at": end.rfc3339()});
    let key = made(&admin, order).await;
    let says = async |kind: &str, at: i64| {
        world.tick(Tick::Gauges).await;
        let page = world.nobody().get("/metrics").await.expect(200).body;
        let line = format!("keywheel_api_key_expiry_timestamp_seconds{{kind=\"{kind}\"}} {at}\n");
        assert!(page.contains(&line), "{line}");
    };
    says("oauth", end.0 / 1_000).await;
    says("native", 0).await;
    edit(&admin, &key, &json!({"expires_at": null}))
        .await
        .expect(200);
    says("oauth", 0).await;
}
