//! Functional accounts and their secrets, by the native API.

use axum::http::header;
use keywheel::generate::{GivenKey, Pair, SystemDice, key_pair};
use keywheel::model::id::FunctionalAccountId;
use keywheel::model::key_rule::KeyRule;
use keywheel::vault::Place;
use serde_json::{Value, json};

use super::world::{Answer, Client, World, text};

const PATH: &str = "/functional-accounts";
const ANY: [(&str, &str); 1] = [("if-match", "*")];
const ID: FunctionalAccountId = FunctionalAccountId(1);

async fn ready() -> (World, Client) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let native = world.native(&keys);
    (world, native)
}

/// A pair by a rule: 1 is ED25519, 6 the same under a passphrase.
fn drawn(rule: usize) -> Pair {
    key_pair(&KeyRule::all()[rule], &SystemDice).unwrap()
}

fn body(given: &GivenKey) -> Value {
    json!({
        "platform_id": 2, "account_name": "changer", "elevation": "sudo",
        "private_key": text(&given.private),
        "passphrase": given.passphrase.as_ref().map(text),
    })
}

/// The answer is 400, points to this field and repeats no secret.
#[track_caller]
fn points(answer: Answer, pointer: &str) {
    let answer = answer.expect(400);
    let errors = &answer.json()["errors"];
    assert_eq!(errors[0]["pointer"], pointer, "{answer:?}");
    assert!(!answer.body.contains("canary"), "{answer:?}");
    assert!(!answer.body.contains("BEGIN"), "{answer:?}");
    assert!(!answer.body.contains("PrivateKey"), "{answer:?}");
}

#[tokio::test]
async fn every_secret_is_sealed_in_its_place_and_never_shown() {
    let (world, native) = ready().await;
    let pair = drawn(6);
    let mut order = body(&pair.given);
    order["password"] = json!("pw-canary");
    order["public_key"] = json!(format!("{} ada@example.net", pair.public));
    let made = native.post(PATH, &order).await.expect(201);
    let made_at = made.json()["created_at"].clone();
    let want = json!({
        "id": 1, "revision": 1, "platform_id": 2, "domain_name": null,
        "account_name": "changer", "display_name": "changer", "description": null,
        "elevation": "sudo", "has_password": true, "public_key": pair.public,
        "has_enable_secret": false, "systems": 0, "created_at": made_at,
    });
    assert_eq!(made.json(), want);
    assert_eq!(
        made.header(header::LOCATION),
        "/api/v1/functional-accounts/1"
    );
    let one = native.get("/functional-accounts/1").await.expect(200);
    assert_eq!(
        (one.json(), one.header(header::ETAG)),
        (want.clone(), "\"1\"")
    );
    let listed = native.get(PATH).await.expect(200).json();
    assert_eq!(listed["items"], json!([want]));

    let vault = &world.api.vault;
    let password = world.store.functional_password(ID).await.unwrap().unwrap();
    let password = vault.open(&Place::functional_account(ID), &password);
    assert_eq!(text(&password.unwrap()), "pw-canary");
    let key = world.store.functional_key(ID).await.unwrap().unwrap();
    let private = vault.open(&Place::functional_key(ID), &key.private);
    assert_eq!(text(&private.unwrap()), text(&pair.given.private));
    let sealed = key.passphrase.unwrap();
    let passphrase = vault.open(&Place::functional_passphrase(ID), &sealed);
    assert_eq!(
        text(&passphrase.unwrap()),
        text(&pair.given.passphrase.unwrap())
    );
    // A value opens in its own place alone.
    assert!(vault.open(&Place::functional_key(ID), &sealed).is_err());
    assert!(vault.open(&Place::functional_enable(ID), &sealed).is_err());
    let rows = world.store.audit_of("functional account 1", 9).await;
    let row = &rows.unwrap()[0];
    assert_eq!(row.event, "functional_account.added");
    assert!(row.body.contains(r#"["password","key"]"#), "{}", row.body);
}

#[tokio::test]
async fn an_edit_replaces_and_takes_away_one_secret_at_a_time() {
    let (world, native) = ready().await;
    let order = json!({
        "platform_id": 1001, "account_name": "changer", "password": "pw-canary",
        "enable_secret": "enable-canary",
    });
    native.post(PATH, &order).await.expect(201);
    let path = "/functional-accounts/1";
    let pair = drawn(1);
    let key = json!({"private_key": text(&pair.given.private), "password": null});
    let edited = native.call("PATCH", path, Some(&key), &[("if-match", "\"1\"")]);
    let edited = edited.await.expect(200);
    assert_eq!(edited.header(header::ETAG), "\"2\"");
    let found = edited.json();
    assert_eq!(found["public_key"], json!(pair.public));
    assert_eq!(found["has_password"], json!(false));
    assert_eq!(found["has_enable_secret"], json!(true));
    let sealed = world.store.functional_enable(ID).await.unwrap().unwrap();
    let enable = world.api.vault.open(&Place::functional_enable(ID), &sealed);
    assert_eq!(text(&enable.unwrap()), "enable-canary");

    // Whoever read it before that edit is told.
    let late = json!({"password": "late"});
    let late = native.call("PATCH", path, Some(&late), &[("if-match", "\"1\"")]);
    late.await.expect(412);
    let none = json!({"private_key": null, "enable_secret": null, "display_name": "Changer"});
    let edited = native.call("PATCH", path, Some(&none), &ANY).await;
    let found = edited.expect(200).json();
    assert_eq!(found["display_name"], json!("Changer"));
    assert_eq!(found["public_key"], json!(null));
    assert_eq!(found["has_enable_secret"], json!(false));
    assert_eq!(world.store.functional_key(ID).await.unwrap(), None);
    let rows = world.store.audit_of("functional account 1", 9).await;
    let rows = rows.unwrap();
    assert!(rows[0].body.contains(r#"["no key","no enable secret"]"#));
    assert!(rows[1].body.contains(r#"["no password","key"]"#));

    native
        .call("DELETE", path, None, &[("if-match", "\"2\"")])
        .await
        .expect(412);
    native.call("DELETE", path, None, &ANY).await.expect(204);
    native.get(path).await.expect(404);
}

#[tokio::test]
async fn a_key_that_is_no_use_is_refused_and_the_field_is_named() {
    let (world, native) = ready().await;
    let (open, locked) = (drawn(1), drawn(6));
    let key = text(&locked.given.private);
    let with = |fields: Value| {
        let mut order = json!({"platform_id": 2, "account_name": "changer"});
        for (name, value) in fields.as_object().unwrap() {
            order[name] = value.clone();
        }
        order
    };
    let mut directory = body(&open.given);
    directory["platform_id"] = json!(32);
    directory["elevation"] = json!(null);
    let good = text(&open.given.private);
    for (order, pointer) in [
        (with(json!({"private_key": "canary"})), "/private_key"),
        (with(json!({"private_key": key})), "/passphrase"),
        (
            with(json!({"private_key": key, "passphrase": "canary"})),
            "/passphrase",
        ),
        (with(json!({"passphrase": "canary"})), "/private_key"),
        (with(json!({"public_key": open.public})), "/private_key"),
        (
            with(json!({"private_key": good, "public_key": locked.public})),
            "/public_key",
        ),
        (with(json!({"password": "canary\n"})), "/password"),
        (with(json!({"enable_secret": "canary"})), "/enable_secret"),
        (with(json!({"enable_secret": "canary\0"})), "/enable_secret"),
        (with(json!({"elevation": "su"})), "/elevation"),
        (with(json!({"private_kee": "canary"})), "/private_kee"),
        (directory, "/private_key"),
    ] {
        points(native.post(PATH, &order).await, pointer);
    }
    assert!(world.store.functional_account(ID).await.unwrap().is_none());
}
