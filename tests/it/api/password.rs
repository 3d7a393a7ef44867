//! `PUT /api/v1/users/{id}/password`.

use keywheel::model::principal::Permission;
use serde_json::json;

use super::browser::{Browser, PASSWORD, recorded, set_password, try_sign_in};
use super::world::{World, sign_in};

const NEXT: &str = "Canary-next-7731-longer";

#[tokio::test]
async fn a_person_changes_their_own_password_with_the_one_before() {
    let world = World::new().await;
    let (eve, keys) = world.user("eve", &[]).await;
    let native = world.native(&keys);
    let path = format!("/users/{}/password", eve.0);
    native
        .put(&path, &json!({"password": PASSWORD}))
        .await
        .expect(204);
    let browser = Browser::open(&world, "eve", PASSWORD).await;
    let without = native
        .put(&path, &json!({"password": NEXT}))
        .await
        .expect(400);
    assert_eq!(without.json()["errors"][0]["pointer"], "/current");
    let wrong = json!({"password": NEXT, "current": "wrong wrong wrong"});
    let refused = browser.call("PUT", &path, Some(&wrong)).await.expect(400);
    assert_eq!(refused.json()["errors"][0]["pointer"], "/current");
    let right = json!({"password": NEXT, "current": PASSWORD});
    browser.call("PUT", &path, Some(&right)).await.expect(204);
    browser.get("/sessions").await.expect(401);
    let order = |password: &str| json!({"name": "eve", "password": password});
    try_sign_in(&world, &order(PASSWORD)).await.expect(401);
    try_sign_in(&world, &order(NEXT)).await.expect(201);
    let rows = recorded(&world, &format!("{eve}")).await;
    let events: Vec<_> = rows.iter().map(|(event, _)| event.as_str()).collect();
    let meant = [
        "session.refused",
        "user.password_set",
        "session.refused",
        "user.password_set",
    ];
    assert_eq!(events, meant);
    assert_eq!(rows[1].1["sessions_ended"], 1);
    assert_eq!(rows[2].1["reason"], "current_password");
    assert!(
        rows.iter()
            .all(|(_, details)| !details.to_string().contains("Canary"))
    );
}

#[tokio::test]
async fn nobody_sets_the_password_of_somebody_who_may_do_more() {
    let world = World::new().await;
    let (root, root_keys) = world.administrator().await;
    let granted = [Permission::UsersWrite, Permission::AccountsRead];
    let (_, keys) = world.user("ida", &granted).await;
    let ida = world.native(&keys);
    let (less, less_keys) = world.user("les", &[Permission::AccountsRead]).await;
    let (more, _) = world.user("mor", &[Permission::CredentialsReveal]).await;
    let order = json!({"password": PASSWORD});
    let path = |user: i64| format!("/users/{user}/password");
    for user in [root.0, more.0] {
        ida.put(&path(user), &order).await.expect(403);
    }
    ida.put(&path(4711), &order).await.expect(404);
    let les = world.native(&less_keys);
    for user in [root.0, 4711] {
        les.put(&path(user), &order).await.expect(403);
    }
    ida.put(&path(less.0), &order).await.expect(204);
    let browser = Browser::open(&world, "les", PASSWORD).await;
    ida.put(&path(less.0), &json!({"password": NEXT}))
        .await
        .expect(204);
    browser.get("/sessions").await.expect(401);
    world
        .native(&root_keys)
        .put(&path(more.0), &order)
        .await
        .expect(204);
    Browser::open(&world, "mor", PASSWORD).await;
}

#[tokio::test]
async fn a_password_is_long_enough_and_no_name() {
    let world = World::new().await;
    let (eve, keys) = world.user("eve.of.the.morning", &[]).await;
    let native = world.native(&keys);
    let path = format!("/users/{}/password", eve.0);
    for password in [
        "eleven char",
        "Eve.of.the.MORNING",
        "tab\tin a password",
        &"x".repeat(1_001),
    ] {
        let refused = native
            .put(&path, &json!({"password": password}))
            .await
            .expect(400);
        assert_eq!(refused.json()["errors"][0]["pointer"], "/password");
        assert!(!refused.body.contains("eleven"));
    }
    native
        .put(&path, &json!({"password": "x".repeat(1_000)}))
        .await
        .expect(204);
    let order = json!({"name": "eve.of.the.morning", "password": "x".repeat(1_000)});
    try_sign_in(&world, &order).await.expect(201);
}

#[tokio::test]
async fn sessions_of_keys_that_demand_it_end_with_the_password() {
    let world = World::new().await;
    let (eve, keys) = world.user("eve", &[]).await;
    set_password(&world, eve, PASSWORD).await;
    let native = world.native(&keys);
    let order = json!({"kind": "passwordsafe", "name": "script", "password_required": true});
    let made = native.post("/keys", &order).await.expect(201).json();
    let header = format!(
        "PS-Auth key={};pwd=[{PASSWORD}]",
        made["key"].as_str().unwrap()
    );
    sign_in(&world.nobody(), &header).await.expect(200);
    let without = world.session(&keys).await;
    let count = async || world.number("SELECT COUNT(*) FROM sessions").await;
    assert_eq!(count().await, 2);
    let path = format!("/users/{}/password", eve.0);
    let order = json!({"password": NEXT, "current": PASSWORD});
    native.put(&path, &order).await.expect(204);
    assert_eq!(count().await, 1);
    without.get("/Workgroups").await.expect(200);
    sign_in(&world.nobody(), &header).await.expect(401);
}
