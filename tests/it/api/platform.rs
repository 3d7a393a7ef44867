//! Platforms that are definitions, by both interfaces.

use keywheel::generate::{SystemDice, key_pair};
use keywheel::model::key_rule::KeyRule;
use serde_json::{Value, json};

use super::world::{Client, World, text};

/// The shipped definition of Cisco IOS.
const CISCO: i64 = 1_002;

async fn ready() -> (World, Client, Client) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let (admin, native) = (world.session(&keys).await, world.native(&keys));
    (world, admin, native)
}

/// A system on this platform, with a functional account.
async fn system(admin: &Client, platform: i64) -> i64 {
    let functional = json!({
        "PlatformID": platform, "AccountName": "changer", "Password": "functional",
    });
    let functional = admin.post("/FunctionalAccounts", &functional).await;
    let functional = functional.expect(201).json()["FunctionalAccountID"].clone();
    let name = format!("group{platform}");
    let group = admin.post("/Workgroups", &json!({"Name": name})).await;
    let group = group.expect(201).json()["ID"].clone();
    let system = json!({
        "PlatformID": platform, "EntityTypeID": if platform == 32 { 3 } else { 1 },
        "HostName": "device1", "FunctionalAccountID": functional, "AutoManagementFlag": true,
    });
    let made = admin
        .post(&format!("/Workgroups/{group}/ManagedSystems"), &system)
        .await
        .expect(201)
        .json();
    // Strict, as SSH is where nobody said otherwise.
    let enforced = if platform == 32 {
        json!(null)
    } else {
        json!(0)
    };
    assert_eq!(made["SshKeyEnforcementMode"], enforced, "{made}");
    made["ManagedSystemID"].as_i64().unwrap()
}

fn key() -> Value {
    let pair = key_pair(&KeyRule::all()[1], &SystemDice).unwrap();
    json!({"PublicKey": pair.public, "PrivateKey": text(&pair.given.private)})
}

fn with(body: &Value, more: &Value) -> Value {
    let mut body = body.clone();
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn shipped_definitions_are_platforms() {
    let (_world, admin, native) = ready().await;
    let listed = native.get("/platforms").await.expect(200).json();
    let items = listed["items"].as_array().unwrap().iter();
    let ids: Vec<_> = items.map(|one| one["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [2, 32, 1002, 1003, 1004, 1005]);
    assert_eq!(
        listed["items"][2],
        json!({
            "id": CISCO, "name": "Cisco IOS", "short_name": "cisco_ios",
            "connector": "dialogue", "default_port": 22, "entity_type": 1, "ssh_keys": false,
            "functional_keys": true, "enable_secret": true, "elevation": false,
            "own_credentials": false,
        })
    );
    let of = admin
        .get("/EntityTypes/1/Platforms")
        .await
        .expect(200)
        .json();
    assert_eq!(of.as_array().unwrap().len(), 5);
    assert_eq!(of[1]["ShortName"], "cisco_ios");
    assert_eq!(of[1]["DSSAutoManagementFlag"], json!(false));
}

#[tokio::test]
async fn an_account_of_a_dialogue_has_a_password_and_no_key() {
    let (_world, admin, native) = ready().await;
    let system = system(&admin, CISCO).await;
    let path = format!("/ManagedSystems/{system}/ManagedAccounts");
    let bare = json!({"AccountName": "bob", "Password": "old-bob-secret"});
    for (more, field) in [
        (key(), "PrivateKey"),
        (
            json!({"DSSAutoManagementFlag": true}),
            "DSSAutoManagementFlag",
        ),
        (json!({"UseOwnCredentials": true}), "UseOwnCredentials"),
    ] {
        let refused = admin.post(&path, &with(&bare, &more)).await.expect(400);
        let want = format!("{field}: is not available on this platform");
        assert!(refused.body.contains(&want), "{refused:?}");
    }
    let made = admin.post(&path, &bare).await.expect(201).json();
    let id = made["ManagedAccountID"].as_i64().unwrap();
    let path = format!("/ManagedAccounts/{id}/Credentials");
    for update in [true, false] {
        let given = with(&key(), &json!({"UpdateSystem": update}));
        let refused = admin.put(&path, &given).await.expect(400);
        assert!(refused.body.contains("passwords, no keys"), "{refused:?}");
    }
    // What its definition forbids is refused before anything is sent.
    let given = json!({"Password": "What?is-this", "UpdateSystem": true});
    let refused = admin.put(&path, &given).await.expect(400);
    assert!(refused.body.contains("cisco_ios forbids"), "{refused:?}");
    let functional = json!({"platform_id": 2, "account_name": "x", "enable_secret": "long-enough"});
    let refused = native.post("/functional-accounts", &functional).await;
    assert_eq!(
        refused.expect(400).json()["errors"][0]["pointer"],
        "/enable_secret"
    );
}

#[tokio::test]
async fn an_account_of_a_directory_may_have_a_key() {
    let (_world, admin, _) = ready().await;
    let system = system(&admin, 32).await;
    let path = format!("/ManagedSystems/{system}/ManagedAccounts");
    let account = json!({
        "AccountName": "bob", "DistinguishedName": "uid=bob,dc=example",
        "Password": "old-bob-secret",
    });
    admin.post(&path, &with(&account, &key())).await.expect(201);
    let listed = admin.get("/Platforms").await.expect(200).json();
    assert_eq!(listed[1]["PlatformID"], 32);
    assert_eq!(listed[1]["DSSFlag"], json!(true));
}
