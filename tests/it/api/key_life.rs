//! The life of API keys: from where they may be used, when they were, how they are replaced.

use std::time::Duration;

use axum::http::header;
use keywheel::model::Timestamp;
use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::world::{Client, NOON, PS, World, sign_in};

async fn ready() -> (World, Client) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    (world, admin)
}

/// A caller with this native key, from this address.
fn with(admin: &Client, made: &Value, address: &str) -> Client {
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    Client {
        header: Some((header::AUTHORIZATION, bearer)),
        ..admin.from(address)
    }
}

async fn listed(admin: &Client, id: &Value) -> Value {
    let found = admin.get("/keys?limit=200").await.expect(200).json();
    let mut items = found["items"].as_array().unwrap().iter();
    items.find(|key| key["id"] == *id).unwrap().clone()
}

async fn refusals(world: &World, method: &str, reason: &str) -> u64 {
    let found = world.nobody().get("/metrics").await.expect(200).body;
    let name = format!("keywheel_auth_failures_total{{method=\"{method}\",reason=\"{reason}\"}} ");
    let line = found.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_key_is_refused_from_elsewhere() {
    let (world, admin) = ready().await;
    let order = json!({
        "kind": "native", "name": "office", "addresses": ["10.1.2.3/8", "2001:db8::/32"],
    });
    let made = admin.post("/keys", &order).await.expect(201).json();
    assert_eq!(made["addresses"], json!(["10.0.0.0/8", "2001:db8::/32"]));
    for from in ["10.200.0.9", "::ffff:10.0.0.1", "2001:db8:5::1"] {
        with(&admin, &made, from).get("/keys").await.expect(200);
    }
    for from in ["192.0.2.1", "::1", "11.0.0.1"] {
        let answer = with(&admin, &made, from).get("/keys").await.expect(401);
        assert_eq!(answer.json()["code"], "unauthorized");
    }
    let nowhere = Client {
        address: None,
        ..with(&admin, &made, "10.0.0.1")
    };
    nowhere.get("/keys").await.expect(401);
    assert_eq!(refusals(&world, "native", "address").await, 4);
    for (addresses, pointer) in [
        (json!(["10.0.0.0/8", "10.0.0.0/33"]), "/addresses/1"),
        (json!(["example.org"]), "/addresses/0"),
        (json!(vec!["10.0.0.1"; 65]), "/addresses"),
    ] {
        let order = json!({"kind": "native", "name": "x", "addresses": addresses});
        let answer = admin.post("/keys", &order).await.expect(400);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test]
async fn a_session_is_worth_no_more_than_its_key() {
    let (world, admin) = ready().await;
    let order = json!({
        "kind": "passwordsafe", "name": "script", "addresses": ["192.0.2.7"],
        "expires_at": Timestamp(NOON.0 + 600_000).rfc3339(),
    });
    let made = admin.post("/keys", &order).await.expect(201).json();
    let header = format!("PS-Auth key={};", made["key"].as_str().unwrap());
    let (inside, outside) = (
        world.nobody().from("192.0.2.7"),
        world.nobody().from("192.0.2.8"),
    );
    sign_in(&outside, &header).await.expect(401);
    let answer = sign_in(&inside, &header).await.expect(200);
    let cookie = answer.header(header::SET_COOKIE);
    let cookie = (header::COOKIE, cookie.split(';').next().unwrap().to_owned());
    let session = |from: &Client| Client {
        header: Some(cookie.clone()),
        ..from.below(PS)
    };
    session(&inside).get("/Workgroups").await.expect(200);
    session(&outside).get("/Workgroups").await.expect(401);
    assert_eq!(refusals(&world, "session", "address").await, 1);
    world.clock.advance(Duration::from_mins(10));
    session(&inside).get("/Workgroups").await.expect(401);
    assert_eq!(refusals(&world, "session", "expired").await, 1);
}

#[tokio::test]
async fn the_last_use_is_noted_once_a_minute() {
    let (world, admin) = ready().await;
    let order = json!({"kind": "native", "name": "laptop"});
    let made = admin.post("/keys", &order).await.expect(201).json();
    assert_eq!(made["last_used_at"], json!(null));
    let own = with(&admin, &made, "192.0.2.1");
    let at = |seconds: i64| json!(Timestamp(NOON.0 + seconds * 1_000).rfc3339());
    let last = async || listed(&admin, &made["id"]).await["last_used_at"].clone();
    assert_eq!(last().await, json!(null));
    own.get("/keys").await.expect(200);
    assert_eq!(last().await, at(0));
    world.clock.advance(Duration::from_secs(59));
    own.get("/keys").await.expect(200);
    assert_eq!(last().await, at(0));
    world.clock.advance(Duration::from_secs(1));
    own.get("/keys").await.expect(200);
    assert_eq!(last().await, at(60));
    // Of a key of the dialect, calls of its sessions count.
    let order = json!({"kind": "passwordsafe", "name": "script"});
    let made = admin.post("/keys", &order).await.expect(201).json();
    let header = format!("PS-Auth key={};", made["key"].as_str().unwrap());
    let answer = sign_in(&world.nobody(), &header).await.expect(200);
    let cookie = answer.header(header::SET_COOKIE);
    let session = Client {
        header: Some((header::COOKIE, cookie.split(';').next().unwrap().to_owned())),
        ..world.nobody().below(PS)
    };
    world.clock.advance(Duration::from_mins(5));
    session.get("/Workgroups").await.expect(200);
    assert_eq!(listed(&admin, &made["id"]).await["last_used_at"], at(360));
}

#[tokio::test]
async fn a_rotated_key_lives_on_for_the_overlap() {
    let (world, admin) = ready().await;
    let order = json!({
        "kind": "native", "name": "pipeline", "addresses": ["192.0.2.0/24"],
        "expires_at": Timestamp(NOON.0 + 90 * 86_400_000).rfc3339(),
    });
    let old = admin.post("/keys", &order).await.expect(201).json();
    world.clock.advance(Duration::from_hours(24));
    let path = format!("/keys/{}/rotate", old["id"]);
    let own = with(&admin, &old, "192.0.2.1");
    // A key may replace itself.
    let answer = own.call("POST", &path, None, &[]).await.expect(201);
    let next = answer.json();
    assert_eq!(
        answer.header(header::LOCATION),
        format!("/api/v1/keys/{}", next["id"])
    );
    assert_ne!(next["key"], old["key"]);
    for field in ["kind", "user_id", "name", "addresses"] {
        assert_eq!(next[field], old[field], "{field}");
    }
    let day = |days: i64| json!(Timestamp(NOON.0 + days * 86_400_000).rfc3339());
    assert_eq!(next["expires_at"], day(91), "as long as the old one had");
    let left = listed(&admin, &old["id"]).await;
    assert_eq!(left["expires_at"], day(2), "a day, where nobody says");
    assert_eq!(left["successor_id"], next["id"]);
    let new = with(&admin, &next, "192.0.2.1");
    new.get("/keys").await.expect(200);
    own.get("/keys").await.expect(200);
    own.call("POST", &path, None, &[]).await.expect(409);
    world.clock.advance(Duration::from_hours(24));
    own.get("/keys").await.expect(401);
    new.get("/keys").await.expect(200);
    admin.call("POST", &path, None, &[]).await.expect(409);
    let subject = format!("key {}", old["id"]);
    let rows = world.store.audit_of(&subject, 10).await.unwrap();
    assert_eq!(rows[0].event, "key.rotated");
    let key = next["key"].as_str().unwrap();
    assert!(rows.iter().all(|row| !row.body.contains(key)));
}

#[tokio::test]
async fn an_overlap_has_limits_and_never_lengthens_a_life() {
    let (world, admin) = ready().await;
    let order = json!({
        "kind": "passwordsafe", "name": "script",
        "expires_at": Timestamp(NOON.0 + 60_000).rfc3339(),
    });
    let old = admin.post("/keys", &order).await.expect(201).json();
    let path = format!("/keys/{}/rotate", old["id"]);
    for overlap in [json!(-1), json!(2_592_001)] {
        let order = json!({"overlap_s": overlap});
        let answer = admin.post(&path, &order).await.expect(400);
        assert_eq!(answer.json()["errors"][0]["pointer"], "/overlap_s");
    }
    let order = json!({"overlap_s": 2_592_000});
    let next = admin.post(&path, &order).await.expect(201).json();
    assert_eq!(next["key"].as_str().unwrap().len(), 128);
    let left = listed(&admin, &old["id"]).await;
    assert_eq!(left["expires_at"], old["expires_at"]);
    // At once, where nothing overlaps.
    let path = format!("/keys/{}/rotate", next["id"]);
    let order = json!({"overlap_s": 0});
    let last = admin.post(&path, &order).await.expect(201).json();
    let header = |made: &Value| format!("PS-Auth key={};", made["key"].as_str().unwrap());
    sign_in(&world.nobody(), &header(&next)).await.expect(401);
    sign_in(&world.nobody(), &header(&last)).await.expect(200);
}

#[tokio::test]
async fn nobody_gets_a_stronger_key_by_rotating_it() {
    let world = World::new().await;
    let (admin, _) = world.administrator().await;
    let granted = [Permission::KeysWrite, Permission::AccountsRead];
    let (_, keys) = world.user("ida", &granted).await;
    let (_, plain) = world.user("ann", &[Permission::AccountsRead]).await;
    let (ida, ann) = (world.native(&keys), world.native(&plain));
    let all = ida.get("/keys?limit=200").await.expect(200).json();
    let of = |user: i64| {
        let mut items = all["items"].as_array().unwrap().iter();
        let key = items.find(|key| key["user_id"] == user).unwrap();
        format!("/keys/{}/rotate", key["id"])
    };
    ida.post(&of(admin.0), &json!({})).await.expect(403);
    ann.post(&of(admin.0), &json!({})).await.expect(403);
    ann.post("/keys/999/rotate", &json!({})).await.expect(403);
    ida.post("/keys/999/rotate", &json!({})).await.expect(404);
    let own = ann.get("/keys").await.expect(200).json()["items"][0].clone();
    let path = format!("/keys/{}/rotate", own["id"]);
    ida.post(&path, &json!({})).await.expect(201);
}
