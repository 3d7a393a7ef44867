//! OAuth client credentials in the Password Safe dialect: registrations, tokens, sign-in.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::world::{Answer, Client, Keys, PS, World, sign_in, text};

/// A registration of the dialect, with its id.
struct Registration {
    id: i64,
    client: String,
    secret: String,
}

async fn register(admin: &Client, user: &Value) -> Registration {
    let order = json!({"kind": "oauth", "user_id": user, "name": "pipeline"});
    let made = admin.post("/keys", &order).await.expect(201).json();
    let field = |name: &str| made[name].as_str().unwrap().to_owned();
    assert!(made.get("key").is_none(), "{made}");
    Registration {
        id: made["id"].as_i64().unwrap(),
        client: field("client_id"),
        secret: field("client_secret"),
    }
}

async fn ready() -> (World, Keys, Client, Registration) {
    let world = World::new().await;
    let (id, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let registration = register(&admin, &json!(id.0)).await;
    (world, keys, admin, registration)
}

/// Asks for a token with this form.
async fn ask(client: &Client, form: &str) -> Answer {
    let request = Request::post(format!("{PS}/Auth/connect/token"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .unwrap();
    client.send(request).await
}

impl Registration {
    fn form(&self) -> String {
        let Self { client, secret, .. } = self;
        format!("grant_type=client_credentials&client_id={client}&client_secret={secret}")
    }

    /// A token of it, as the header that shows it.
    async fn token(&self, world: &World) -> String {
        let answer = ask(&world.nobody(), &self.form()).await.expect(200);
        format!("Bearer {}", answer.json()["access_token"].as_str().unwrap())
    }
}

#[tokio::test]
async fn a_client_gets_a_token_and_signs_in_with_it() {
    let (world, _, _, own) = ready().await;
    assert_eq!((own.client.len(), own.secret.len()), (36, 48));
    assert!(own.secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let Registration { client, secret, .. } = &own;
    for form in [
        own.form(),
        format!("client_secret={secret}&client_id={client}&grant_type=client_credentials"),
        format!(
            "scope=publicapi&client_id={}&grant_type=client_credentials&client_secret={secret}",
            client.to_uppercase()
        ),
    ] {
        let answer = ask(&world.nobody(), &form).await.expect(200);
        assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
        assert_eq!(answer.header(header::PRAGMA), "no-cache");
        let mut body = answer.json();
        let token = body["access_token"].take();
        let meant = json!({
            "access_token": null, "expires_in": 3600, "token_type": "Bearer",
            "scope": "publicapi",
        });
        assert_eq!(body, meant);
        let bearer = format!("Bearer {}", token.as_str().unwrap());
        let answer = sign_in(&world.nobody(), &bearer).await.expect(200);
        assert_eq!(answer.json()["UserName"], "admin");
        let cookie = answer.header(header::SET_COOKIE);
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let session = Client {
            header: Some((header::COOKIE, cookie)),
            ..world.nobody().below(PS)
        };
        session.get("/Workgroups").await.expect(200);
    }
    let rows = world.store.audit_of(&format!("key {}", own.id), 10).await;
    let rows = rows.unwrap();
    assert_eq!(rows[0].event, "key.token_issued");
    assert!(rows.iter().all(|row| !row.body.contains(secret)));
}

#[tokio::test]
async fn whatever_is_wrong_with_a_client_the_answer_is_the_same() {
    let (world, keys, admin, own) = ready().await;
    let other = register(&admin, &json!(null)).await;
    let revoked = register(&admin, &json!(null)).await;
    let path = format!("/keys/{}/revoke", revoked.id);
    admin.call("POST", &path, None, &[]).await.expect(204);
    let grant = "grant_type=client_credentials";
    let (client, secret) = (&own.client, &own.secret);
    let key = text(&keys.password_safe);
    for form in [
        grant.to_owned(),
        format!("{grant}&client_id={client}"),
        format!("{grant}&client_secret={secret}"),
        format!("{grant}&client_id={client}&client_secret=wrong"),
        format!("{grant}&client_id={client}&client_secret={}", other.secret),
        format!("{grant}&client_id=&client_secret={secret}"),
        format!("{grant}&client_id={client}&client_secret={key}"),
        revoked.form(),
    ] {
        let answer = ask(&world.nobody(), &form).await.expect(401);
        assert_eq!(answer.json(), json!({"error": "invalid_client"}));
        assert_eq!(answer.header(header::CONTENT_TYPE), "application/json");
    }
    let found = world.nobody().get("/metrics").await.expect(200).body;
    for (reason, count) in [("unknown", 4), ("wrong", 3), ("revoked", 1)] {
        let line = format!(
            "keywheel_auth_failures_total{{method=\"oauth\",reason=\"{reason}\"}} {count}\n"
        );
        assert!(found.contains(&line), "{line}{found}");
    }
}

#[tokio::test]
async fn other_grants_and_malformed_requests_are_told_so() {
    let (world, _, _, own) = ready().await;
    let rest = format!("client_id={}&client_secret={}", own.client, own.secret);
    let long = "x".repeat(257);
    for (form, error) in [
        (
            format!("grant_type=password&{rest}"),
            "unsupported_grant_type",
        ),
        (
            format!("grant_type=authorization_code&{rest}"),
            "unsupported_grant_type",
        ),
        (rest.clone(), "invalid_request"),
        (
            format!("grant_type=client_credentials&client_id={long}"),
            "invalid_request",
        ),
        (String::new(), "invalid_request"),
    ] {
        let answer = ask(&world.nobody(), &form).await.expect(400);
        assert_eq!(answer.json(), json!({"error": error}), "{form}");
    }
    let client = world.nobody().below(PS);
    client.get("/auth/connect/token").await.expect(401);
}

#[tokio::test]
async fn a_token_ends_after_an_hour_and_its_session_does_not() {
    let (world, _, _, own) = ready().await;
    let bearer = own.token(&world).await;
    world.clock.advance(Duration::from_secs(3_599));
    let answer = sign_in(&world.nobody(), &bearer).await.expect(200);
    let cookie = answer.header(header::SET_COOKIE);
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let session = Client {
        header: Some((header::COOKIE, cookie)),
        ..world.nobody().below(PS)
    };
    world.clock.advance(Duration::from_secs(1));
    let answer = sign_in(&world.nobody(), &bearer).await.expect(401);
    assert_eq!(answer.json(), json!("Unauthorized"));
    session.get("/Workgroups").await.expect(200);
    // A token is no session, and no native key.
    let alone = Client {
        header: Some((header::AUTHORIZATION, bearer.clone())),
        ..world.nobody()
    };
    alone.below(PS).get("/Workgroups").await.expect(401);
    alone.below("/api/v1").get("/keys").await.expect(401);
    for guess in ["Bearer ", "Bearer guess", "bearer"] {
        sign_in(&world.nobody(), guess).await.expect(401);
    }
}

#[tokio::test]
async fn a_token_dies_with_its_registration_and_with_its_user() {
    let (world, _, admin, _) = ready().await;
    let ann = admin.post("/users", &json!({"name": "ann"})).await;
    let ann = ann.expect(201).json()["id"].clone();
    let (one, two) = (register(&admin, &ann).await, register(&admin, &ann).await);
    let (first, second) = (one.token(&world).await, two.token(&world).await);
    sign_in(&world.nobody(), &first).await.expect(200);
    let path = format!("/keys/{}/revoke", one.id);
    admin.call("POST", &path, None, &[]).await.expect(204);
    sign_in(&world.nobody(), &first).await.expect(401);
    sign_in(&world.nobody(), &second).await.expect(200);
    let user = |act: &str| format!("/users/{ann}/{act}");
    admin
        .call("POST", &user("disable"), None, &[])
        .await
        .expect(200);
    sign_in(&world.nobody(), &second).await.expect(401);
    ask(&world.nobody(), &two.form()).await.expect(401);
    admin
        .call("POST", &user("enable"), None, &[])
        .await
        .expect(200);
    sign_in(&world.nobody(), &second).await.expect(401);
    ask(&world.nobody(), &two.form()).await.expect(200);
}

#[tokio::test]
async fn a_rotated_registration_keeps_its_client_id() {
    let (world, _, admin, own) = ready().await;
    let path = format!("/keys/{}/rotate", own.id);
    let order = json!({"overlap_s": 60});
    let made = admin.post(&path, &order).await.expect(201).json();
    assert_eq!(made["client_id"], json!(own.client));
    let next = Registration {
        id: made["id"].as_i64().unwrap(),
        client: own.client.clone(),
        secret: made["client_secret"].as_str().unwrap().to_owned(),
    };
    ask(&world.nobody(), &own.form()).await.expect(200);
    ask(&world.nobody(), &next.form()).await.expect(200);
    let listed = admin.get("/keys").await.expect(200);
    assert!(!listed.body.contains(&next.secret) && !listed.body.contains(&own.secret));
    world.clock.advance(Duration::from_mins(1));
    ask(&world.nobody(), &own.form()).await.expect(401);
    ask(&world.nobody(), &next.form()).await.expect(200);
}

#[tokio::test]
async fn an_edit_of_the_registration_holds_for_tokens_that_it_has_got() {
    let (world, _, admin, own) = ready().await;
    let token = own.token(&world).await;
    let (inside, outside) = (
        world.nobody().from("10.0.0.1"),
        world.nobody().from("192.0.2.7"),
    );
    sign_in(&outside, &token).await.expect(200);
    let path = format!("/keys/{}", own.id);
    let edit = async |patch: Value| {
        let headers = [("if-match", "*")];
        let answer = admin.call("PATCH", &path, Some(&patch), &headers).await;
        answer.expect(200)
    };
    edit(json!({"addresses": ["10.0.0.0/8"]})).await;
    sign_in(&outside, &token).await.expect(401);
    sign_in(&inside, &token).await.expect(200);
    let soon = world.api.clock.now().plus(Duration::from_mins(1));
    edit(json!({"expires_at": soon.rfc3339()})).await;
    sign_in(&inside, &token).await.expect(200);
    world.clock.advance(Duration::from_mins(1));
    sign_in(&inside, &token).await.expect(401);
}
