//! The native API: systems, accounts, reveals, jobs, quarantines, audit, health.

use axum::http::header;
use keywheel::model::principal::Permission;
use serde_json::json;

use super::world::{Client, HOST, Target, World, text};

async fn ready() -> (World, Client, Target) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let target = world.target(&world.session(&keys).await).await;
    let native = world.native(&keys);
    (world, native, target)
}

#[tokio::test]
async fn a_system_takes_what_the_dialect_has_no_field_for() {
    let (world, native, target) = ready().await;
    let path = format!("/systems/{}", target.system);
    let tag = native
        .get(&path)
        .await
        .expect(200)
        .header(header::ETAG)
        .to_owned();
    let body = json!({
        "base_dn": "dc=example", "starttls": true, "max_sessions": 9, "max_batch": 50,
        "flavour": "389ds", "key_attribute": "nsSshPublicKey", "in_flight": 3, "lockout_threshold": 5, "tls_server_name": "ldap.example",
        "host_key": "ssh-ed25519 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    });
    let edited = native
        .call("PATCH", &path, Some(&body), &[("if-match", &tag)])
        .await
        .expect(200);
    let found = edited.json();
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&found[field], value, "{field}");
    }
    assert_ne!(edited.header(header::ETAG), tag);
    let clear = json!({"host_key": null, "lockout_threshold": null});
    let tag = edited.header(header::ETAG).to_owned();
    let cleared = native
        .call("PATCH", &path, Some(&clear), &[("if-match", &tag)])
        .await
        .expect(200);
    assert_eq!(
        (&cleared.json()["host_key"], &cleared.json()["max_batch"]),
        (&json!(null), &json!(50))
    );
    let any = [("if-match", "*")];
    for (body, pointer) in [
        (json!({"max_sessions": 0}), "/max_sessions"),
        (json!({"max_sessions": null}), "/max_sessions"),
        (json!({"host_key": "nonsense"}), "/host_key"),
        (json!({"flavour": "novell"}), "/flavour"),
        (json!({"key_attribute": "a b"}), "/key_attribute"),
        (json!({"policy_id": 9}), "/policy_id"),
        (json!({"hostname": "x"}), "/hostname"),
    ] {
        let answer = native
            .call("PATCH", &path, Some(&body), &any)
            .await
            .expect(400);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{answer:?}");
    }
    let rows = world
        .store
        .audit_of(&format!("system {}", target.system), 10)
        .await
        .unwrap();
    assert_eq!(rows[0].event, "system.updated");
    assert_eq!(
        native.get("/systems?name=WEB1").await.expect(200).json()["items"][0]["name"],
        "web1"
    );
}

#[tokio::test]
async fn an_accounts_next_change_can_be_set_by_hand() {
    let (_world, native, target) = ready().await;
    let path = format!("/accounts/{}", target.root);
    let any = [("if-match", "*")];
    let policy = json!({"name": "yearly", "mode": "auto", "max_age": "365d"});
    native.post("/policies", &policy).await.expect(201);
    let at = keywheel::model::Timestamp(super::world::NOON.0 + 60_000).rfc3339();
    let body = json!({"policy_id": 1, "next_change": at});
    let edited = native
        .call("PATCH", &path, Some(&body), &any)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&edited["next_change"], &edited["next_change_override"]),
        (&json!(at), &json!(at))
    );
    let past = json!({"next_change": "2020-01-01T00:00:00Z"});
    native
        .call("PATCH", &path, Some(&past), &any)
        .await
        .expect(400);
    let cleared = json!({"next_change": null});
    let edited = native
        .call("PATCH", &path, Some(&cleared), &any)
        .await
        .expect(200)
        .json();
    assert_eq!(edited["next_change_override"], json!(null));
    assert_ne!(edited["next_change"], json!(at));
}

#[tokio::test]
async fn a_reveal_hands_over_the_current_password_and_is_on_record_first() {
    let (world, native, target) = ready().await;
    let path = format!("/accounts/{}/reveal", target.root);
    native.post(&path, &json!({})).await.expect(400);
    native
        .post(&path, &json!({"reason": "  "}))
        .await
        .expect(400);
    let answer = native
        .post(&path, &json!({"reason": "break-glass 12"}))
        .await
        .expect(200);
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    let found = answer.json();
    assert_eq!(
        found,
        json!({
            "account_id": target.root, "version": 1, "in_doubt": false, "value": "old-root",
            "candidates": [],
        })
    );
    let rows = world
        .store
        .audit_of(&format!("account {}", target.root), 1)
        .await
        .unwrap();
    assert_eq!(
        (rows[0].event.as_str(), rows[0].actor.as_str()),
        ("credential.revealed", "admin")
    );
    assert!(rows[0].body.contains("break-glass 12") && !rows[0].body.contains("old-root"));
    // Writing accounts is no right to see credentials.
    let (_, keys) = world.user("ann", &[Permission::AccountsWrite]).await;
    world
        .native(&keys)
        .post(&path, &json!({"reason": "x"}))
        .await
        .expect(403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_ordered_followed_and_listed() {
    let (world, native, target) = ready().await;
    world.work();
    let path = format!("/accounts/{}/rotate?wait=60", target.root);
    let answer = native
        .post(&path, &json!({"reason": "leaver"}))
        .await
        .expect(202);
    assert_eq!(answer.json()["state"], "succeeded");
    let id = answer.json()["id"].clone();
    assert_eq!(
        answer.header(header::LOCATION),
        format!("/api/v1/jobs/{id}")
    );
    assert!(!world.targets.system(HOST).accepts("root", "old-root"));
    let ended = native.get("/jobs?state=ended").await.expect(200).json();
    assert_eq!(ended["items"][0]["id"], id);
    assert_eq!(
        native.get("/jobs").await.expect(200).json()["items"],
        json!([])
    );
    let test = format!("/accounts/{}/test", target.root);
    let passed = native
        .call("POST", &test, None, &[])
        .await
        .expect(200)
        .json();
    assert_eq!(passed, json!({"passed": true}));
    let account = native
        .get(&format!("/accounts/{}", target.root))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&account["current_version"], &account["last_test"]),
        (&json!(2), &json!("passed"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_is_tried_dry_then_ordered_and_leaves_suspended_accounts_out() {
    let (world, native, target) = ready().await;
    let suspend = format!("/accounts/{}/suspend", target.ann);
    let suspended = native
        .call("POST", &suspend, None, &[])
        .await
        .expect(200)
        .json();
    assert_eq!(suspended["state"], "suspended");
    let dry = json!({"system_id": target.system, "reason": "incident", "dry_run": true});
    let answer = native.post("/quarantines", &dry).await.expect(200).json();
    assert_eq!(answer, json!({"system_id": target.system, "accounts": 1}));
    assert_eq!(
        native.get("/quarantines").await.expect(200).json()["items"],
        json!([])
    );
    let order = json!({"system_id": target.system, "reason": "incident", "incident": "INC-7"});
    let made = native.post("/quarantines", &order).await.expect(202);
    world.work();
    let path = format!("{}?wait=60", made.header(header::LOCATION));
    let found = native.below("").get(&path).await.expect(200).json();
    assert_eq!(
        (&found["counts"]["succeeded"], &found["incident"]),
        (&json!(1), &json!("INC-7"))
    );
    assert!(found["finished_at"].is_string());
    assert!(world.targets.system(HOST).accepts("ann", "old-ann"));
    native
        .post("/quarantines", &json!({"system_id": 77, "reason": "x"}))
        .await
        .expect(404);
    native
        .post("/quarantines", &json!({"system_id": target.system}))
        .await
        .expect(400);
}

#[tokio::test]
async fn a_session_sees_the_jobs_it_ordered_and_no_others() {
    let (world, native, target) = ready().await;
    let (_, keys) = world.user("ann", &[Permission::CredentialsRotate]).await;
    let ann = world.session(&keys).await;
    let path = format!("/ManagedAccounts/{}/Credentials/Change", target.root);
    let own = ann.post(&path, &json!({"Queue": true})).await.expect(204);
    let ann = ann.below("");
    ann.get(own.header(header::LOCATION)).await.expect(200);
    let path = format!("/accounts/{}/rotate", target.ann);
    let other = native
        .post(&path, &json!({"immediate": false}))
        .await
        .expect(202);
    for job in [
        other.header(header::LOCATION),
        "/api/v1/jobs/999",
        "/api/v1/jobs/x",
    ] {
        assert_eq!(
            ann.get(job).await.expect(403).json()["code"],
            "forbidden",
            "{job}"
        );
    }
    native.below("").get("/api/v1/jobs/999").await.expect(404);
    ann.get("/api/v1/jobs").await.expect(401);
}

#[tokio::test]
async fn the_audit_trail_is_read_by_subject_and_page_by_page() {
    let (world, native, target) = ready().await;
    let all = native.get("/audit?limit=2").await.expect(200);
    let cursor = all.json()["next_cursor"].as_str().unwrap().to_owned();
    let first = all.json()["items"][0]["id"].as_i64().unwrap();
    let next = native
        .get(&format!("/audit?limit=2&cursor={cursor}"))
        .await
        .expect(200)
        .json();
    assert!(next["items"][0]["id"].as_i64().unwrap() < first - 1);
    let about = format!("/audit?subject=account%20{}", target.root);
    let rows = native.get(&about).await.expect(200).json();
    assert!(
        rows["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| { row["subject"] == format!("account {}", target.root) })
    );
    let (_, keys) = world.user("ann", &[Permission::JobsRead]).await;
    world.native(&keys).get("/audit").await.expect(403);
}

#[tokio::test]
async fn health_is_open_and_readiness_names_what_is_missing() {
    let world = World::new().await;
    let client = world.nobody();
    assert_eq!(client.get("/healthz").await.expect(200).body, "ok\n");
    let waiting = client.get("/readyz").await.expect(503).json();
    assert_eq!(waiting["ready"], false);
    assert_eq!(waiting["components"]["db"], "ok");
    world.api.readiness.report("queue", Ok(()));
    assert_eq!(
        client.get("/readyz").await.expect(200).json()["ready"],
        true
    );
}

#[tokio::test]
async fn metrics_are_open_on_loopback_and_need_a_key_elsewhere() {
    let mut world = World::new().await;
    let (_, keys) = world.administrator().await;
    world
        .session(&keys)
        .await
        .get("/ManagedAccounts/77")
        .await
        .expect(404);
    world
        .session(&keys)
        .await
        .post("/auth/signout", &json!({}))
        .await
        .expect(200);
    let found = world.nobody().get("/metrics").await.expect(200);
    assert!(found.header(header::CONTENT_TYPE).starts_with("text/plain"));
    let line = r#"keywheel_http_requests_total{api="passwordsafe",route="/managedaccounts/{id}",status_class="4xx"} 1"#;
    assert!(
        found.body.contains(line),
        "the template is the label: {}",
        found.body
    );
    // The number alone may stand in a size or a time.
    assert!(!found.body.contains("/77"), "no id is a label");
    world.api.settings.loopback = false;
    world.nobody().get("/metrics").await.expect(401);
    world
        .native(&keys)
        .below("")
        .get("/metrics")
        .await
        .expect(200);
    let (_, keys) = world.user("ann", &[]).await;
    world
        .native(&keys)
        .below("")
        .get("/metrics")
        .await
        .expect(403);
    assert!(!text(&keys.native).is_empty());
}
