//! Keys, errors, paths, pages and budgets: what every route of the dialect shares.

use std::time::Duration;

use axum::http::header;
use keywheel::api::Settings;
use keywheel::model::key::ApiKey;
use keywheel::model::principal::Permission;
use keywheel::scheduler::Tick;
use serde_json::{Value, json};

use super::{refused, service, staff};
use crate::api::world::{Client, World, text};

const TYPES: &str = "/organization_types";

/// The same caller with this value in this header alone.
fn with(client: &Client, name: &'static str, value: &str) -> Client {
    Client {
        header: Some((header::HeaderName::from_static(name), value.to_owned())),
        ..client.clone()
    }
}

#[tokio::test]
async fn a_key_comes_in_its_own_header_or_as_a_bearer() {
    let (world, client) = service().await;
    let listed = client.get(TYPES).await.expect(200);
    assert_eq!(
        listed.header(header::CONTENT_TYPE),
        "application/vnd.api+json"
    );
    let key = client.header.clone().unwrap().1;
    assert!(key.starts_with("ITG.") && key.len() == 64);
    let bearer = with(&client, "authorization", &format!("Bearer {key}"));
    bearer.get(TYPES).await.expect(200);
    // A key of another interface is none here, and this one is none there.
    let (_, keys) = world.user("ada", &[Permission::PasswordsRead]).await;
    for other in [text(&keys.native), text(&keys.password_safe), "", "ITG.x"] {
        let answer = with(&client, "x-api-key", other).get(TYPES).await;
        assert_eq!(refused(answer, 401, "Invalid API key"), Value::Null);
    }
    refused(
        world.nobody().below("/itglue").get(TYPES).await,
        401,
        "Invalid API key",
    );
    bearer.below("").get("/api/v1/keys").await.expect(401);
}

#[tokio::test]
async fn a_revoked_key_and_one_from_elsewhere_are_no_keys() {
    let (_world, client, admin) = staff().await;
    let order = json!({"kind": "itglue", "name": "docs", "addresses": ["192.0.2.0/24"]});
    let made = admin.post("/keys", &order).await.expect(201).json();
    let (id, key) = (&made["id"], made["key"].as_str().unwrap());
    let own = with(&client, "x-api-key", key);
    refused(own.get(TYPES).await, 401, "Invalid API key");
    own.from("192.0.2.9").get(TYPES).await.expect(200);
    admin
        .call("POST", &format!("/keys/{id}/revoke"), None, &[])
        .await
        .expect(204);
    refused(
        own.from("192.0.2.9").get(TYPES).await,
        401,
        "Invalid API key",
    );
}

#[tokio::test]
async fn what_a_key_reaches_is_chosen_when_it_is_made_and_edited_after() {
    let (world, _, admin) = staff().await;
    let order = json!({"kind": "itglue", "name": "docs"});
    let made = admin.post("/keys", &order).await.expect(201).json();
    assert_eq!(made["password_access"], false, "unless it is asked for");
    assert_eq!(made["organizations"], json!([]));
    let order = json!({
        "kind": "itglue", "name": "docs", "password_access": true, "organizations": [9, 2],
    });
    let made = admin.post("/keys", &order).await.expect(201).json();
    assert_eq!(made["organizations"], json!([2, 9]));
    let path = format!("/keys/{}", made["id"]);
    let edit = json!({"password_access": false, "organizations": [3]});
    let answer = admin
        .call("PATCH", &path, Some(&edit), &[("If-Match", "*")])
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&answer["password_access"], &answer["organizations"]),
        (&json!(false), &json!([3]))
    );
    assert_eq!(admin.get(&path).await.expect(200).json(), answer);
    let rows = world
        .store
        .audit_of(&format!("key {}", made["id"]), 9)
        .await;
    let rows = rows.unwrap();
    let told: Vec<_> = rows.iter().map(|row| row.body.as_str()).collect();
    assert!(
        told.iter()
            .any(|one| one.contains("\"organizations\":\"2,9\"")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|one| one.contains("\"organizations\":\"3\"")),
        "{told:?}"
    );
    let rotated = admin
        .post(&format!("{path}/rotate"), &json!({}))
        .await
        .expect(201)
        .json();
    assert_eq!(rotated["organizations"], json!([3]), "its successor, too");
}

#[tokio::test]
async fn reach_is_refused_of_keys_of_other_kinds() {
    let (_world, _, admin) = staff().await;
    for (field, value) in [
        ("password_access", json!(true)),
        ("organizations", json!([1])),
    ] {
        for kind in ["native", "passwordsafe", "oauth"] {
            let order = json!({"kind": kind, "name": "x", field: value});
            let answer = admin.post("/keys", &order).await.expect(400).json();
            assert_eq!(answer["errors"][0]["pointer"], format!("/{field}"));
        }
    }
    let order = json!({"kind": "itglue", "name": "x", "organizations": [0]});
    admin.post("/keys", &order).await.expect(400);
    let order = json!({"kind": "itglue", "name": "x", "password_required": true});
    admin.post("/keys", &order).await.expect(400);
}

#[tokio::test]
async fn every_spelling_of_a_path_leads_to_the_same() {
    let (_world, client) = service().await;
    let want = client.get(TYPES).await.expect(200).json()["data"].clone();
    assert_eq!(want[0]["type"], "organization-types");
    assert_eq!(want[0]["id"], "1");
    for path in [
        "/organization-types",
        "/organization_types/",
        "/organization-types/",
    ] {
        let found = client.get(path).await.expect(200).json();
        assert_eq!(found["data"], want, "{path}");
    }
    client.get("/organization-statuses/1").await.expect(200);
    let what = "Organization status not found";
    for path in ["/organization_statuses/77", "/organization_statuses/x"] {
        refused(client.get(path).await, 404, what);
    }
}

#[tokio::test]
async fn unknown_routes_answer_as_all_others() {
    let (world, client) = service().await;
    for path in [
        "",
        "/",
        "/nothing",
        "/organizations/1/relationships/flexible-assets",
    ] {
        refused(client.get(path).await, 404, "Resource not found");
    }
    let nobody = world.nobody().below("/itglue");
    refused(nobody.get("/nothing").await, 401, "Invalid API key");
    let answer = client.call("DELETE", TYPES, None, &[]).await;
    refused(answer, 405, "Method Not Allowed");
}

#[tokio::test]
async fn whoever_lacks_the_permission_is_denied() {
    let (world, _) = service().await;
    let (_, keys) = world.user("eve", &[]).await;
    refused(world.itglue(&keys).get(TYPES).await, 403, "Access denied");
}

#[tokio::test]
async fn a_list_comes_by_pages_with_links_that_lead_on() {
    let (_world, client) = service().await;
    let host = [("host", "vault.example:7420")];
    let path = "/organization-types?&sort=-name&page%5Bsize%5D=2&filter[colour]=red";
    let first = client
        .call("GET", path, None, &host)
        .await
        .expect(200)
        .json();
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    assert_eq!(first["data"][0]["attributes"]["name"], "Vendor");
    assert_eq!(first["data"][0]["relationships"], json!({}));
    assert_eq!(first["meta"]["total-count"], 5);
    assert_eq!(first["meta"]["total-pages"], 3);
    let base = "http://vault.example:7420/itglue";
    let mut next = first["links"]["next"].as_str().unwrap().to_owned();
    let mut pages = 1;
    let last = loop {
        let path = next.strip_prefix(base).unwrap().to_owned();
        let page = client
            .call("GET", &path, None, &host)
            .await
            .expect(200)
            .json();
        pages += 1;
        match page["links"]["next"].as_str() {
            Some(on) => next = on.to_owned(),
            None => break page,
        }
    };
    assert_eq!((pages, &last["meta"]["next-page"]), (3, &Value::Null));
    assert_eq!(last["data"][0]["attributes"]["name"], "Customer");
    let named = client
        .get("/organization_types?filter[name]=vendor,PARTNER")
        .await;
    assert_eq!(named.expect(200).json()["meta"]["total-count"], 2);
    let bad = client.get("/organization_types?filter[id]=x").await;
    refused(bad, 400, "Bad Request");
}

#[tokio::test]
async fn a_key_has_so_many_calls_in_five_minutes() {
    let settings = Settings {
        itglue_per_5_minutes: 3,
        requests_per_minute: 1,
        ..Settings::default()
    };
    let world = World::with(settings).await;
    let (_, keys) = world.administrator().await;
    let client = world.itglue(&keys);
    for _ in 0..3 {
        client.get(TYPES).await.expect(200);
    }
    let answer = client.get(TYPES).await;
    let wait: u64 = answer.header(header::RETRY_AFTER).parse().unwrap();
    assert!((60..=600).contains(&wait), "{wait}");
    refused(answer, 429, "Too Many Requests");
    world.clock.advance(Duration::from_secs(wait));
    client.get(TYPES).await.expect(200);
}

#[tokio::test]
async fn a_key_that_lies_idle_is_revoked_on_record() {
    let (world, client) = service().await;
    let (_, keys) = world.user("ada", &[Permission::PasswordsRead]).await;
    let ada = world.itglue(&keys);
    client.get(TYPES).await.expect(200);
    world
        .clock
        .advance(ApiKey::IDLE_MAX.saturating_sub(Duration::from_mins(1)));
    world.tick(Tick::SessionReaper).await;
    ada.get(TYPES).await.expect(200);
    world.clock.advance(Duration::from_mins(2));
    world.tick(Tick::SessionReaper).await;
    refused(client.get(TYPES).await, 401, "Invalid API key");
    ada.get(TYPES).await.expect(200);
    let events = world.number("SELECT COUNT(*) FROM audit WHERE event = 'key.revoked'");
    assert_eq!(events.await, 1);
}
