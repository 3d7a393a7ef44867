//! Reports of records and of their values.

use std::io::Write as _;
use std::time::Duration;

use axum::http::header;
use keywheel::api::Settings;
use keywheel::model::id::OrganizationId;
use keywheel::model::organization::OrganizationFields;
use keywheel::model::principal::Permission;
use keywheel::store::Backend;
use serde_json::{Value, json};

use super::world::{Client, NOON, World};

const DAY: Duration = Duration::from_hours(24);

async fn ready_on(backend: Backend, settings: Settings) -> (World, Client, OrganizationId) {
    let world = World::on(backend, settings).await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let acme = OrganizationFields::named("Acme");
    let mut tx = world.store.begin().await.unwrap();
    let acme = tx.insert_organization(&acme, NOON).await.unwrap();
    tx.commit().await.unwrap();
    (world, admin, acme)
}

async fn ready() -> (World, Client, OrganizationId) {
    ready_on(Backend::Sqlite, Settings::default()).await
}

pub(super) async fn made(client: &Client, of: OrganizationId, body: &Value) -> i64 {
    let path = format!("/organizations/{}/passwords", of.0);
    let answer = client.post(&path, body).await.expect(201);
    answer.json()["id"].as_i64().unwrap()
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    let answer = client.get(path).await.expect(200).json();
    answer["items"].as_array().unwrap().clone()
}

fn names(items: &[Value]) -> Vec<&str> {
    let names = items.iter().map(|item| item["name"].as_str().unwrap());
    names.collect()
}

/// All of a list, page by page.
async fn paged(client: &Client, path: &str, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    for _ in 0..50 {
        let page = format!("{path}&limit={limit}&cursor={cursor}");
        let answer = client.get(&page).await.expect(200);
        let linked = answer.header(header::LINK).contains("rel=\"next\"");
        let answer = answer.json();
        let items = answer["items"].as_array().unwrap();
        all.extend(items.iter().cloned());
        assert_eq!(linked, answer["next_cursor"].is_string());
        match answer["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return all,
        }
    }
    panic!("{path} never ends");
}

#[tokio::test]
async fn what_has_not_changed_for_long_is_stale_and_what_never_had_a_value() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let (world, admin, acme) = ready_on(backend, Settings::default()).await;
        made(
            &admin,
            acme,
            &json!({"name": "old", "password": "one-7731"}),
        )
        .await;
        world.clock.advance(DAY * 40);
        made(
            &admin,
            acme,
            &json!({"name": "young", "password": "two-7731"}),
        )
        .await;
        world.clock.advance(DAY * 51);
        let path = format!("/organizations/{}/reports/stale", acme.0);
        let stale = items(&admin, &path).await;
        assert_eq!(names(&stale), ["old"]);
        assert_eq!(stale[0]["days_since_update"], 91);
        assert_eq!(stale[0]["last_updated"], NOON.rfc3339());
        let stale = items(&admin, &format!("{path}?days=51")).await;
        assert_eq!(names(&stale), ["old"], "not older than 51 days");
        let stale = items(&admin, &format!("{path}?days=50")).await;
        assert_eq!(names(&stale), ["old", "young"]);
        let rows = paged(&admin, &format!("{path}?days=50"), 1).await;
        assert_eq!(names(&rows), ["old", "young"]);
        admin.get(&format!("{path}?days=0")).await.expect(400);
        admin
            .get("/organizations/77/reports/stale")
            .await
            .expect(404);
        world
            .write(
                "UPDATE password_records SET version = NULL, value_changed_at = NULL WHERE id = 2",
            )
            .await;
        let stale = items(&admin, &path).await;
        assert_eq!(stale[1]["last_updated"], "Never");
        assert_eq!(stale[1]["days_since_update"], "Unknown");
    }
}

#[tokio::test]
async fn records_stand_in_their_categories_and_are_found_by_a_part() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let (world, admin, acme) = ready_on(backend, Settings::default()).await;
        for (name, category) in [("b", json!(3)), ("none", json!(null)), ("a", json!(1))] {
            let body = json!({
                "name": name, "category_id": category, "username": "u", "password": "x-7731",
                "url": format!("https://DC0{name}.example"), "purpose": format!("for {name} 100%"),
            });
            made(&admin, acme, &body).await;
        }
        let path = format!("/organizations/{}/reports/categories", acme.0);
        let found = items(&admin, &path).await;
        let seen: Vec<_> = found.iter().map(|one| one["category"].clone()).collect();
        assert_eq!(seen, ["1", "3", "Uncategorized"]);
        assert_eq!(found[0]["name"], "Administrative");
        let one = &found[2]["passwords"][0];
        assert_eq!(
            (&one["name"], &one["username"]),
            (&json!("none"), &json!("u"))
        );
        assert_eq!(one["last_updated"], NOON.rfc3339());
        let rows = paged(&admin, &format!("{path}?"), 2).await;
        assert_eq!(rows.len(), 3);
        let path = format!("/organizations/{}/passwords", acme.0);
        for (part, meant) in [
            ("dc0A", vec!["a"]),
            ("for%20b", vec!["b"]),
            ("NONE", vec!["none"]),
            ("100%25", vec!["b", "none", "a"]),
            ("%25x", vec![]),
        ] {
            let found = items(&admin, &format!("{path}?server={part}")).await;
            assert_eq!(names(&found), meant, "{part}");
        }
        let (_, keys) = world.user("eve", &[Permission::ReportsRead]).await;
        world.native(&keys).get(&path).await.expect(403);
    }
}

#[tokio::test]
async fn what_is_restricted_is_in_no_report_of_who_is_not_named() {
    let (world, admin, acme) = ready().await;
    for (name, restricted) in [("open", false), ("closed", true)] {
        let body = json!({"name": name, "password": "same-7731", "restricted": restricted});
        made(&admin, acme, &body).await;
    }
    let granted = [Permission::ReportsRead, Permission::PasswordsRead];
    let (_, keys) = world.user("eve", &granted).await;
    let eve = world.native(&keys);
    world.clock.advance(DAY * 100);
    let of = format!("/organizations/{}", acme.0);
    for (path, all) in [
        (format!("{of}/passwords"), vec!["open", "closed"]),
        (format!("{of}/reports/stale"), vec!["open", "closed"]),
        ("/reports/strength".to_owned(), vec!["open", "closed"]),
    ] {
        assert_eq!(names(&items(&admin, &path).await), all, "{path}");
        assert_eq!(names(&items(&eve, &path).await), ["open"], "{path}");
    }
    assert_eq!(items(&admin, "/reports/duplicates").await.len(), 1);
    assert_eq!(items(&eve, "/reports/duplicates").await.len(), 0);
    let categories = items(&eve, &format!("{of}/reports/categories")).await;
    assert_eq!(categories[0]["passwords"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn values_that_are_shared_are_told_by_their_holders_alone() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let (world, admin, acme) = ready_on(backend, Settings::default()).await;
        let password = "old-root";
        let first = made(&admin, acme, &json!({"name": "a", "password": password})).await;
        made(
            &admin,
            acme,
            &json!({"name": "b", "password": "alone-7731"}),
        )
        .await;
        let twin = made(&admin, acme, &json!({"name": "c", "password": "twin-7731"})).await;
        made(&admin, acme, &json!({"name": "d", "password": "twin-7731"})).await;
        let session = session(&world).await;
        let target = world.target(&session).await;
        let linked = json!({"name": "linked", "account_id": target.root});
        let linked = made(&admin, acme, &linked).await;
        let answer = admin.get("/reports/duplicates").await.expect(200);
        assert!(!answer.body.contains("7731") && !answer.body.contains(password));
        let groups = answer.json()["items"].as_array().unwrap().clone();
        assert_eq!(groups.len(), 2, "{groups:?}");
        let ids = |group: &Value| -> Vec<(String, i64)> {
            let holders = group["holders"].as_array().unwrap();
            let one = |one: &Value| {
                let kind = one["kind"].as_str().unwrap().to_owned();
                (kind, one["id"].as_i64().unwrap())
            };
            holders.iter().map(one).collect()
        };
        let shared = [
            ("record".to_owned(), first),
            ("account".to_owned(), target.root),
        ];
        assert_eq!(ids(&groups[0]), shared);
        assert_eq!(groups[0]["holders"][1]["record_ids"], json!([linked]));
        assert_eq!(groups[0]["holders"][1]["name"], "web1/root");
        assert_eq!(
            (ids(&groups[1])[0].1, &groups[1]["count"]),
            (twin, &json!(2))
        );
        assert_eq!(paged(&admin, "/reports/duplicates?", 1).await.len(), 2);
        let trail = world.store.audit_of("report duplicates", 9).await.unwrap();
        assert_eq!(trail[0].event, "report.made");
        assert!(trail[0].body.contains("\"values\":6"), "{}", trail[0].body);
        let path = "/reports/duplicates?organization_id=77";
        admin.get(path).await.expect(404);
    }
}

/// Another administrator's session of the dialect, to make a target with.
pub(super) async fn session(world: &World) -> Client {
    let permissions = keywheel::model::principal::Permission::ALL;
    let (_, keys) = world.user("maker", &permissions).await;
    world.session(&keys).await
}

#[tokio::test]
async fn strength_is_told_and_the_value_never() {
    let (world, admin, acme) = ready().await;
    for (name, password) in [("weak", "password1"), ("strong", "zJ7#qPw2!vKx94mT-7731")] {
        made(&admin, acme, &json!({"name": name, "password": password})).await;
    }
    let session = session(&world).await;
    world.target(&session).await;
    let answer = admin.get("/reports/strength").await.expect(200);
    assert!(!answer.body.contains("7731") && !answer.body.contains("password1"));
    let all = answer.json()["items"].as_array().unwrap().clone();
    assert_eq!(names(&all), ["weak", "strong", "web1/root", "web1/ann"]);
    assert_eq!((&all[0]["score"], &all[1]["score"]), (&json!(0), &json!(4)));
    assert_eq!(
        (&all[2]["kind"], &all[0]["kind"]),
        (&json!("account"), &json!("record"))
    );
    let weak = items(&admin, "/reports/strength?max_score=3").await;
    assert!(!names(&weak).contains(&"strong") && names(&weak).contains(&"weak"));
    let rows = paged(&admin, "/reports/strength?max_score=4", 1).await;
    assert_eq!(rows, all);
    let path = format!("/reports/strength?organization_id={}", acme.0);
    assert_eq!(names(&items(&admin, &path).await), ["weak", "strong"]);
    admin.get("/reports/strength?max_score=5").await.expect(400);
    let (_, keys) = world.user("eve", &[Permission::PasswordsRead]).await;
    let eve = world.native(&keys);
    eve.get("/reports/strength").await.expect(403);
    let trail = world.store.audit_of("report strength", 99).await.unwrap();
    assert!(trail.len() >= 5 && trail.iter().all(|row| !row.body.contains("7731")));
}

#[tokio::test]
async fn values_that_everybody_knows_are_found_in_the_file() {
    // SHA-1 of "password1" and of nothing here.
    let lines = "0000000000000000000000000000000000000001:3\r\n\
                 E38AD214943DAAD1D64C102FAEC29DE4AFE9DA3D:2413945\r\n";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    let settings = Settings {
        breached_file: Some(file.path().to_owned()),
        ..Settings::default()
    };
    let (world, admin, acme) = ready_on(Backend::Sqlite, settings).await;
    for (name, password) in [("known", "password1"), ("own", "zJ7#qPw2!vKx94mT-7731")] {
        made(&admin, acme, &json!({"name": name, "password": password})).await;
    }
    let answer = admin.get("/reports/breached").await.expect(200);
    assert!(!answer.body.contains("7731") && !answer.body.contains("E38AD"));
    let found = answer.json()["items"].as_array().unwrap().clone();
    assert_eq!(
        (names(&found), &found[0]["seen"]),
        (vec!["known"], &json!(2_413_945))
    );
    let trail = world.store.audit_of("report breached", 9).await.unwrap();
    assert_eq!(trail.len(), 1);
    for (content, words) in [("hello\n", "SHA1HEX:count"), ("", "")] {
        std::fs::write(file.path(), content).unwrap();
        let answer = admin.get("/reports/breached").await;
        if words.is_empty() {
            assert_eq!(answer.expect(200).json()["items"], json!([]));
        } else {
            let detail = answer.expect(409).json()["detail"].to_string();
            assert!(detail.contains(words), "{detail}");
        }
    }
    drop(file);
    let detail = admin.get("/reports/breached").await.expect(409).json();
    let detail = detail["detail"].to_string();
    assert!(detail.contains("cannot be read"), "{detail}");
    let (_world, admin, _) = ready().await;
    let detail = admin.get("/reports/breached").await.expect(409).json();
    assert!(
        detail["detail"]
            .to_string()
            .contains("reports.breached_file")
    );
}
