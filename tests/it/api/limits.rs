//! How often anybody may fail to sign in, and how much a key may ask for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use keywheel::api::{Rate, Settings};
use keywheel::model::key::Addresses;
use keywheel::model::principal::Permission;
use serde_json::json;

use super::world::{Answer, Client, PS, World, sign_in, text};

const WINDOW: Duration = Duration::from_mins(5);

/// A service that takes three failures by name and six from an address.
async fn strict() -> World {
    let rate = |most| Rate {
        most,
        window: WINDOW,
    };
    World::with(Settings {
        failures_by_name: rate(3),
        failures_by_address: rate(6),
        ..Settings::default()
    })
    .await
}

/// The answer says to wait, and for how many seconds.
#[track_caller]
fn waits(answer: Answer) -> u64 {
    let answer = answer.expect(429);
    let seconds = answer.header(header::RETRY_AFTER).parse().unwrap();
    assert!((1..=600).contains(&seconds), "{seconds}");
    seconds
}

/// A key that nobody has, unlike any other such key.
fn guess() -> String {
    static GUESSES: AtomicU32 = AtomicU32::new(0);
    format!("{:0128}", GUESSES.fetch_add(1, Ordering::Relaxed))
        .chars()
        .rev()
        .collect()
}

async fn wrong(client: &Client, name: &str) -> Answer {
    sign_in(client, &format!("PS-Auth key={}; runas={name};", guess())).await
}

async fn ask(client: &Client, id: &str, secret: &str) -> Answer {
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let request = Request::post(format!("{PS}/Auth/connect/token"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    client.send(request).await
}

#[tokio::test]
async fn guessing_a_users_key_ends_in_a_wait_that_is_enough() {
    let world = strict().await;
    let (_, keys) = world.administrator().await;
    let right = format!("PS-Auth key={}; runas=Admin;", text(&keys.password_safe));
    let (one, two) = (
        world.nobody().from("192.0.2.1"),
        world.nobody().from("192.0.2.2"),
    );
    // Success forgives what came before.
    for _ in 0..4 {
        wrong(&one, "admin").await.expect(401);
        wrong(&two, "ADMIN").await.expect(401);
        sign_in(&two, &right).await.expect(200);
        world.clock.advance(WINDOW * 2);
    }
    for client in [&one, &two, &one] {
        wrong(client, "admin").await.expect(401);
    }
    let answer = sign_in(&two, &right).await;
    assert!(answer.body.starts_with('"'), "a JSON string: {answer:?}");
    let seconds = waits(answer);
    // The same key for which nobody guessed a name is as free as another user is.
    sign_in(&two, &keys.ps_auth()).await.expect(200);
    world.clock.advance(Duration::from_secs(seconds - 1));
    waits(sign_in(&two, &right).await);
    world.clock.advance(Duration::from_secs(1));
    sign_in(&two, &right).await.expect(200);
}

#[tokio::test]
async fn one_address_cannot_try_name_after_name() {
    let world = strict().await;
    let (_, keys) = world.administrator().await;
    let attacker = world.nobody().from("192.0.2.1");
    for nth in 0..3 {
        wrong(&attacker, &format!("user{nth}")).await.expect(401);
        ask(&attacker, &format!("client{nth}"), "x")
            .await
            .expect(401);
    }
    waits(wrong(&attacker, "user9").await);
    waits(ask(&attacker, "client9", "x").await);
    waits(sign_in(&attacker, "Bearer guess").await);
    let native = world.native(&keys);
    let answer = native.from("192.0.2.1").get("/keys").await;
    assert_eq!(answer.json()["code"], "rate_limited");
    waits(answer);
    // Others are not in its shadow.
    native.from("192.0.2.2").get("/keys").await.expect(200);
    let neighbour = world.nobody().from("192.0.2.2");
    sign_in(&neighbour, &keys.ps_auth()).await.expect(200);
    let found = world.nobody().get("/metrics").await.expect(200).body;
    for line in [
        "keywheel_auth_failures_total{method=\"passwordsafe\",reason=\"throttled\"} 1\n",
        "keywheel_auth_failures_total{method=\"oauth\",reason=\"throttled\"} 2\n",
        "keywheel_auth_failures_total{method=\"native\",reason=\"throttled\"} 1\n",
        "keywheel_rate_limited_total{budget=\"sign_ins\"} 4\n",
    ] {
        assert!(found.contains(line), "{line}{found}");
    }
    world.clock.advance(WINDOW * 2);
    wrong(&attacker, "user9").await.expect(401);
}

#[tokio::test]
async fn guessing_a_clients_secret_or_a_native_key_is_counted_too() {
    let world = strict().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let order = json!({"kind": "oauth", "name": "pipeline"});
    let made = admin.post("/keys", &order).await.expect(201).json();
    let field = |name: &str| made[name].as_str().unwrap().to_owned();
    let (id, secret) = (field("client_id"), field("client_secret"));
    for nth in 0..3 {
        let from = world.nobody().from(&format!("192.0.2.{nth}"));
        ask(&from, &id, "x").await.expect(401);
    }
    let answer = ask(&world.nobody().from("192.0.2.9"), &id, &secret).await;
    assert!(answer.body.starts_with('"'), "a JSON string: {answer:?}");
    waits(answer);

    let order = json!({"kind": "native", "name": "gone"});
    let made = admin.post("/keys", &order).await.expect(201).json();
    let revoke = format!("/keys/{}/revoke", made["id"]);
    admin.call("POST", &revoke, None, &[]).await.expect(204);
    let gone = Client {
        header: Some((
            header::AUTHORIZATION,
            format!("Bearer {}", made["key"].as_str().unwrap()),
        )),
        ..admin.clone()
    };
    for _ in 0..3 {
        gone.get("/keys").await.expect(401);
    }
    waits(gone.get("/keys").await);
    admin.get("/keys").await.expect(200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_caller_is_counted_alone() {
    let mut world = strict().await;
    world.api.settings.trusted_proxies = Addresses::parse("10.0.0.1").unwrap();
    let (_, keys) = world.administrator().await;
    let call = async |proxy: &str, forwarded: &str, authorization: &str| {
        let request = Request::post(format!("{PS}/Auth/SignAppin"))
            .header(header::AUTHORIZATION, authorization)
            .header("X-Forwarded-For", forwarded)
            .body(Body::empty())
            .unwrap();
        world.nobody().from(proxy).send(request).await
    };
    for nth in 0..6 {
        let guess = format!("PS-Auth key={};", guess());
        let claimed = format!("203.0.113.{nth}, 198.51.100.7");
        call("10.0.0.1", &claimed, &guess).await.expect(401);
    }
    waits(call("10.0.0.1", "198.51.100.7", &keys.ps_auth()).await);
    let other = call("10.0.0.1", "198.51.100.8", &keys.ps_auth()).await;
    other.expect(200);
    // Who is no trusted proxy cannot borrow a good name.
    for nth in 0..6 {
        let forwarded = format!("203.0.113.{nth}");
        let guess = format!("PS-Auth key={};", guess());
        call("10.0.0.2", &forwarded, &guess).await.expect(401);
    }
    waits(call("10.0.0.2", "203.0.113.99", &keys.ps_auth()).await);
}

#[tokio::test]
async fn a_key_has_so_many_calls_a_minute_and_others_have_theirs() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let (_, others) = world.user("ann", &[]).await;
    let native = world.native(&keys);
    for _ in 0..600 {
        native.get("/keys").await.expect(200);
    }
    let answer = native.get("/keys").await;
    assert_eq!(answer.json()["code"], "rate_limited");
    assert_eq!(
        answer.header(header::CONTENT_TYPE),
        "application/problem+json"
    );
    let seconds = waits(answer);
    world.native(&others).get("/keys").await.expect(200);
    // The dialect's key is another one; all sessions of it share.
    let (one, two) = (world.session(&keys).await, world.session(&keys).await);
    for _ in 0..300 {
        one.get("/Workgroups").await.expect(200);
        two.get("/Workgroups").await.expect(200);
    }
    let answer = one.get("/Workgroups").await;
    assert!(answer.json().is_string(), "{answer:?}");
    waits(answer);
    world.clock.advance(Duration::from_secs(seconds));
    native.get("/keys").await.expect(200);
    let found = world.nobody().get("/metrics").await.expect(200).body;
    let line = "keywheel_rate_limited_total{budget=\"requests\"} 2\n";
    assert!(found.contains(line), "{found}");
}

#[tokio::test]
async fn reveals_and_quarantines_have_budgets_of_their_own() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let session = world.session(&keys).await;
    let target = world.target(&session).await;
    let native = world.native(&keys);
    let reveal = format!("/accounts/{}/reveal", target.root);
    let why = json!({"reason": "a test"});
    for _ in 0..60 {
        native.post(&reveal, &why).await.expect(200);
    }
    waits(native.post(&reveal, &why).await);
    let order = json!({"system_id": target.system, "reason": "a test", "dry_run": true});
    for _ in 0..6 {
        native.post("/quarantines", &order).await.expect(200);
    }
    waits(native.post("/quarantines", &order).await);
    let path = format!(
        "/ManagedSystems/{}/ManagedAccounts/Credentials/Change",
        target.system
    );
    for _ in 0..6 {
        session.post(&path, &json!({})).await.expect(204);
    }
    waits(session.post(&path, &json!({})).await);
    // Reading goes on, and whoever may not is told that, not to wait.
    native.get("/quarantines").await.expect(200);
    let (_, ann) = world.user("ann", &[Permission::JobsRead]).await;
    let ann = world.native(&ann);
    for _ in 0..8 {
        ann.post("/quarantines", &order).await.expect(403);
    }
    let found = world.nobody().get("/metrics").await.expect(200).body;
    for line in [
        "keywheel_rate_limited_total{budget=\"reveals\"} 1\n",
        "keywheel_rate_limited_total{budget=\"quarantines\"} 2\n",
    ] {
        assert!(found.contains(line), "{line}{found}");
    }
}
