//! Records written: new ones, edits, round trips, bulk, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};

use super::{delete, document, id, ids, organization, password, patch, refused, service};
use crate::api::world::{Client, World};

async fn versions(world: &World) -> i64 {
    world.number("SELECT COUNT(*) FROM password_versions").await
}

async fn attributes(client: &Client, record: i64) -> Value {
    let path = format!("/passwords/{record}?show_password=true");
    client.get(&path).await.expect(200).json()["data"]["attributes"].clone()
}

#[tokio::test]
async fn records_are_made_with_all_they_say_and_without_their_values_in_the_answer() {
    let (_world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let record = json!({
        "organization-id": acme.to_string(), "name": "n", "password": "p1", "username": "u",
        "otpSecret": "gezd gnbv gy3t qojq", "shareable": "1", "archived": "false",
        "resource_type": "ssl-certificates", "resource_id": "7", "cached-resource-name": "www",
        "autofill-selectors": "#user", "password_updated_at": "2020-01-01T00:00:00.000Z",
        "password-category-name": "CLOUD", "generated-password-type": "easy", "id": 99,
    });
    let made = client
        .post("/passwords", &document("passwords", &record))
        .await
        .expect(201);
    assert!(
        !made.body.contains("p1") && !made.body.contains("gezd"),
        "{made:?}"
    );
    let made = made.json();
    let shown = attributes(&client, id(&made["data"])).await;
    for (name, want) in [
        ("password", json!("p1")),
        ("otp-enabled", json!(true)),
        ("shareable", json!(true)),
        ("resource-type", json!("SSL Certificate")),
        ("resource-id", json!(7)),
        ("cached-resource-name", json!("www")),
        ("password-category-id", json!(7)),
        ("password-updated-at", json!("2020-01-01T00:00:00.000Z")),
    ] {
        assert_eq!(shown[name], want, "{name}");
    }
    assert!(shown.get("otp-secret").is_none());
    let seen = document(
        "passwords",
        &json!({"name": "seen", "password": "p2", "organization_id": acme}),
    );
    let seen = client.post("/passwords?show-password=true", &seen).await;
    let seen = seen.expect(201).json();
    assert_eq!(seen["data"]["attributes"]["password"], "p2");
    let related = json!({"data": {"type": "passwords", "attributes": {"name": "r"},
    "relationships": {
        "organization": {"data": {"type": "organizations", "id": acme.to_string()}},
        "password_category": {"data": [{"attributes": {"name": "User"}}]},
    }}});
    let made = client.post("/passwords", &related).await.expect(201).json();
    assert_eq!(made["data"]["attributes"]["password-category-name"], "User");
}

/// Records that are refused: status, title and attribute.
#[rustfmt::skip]
fn faulty(acme: i64) -> Vec<(Value, u16, &'static str, &'static str)> {
    vec![
        (json!({"organization_id": acme}), 400, "Name can't be blank", "name"),
        (json!({"name": "", "organization_id": acme}), 400, "Name can't be blank", "name"),
        (json!({"name": "n"}), 400, "Organization required", "organization_id"),
        (json!({"name": "n", "organization_id": 999}), 422, "Valid organization_id is required", "organization_id"),
        (json!({"name": "n", "organization_id": acme, "password-category-id": 99}), 422, "Invalid category", "password_category_id"),
        (json!({"name": "n", "organization_id": acme, "password-category-id": 1, "password-category-name": 7}), 400, "Bad Request", "password_category_name"),
        (json!({"name": "n", "organization_id": acme, "password-folder-id": 1}), 422, "Invalid folder", "password_folder_id"),
        (json!({"name": "n", "organization_id": acme, "password-folder-id": 99}), 422, "Invalid folder", "password_folder_id"),
        (json!({"name": "n", "organization_id": acme, "resource_id": 7}), 422, "Invalid resource", "resource_type"),
        (json!({"name": "n", "organization_id": acme, "resource_type": "Contact"}), 422, "Invalid resource", "resource_id"),
        (json!({"name": "n", "organization_id": acme, "resource_type": "Printer", "resource_id": 7}), 422, "Invalid resource", "resource_type"),
        (json!({"name": "n", "organization_id": acme, "resource_type": "Managed Account", "resource_id": 7}), 422, "Invalid resource", "resource_id"),
        (json!({"name": "n", "organization_id": acme, "otp_secret": "1"}), 422, "Invalid otp_secret", "otp_secret"),
        (json!({"name": "n", "organization_id": acme, "archived": "maybe"}), 400, "Bad Request", "archived"),
        (json!({"name": "n", "organization_id": acme, "url": "a\u{7}"}), 400, "Bad Request", "url"),
    ]
}

#[tokio::test]
async fn every_fault_of_a_record_has_its_status_title_and_place() {
    let (_world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let other = organization(&client, "Other").await;
    let foreign = document(
        "password_folders",
        &json!({"name": "f", "organization_id": other}),
    );
    client.post("/password_folders", &foreign).await.expect(201);
    for (record, status, title, pointer) in faulty(acme) {
        let answer = client
            .post("/passwords", &document("passwords", &record))
            .await;
        let found = refused(answer, status, title);
        assert_eq!(found, format!("data/attributes/{pointer}"), "{record}");
    }
    let other = document("contacts", &json!({"name": "n"}));
    let pointer = refused(client.post("/passwords", &other).await, 400, "Bad Request");
    assert_eq!(pointer, "data/type");
    let form = [("content-type", "text/plain")];
    let answer = client.call("POST", "/passwords", None, &form).await;
    refused(answer, 400, "Bad Request");
    assert!(ids(client.get("/passwords").await).is_empty());
}

#[tokio::test]
async fn what_is_sent_back_as_it_was_read_changes_nothing() {
    let (world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let record = json!({
        "name": "n", "password": "old", "username": "u", "folder-path": "A/B",
        "password-category-id": 3, "resource-type": "Contact", "resource-id": 4,
    });
    let record = password(&client, acme, &record).await;
    let path = format!("/passwords/{record}");
    let read = client
        .get(&format!("{path}?show_password=true"))
        .await
        .expect(200)
        .json();
    world.clock.advance(Duration::from_hours(1));
    patch(&client, &path, &read).await.expect(200);
    for same in [
        json!({"password": "old"}),
        json!({"password": null}),
        json!({"password": ""}),
    ] {
        patch(&client, &path, &document("passwords", &same))
            .await
            .expect(200);
    }
    assert_eq!(versions(&world).await, 1);
    assert_eq!(
        attributes(&client, record).await,
        read["data"]["attributes"]
    );
    // Somebody changes it, and the stale copy comes back with another edit.
    let new = document("passwords", &json!({"password": "new"}));
    patch(&client, &path, &new).await.expect(200);
    let mut echo = read.clone();
    echo["data"]["attributes"]["notes"] = json!("x");
    patch(&client, &path, &echo).await.expect(200);
    let shown = attributes(&client, record).await;
    assert_eq!(
        (&shown["password"], &shown["notes"]),
        (&json!("new"), &json!("x"))
    );
    assert_eq!(versions(&world).await, 2);
    assert_eq!(shown["password-updated-at"], "2026-05-28T21:26:40.000Z");
    let moved = document("passwords", &json!({"resource-id": 5}));
    refused(patch(&client, &path, &moved).await, 422, "Invalid resource");
    let none = document("passwords", &json!({"otp_secret": "GEZDGNBVGY3TQOJQ"}));
    patch(&client, &path, &none).await.expect(200);
    let none = document(
        "passwords",
        &json!({"otp_secret": null, "password-folder-id": null}),
    );
    let shown = patch(&client, &path, &none).await.expect(200).json();
    assert_eq!(shown["data"]["attributes"]["otp-enabled"], false);
    assert_eq!(
        shown["data"]["attributes"]["password-folder-id"],
        Value::Null
    );
}

#[tokio::test]
async fn composite_attributes_walk_folders_and_keep_reasons() {
    let (world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let record = json!({
        "name": "DC", "password": "p", "folder-path": "Infrastructure/Domain Controllers",
        "purpose": "a < b",
    });
    let record = password(&client, acme, &record).await;
    let shown = attributes(&client, record).await;
    let notes = "<p>Created: 2026-05-28</p><p>Purpose: a &lt; b</p>";
    assert_eq!(
        (&shown["notes"], &shown["password-folder-id"]),
        (&json!(notes), &json!(2))
    );
    let path = format!("/passwords/{record}?show_password=true");
    let rotate = json!({"password": "q", "rotation-reason": "left <company>"});
    let answer = patch(&client, &path, &document("passwords", &rotate))
        .await
        .expect(200)
        .json();
    let attributes = &answer["data"]["attributes"];
    assert_eq!(attributes["password"], "q");
    let want = format!(
        "{notes}<p><strong>Rotated:</strong> 2026-05-28</p><p><strong>Reason:</strong> left \
         &lt;company&gt;</p>"
    );
    assert_eq!(attributes["notes"], want);
    let rows = world
        .store
        .audit_of(&format!("password record {record}"), 9)
        .await
        .unwrap();
    let events: Vec<_> = rows.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(
        events,
        [
            "password.viewed",
            "password.rotated",
            "password.viewed",
            "password.created"
        ]
    );
    assert!(rows[0].body.contains("api_update"), "{:?}", rows[0]);
}

#[tokio::test]
async fn bulk_calls_are_made_whole_or_not_at_all() {
    let (world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let nested = format!("/organizations/{acme}/relationships/passwords");
    let two = json!({"data": [
        {"type": "passwords", "attributes": {"name": "A", "password": "x1"}},
        {"type": "passwords", "attributes": {"name": "B", "password": "x2"}},
    ]});
    let made = client.post(&nested, &two).await.expect(201).json();
    let (a, b) = (id(&made["data"][0]), id(&made["data"][1]));
    let half = json!({"data": [{"name": "C"}, {"name": ""}]});
    let pointer = refused(
        client.post(&nested, &half).await,
        400,
        "Name can't be blank",
    );
    assert_eq!(pointer, "data/1/attributes/name");
    assert_eq!(ids(client.get("/passwords").await), [a, b]);
    let edit = json!({"data": [
        {"type": "passwords", "attributes": {"id": a, "password-category-id": 5}},
        {"type": "passwords", "attributes": {"id": b.to_string(), "archived": true, "password": "x3"}},
    ]});
    let answer = patch(&client, "/passwords?show_password=true", &edit)
        .await
        .expect(200)
        .json();
    assert_eq!(
        answer["data"][0]["attributes"]["password-category-name"],
        "User"
    );
    assert_eq!(answer["data"][1]["attributes"]["password"], "x3");
    let methods = "SELECT COUNT(*) FROM audit WHERE body LIKE '%api_bulk_update%'";
    assert_eq!(world.number(methods).await, 2);
    let bad = json!({"data": [{"id": a, "name": "Z"}, {"id": b, "password-category-id": 99}]});
    let pointer = refused(
        patch(&client, "/passwords", &bad).await,
        422,
        "Invalid category",
    );
    assert_eq!(pointer, "data/1/attributes/password_category_id");
    assert_eq!(attributes(&client, a).await["name"], "A");
    let unknown = json!({"data": [{"id": 99, "name": "Z"}]});
    refused(
        patch(&client, "/passwords", &unknown).await,
        404,
        "Password not found",
    );
    let nameless = json!({"data": [{"attributes": {"name": "Z"}}]});
    refused(
        patch(&client, "/passwords", &nameless).await,
        400,
        "Bad Request",
    );
    let many: Vec<Value> = (0..1_001).map(|_| json!({"name": "n"})).collect();
    let answer = client.post(&nested, &json!({"data": many})).await;
    refused(answer, 400, "Bad Request");
}

#[tokio::test]
async fn a_bulk_delete_takes_an_array_or_filters_and_never_more_than_meant() {
    let (world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let mut made = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        made.push(password(&client, acme, &json!({"name": name, "password": "p"})).await);
    }
    let two = json!({"data": [{"attributes": {"id": made[0]}}, {"id": made[1]}]});
    for unsafe_call in [
        "/passwords",
        "/passwords?page[size]=5",
        "/passwords?filter[nam]=a",
        "/passwords?filter[name]=",
        "/passwords?filter[id]=,",
        "/passwords?filter[name]=a&filter[username]=,,",
        "/passwords?filter[created_at]=*,*",
        "/passwords?filter[updated_at][gt]=*",
        "/passwords?filter[name]=a&filter[colour]=red",
        "/passwords?filter=a",
        "/passwords?name=a",
    ] {
        refused(delete(&client, unsafe_call, None).await, 400, "Bad Request");
    }
    let both = delete(&client, "/passwords?filter[name]=c", Some(&two)).await;
    refused(both, 400, "Bad Request");
    assert_eq!(ids(client.get("/passwords").await), made);
    let gone = delete(&client, "/passwords", Some(&two))
        .await
        .expect(200)
        .json();
    assert_eq!(gone["data"][1]["id"], made[1].to_string());
    assert!(gone["data"][0]["attributes"].get("password").is_none());
    let nested = format!("/organizations/{acme}/relationships/passwords");
    let gone = delete(&client, &format!("{nested}?filter[name]=c"), None)
        .await
        .expect(200);
    assert_eq!(gone.json()["data"].as_array().unwrap().len(), 1);
    delete(&client, &format!("/passwords/{}", made[3]), None)
        .await
        .expect(204);
    let array = json!({"data": [{"id": made[4]}]});
    delete(&client, &format!("{nested}/{}", made[4]), Some(&array))
        .await
        .expect(200);
    assert!(ids(client.get("/passwords").await).is_empty());
    assert_eq!(versions(&world).await, 0);
    let events = "SELECT COUNT(*) FROM audit WHERE event = 'password.deleted'";
    assert_eq!(world.number(events).await, 5);
    refused(
        delete(&client, &format!("/passwords/{}", made[3]), None).await,
        404,
        "Password not found",
    );
}
