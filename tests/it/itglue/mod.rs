//! The IT Glue dialect, asked through the router.
//!
//! Invariant: every test has its own database and moves its own clock.

mod transport;

use serde_json::Value;

use crate::api::world::{Answer, Client, World};

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
