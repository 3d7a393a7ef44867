//! The API's description: committed, complete, and shown without anything from elsewhere.

use std::collections::BTreeSet;

use axum::http::header;
use keywheel::api::{Dialect, declared, native};

use super::world::World;
use crate::support::program::root;

/// Set to rewrite the committed file.
pub(super) const REWRITE: &str = "KEYWHEEL_REWRITE";

#[test]
fn the_committed_description_is_the_programs() {
    let mut said = native::description().to_pretty_json().unwrap();
    said.push('\n');
    let path = root().join("docs/openapi.json");
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&path, &said).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == said,
        "docs/openapi.json has drifted; look at the difference, then run this test with {REWRITE}=1"
    );
}

#[test]
fn every_native_route_is_described_and_nothing_else() {
    let description = serde_json::to_value(native::description()).unwrap();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            if item.get(method).is_some() {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    let routes = declared()
        .into_iter()
        .filter(|route| route.dialect == Dialect::Native);
    let routes: BTreeSet<_> = routes
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(described, routes);
}

#[tokio::test]
async fn the_description_and_its_page_are_served_with_a_policy_of_their_own() {
    let world = World::new().await;
    let client = world.nobody();
    let json = client.get("/openapi.json").await.expect(200).json();
    assert_eq!(json["info"]["title"], "Keywheel");
    client.get("/docs/api").await.expect(303);
    let page = client.get("/docs/api/").await.expect(200);
    assert!(
        page.header(header::CONTENT_SECURITY_POLICY)
            .contains("script-src 'self'")
    );
    assert!(!page.body.contains("https://"), "{}", page.body);
}
