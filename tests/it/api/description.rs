//! The interfaces' descriptions: committed, complete, and shown without anything from elsewhere.

use std::collections::BTreeSet;

use axum::http::header;
use keywheel::api::{Dialect, declared, itglue, native, passwordsafe};
use serde_json::Value;

use super::world::World;
use crate::support::program::root;

/// Set to rewrite the committed file.
pub(super) const REWRITE: &str = "KEYWHEEL_REWRITE";

/// Every description: file, interface, and what the program says.
fn descriptions() -> [(&'static str, Dialect, Value); 3] {
    let native = serde_json::to_value(native::description()).unwrap();
    [
        ("docs/openapi.json", Dialect::Native, native),
        (
            "docs/openapi-passwordsafe.json",
            Dialect::PasswordSafe,
            passwordsafe::description(),
        ),
        (
            "docs/openapi-itglue.json",
            Dialect::ItGlue,
            itglue::description(),
        ),
    ]
}

#[test]
fn the_committed_descriptions_are_the_programs() {
    let native = native::description().to_pretty_json().unwrap();
    let pretty = |description: &Value| serde_json::to_string_pretty(description).unwrap();
    for (file, mut said) in [
        ("docs/openapi.json", native),
        (
            "docs/openapi-passwordsafe.json",
            pretty(&passwordsafe::description()),
        ),
        ("docs/openapi-itglue.json", pretty(&itglue::description())),
    ] {
        said.push('\n');
        let path = root().join(file);
        #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
        if std::env::var_os(REWRITE).is_some() {
            std::fs::write(&path, &said).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == said,
            "{file} has drifted; look at the difference, then run this test with {REWRITE}=1"
        );
    }
}

#[test]
fn every_route_is_described_and_nothing_else() {
    for (file, dialect, description) in descriptions() {
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
            .filter(|route| route.dialect == dialect);
        let routes: BTreeSet<_> = routes
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        assert_eq!(described, routes, "{file}");
    }
}

/// A description that is put together by name could name what it does not hold.
#[test]
fn every_reference_of_a_description_leads_somewhere() {
    for (file, _, description) in descriptions() {
        let mut open = vec![&description];
        let mut found = 0;
        while let Some(value) = open.pop() {
            if let Some(target) = value.get("$ref").and_then(Value::as_str) {
                let pointer = target.strip_prefix('#').unwrap();
                assert!(description.pointer(pointer).is_some(), "{file}: {target}");
                found += 1;
            }
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(fields) => open.extend(fields.values()),
                _ => {}
            }
        }
        assert!(found > 50, "{file}");
    }
}

#[tokio::test]
async fn the_descriptions_and_their_page_are_served_with_a_policy_of_their_own() {
    let world = World::new().await;
    let client = world.nobody();
    let json = client.get("/openapi.json").await.expect(200).json();
    assert_eq!(json["info"]["title"], "Keywheel");
    for (path, description) in [
        ("/openapi-passwordsafe.json", passwordsafe::description()),
        ("/openapi-itglue.json", itglue::description()),
    ] {
        let json = client.get(path).await.expect(200).json();
        assert_eq!(json, description, "{path}");
    }
    client.get("/docs/api").await.expect(303);
    let page = client.get("/docs/api/").await.expect(200);
    assert!(
        page.header(header::CONTENT_SECURITY_POLICY)
            .contains("script-src 'self'")
    );
    assert!(!page.body.contains("https://"), "{}", page.body);
}
