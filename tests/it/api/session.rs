//! `/api/v1/sessions`: signing in with a password, and what such a session is worth.

use std::time::Duration;

use axum::http::header;
use keywheel::api::{Rate, Settings};
use keywheel::model::key::KeyHash;
use keywheel::model::principal::Permission;
use keywheel::model::session::NewUserSession;
use keywheel::scheduler::Tick;
use secrecy::SecretString;
use serde_json::json;

use super::browser::{Browser, PASSWORD, events, recorded, set_password, try_sign_in};
use super::world::{NOON, World, sign_in};

#[tokio::test]
async fn a_user_signs_in_and_may_what_they_may() {
    let world = World::new().await;
    let (eve, _) = world.user("Eve", &[Permission::PoliciesRead]).await;
    set_password(&world, eve, PASSWORD).await;
    let order = json!({"name": "eVE", "password": PASSWORD});
    let answer = try_sign_in(&world, &order).await.expect(201);
    let cookie = answer.header(header::SET_COOKIE);
    let (value, attributes) = cookie.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict");
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    let cookie = value.split_once('=').unwrap().1;
    assert!(cookie.len() >= 43 && !answer.body.contains(cookie));
    let browser = Browser::of(&world, &answer);
    assert_eq!(browser.session["user_name"], "Eve");
    browser.get("/policies").await.expect(200);
    browser.get("/users").await.expect(403);
    browser.post("/policies", &json!({})).await.expect(403);
    let own = browser.get("/sessions").await.expect(200).json();
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
    assert_eq!(own["items"][0]["address"], "192.0.2.7");
    assert!(!own.to_string().contains(&browser.token));
    let id = format!("user session {}", browser.session["id"]);
    let rows = recorded(&world, &id).await;
    assert_eq!(rows[0].0, "session.opened");
    assert_eq!(rows[0].1["second_factor"], "none");
    // A session of the dialect it is not.
    let dialect = browser.client.below(super::world::PS);
    dialect.get("/Workgroups").await.expect(401);
}

#[tokio::test]
async fn under_tls_the_cookie_is_secure() {
    let world = World::with(Settings {
        tls: true,
        ..Settings::default()
    })
    .await;
    let (eve, _) = world.user("eve", &[]).await;
    set_password(&world, eve, PASSWORD).await;
    let order = json!({"name": "eve", "password": PASSWORD});
    let answer = try_sign_in(&world, &order).await.expect(201);
    assert!(answer.header(header::SET_COOKIE).ends_with("; Secure"));
}

#[tokio::test]
async fn whatever_is_wrong_the_answer_is_one_and_the_record_knows_why() {
    let world = World::new().await;
    let (eve, _) = world.user("eve", &[]).await;
    let (bob, _) = world.user("bob", &[]).await;
    let (dis, _) = world.user("dis", &[]).await;
    for user in [eve, dis] {
        set_password(&world, user, PASSWORD).await;
    }
    let mut tx = world.store.begin().await.unwrap();
    tx.set_user_disabled(dis, true).await.unwrap();
    tx.commit().await.unwrap();
    let mut bodies = Vec::new();
    for (name, password, subject, reason) in [
        ("eve", "Canary-wrong-1", format!("{eve}"), "password"),
        ("bob", PASSWORD, format!("{bob}"), "no_password"),
        ("dis", PASSWORD, format!("{dis}"), "disabled"),
        ("Canary-nobody", PASSWORD, "user".to_owned(), "unknown"),
    ] {
        let order = json!({"name": name, "password": password});
        let answer = try_sign_in(&world, &order).await.expect(401);
        assert_eq!(answer.header(header::SET_COOKIE), "");
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("trace_id");
        bodies.push(body);
        let (event, details) = recorded(&world, &subject).await.remove(0);
        assert_eq!(
            (event.as_str(), &details["reason"]),
            ("session.refused", &json!(reason))
        );
        assert_eq!(details["address"], "192.0.2.7");
        assert!(!details.to_string().contains("Canary"));
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!(bodies[0]["code"], "unauthorized");
    try_sign_in(&world, &json!({"name": "eve"}))
        .await
        .expect(400);
}

#[tokio::test]
async fn guessing_ends_in_429_by_name_and_by_address() {
    let by = Rate::per_minute;
    let world = World::with(Settings {
        failures_by_name: by(3),
        failures_by_address: by(5),
        ..Settings::default()
    })
    .await;
    let (eve, _) = world.user("eve", &[]).await;
    set_password(&world, eve, PASSWORD).await;
    let guess = async |name: &str, password: &str| {
        try_sign_in(&world, &json!({"name": name, "password": password})).await
    };
    for _ in 0..3 {
        guess("eve", "wrong").await.expect(401);
    }
    let answer = guess("EVE", PASSWORD).await.expect(429);
    assert_ne!(answer.header(header::RETRY_AFTER), "");
    for name in ["one", "two"] {
        guess(name, "wrong").await.expect(401);
    }
    guess("three", "wrong").await.expect(429);
    world.clock.advance(Duration::from_mins(3));
    guess("eve", PASSWORD).await.expect(201);
}

#[tokio::test]
async fn a_call_that_acts_carries_the_token_and_comes_from_this_site() {
    let world = World::new().await;
    let (eve, _) = world.user("eve", &[Permission::PoliciesWrite]).await;
    set_password(&world, eve, PASSWORD).await;
    let browser = Browser::open(&world, "eve", PASSWORD).await;
    let other = Browser::open(&world, "eve", PASSWORD).await;
    let path = "/policies/preview";
    let send = async |headers: &[(&str, &str)]| {
        let body = json!({});
        browser
            .client
            .call("POST", path, Some(&body), headers)
            .await
    };
    let good = send(&[("x-csrf-token", &browser.token)]).await;
    assert_ne!(good.status, 403, "{good:?}");
    for headers in [
        &[][..],
        &[("x-csrf-token", "")],
        &[("x-csrf-token", other.token.as_str())],
        &[
            ("x-csrf-token", browser.token.as_str()),
            ("sec-fetch-site", "cross-site"),
        ],
        &[
            ("x-csrf-token", browser.token.as_str()),
            ("sec-fetch-site", "same-site"),
        ],
    ] {
        let refused = send(headers).await.expect(403);
        assert_eq!(refused.json()["code"], "csrf_token", "{headers:?}");
    }
    let headers = [
        ("x-csrf-token", browser.token.as_str()),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_ne!(send(&headers).await.status, 403);
    let order = json!({"name": "eve", "password": PASSWORD});
    let nobody = world.nobody().below("/api/v1");
    let from_elsewhere = [("sec-fetch-site", "cross-site")];
    nobody
        .call("POST", "/sessions", Some(&order), &from_elsewhere)
        .await
        .expect(403);
}

#[tokio::test]
async fn a_session_slides_ends_when_idle_and_after_its_longest_time() {
    let world = World::new().await;
    let (eve, _) = world.user("eve", &[]).await;
    set_password(&world, eve, PASSWORD).await;
    let browser = Browser::open(&world, "eve", PASSWORD).await;
    let idle = Browser::open(&world, "eve", PASSWORD).await;
    for _ in 0..39 {
        world.clock.advance(Duration::from_mins(18));
        browser.get("/sessions").await.expect(200);
    }
    idle.get("/sessions").await.expect(401);
    // 11 h 42 min have passed; twelve hours are the end.
    world.clock.advance(Duration::from_mins(17));
    browser.get("/sessions").await.expect(200);
    world.clock.advance(Duration::from_mins(1));
    browser.get("/sessions").await.expect(401);
    world.tick(Tick::SessionReaper).await;
    for one in [&browser, &idle] {
        let id = format!("user session {}", one.session["id"]);
        assert_eq!(
            events(&world, &id).await,
            ["session.expired", "session.opened"]
        );
    }
    assert_eq!(world.number("SELECT COUNT(*) FROM user_sessions").await, 0);
}

#[tokio::test]
async fn sessions_are_ended_one_by_one_and_all_at_once() {
    let world = World::new().await;
    let (eve, eve_keys) = world.user("eve", &[]).await;
    let (_, keys) = world.user("ida", &[Permission::UsersWrite]).await;
    let ida = world.native(&keys);
    let (root, root_keys) = world.administrator().await;
    for user in [eve, root] {
        set_password(&world, user, PASSWORD).await;
    }
    let one = Browser::open(&world, "eve", PASSWORD).await;
    let two = Browser::open(&world, "eve", PASSWORD).await;
    let three = Browser::open(&world, "eve", PASSWORD).await;
    let admins = Browser::open(&world, "admin", PASSWORD).await;
    let path = |browser: &Browser| format!("/sessions/{}", browser.session["id"]);
    let ended = one.call("DELETE", &path(&one), None).await.expect(204);
    assert!(ended.header(header::SET_COOKIE).contains("Max-Age=0"));
    one.get("/sessions").await.expect(401);
    let ended = two.call("DELETE", &path(&three), None).await.expect(204);
    assert_eq!(ended.header(header::SET_COOKIE), "");
    three.get("/sessions").await.expect(401);
    for path in [path(&admins), "/sessions/4711".to_owned()] {
        two.call("DELETE", &path, None).await.expect(403);
    }
    two.get(&format!("/sessions?user_id={}", root.0))
        .await
        .expect(403);
    ida.get(&format!("/sessions?user_id={}", eve.0))
        .await
        .expect(200);
    ida.call("DELETE", &path(&admins), None, &[])
        .await
        .expect(403);
    ida.call("DELETE", "/sessions/4711", None, &[])
        .await
        .expect(404);
    let all = |user: i64| format!("/users/{user}/sessions");
    ida.call("DELETE", &all(root.0), None, &[])
        .await
        .expect(403);
    two.call("DELETE", &all(root.0), None).await.expect(403);
    let dialect = world.session(&eve_keys).await;
    ida.call("DELETE", &all(eve.0), None, &[]).await.expect(204);
    two.get("/sessions").await.expect(401);
    dialect.get("/Workgroups").await.expect(401);
    let (event, details) = recorded(&world, &format!("{eve}")).await.remove(0);
    assert_eq!(
        (event.as_str(), &details["sessions_ended"]),
        ("user.sessions_ended", &json!(2))
    );
    admins.get("/sessions").await.expect(200);
    world
        .native(&root_keys)
        .call("DELETE", &path(&admins), None, &[])
        .await
        .expect(204);
    admins.get("/sessions").await.expect(401);
}

#[tokio::test]
async fn the_fifty_first_sign_in_ends_the_oldest_session() {
    let world = World::new().await;
    let (eve, _) = world.user("eve", &[]).await;
    set_password(&world, eve, PASSWORD).await;
    let first = Browser::open(&world, "eve", PASSWORD).await;
    let mut tx = world.store.begin().await.unwrap();
    for nth in 0..49 {
        let new = NewUserSession {
            cookie: KeyHash::of(&SecretString::from(nth.to_string())),
            user_id: eve,
            address: String::new(),
        };
        tx.open_user_session(&new, NOON).await.unwrap();
    }
    tx.commit().await.unwrap();
    first.get("/sessions").await.expect(200);
    let last = Browser::open(&world, "eve", PASSWORD).await;
    first.get("/sessions").await.expect(401);
    last.get("/sessions").await.expect(200);
    assert_eq!(world.number("SELECT COUNT(*) FROM user_sessions").await, 50);
    let id = format!("user session {}", first.session["id"]);
    let rows = recorded(&world, &id).await;
    assert_eq!(rows[0].0, "session.ended");
    assert_eq!(rows[0].1["displaced_by"], last.session["id"]);
}

#[tokio::test]
async fn a_disabled_user_and_a_revived_one_have_no_session() {
    let world = World::new().await;
    let (eve, _) = world.user("eve", &[]).await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    set_password(&world, eve, PASSWORD).await;
    let browser = Browser::open(&world, "eve", PASSWORD).await;
    for what in ["disable", "enable"] {
        let path = format!("/users/{}/{what}", eve.0);
        admin.call("POST", &path, None, &[]).await.expect(200);
        browser.get("/sessions").await.expect(401);
    }
    Browser::open(&world, "eve", PASSWORD).await;
}

#[tokio::test]
async fn a_secret_leaves_only_for_a_young_sign_in_with_a_reason() {
    let world = World::new().await;
    let (root, keys) = world.administrator().await;
    let target = world.target(&world.session(&keys).await).await;
    set_password(&world, root, PASSWORD).await;
    let browser = Browser::open(&world, "admin", PASSWORD).await;
    let path = format!("/accounts/{}/reveal", target.root);
    let why = json!({"reason": "ticket 7"});
    browser.post(&path, &json!({})).await.expect(400);
    let shown = browser.post(&path, &why).await.expect(200).json();
    assert_eq!(shown["value"], "old-root");
    let page = world.nobody().get("/metrics").await.expect(200).body;
    let line = "keywheel_reveals_total{actor_type=\"user\",purpose=\"reveal\"} 1\n";
    assert!(page.contains(line));
    world.clock.advance(Duration::from_secs(299));
    browser.post(&path, &why).await.expect(200);
    world.clock.advance(Duration::from_secs(1));
    let (key, none) = (json!({"kind": "native", "name": "laptop"}), json!({}));
    let own = format!("/users/{}/totp", root.0);
    for (method, path, body) in [
        ("POST", path.as_str(), &why),
        ("POST", "/keys", &key),
        ("POST", "/keys/1/rotate", &none),
        ("PATCH", "/keys/1", &none),
        ("POST", &own, &none),
    ] {
        let old = browser.call(method, path, Some(body)).await.expect(403);
        assert_eq!(old.json()["code"], "sign_in_again");
    }
    // The session itself goes on, and a key is no sign-in.
    browser.get("/accounts").await.expect(200);
    world.native(&keys).post(&path, &why).await.expect(200);
    let again = Browser::open(&world, "admin", PASSWORD).await;
    again.post(&path, &why).await.expect(200);
}

#[tokio::test]
async fn all_sessions_of_a_user_share_one_budget() {
    let world = World::with(Settings {
        requests_per_minute: 5,
        ..Settings::default()
    })
    .await;
    let (eve, keys) = world.user("eve", &[]).await;
    set_password(&world, eve, PASSWORD).await;
    let one = Browser::open(&world, "eve", PASSWORD).await;
    let two = Browser::open(&world, "eve", PASSWORD).await;
    for browser in [&one, &two, &one, &two, &one] {
        browser.get("/sessions").await.expect(200);
    }
    two.get("/sessions").await.expect(429);
    world.native(&keys).get("/sessions").await.expect(200);
}

#[tokio::test]
async fn a_key_may_demand_the_password_of_its_user() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let (eve, _) = world.user("eve", &[]).await;
    let order = json!({
        "kind": "passwordsafe", "user_id": eve.0, "name": "script", "password_required": true,
    });
    let made = admin.post("/keys", &order).await.expect(201).json();
    assert_eq!(made["password_required"], true);
    let nobody = world.nobody();
    let key = made["key"].as_str().unwrap();
    let with = async |pwd: &str| {
        let header = format!("PS-Auth key={key}; runas=eve;{pwd}");
        sign_in(&nobody, &header).await
    };
    with(" pwd=[anything at all];").await.expect(401);
    set_password(&world, eve, "a];b; key=x [pass").await;
    with("").await.expect(401);
    with(" pwd=[wrong];").await.expect(401);
    with(" pwd=a];b; key=x [pass").await.expect(401);
    with(" pwd=[a];b; key=x [pass]").await.expect(200);
    with(" pwd=[a];b; key=x [pass];").await.expect(200);
    let rows = recorded(&world, &format!("{eve}")).await;
    let reasons: Vec<_> = rows
        .iter()
        .map(|(_, details)| details["reason"].clone())
        .collect();
    let meant = [
        "no_password_given",
        "password",
        "no_password_given",
        "no_password",
    ];
    assert_eq!(reasons, meant);
    assert!(
        rows.iter()
            .all(|(event, details)| { event == "session.refused" && details["key"] == made["id"] })
    );
    // Other characters than ASCII's come as UTF-8.
    set_password(&world, eve, "schöne Grüße").await;
    with(" pwd=[schöne Grüße]").await.expect(200);
    with(" pwd=[schöne Grüsse]").await.expect(401);
    // Its successor demands the same, and an edit ends the demand.
    let rotate = format!("/keys/{}/rotate", made["id"]);
    let next = admin.post(&rotate, &json!({})).await.expect(201).json();
    assert_eq!(next["password_required"], true);
    let edited = json!({"password_required": false});
    let path = format!("/keys/{}", made["id"]);
    admin
        .call("PATCH", &path, Some(&edited), &[("if-match", "*")])
        .await
        .expect(200);
    with("").await.expect(200);
    with(" pwd=[wrong];").await.expect(200);
}

#[tokio::test]
async fn guesses_at_a_demanded_password_are_counted() {
    let world = World::with(Settings {
        failures_by_name: Rate::per_minute(2),
        ..Settings::default()
    })
    .await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let order = json!({"kind": "passwordsafe", "name": "script", "password_required": true});
    let made = admin.post("/keys", &order).await.expect(201).json();
    let header = format!("PS-Auth key={};pwd=[guess]", made["key"].as_str().unwrap());
    for _ in 0..2 {
        sign_in(&world.nobody(), &header).await.expect(401);
    }
    sign_in(&world.nobody(), &header).await.expect(429);
}
