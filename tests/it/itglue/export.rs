//! Exports: ordered, looked at and fetched; opened by a program that is not ours.

use std::collections::BTreeMap;
use std::time::Duration;

use keywheel::api::Settings;
use keywheel::model::export::{Export, ORDERS_MAX};
use keywheel::model::principal::Permission;
use keywheel::scheduler::Tick;
use serde_json::{Value, json};

use super::{delete, document, id, ids, organization, password, reaching, refused, service};
use crate::api::world::{Client, World};
use crate::support::archive::{described, unpacked};

const SEER: [Permission; 2] = [Permission::PasswordsWrite, Permission::PasswordsReveal];

async fn order(client: &Client, attributes: &Value) -> i64 {
    let body = document("exports", attributes);
    let made = client.post("/exports", &body).await.expect(201);
    id(&made.json()["data"])
}

async fn fetched(client: &Client, id: i64) -> Vec<u8> {
    let (answer, bytes) = client.fetch(&format!("/exports/{id}/download")).await;
    let answer = answer.expect(200);
    assert_eq!(answer.headers["content-type"], "application/zip");
    let name = format!("attachment; filename=\"export-{id}.zip\"");
    assert_eq!(answer.headers["content-disposition"], name);
    assert_eq!(answer.headers["cache-control"], "no-store");
    bytes
}

/// The rows of a file, without its heads.
fn rows(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_reader(files[name].as_slice());
    let rows = reader.records().map(|row| row.unwrap());
    rows.map(|row| row.iter().map(str::to_owned).collect())
        .collect()
}

/// Names and values of the passwords in a file.
fn values(files: &BTreeMap<String, Vec<u8>>) -> Vec<(String, String)> {
    let rows = rows(files, "passwords.csv").into_iter();
    rows.map(|mut row| (row.swap_remove(2), row.swap_remove(4)))
        .collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

async fn audited(world: &World, id: i64) -> Vec<String> {
    let rows = world.store.audit_of(&format!("export {id}"), 9).await;
    let rows = rows.unwrap().into_iter();
    rows.rev().map(|row| row.event).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_is_ordered_shown_fetched_under_its_password_and_taken_back() {
    let (world, client) = service().await;
    let (acme, other) = (
        organization(&client, "Acme Corporation").await,
        organization(&client, "Other").await,
    );
    let hostile = json!({"name": "=cmd()", "password": "=1,\"two\"\nthree", "notes": "+1"});
    password(&client, acme, &hostile).await;
    password(
        &client,
        other,
        &json!({"name": "Far", "password": "far-away"}),
    )
    .await;
    let body = document(
        "exports",
        &json!({"organization-id": acme, "include-logs": false, "zip-password": "Z1p $ecret"}),
    );
    let host = [("host", "vault.example:7420")];
    let made = client.call("POST", "/exports", Some(&body), &host).await;
    let made = made.expect(201).json();
    let now = "2026-05-28T20:26:40.000Z";
    let want = json!({"data": {"id": "1", "type": "exports", "attributes": {
        "organization-id": acme, "organization-name": "Acme Corporation",
        "include-logs": false, "export-all": false, "encrypted-status": true,
        "download-url": "http://vault.example:7420/itglue/exports/1/download",
        "created-at": now, "updated-at": now,
    }, "relationships": {}}});
    assert_eq!(made, want);
    let shown = client.call("GET", "/exports/1", None, &host).await;
    assert_eq!(shown.expect(200).json(), want);
    let bytes = fetched(&client, 1).await;
    for (password, opens) in [("Z1p $ecret", true), ("wrong", false), ("", false)] {
        assert_eq!(unpacked(&bytes, password).is_ok(), opens, "{password:?}");
    }
    let files = unpacked(&bytes, "Z1p $ecret").unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["passwords.csv"]);
    assert_eq!(values(&files), [pair("'=cmd()", "=1,\"two\"\nthree")]);
    assert_eq!(rows(&files, "passwords.csv")[0][6], "'+1");
    // No checksum of the plain text stands beside the encrypted one.
    let said = described(&bytes);
    for line in ["Encrypted = +\n", "Method = AES-256 Deflate", "CRC = \n"] {
        assert!(said.contains(line), "{line} in {said}");
    }
    delete(&client, "/exports/1", None).await.expect(204);
    for path in ["/exports/1", "/exports/1/download"] {
        refused(client.get(path).await, 404, "Export not found");
    }
    let gone = delete(&client, "/exports/1", None).await;
    refused(gone, 404, "Export not found");
    let want = [
        "password.export_ordered",
        "password.exported",
        "password.export_deleted",
    ];
    assert_eq!(audited(&world, 1).await, want);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_account_comes_with_its_logs_and_without_a_password_in_the_open() {
    let (world, client) = service().await;
    for (name, value) in [("Acme", "canary-1"), ("Other", "canary-2")] {
        let within = organization(&client, name).await;
        password(&client, within, &json!({"name": name, "password": value})).await;
    }
    let whole = order(
        &client,
        &json!({"include-logs": "true", "zip-password": null}),
    )
    .await;
    let shown = client.get(&format!("/exports/{whole}")).await.expect(200);
    let attributes = shown.json()["data"]["attributes"].clone();
    for (name, want) in [
        ("organization-id", Value::Null),
        ("organization-name", Value::Null),
        ("include-logs", json!(true)),
        ("export-all", json!(true)),
        ("encrypted-status", json!(false)),
    ] {
        assert_eq!(attributes[name], want, "{name}");
    }
    let files = unpacked(&fetched(&client, whole).await, "").unwrap();
    let want = [pair("Acme", "canary-1"), pair("Other", "canary-2")];
    assert_eq!(values(&files), want);
    let logs = rows(&files, "logs.csv");
    let told: Vec<_> = logs
        .iter()
        .map(|row| (&*row[1], &*row[2], &*row[3]))
        .collect();
    assert_eq!(
        told,
        [
            ("admin", "password.created", "1"),
            ("admin", "password.created", "2"),
        ]
    );
    assert!(!String::from_utf8_lossy(&files["logs.csv"]).contains("canary"));
    // The second fetch tells of the first.
    let files = unpacked(&fetched(&client, whole).await, "").unwrap();
    let seen = rows(&files, "logs.csv");
    let seen = seen.iter().filter(|row| row[2] == "password.viewed");
    assert!(seen.clone().count() >= 2);
    assert!(seen.clone().all(|row| row[5].contains("account_export")));
    let accesses = world.store.last_accesses(1.into(), None, 9).await.unwrap();
    assert_eq!(accesses.len(), 2);
    assert!(accesses.iter().all(|one| one.action == "account_export"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_for_whoever_made_it_and_a_file_for_what_they_may_see() {
    let (world, admin) = service().await;
    let (acme, other) = (
        organization(&admin, "Acme").await,
        organization(&admin, "Other").await,
    );
    let (ada, keys) = world.user("ada", &SEER).await;
    let client = world.itglue(&keys);
    let (_, keys) = world.user("eve", &SEER).await;
    let eve = world.itglue(&keys);
    let secret = json!({"name": "Hidden", "password": "hidden", "restricted": true});
    password(&admin, acme, &secret).await;
    password(&admin, acme, &json!({"name": "Open", "password": "open"})).await;
    password(&admin, other, &json!({"name": "Far", "password": "far"})).await;
    let own = order(&client, &json!({"organization_id": acme})).await;
    let whole = order(&client, &json!({})).await;
    let path = format!("/exports/{own}");
    let download = format!("{path}/download");
    // Somebody else's.
    for path in [&path, &download] {
        refused(eve.get(path).await, 403, "Access denied");
    }
    refused(delete(&eve, &path, None).await, 403, "Access denied");
    assert!(ids(eve.get("/exports").await).is_empty());
    assert_eq!(ids(client.get("/exports").await), [own, whole]);
    assert_eq!(ids(admin.get("/exports").await), [own, whole]);
    for (query, found) in [
        ("filter[organization_id]=1", vec![own]),
        ("filter[id]=2,9", vec![whole]),
        ("sort=-id", vec![whole, own]),
        ("sort=-created-at,id&page[size]=1", vec![own]),
        ("page[size]=1&page[number]=2", vec![whole]),
    ] {
        let found_now = ids(client.get(&format!("/exports?{query}")).await);
        assert_eq!(found_now, found, "{query}");
    }
    // Whoever fetches gets what they may see: the same order, two files.
    let files = unpacked(&fetched(&client, own).await, "").unwrap();
    assert_eq!(values(&files), [pair("Open", "open")]);
    let files = unpacked(&fetched(&admin, own).await, "").unwrap();
    assert_eq!(
        values(&files),
        [pair("Hidden", "hidden"), pair("Open", "open")]
    );
    // A key that reaches less sees less, and one without password access fetches nothing.
    let near = reaching(&world, ada, (true, &[acme])).await;
    let files = unpacked(&fetched(&near, whole).await, "").unwrap();
    assert_eq!(values(&files), [pair("Open", "open")]);
    let far = reaching(&world, ada, (true, &[other])).await;
    refused(far.get(&path).await, 403, "Access denied");
    assert_eq!(ids(far.get("/exports").await), [whole]);
    let blind = reaching(&world, ada, (false, &[])).await;
    blind.get(&path).await.expect(200);
    refused(blind.get(&download).await, 403, "Access denied");
    let body = document("exports", &json!({}));
    refused(blind.post("/exports", &body).await, 403, "Access denied");
    // What may not be read of the audit trail is not taken out either.
    let logs = document("exports", &json!({"include_logs": true}));
    refused(client.post("/exports", &logs).await, 403, "Access denied");
    let logged = order(&admin, &json!({"include_logs": true})).await;
    fetched(&admin, logged).await;
    // Whoever sees no value orders nothing, and looks at nothing but their own.
    let (_, keys) = world.user("reader", &[Permission::PasswordsRead]).await;
    let reader = world.itglue(&keys);
    refused(reader.post("/exports", &body).await, 403, "Access denied");
    refused(reader.get(&download).await, 403, "Access denied");
    assert!(ids(reader.get("/exports").await).is_empty());
    let nobody = world.nobody().below("/itglue");
    for path in ["/exports", &path, &download] {
        refused(nobody.get(path).await, 401, "Invalid API key");
    }
    delete(&client, &path, None).await.expect(204);
    delete(&admin, &format!("/exports/{whole}"), None)
        .await
        .expect(204);
}

#[tokio::test]
async fn an_order_that_cannot_be_filled_is_refused() {
    // Orders count as reveals; here no minute passes.
    let settings = Settings {
        reveals_per_minute: 1_000,
        ..Settings::default()
    };
    let world = World::with(settings).await;
    let (_, keys) = world.administrator().await;
    let client = world.itglue(&keys).kept();
    let body = |attributes: &Value| document("exports", attributes);
    let unknown = client
        .post("/exports", &body(&json!({"organization_id": 99})))
        .await;
    let pointer = refused(unknown, 422, "Valid organization_id is required");
    assert_eq!(pointer, "data/attributes/organization_id");
    for attributes in [
        json!({"organization_id": "acme"}),
        json!({"include_logs": "perhaps"}),
        json!({"zip_password": 7}),
        json!({"zip_password": "x".repeat(256)}),
        json!({"zip_password": "a\u{0}b"}),
    ] {
        let answer = client.post("/exports", &body(&attributes)).await;
        refused(answer, 400, "Bad Request");
    }
    let other = document("passwords", &json!({}));
    refused(client.post("/exports", &other).await, 400, "Bad Request");
    refused(client.get("/exports/x").await, 404, "Export not found");
    assert_eq!(world.number("SELECT COUNT(*) FROM exports").await, 0);
    for _ in 0..ORDERS_MAX {
        order(&client, &json!({})).await;
    }
    let answer = client.post("/exports", &body(&json!({}))).await;
    refused(answer, 422, "Too many exports");
    delete(&client, "/exports/1", None).await.expect(204);
    order(&client, &json!({})).await;
}

#[tokio::test]
async fn a_file_that_would_hold_too_much_is_neither_ordered_nor_made() {
    let (world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    password(&client, acme, &json!({"name": "first", "password": "x"})).await;
    let standing = order(&client, &json!({})).await;
    world
        .write(
            "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10001)
             INSERT INTO password_records (id, organization_id, restricted, archived, shareable,
                 otp_enabled, rule_id, created_at, updated_at, revision, name, name_key)
             SELECT i, 1, 0, 0, 0, 0, 0, 0, 0, 1, 'n', 'n' FROM n",
        )
        .await;
    world
        .write("INSERT INTO password_texts (record_id, search_key) SELECT id, '' FROM password_records WHERE id > 1")
        .await;
    let body = document("exports", &json!({"organization_id": acme}));
    refused(
        client.post("/exports", &body).await,
        422,
        "Export too large",
    );
    let download = format!("/exports/{standing}/download");
    refused(client.get(&download).await, 422, "Export too large");
    let viewed = "SELECT COUNT(*) FROM audit WHERE event = 'password.viewed'";
    assert_eq!(world.number(viewed).await, 0);
}

#[tokio::test]
async fn an_order_ends_after_a_week_on_record_and_its_password_with_it() {
    let (world, client) = service().await;
    let first = order(&client, &json!({"zip_password": "z"})).await;
    world
        .clock
        .advance(Export::KEPT.saturating_sub(Duration::from_mins(1)));
    let second = order(&client, &json!({})).await;
    world.tick(Tick::SessionReaper).await;
    assert_eq!(ids(client.get("/exports").await), [first, second]);
    world.clock.advance(Duration::from_mins(2));
    // It is gone before a tick has come by.
    assert_eq!(ids(client.get("/exports").await), [second]);
    let path = format!("/exports/{first}");
    refused(client.get(&path).await, 404, "Export not found");
    refused(
        client.get(&format!("{path}/download")).await,
        404,
        "Export not found",
    );
    assert_eq!(world.number("SELECT COUNT(*) FROM exports").await, 2);
    world.tick(Tick::SessionReaper).await;
    assert_eq!(world.number("SELECT COUNT(*) FROM exports").await, 1);
    let want = ["password.export_ordered", "password.export_ended"];
    assert_eq!(audited(&world, first).await, want);
}

#[tokio::test]
async fn a_file_under_a_password_is_never_handed_out_without() {
    let (world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    password(
        &client,
        acme,
        &json!({"name": "n", "password": "canary-in-zip"}),
    )
    .await;
    let one = order(&client, &json!({"zip_password": "canary-zip-pw"})).await;
    let two = order(&client, &json!({"zip_password": "other"})).await;
    let sealed = world.store.sealed_zip_password(one.into()).await.unwrap();
    let text = String::from_utf8_lossy(&sealed.unwrap()).into_owned();
    assert!(!text.contains("canary-zip-pw"));
    // A seal opens in its own row alone.
    world
        .write(
            "UPDATE exports SET zip_password = (SELECT zip_password FROM exports WHERE id = 1)
             WHERE id = 2",
        )
        .await;
    let (answer, bytes) = client.fetch(&format!("/exports/{two}/download")).await;
    answer.expect(500);
    assert!(!String::from_utf8_lossy(&bytes).contains("canary"));
    let viewed = "SELECT COUNT(*) FROM audit WHERE event = 'password.viewed'";
    assert_eq!(world.number(viewed).await, 0);
    assert!(unpacked(&fetched(&client, one).await, "canary-zip-pw").is_ok());
    assert_eq!(world.number(viewed).await, 1);
}
