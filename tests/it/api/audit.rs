//! The audit trail's chain through the native API, and acts that cannot be put on record.

use axum::http::header::CONTENT_TYPE;
use keywheel::model::Timestamp;
use keywheel::model::audit_chain::{Anchor, Line, Link, Verifier};
use keywheel::model::principal::Permission;
use serde_json::json;

use super::world::{NOON, PS, World};
use crate::support::audit::{audit_keys, seal_all};

#[tokio::test]
async fn positions_come_with_the_seal_and_the_chain_is_verified() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let native = world.native(&keys);
    world.target(&world.session(&keys).await).await;
    let rows = native.get("/audit?limit=200").await.expect(200).json();
    let rows = rows["items"].as_array().unwrap().clone();
    assert!(rows.len() > 4 && rows.iter().all(|row| row["position"].is_null()));
    let sealed = i64::try_from(seal_all(&world.store, 3).await).unwrap();
    assert!(sealed >= i64::try_from(rows.len()).unwrap());
    let rows = native.get("/audit?limit=1").await.expect(200).json();
    assert_eq!(rows["items"][0]["position"], sealed);
    let found = native.get("/audit/verify").await.expect(200).json();
    let sound = json!({"sound": true, "from": 1, "to": sealed, "complete": true, "broken": null});
    assert_eq!(found, sound);
    let part = native.get("/audit/verify?from=4").await.expect(200).json();
    assert_eq!((&part["from"], &part["to"]), (&json!(4), &json!(sealed)));
    world
        .write("UPDATE audit SET actor = 'eve' WHERE seq = 3")
        .await;
    let found = native.get("/audit/verify").await.expect(200).json();
    assert_eq!((&found["sound"], &found["to"]), (&json!(false), &json!(2)));
    let broken = &found["broken"];
    assert_eq!(
        (&broken["position"], &broken["flaw"]),
        (&json!(3), &json!("mac"))
    );
    assert!(broken["id"].is_i64() && broken["detail"].as_str().unwrap().contains("seq 3"));
    for wrong in ["0", "-1", "x"] {
        native
            .get(&format!("/audit/verify?from={wrong}"))
            .await
            .expect(400);
    }
    // Behind the end there is nothing to vouch for.
    let beyond = native
        .get("/audit/verify?from=9999")
        .await
        .expect(200)
        .json();
    assert_eq!(beyond["sound"], false);
}

#[tokio::test]
async fn anchors_are_shown_with_the_key_that_signed_them() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let native = world.native(&keys);
    let none = native.get("/audit/anchors").await.expect(200).json();
    assert_eq!(none["items"], json!([]));
    let signer = audit_keys();
    world.target(&world.session(&keys).await).await;
    seal_all(&world.store, 99).await;
    let head = world.store.audit_head().await.unwrap();
    for at in [NOON, Timestamp(NOON.0 + 1)] {
        let anchor = Anchor::sign(&signer.anchor, &signer.store, head, at);
        let mut tx = world.store.begin().await.unwrap();
        tx.record_audit_anchor(&anchor, Timestamp(0)).await.unwrap();
        tx.commit().await.unwrap();
    }
    let shown = native
        .get("/audit/anchors?limit=1")
        .await
        .expect(200)
        .json();
    assert_eq!(shown["anchor_key"], signer.anchor.public().to_string());
    let one = &shown["items"][0];
    assert_eq!(shown["items"].as_array().unwrap().len(), 1);
    let anchor = Anchor {
        store: shown["store"].as_str().unwrap().to_owned(),
        seq: one["position"].as_i64().unwrap(),
        mac: serde_json::from_value(one["mac"].clone()).unwrap(),
        at: Timestamp(NOON.0 + 1),
        signature: one["signature"].as_str().unwrap().to_owned(),
    };
    assert_eq!(one["at"], anchor.at.rfc3339());
    assert_eq!(anchor.check(&signer.store, &signer.anchor.public()), Ok(()));
    let (_, keys) = world.user("ann", &[Permission::JobsRead]).await;
    for path in ["/audit/anchors", "/audit/verify"] {
        world.native(&keys).get(path).await.expect(403);
    }
}

#[tokio::test]
async fn what_cannot_be_put_on_record_is_neither_shown_nor_done() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let native = world.native(&keys);
    let session = world.session(&keys).await;
    let target = world.target(&session).await;
    world
        .write(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit
             BEGIN SELECT RAISE(ABORT, 'refused'); END",
        )
        .await;
    let account = format!("/accounts/{}", target.root);
    let why = json!({"reason": "break-glass 12"});
    let refused = native.post(&format!("{account}/reveal"), &why).await;
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert!(!refused.body.contains("old-root"), "{refused:?}");
    assert!(!refused.body.contains("refused"), "{refused:?}");
    let failed = "keywheel_audit_write_failures_total ";
    let metrics = native.below("").get("/metrics").await.expect(200).body;
    let count = metrics.lines().find_map(|line| line.strip_prefix(failed));
    assert_eq!(count, Some("1"));
    // Orders and edits: none of them leaves a job or a changed row.
    let jobs = world.number("SELECT COUNT(*) FROM jobs").await;
    let orders = [
        (format!("/api/v1{account}/rotate"), json!({})),
        (format!("/api/v1{account}/suspend"), json!({})),
        (
            "/api/v1/quarantines".to_owned(),
            json!({"system_id": target.system, "reason": "incident"}),
        ),
        (
            "/api/v1/users".to_owned(),
            json!({"name": "eve", "display_name": "Eve", "email": ""}),
        ),
    ];
    for (path, body) in orders {
        let refused = native.below("").post(&path, &body).await;
        assert!(refused.status.is_server_error(), "{path}: {refused:?}");
    }
    let path = format!("{PS}/ManagedAccounts/{}/Credentials", target.root);
    let given = json!({"Password": "Given-8Fk2!", "UpdateSystem": false});
    let refused = session
        .below("")
        .call("PUT", &path, Some(&given), &[])
        .await;
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert_eq!(world.number("SELECT COUNT(*) FROM jobs").await, jobs);
    assert_eq!(world.number("SELECT COUNT(*) FROM users").await, 1);
    let versions = "SELECT COUNT(*) FROM credential_versions";
    assert_eq!(world.number(versions).await, 2);
    // Once the trail takes rows again, so does everything else.
    world.write("DROP TRIGGER refuse").await;
    let shown = native.post(&format!("{account}/reveal"), &why).await;
    assert_eq!(shown.expect(200).json()["value"], "old-root");
}

#[tokio::test]
async fn the_trail_is_exported_to_those_who_may_as_what_an_auditor_verifies() {
    let world = World::new().await;
    let (_, admin) = world.administrator().await;
    world.target(&world.session(&admin).await).await;
    let sealed = seal_all(&world.store, 99).await;
    let (_, keys) = world.user("ann", &[Permission::AuditRead]).await;
    let reader = world.native(&keys);
    reader.get("/audit/export").await.expect(403);
    let (_, keys) = world.user("bea", &[Permission::AuditExport]).await;
    let native = world.native(&keys);
    native.get("/audit").await.expect(200);
    let export = native.get("/audit/export").await.expect(200);
    assert_eq!(export.header(CONTENT_TYPE), "application/jsonl");
    let keys = audit_keys();
    let mut verifier = Verifier::new(&keys.chain, Link::START);
    for line in export.body.lines() {
        let line = Line::parse(line).unwrap();
        assert_eq!(verifier.row(&line.sealed()), Ok(()));
    }
    assert_eq!(verifier.rows(), sealed);
    assert_eq!(verifier.last(), world.store.audit_head().await.unwrap());
    let part = native.get("/audit/export?from=3&to=4").await.expect(200);
    let places: Vec<i64> = part
        .body
        .lines()
        .map(|line| Line::parse(line).unwrap().seq)
        .collect();
    assert_eq!(places, [3, 4]);
    let beyond = native.get("/audit/export?from=9999").await.expect(200);
    assert_eq!(beyond.body, "");
    for wrong in ["from=0", "to=x", "from=4&to=3"] {
        native
            .get(&format!("/audit/export?{wrong}"))
            .await
            .expect(400);
    }
}
