//! What surrounds every call of the Password Safe dialect: sign-in, sessions, the order of
//! errors, spellings of paths.

use std::time::Duration;

use axum::http::header;
use keywheel::api::Settings;
use keywheel::model::session::SessionLife;
use serde_json::json;

use super::world::{PS, World, sign_in, text};

#[tokio::test]
async fn signing_in_answers_with_the_user_and_a_cookie() {
    let world = World::new().await;
    let (id, keys) = world.administrator().await;
    let answer = sign_in(&world.nobody(), &keys.ps_auth()).await.expect(200);
    assert_eq!(
        answer.json(),
        json!({
            "UserId": id.0, "SID": null, "EmailAddress": "admin@example.org",
            "UserName": "admin", "Name": "The admin",
        })
    );
    let cookie = answer.header(header::SET_COOKIE);
    assert!(cookie.starts_with("ASP.NET_SessionId="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly"),
        "no Secure without TLS: {cookie}"
    );
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    let rows = world.store.audit_of("session 1", 10).await.unwrap();
    assert_eq!(rows[0].event, "session.opened");
    assert!(!rows[0].body.contains(text(&keys.password_safe)));
}

#[tokio::test]
async fn under_tls_the_cookie_is_secure() {
    let mut world = World::new().await;
    world.api.settings.tls = true;
    let (_, keys) = world.administrator().await;
    let answer = sign_in(&world.nobody(), &keys.ps_auth()).await.expect(200);
    assert!(
        answer
            .header(header::SET_COOKIE)
            .ends_with("; HttpOnly; Secure")
    );
}

#[tokio::test]
async fn whatever_is_wrong_with_a_sign_in_the_answer_is_the_same() {
    let world = World::new().await;
    let (id, keys) = world.user("ada", &[]).await;
    let key = text(&keys.password_safe);
    for header in [
        "PS-Auth key=wrong; runas=ada;".to_owned(),
        "PS-Auth runas=ada;".to_owned(),
        format!("Basic {key}"),
        format!("PS-Auth key={key}; runas=bob;"),
        format!("PS-Auth key={};", text(&keys.native)),
    ] {
        let answer = sign_in(&world.nobody(), &header).await.expect(401);
        assert_eq!(answer.json(), json!("Unauthorized"));
        assert!(answer.headers.get(header::SET_COOKIE).is_none());
    }
    let mut tx = world.store.begin().await.unwrap();
    tx.set_user_disabled(id, true).await.unwrap();
    tx.commit().await.unwrap();
    sign_in(&world.nobody(), &keys.ps_auth()).await.expect(401);
}

#[tokio::test]
async fn a_session_ends_alone_and_signing_out_twice_is_fine() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let (one, two) = (world.session(&keys).await, world.session(&keys).await);
    one.get("/nowhere").await.expect(404);
    assert_eq!(
        one.post("/Auth/Signout", &json!({})).await.expect(200).body,
        ""
    );
    one.get("/nowhere").await.expect(401);
    one.post("/Auth/Signout", &json!({})).await.expect(200);
    world
        .nobody()
        .below(PS)
        .post("/auth/signout", &json!({}))
        .await
        .expect(200);
    two.get("/nowhere").await.expect(404);
}

#[tokio::test]
async fn a_session_slides_and_ends_after_twenty_idle_minutes() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let client = world.session(&keys).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_mins(20));
        client.get("/nowhere").await.expect(404);
    }
    world.clock.advance(Duration::from_mins(22));
    let answer = client.get("/nowhere").await.expect(401);
    assert_eq!(answer.json(), json!("Unauthorized"));
}

#[tokio::test]
async fn a_session_ends_after_the_idle_time_that_was_set() {
    let world = World::with(Settings {
        sessions: SessionLife {
            idle: Duration::from_mins(2),
            ..SessionLife::default()
        },
        ..Settings::default()
    })
    .await;
    let (_, keys) = world.administrator().await;
    let client = world.session(&keys).await;
    world.clock.advance(Duration::from_mins(2));
    client.get("/nowhere").await.expect(404);
    world.clock.advance(Duration::from_mins(3));
    client.get("/nowhere").await.expect(401);
}

#[tokio::test]
async fn a_key_alone_or_a_strange_cookie_is_nobody() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let mut client = world.session(&keys).await;
    client.header = Some((header::AUTHORIZATION, keys.ps_auth()));
    client.get("/nowhere").await.expect(401);
    client.header = Some((header::COOKIE, "ASP.NET_SessionId=guess; other=1".into()));
    client.get("/nowhere").await.expect(401);
}

#[tokio::test]
async fn a_known_path_with_another_method_says_which_it_takes() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let client = world.session(&keys).await;
    let answer = client.get("/AUTH/SignAppIn/").await.expect(405);
    assert_eq!(answer.header(header::ALLOW), "POST");
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/json");
    assert!(answer.json().is_string());
    world
        .nobody()
        .below(PS)
        .get("/auth/signappin")
        .await
        .expect(401);
}

#[tokio::test]
async fn both_bases_answer_alike_in_any_case() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let client = world.session(&keys).await;
    for base in [
        "/BEYONDTRUST/api/PUBLIC/v3",
        "/eEye.RetinaCS.Server/api/public/v3",
        "/beyondtrust/api/public/v3",
    ] {
        let answer = client.below(base).get("/auth/signappin?version=3.1").await;
        answer.expect(405);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_the_dialects_form() {
    let world = World::new().await;
    let request = axum::http::Request::post(format!("{PS}/Auth/Signout"))
        .header(header::CONTENT_LENGTH, "1048577")
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = world.nobody().send(request).await.expect(413);
    assert!(answer.json().is_string());
}

#[tokio::test]
async fn the_limit_of_a_body_is_what_was_set_announced_or_not() {
    let world = World::with(Settings {
        body_max_bytes: 100,
        ..Settings::default()
    })
    .await;
    let (_, keys) = world.administrator().await;
    let client = world.session(&keys).await;
    for (length, status) in [(60, 201), (200, 413)] {
        let body = json!({"Name": "x".repeat(length)}).to_string();
        for announced in [true, false] {
            let mut request = axum::http::Request::post(format!("{PS}/Workgroups"))
                .header(header::CONTENT_TYPE, "application/json");
            if announced {
                request = request.header(header::CONTENT_LENGTH, body.len());
            }
            let text = body.replacen('x', if announced { "a" } else { "b" }, 1);
            let request = request.body(axum::body::Body::from(text)).unwrap();
            client.send(request).await.expect(status);
        }
    }
}

#[tokio::test]
async fn a_new_system_has_the_time_limit_that_was_set_unless_it_names_one() {
    let world = World::with(Settings {
        target_timeout_s: 77,
        ..Settings::default()
    })
    .await;
    let (_, keys) = world.administrator().await;
    let client = world.session(&keys).await;
    let group = client.post("/Workgroups", &json!({"Name": "g"})).await;
    let group = group.expect(201).json()["ID"].as_i64().unwrap();
    for (host, timeout, meant) in [("one", None, 77), ("two", Some(5), 5)] {
        let mut body = json!({"PlatformID": 32, "EntityTypeID": 3, "HostName": host});
        if let Some(timeout) = timeout {
            body["Timeout"] = json!(timeout);
        }
        let path = format!("/Workgroups/{group}/ManagedSystems");
        let made = client.post(&path, &body).await.expect(201).json();
        assert_eq!(made["Timeout"], json!(meant));
    }
}

#[tokio::test]
async fn an_unknown_path_outside_of_the_dialect_is_a_problem() {
    let world = World::new().await;
    let answer = world.nobody().get("/nowhere").await.expect(404);
    assert_eq!(
        answer.header(header::CONTENT_TYPE),
        "application/problem+json"
    );
    assert_eq!(answer.json()["code"], "not_found");
}
