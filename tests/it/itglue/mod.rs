//! The IT Glue dialect, asked through the router.
//!
//! Invariant: every test has its own database and moves its own clock.

mod description;
mod export;
mod folder;
mod linked;
mod list;
mod organization;
mod password;
mod transport;
mod write;

use keywheel::model::id::OrganizationId;
use keywheel::model::key::{Addresses, KeyHash, KeyKind, NewKey, Reach};
use serde_json::{Value, json};

use crate::api::world::{Answer, Client, NOON, World, text};

/// A service and its administrator's key of the dialect, with password access to everything.
async fn service() -> (World, Client) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let client = world.itglue(&keys);
    (world, client)
}

/// The same, and the administrator's native client.
async fn staff() -> (World, Client, Client) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let (client, native) = (world.itglue(&keys), world.native(&keys));
    (world, client, native)
}

/// The first error of an answer: status, title and pointer.
#[track_caller]
fn refused(answer: Answer, status: u16, title: &str) -> Value {
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert_eq!(kind, "application/vnd.api+json", "{answer:?}");
    let body = answer.expect(status).json();
    let first = body["errors"][0].clone();
    assert_eq!(first["status"], status, "{body}");
    assert_eq!(first["title"], title, "{body}");
    assert!(first["detail"].is_string(), "{body}");
    let message = matches!(status, 401 | 403).then_some(title);
    assert_eq!(body.get("message").and_then(Value::as_str), message);
    first["source"]["pointer"].clone()
}

/// An organization of this name; its id.
async fn organization(client: &Client, name: &str) -> i64 {
    let body = json!({"data": {"type": "organizations", "attributes": {"name": name}}});
    let made = client.post("/organizations", &body).await.expect(201);
    id(&made.json()["data"])
}

/// The id of a resource: a text on the wire.
#[track_caller]
fn id(resource: &Value) -> i64 {
    resource["id"].as_str().unwrap().parse().unwrap()
}

/// The ids of a list.
#[track_caller]
fn ids(answer: Answer) -> Vec<i64> {
    let body = answer.expect(200).json();
    body["data"].as_array().unwrap().iter().map(id).collect()
}

/// `{"data": {"type": …, "attributes": …}}`.
fn document(kind: &str, attributes: &Value) -> Value {
    json!({"data": {"type": kind, "attributes": attributes}})
}

/// A record in an organization; its id.
async fn password(client: &Client, organization: i64, attributes: &Value) -> i64 {
    let path = format!("/organizations/{organization}/relationships/passwords");
    let body = document("passwords", attributes);
    let made = client.post(&path, &body).await.expect(201);
    id(&made.json()["data"])
}

async fn patch(client: &Client, path: &str, body: &Value) -> Answer {
    client.call("PATCH", path, Some(body), &[]).await
}

async fn delete(client: &Client, path: &str, body: Option<&Value>) -> Answer {
    client.call("DELETE", path, body, &[]).await
}

/// A key of this user with such a reach, as a client.
async fn reaching(
    world: &World,
    user: keywheel::model::id::UserId,
    (password_access, organizations): (bool, &[i64]),
) -> Client {
    let key = keywheel::generate::itglue_key(&*world.api.dice);
    let new = NewKey {
        kind: KeyKind::ItGlue,
        user_id: user,
        name: "reaching".into(),
        hash: KeyHash::of(&key),
        prefix: KeyHash::prefix(&key),
        addresses: Addresses::default(),
        expires_at: None,
        password_required: false,
        reach: Reach {
            password_access,
            organizations: organizations.iter().copied().map(OrganizationId).collect(),
        },
    };
    let mut tx = world.store.begin().await.unwrap();
    tx.insert_key(&new, NOON).await.unwrap();
    tx.commit().await.unwrap();
    let name = axum::http::HeaderName::from_static("x-api-key");
    Client {
        header: Some((name, text(&key).to_owned())),
        ..world.nobody().below("/itglue")
    }
}
