//! Records: made, shown, with and without their values, versions and what is included.

use std::time::Duration;

use keywheel::api::Settings;
use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::{document, id, ids, organization, password, patch, reaching, refused, service};
use crate::api::world::{Client, World};

const VALUE: &str = "S3cure-pass";

async fn with_record() -> (World, Client, i64, i64) {
    let (world, client) = service().await;
    let acme = organization(&client, "Acme Corporation").await;
    let record = json!({
        "name": "Domain Admin", "username": "administrator", "password": VALUE,
        "url": "https://dc01.example.com", "password-category-id": 1,
        "notes": "<p>Primary account</p>",
    });
    let record = password(&client, acme, &record).await;
    (world, client, acme, record)
}

async fn shown(client: &Client, path: &str) -> Value {
    client.get(path).await.expect(200).json()["data"]["attributes"].clone()
}

async fn viewed(world: &World) -> i64 {
    world
        .number("SELECT COUNT(*) FROM audit WHERE event = 'password.viewed'")
        .await
}

#[tokio::test]
async fn a_record_is_shown_as_clients_read_it() {
    let (world, client, acme, record) = with_record().await;
    let path = format!("/passwords/{record}?show_password=true");
    let host = [("host", "vault.example")];
    let answer = client
        .call("GET", &path, None, &host)
        .await
        .expect(200)
        .json();
    let now = "2026-05-28T20:26:40.000Z";
    let user = world
        .store
        .user_by_name("admin")
        .await
        .unwrap()
        .unwrap()
        .id
        .0;
    let want = json!({"data": {"id": record.to_string(), "type": "passwords", "attributes": {
        "organization-id": acme, "organization-name": "Acme Corporation",
        "resource-url": format!("http://vault.example/{acme}/passwords/{record}"),
        "restricted": false, "my-glue": false, "name": "Domain Admin",
        "autofill-selectors": null, "username": "administrator", "password": VALUE,
        "url": "https://dc01.example.com", "notes": "<p>Primary account</p>",
        "password-updated-at": now, "updated-by": user, "updated-by-type": "User",
        "resource-id": null, "resource-type": null, "cached-resource-type-name": null,
        "cached-resource-name": null, "password-category-id": 1,
        "password-category-name": "Administrative", "created-at": now, "updated-at": now,
        "otp-enabled": false, "password-folder-id": null, "parent-url": null, "vault-id": null,
        "archived": false, "personal": false, "shareable": false, "rotation-permitted": false,
        "is-live": true,
    }, "relationships": {}}});
    assert_eq!(answer, want);
    let nested = format!("/organizations/{acme}/relationships/passwords/{record}?show-password=1");
    assert_eq!(shown(&client, &nested).await["password"], VALUE);
    let other = organization(&client, "Other").await;
    let elsewhere = format!("/organizations/{other}/relationships/passwords/{record}");
    refused(client.get(&elsewhere).await, 404, "Password not found");
    refused(client.get("/passwords/77").await, 404, "Password not found");
    refused(client.get("/passwords/x").await, 404, "Password not found");
}

#[tokio::test]
async fn a_value_is_shown_to_whoever_asks_for_it_and_on_record() {
    let (world, client, _, record) = with_record().await;
    let path = format!("/passwords/{record}");
    for quiet in ["", "?show_password=false", "?show_password="] {
        let attributes = shown(&client, &format!("{path}{quiet}")).await;
        assert_eq!(attributes.get("password"), None, "{quiet}");
    }
    assert_eq!(viewed(&world).await, 0);
    let attributes = shown(&client, &format!("{path}?show_password=true")).await;
    assert_eq!(attributes["password"], VALUE);
    assert_eq!(viewed(&world).await, 1);
    let listed = client
        .get("/passwords?show_password=true")
        .await
        .expect(200);
    assert!(!listed.body.contains(VALUE), "{listed:?}");
    assert_eq!(viewed(&world).await, 1, "a list shows no value");
    let rows = world
        .store
        .audit_of(&format!("password record {record}"), 9)
        .await
        .unwrap();
    let row = rows
        .iter()
        .find(|row| row.event == "password.viewed")
        .unwrap();
    assert!(
        row.body.contains("\"method\":\"api_show\"") && !row.body.contains(VALUE),
        "{row:?}"
    );
}

#[tokio::test]
async fn the_vendors_default_is_a_setting() {
    let settings = Settings {
        itglue_shows: true,
        ..Settings::default()
    };
    let world = World::with(settings).await;
    let (_, keys) = world.administrator().await;
    let client = world.itglue(&keys);
    let acme = organization(&client, "Acme").await;
    let record = password(&client, acme, &json!({"name": "n", "password": VALUE})).await;
    let empty = password(&client, acme, &json!({"name": "empty"})).await;
    let path = format!("/passwords/{record}");
    assert_eq!(shown(&client, &path).await["password"], VALUE);
    let quiet = shown(&client, &format!("{path}?show_password=false")).await;
    assert_eq!(quiet.get("password"), None);
    let empty = shown(&client, &format!("/passwords/{empty}")).await;
    assert_eq!(empty["password"], Value::Null, "a shown empty value");
    assert_eq!(empty["password-updated-at"], Value::Null);
}

#[tokio::test]
async fn a_key_without_password_access_neither_sees_nor_sets_values() {
    let (world, client, acme, record) = with_record().await;
    let admin = world.store.user_by_name("admin").await.unwrap().unwrap().id;
    let key = reaching(&world, admin, (false, &[])).await;
    let path = format!("/passwords/{record}");
    let attributes = shown(&key, &format!("{path}?show_password=true")).await;
    assert_eq!(
        (attributes.get("password"), viewed(&world).await),
        (None, 0)
    );
    let name = document("passwords", &json!({"name": "Renamed"}));
    patch(&key, &path, &name).await.expect(200);
    for field in ["password", "otp-secret"] {
        let body = json!({"name": "n", field: "GEZDGNBVGY3TQOJQGEZDGNBV"});
        let body = document("passwords", &body);
        refused(patch(&key, &path, &body).await, 403, "Access denied");
        let nested = format!("/organizations/{acme}/relationships/passwords");
        refused(key.post(&nested, &body).await, 403, "Access denied");
    }
    let bulk = json!({"data": [{"id": record, "attributes": {"name": "B"}}]});
    let answer = patch(&key, "/passwords", &bulk).await;
    refused(answer, 403, "Cannot PATCH Password in bulk");
    // Nor does the key of a user who may not.
    let (_, keys) = world.user("ada", &[Permission::PasswordsRead]).await;
    let ada = world.itglue(&keys);
    let attributes = shown(&ada, &format!("{path}?show_password=true")).await;
    assert_eq!(attributes.get("password"), None);
    refused(patch(&ada, &path, &name).await, 403, "Access denied");
    assert_eq!(shown(&client, &path).await["name"], "Renamed");
}

#[tokio::test]
async fn a_restricted_record_is_left_out_of_lists_and_denied() {
    let (world, client, acme, record) = with_record().await;
    let body = document("passwords", &json!({"restricted": true}));
    patch(&client, &format!("/passwords/{record}"), &body)
        .await
        .expect(200);
    let open = password(&client, acme, &json!({"name": "open"})).await;
    let granted = [Permission::PasswordsWrite, Permission::PasswordsReveal];
    let (_, keys) = world.user("ada", &granted).await;
    let ada = world.itglue(&keys);
    assert_eq!(ids(ada.get("/passwords").await), [open]);
    let path = format!("/passwords/{record}");
    refused(ada.get(&path).await, 403, "Access denied");
    refused(patch(&ada, &path, &body).await, 403, "Access denied");
    refused(super::delete(&ada, &path, None).await, 403, "Access denied");
}

#[tokio::test]
async fn earlier_values_are_shown_by_their_version() {
    let (world, client, acme, record) = with_record().await;
    let path = format!("/passwords/{record}");
    world.clock.advance(Duration::from_hours(1));
    let body = document("passwords", &json!({"password": "N3w-value"}));
    let changed = patch(&client, &path, &body).await.expect(200).json();
    let at = &changed["data"]["attributes"]["password-updated-at"];
    assert_eq!(at, "2026-05-28T21:26:40.000Z");
    let answer = client.get(&format!("{path}?include=recent-versions")).await;
    let answer = answer.expect(200).json();
    let data = &answer["data"]["relationships"]["recent-versions"]["data"];
    assert_eq!(data.as_array().unwrap().len(), 2);
    let included = answer["included"].as_array().unwrap();
    assert_eq!(included[0]["type"], "password-versions");
    assert_eq!(included[0]["attributes"]["is-live"], true);
    assert!(!answer.to_string().contains(VALUE));
    let old = &included[1]["id"].as_str().unwrap();
    let answer = shown(
        &client,
        &format!("{path}?version_id={old}&show_password=true"),
    )
    .await;
    assert_eq!(
        (&answer["password"], &answer["is-live"]),
        (&json!(VALUE), &json!(false))
    );
    assert_eq!(answer["password-updated-at"], "2026-05-28T20:26:40.000Z");
    let other = password(&client, acme, &json!({"name": "n", "password": "x"})).await;
    for (record, version) in [(other, *old), (record, "99"), (record, "x")] {
        let path = format!("/passwords/{record}?version_id={version}");
        refused(client.get(&path).await, 404, "Version not found");
    }
}

#[tokio::test]
async fn what_is_asked_for_is_included() {
    let (_world, client, acme, record) = with_record().await;
    let path = format!("/passwords/{record}");
    let body = document("passwords", &json!({"folder-path": "Infrastructure/DCs"}));
    patch(&client, &path, &body).await.expect(200);
    let all = "organization,password-category,password_folder,updater,attachments,\
               rotatable_password,shared-links,authorized_users,colour";
    let answer = client
        .get(&format!("{path}?include={all}"))
        .await
        .expect(200)
        .json();
    let relationships = &answer["data"]["relationships"];
    let category = json!({"type": "password-categories", "id": "1"});
    assert_eq!(relationships["password-category"]["data"], category);
    assert_eq!(
        relationships["organization"]["data"]["id"],
        acme.to_string()
    );
    assert_eq!(
        relationships["password-folder"]["data"]["type"],
        "password-folders"
    );
    assert_eq!(relationships["updater"]["data"]["type"], "users");
    for none in ["attachments", "shared-links", "authorized-users"] {
        assert_eq!(relationships[none]["data"], json!([]), "{none}");
    }
    assert_eq!(relationships["rotatable-password"]["data"], Value::Null);
    assert!(relationships.get("colour").is_none());
    assert_eq!(answer["included"].as_array().unwrap().len(), 4);
    let category = answer["included"].as_array().unwrap().iter();
    let mut category = category.filter(|one| one["type"] == "password-categories");
    assert_eq!(category.next().unwrap()["attributes"]["passwords-count"], 1);
    let plain = password(&client, acme, &json!({"name": "plain"})).await;
    let list = client
        .get("/passwords?include=password_category,organization")
        .await;
    let list = list.expect(200).json();
    assert_eq!(list["data"][1]["id"], plain.to_string());
    let relationships = &list["data"][1]["relationships"];
    assert_eq!(relationships["password-category"]["data"], Value::Null);
    assert_eq!(list["included"].as_array().unwrap().len(), 2, "each once");
    assert_eq!(id(&list["included"][0]), acme.min(1));
}
