//! Every route × nobody, and × a user without permissions.

use keywheel::api::route::Need;
use keywheel::api::{Dialect, declared};
use serde_json::json;

use super::world::{PS, World};

/// A path that fits a template: every segment an id of nothing.
fn filled(template: &str) -> String {
    let segments = template
        .split('/')
        .map(|segment| match segment.strip_prefix('{') {
            Some(_) => "77",
            None => segment,
        });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn no_route_but_the_open_ones_answers_nobody() {
    let world = World::new().await;
    let mut open = Vec::new();
    for route in declared() {
        if route.need == Need::Open {
            open.push(route.path);
            continue;
        }
        let base = if route.dialect == Dialect::PasswordSafe {
            PS
        } else {
            ""
        };
        let client = world.nobody().below(base);
        let answer = client
            .call(route.method, &filled(route.path), None, &[])
            .await;
        assert_eq!(answer.status, 401, "{route:?} {answer:?}");
    }
    let expected = [
        "/auth/connect/token",
        "/auth/signappin",
        "/auth/signout",
        "/healthz",
        "/metrics",
        "/readyz",
    ];
    open.sort_unstable();
    assert_eq!(open, expected);
}

#[tokio::test]
async fn a_user_without_permissions_is_refused_before_anything_is_looked_up() {
    let world = World::new().await;
    let (_, keys) = world.user("eve", &[]).await;
    let session = world.session(&keys).await;
    let native = world.native(&keys).below("");
    let mut checked = 0;
    for route in declared() {
        if matches!(route.need, Need::Open | Need::SignedIn) {
            continue;
        }
        checked += 1;
        let path = filled(route.path);
        match route.dialect {
            Dialect::PasswordSafe => {
                let answer = session.call(route.method, &path, None, &[]).await;
                assert_eq!(answer.status, 403, "{route:?} {answer:?}");
                assert_eq!(answer.json(), json!(4031));
            }
            Dialect::Native => {
                let answer = native.call(route.method, &path, None, &[]).await;
                assert_eq!(answer.status, 403, "{route:?} {answer:?}");
                assert_eq!(answer.json()["code"], "forbidden");
            }
        }
    }
    assert!(checked > 20, "only {checked} routes need a permission");
}
