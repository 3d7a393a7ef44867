//! `/api/v1/users` and `/api/v1/keys`: nobody gets more than they have.

use axum::http::header;
use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::world::{Client, World, sign_in};

fn with_key(client: &Client, key: &Value) -> Client {
    let bearer = format!("Bearer {}", key.as_str().unwrap());
    Client {
        header: Some((header::AUTHORIZATION, bearer)),
        ..client.clone()
    }
}

#[tokio::test]
async fn a_new_user_gets_a_key_that_is_shown_once() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let order = json!({"name": "ann", "permissions": ["policies.read"]});
    let user = admin.post("/users", &order).await.expect(201).json();
    assert_eq!(user["permissions"], json!(["policies.read"]));
    let order = json!({"kind": "native", "user_id": user["id"], "name": "laptop"});
    let made = admin.post("/keys", &order).await.expect(201).json();
    let ann = with_key(&admin, &made["key"]);
    ann.get("/policies").await.expect(200);
    ann.post("/policies", &json!({})).await.expect(403);
    let listed = ann.get("/keys").await.expect(200);
    assert!(!listed.body.contains(made["key"].as_str().unwrap()));
    assert_eq!(
        listed.json()["items"].as_array().unwrap().len(),
        1,
        "only her own"
    );
    ann.get("/keys?user_id=1").await.expect(403);
    let revoke = format!("/keys/{}/revoke", made["id"]);
    ann.call("POST", &revoke, None, &[]).await.expect(204);
    ann.get("/policies").await.expect(401);
    let rows = world
        .store
        .audit_of(&format!("key {}", made["id"]), 10)
        .await
        .unwrap();
    assert_eq!(rows[0].event, "key.revoked");
    assert!(
        rows.iter()
            .all(|row| !row.body.contains(made["key"].as_str().unwrap()))
    );
}

#[tokio::test]
async fn a_password_safe_key_signs_in_until_it_expires_or_its_user_is_disabled() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let ann = admin
        .post("/users", &json!({"name": "ann"}))
        .await
        .expect(201)
        .json();
    let order = json!({
        "kind": "passwordsafe", "user_id": ann["id"], "name": "script",
        "expires_at": keywheel::model::Timestamp(super::world::NOON.0 + 3_600_000).rfc3339(),
    });
    let made = admin.post("/keys", &order).await.expect(201).json();
    let header = format!("PS-Auth key={}; runas=ann;", made["key"].as_str().unwrap());
    assert_eq!(made["key"].as_str().unwrap().len(), 128);
    sign_in(&world.nobody(), &header).await.expect(200);
    let disable = format!("/users/{}/disable", ann["id"]);
    admin.call("POST", &disable, None, &[]).await.expect(200);
    sign_in(&world.nobody(), &header).await.expect(401);
    admin
        .call("POST", &format!("/users/{}/enable", ann["id"]), None, &[])
        .await
        .expect(200);
    sign_in(&world.nobody(), &header).await.expect(200);
    world.clock.advance(std::time::Duration::from_hours(2));
    sign_in(&world.nobody(), &header).await.expect(401);
}

#[tokio::test]
async fn nobody_grants_or_borrows_what_they_lack() {
    let world = World::new().await;
    let (admin, _) = world.administrator().await;
    let granted = [
        Permission::UsersWrite,
        Permission::KeysWrite,
        Permission::AccountsRead,
    ];
    let (ida, keys) = world.user("ida", &granted).await;
    let (powerful, _) = world.user("pow", &[Permission::CredentialsReveal]).await;
    let ida_client = world.native(&keys);
    for order in [
        json!({"name": "x", "administrator": true}),
        json!({"name": "x", "permissions": ["credentials.reveal"]}),
    ] {
        ida_client.post("/users", &order).await.expect(403);
    }
    for user in [admin, powerful] {
        let order = json!({"kind": "native", "user_id": user.0, "name": "mine"});
        ida_client.post("/keys", &order).await.expect(403);
    }
    ida_client
        .call("POST", &format!("/users/{}/disable", admin.0), None, &[])
        .await
        .expect(403);
    ida_client
        .call("POST", &format!("/users/{}/disable", ida.0), None, &[])
        .await
        .expect(409);
    let order = json!({"name": "x", "permissions": ["accounts.read", "no.such"]});
    let answer = ida_client.post("/users", &order).await.expect(400);
    assert_eq!(answer.json()["errors"][0]["pointer"], "/permissions/1");
    let order = json!({"name": "a;b"});
    ida_client.post("/users", &order).await.expect(400);
}

#[tokio::test]
async fn a_malformed_or_foreign_key_is_nobody() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    for key in ["kw_live_short", "", &keys.ps_auth()] {
        let answer = with_key(&admin, &json!(key))
            .get("/users")
            .await
            .expect(401);
        assert_eq!(answer.json()["code"], "unauthorized");
        assert_eq!(answer.header(header::WWW_AUTHENTICATE), "Bearer");
    }
    // A session of the dialect is no key, even an administrator's.
    let session = world.session(&keys).await.below("/api/v1");
    session.get("/users").await.expect(401);
}
