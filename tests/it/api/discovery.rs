//! Discoveries through the native API, on the target in memory.

use keywheel::model::id::SystemId;
use keywheel::model::principal::Permission;
use keywheel_connectors::fake::OnOpen;
use serde_json::{Value, json};

use super::world::{Client, HOST, World};

async fn orders(world: &World) -> (Client, i64) {
    let (_, keys) = world.administrator().await;
    let target = world.target(&world.session(&keys).await).await;
    (world.native(&keys), target.system)
}

fn names(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().unwrap();
    let names = items.iter().map(|item| item["name"].as_str().unwrap());
    names.collect()
}

#[tokio::test]
async fn an_order_lists_and_what_is_managed_is_told() {
    let world = World::new().await;
    let (admin, system) = orders(&world).await;
    world.targets.system(HOST).add("new", "its own");
    let path = format!("/systems/{system}/discoveries");
    let ordered = admin.post(&path, &json!({})).await.expect(202);
    let location = ordered.header(axum::http::header::LOCATION).to_owned();
    let first = ordered.json();
    assert_eq!(first["state"], "queued");
    assert_eq!(first["query"]["uid_max"], 59_999);
    assert_eq!(location, format!("/api/v1/discoveries/{}", first["id"]));
    // The same again is the same.
    let again = admin
        .post(&path, &json!({"with_root": true}))
        .await
        .expect(202);
    assert_eq!(again.json()["id"], first["id"]);
    admin.post(&path, &json!({"uid_min": 5})).await.expect(409);
    assert_eq!(world.discoverer.run_until_idle().await.unwrap(), 1);
    let done = admin
        .below("")
        .get(&format!("{location}?wait=1"))
        .await
        .expect(200);
    let done = done.json();
    assert_eq!(
        (&done["state"], &done["found"]),
        (&json!("succeeded"), &json!(4))
    );
    assert_eq!(done["actor"], "admin");
    assert!(done["why"].is_null() && done["class"].is_null());
    let listed = admin.get(&path).await.expect(200).json();
    assert_eq!(listed["items"][0]["id"], first["id"]);

    let found = |filter: &str| {
        let path = format!("/systems/{system}/discovered?{filter}");
        let admin = admin.clone();
        async move { admin.get(&path).await.expect(200).json() }
    };
    assert_eq!(names(&found("").await), ["ann", "changer", "new", "root"]);
    assert_eq!(names(&found("managed=true").await), ["ann", "root"]);
    assert_eq!(names(&found("managed=false").await), ["changer", "new"]);
    assert!(names(&found("lock=locked").await).is_empty());
    assert_eq!(
        names(&found("shell=/bin/fake&importable=true").await).len(),
        4
    );
    let page = found("limit=3").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(
        names(&found(&format!("limit=3&cursor={cursor}")).await),
        ["root"]
    );
    let path = format!("/systems/{system}/discovered?lock=ajar");
    admin.get(&path).await.expect(400);
    let trail = world
        .store
        .audit_of(&SystemId(system).to_string(), 20)
        .await
        .unwrap();
    let events: Vec<_> = trail.iter().map(|row| row.event.as_str()).collect();
    assert!(events.contains(&"system.discovery_ordered"), "{events:?}");
    assert!(events.contains(&"system.discovered"), "{events:?}");
    // Reading was all.
    let counts = world.targets.system(HOST).counts();
    assert_eq!((counts.changes, counts.checks), (0, 0));
}

#[tokio::test]
async fn what_fails_says_why_and_keeps_the_list() {
    let world = World::new().await;
    let (admin, system) = orders(&world).await;
    let path = format!("/systems/{system}/discoveries");
    admin.post(&path, &json!({})).await.expect(202);
    world.discoverer.run_until_idle().await.unwrap();
    world.targets.system(HOST).next_open(OnOpen::Unreachable);
    let ordered = admin.post(&path, &json!({})).await.expect(202).json();
    world.discoverer.run_until_idle().await.unwrap();
    let failed = admin
        .get(&format!("/discoveries/{}", ordered["id"]))
        .await
        .expect(200);
    let failed = failed.json();
    assert_eq!(
        (&failed["state"], &failed["class"]),
        (&json!("failed"), &json!("unreachable"))
    );
    assert_eq!(failed["why"], "the fake target does not answer");
    let found = admin
        .get(&format!("/systems/{system}/discovered"))
        .await
        .expect(200);
    assert_eq!(names(&found.json()).len(), 3);
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused_by_field() {
    let world = World::new().await;
    let (admin, system) = orders(&world).await;
    let path = format!("/systems/{system}/discoveries");
    for (order, field) in [
        (json!({"uid_min": -1}), "/uid_min"),
        (json!({"uid_min": 9, "uid_max": 8}), "/uid_max"),
        (json!({"shells": ["sh"]}), "/shells"),
        (json!({"filter": "(uid=a)"}), "/filter"),
        (json!({"uids": 1}), "/uids"),
    ] {
        let refused = admin.post(&path, &order).await.expect(400);
        assert_eq!(refused.json()["errors"][0]["pointer"], field, "{refused:?}");
    }
    admin
        .post("/systems/77/discoveries", &json!({}))
        .await
        .expect(404);
    admin.get("/systems/77/discovered").await.expect(404);
    admin.get("/discoveries/77").await.expect(404);
    let (_, keys) = world.user("eve", &[Permission::SystemsWrite]).await;
    let eve = world.native(&keys);
    eve.post(&path, &json!({})).await.expect(403);
    let (_, keys) = world.user("bob", &[Permission::ImportsRun]).await;
    world
        .native(&keys)
        .post(&path, &json!({}))
        .await
        .expect(202);
}
