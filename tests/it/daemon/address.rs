//! Where callers come from, as the real listener tells it.

use serde_json::json;

use crate::support::client::Client;
use crate::support::daemon::Home;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_from_its_own_address_alone() {
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let order = json!({"kind": "native", "name": "there", "addresses": ["127.0.0.9"]});
    let made = client.order("/api/v1/keys", &order).await.expect(201);
    let made = made.json();
    let own = client.with_key(made["key"].as_str().unwrap());
    own.native("/api/v1/keys").await.expect(401);
    let there = own.from("127.0.0.9");
    there.native("/api/v1/keys").await.expect(200);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_guesses_is_told_to_wait_and_its_neighbour_is_not() {
    let home = Home::new();
    let settings = [
        ("KEYWHEEL_AUTH__FAILURES_BY_ADDRESS", "4"),
        ("KEYWHEEL_AUTH__FAILURES_WINDOW_S", "3600"),
    ];
    let daemon = home.serve_with(&settings);
    let client = Client::new(&daemon.url, &home.keys().0);
    for _ in 0..4 {
        client.sign_in(&"x".repeat(128)).await.expect(401);
    }
    client.sign_in(&home.keys().1).await.expect(429);
    client.native("/api/v1/keys").await.expect(429);
    let neighbour = client.from("127.0.0.9");
    neighbour.sign_in(&home.keys().1).await.expect(200);
    neighbour.native("/api/v1/keys").await.expect(200);
    assert_eq!(daemon.stop(), 0);
}
