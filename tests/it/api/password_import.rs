//! Imports of password records through the native API.

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::{Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keepass::config::{DatabaseConfig, KdfConfig};
use keepass::db::{Value as Field, fields};
use keepass::{Database, DatabaseKey};
use keywheel::api::Settings;
use keywheel::model::id::OrganizationId;
use keywheel::model::organization::OrganizationFields;
use keywheel::model::principal::Permission;
use keywheel::store::{Backend, Page, PasswordFilter};
use serde_json::{Value, json};

use super::world::{Answer, Client, NOON, World};

async fn ready(backend: Backend) -> (World, Client, OrganizationId) {
    let world = World::on(backend, Settings::default()).await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let mut tx = world.store.begin().await.unwrap();
    let acme = OrganizationFields::named("Acme");
    let acme = tx.insert_organization(&acme, NOON).await.unwrap();
    tx.commit().await.unwrap();
    (world, admin, acme)
}

async fn send(
    client: &Client,
    query: &str,
    (kind, password): (&str, &str),
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::post(format!("/api/v1/imports/passwords{query}"))
        .header(header::CONTENT_TYPE, kind)
        .body(body.into())
        .unwrap();
    if !password.is_empty() {
        let value = STANDARD.encode(password).parse().unwrap();
        request.headers_mut().insert("x-keepass-password", value);
    }
    client.send(request).await
}

async fn csv(client: &Client, query: &str, file: &str) -> Value {
    let answer = send(
        client,
        query,
        ("text/csv; charset=utf-8", ""),
        file.to_owned(),
    );
    answer.await.expect(200).json()
}

fn statuses(answer: &Value) -> Vec<&str> {
    let rows = answer["rows"].as_array().unwrap().iter();
    rows.map(|row| row["status"].as_str().unwrap()).collect()
}

async fn count(world: &World) -> i64 {
    let all = PasswordFilter::default();
    let found = world
        .store
        .password_records(&all, &[], Page::first(1))
        .await;
    found.unwrap().1
}

const FILE: &str = "id,organization,Name,username,password,url,notes,Password Category,archived,\
    resource_type,resource_id,password_folder,otp_secret,password_updated_at\r\n\
    7,Acme,Web,admin,Given-7731,https://web,\"two\nlines\",administrative,yes,,,Ops/Web,,\r\n\
    8,ACME,Ticketed,,Other-7731,,,,no,tickets,44,,GEZDGNBVGY3TQOJQGEZDGNBV,2026-01-31 08:00:00 UTC\r\n\
    9,acme,web,ADMIN,again,,,,,,,,,\r\n\
    10,Nowhere,Lost,,x,,,,,,,,,\r\n\
    11,Acme,,,x,,,,,,,,,\r\n\
    12,Acme,a,,x,,,no such,,,,,,\r\n\
    13,Acme,b,,x,,,,perhaps,,,,,\r\n\
    14,Acme,c,,x,,,,,ticket,,,,\r\n\
    15,Acme,d,,x,,,,,,,,0189,\r\n\
    16,Acme,Last,,Last-7731,,,,,,,,,\r\n";

const VERDICTS: [&str; 10] = [
    "created",
    "created",
    "duplicate",
    "unknown_organization",
    "invalid",
    "invalid",
    "invalid",
    "invalid",
    "invalid",
    "created",
];

#[tokio::test]
async fn each_row_has_its_verdict_and_a_dry_run_gives_the_same_and_writes_nothing() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let (world, admin, acme) = ready(backend).await;
        // Not counted: the key's last use, which is noted once a minute.
        admin.get("/keys").await.expect(200);
        let before = (count(&world).await, world.store.commits());
        let dry = csv(&admin, "?dry_run=true", FILE).await;
        assert_eq!(
            (statuses(&dry), &dry["dry_run"]),
            (VERDICTS.to_vec(), &json!(true))
        );
        assert_eq!((count(&world).await, world.store.commits()), before);
        let real = csv(&admin, "", FILE).await;
        assert_eq!(statuses(&real), VERDICTS);
        assert_eq!(
            (&real["counts"]["created"], &real["counts"]["invalid"]),
            (&json!(3), &json!(5))
        );
        assert_eq!(real["unknown_columns"], json!(["id"]));
        assert_eq!(
            (&real["rows"][1]["row"], &real["rows"][2]["duplicate_of"]),
            (&json!(4), &json!(2))
        );
        let fields: Vec<_> = (4..9)
            .map(|nth| real["rows"][nth]["errors"][0]["field"].clone())
            .collect();
        let meant = [
            "name",
            "password_category",
            "archived",
            "resource_id",
            "otp_secret",
        ];
        assert_eq!(fields, meant, "{real}");
        assert!(!real.to_string().contains("7731"));
        let id = |nth: usize| real["rows"][nth]["password_id"].as_i64().unwrap().into();
        let web = world.store.password_record(id(0)).await.unwrap().unwrap();
        assert_eq!((web.organization_id, web.fields.archived), (acme, true));
        assert_eq!(web.category_name.as_deref(), Some("Administrative"));
        assert_eq!(web.fields.notes.as_deref(), Some("two\nlines"));
        let folders = world.store.password_folders(Some(acme)).await.unwrap();
        let names: Vec<_> = folders.iter().map(|folder| folder.name.as_str()).collect();
        assert_eq!(
            (names, web.fields.folder_id),
            (vec!["Ops", "Web"], Some(folders[1].id))
        );
        let ticketed = world.store.password_record(id(1)).await.unwrap().unwrap();
        assert!(ticketed.otp_enabled && ticketed.fields.embedded.is_some());
        assert!(ticketed.said_changed_at < ticketed.value_changed_at);
        // The same file again does nothing: whoever was created exists.
        let commits = world.store.commits();
        let again = csv(&admin, "", FILE).await;
        let expected = VERDICTS.map(|one| if one == "created" { "exists" } else { one });
        assert_eq!(statuses(&again), expected);
        assert_eq!(world.store.commits(), commits);
        assert_eq!(
            again["rows"][9]["password_id"],
            real["rows"][9]["password_id"]
        );
    }
}

#[tokio::test]
async fn an_import_is_noted_as_an_access_and_rotates_nothing() {
    let (world, admin, acme) = ready(Backend::Sqlite).await;
    let session = super::report::session(&world).await;
    let target = world.target(&session).await;
    let jobs = async || world.number("SELECT COUNT(*) FROM jobs").await;
    let before = jobs().await;
    let rows = json!({"rows": [
        {"name": "own", "password": "Given-7731", "colour": "red"},
        {"name": "linked", "resource_type": "Managed Account", "resource_id": target.root},
        {"name": "given", "resource_type": "managed-accounts", "resource_id": target.ann,
         "password": "Given-7731"},
        {"name": "lost", "resource_type": "Managed Account", "resource_id": 77},
    ]});
    let query = format!("?organization_id={}", acme.0);
    let body = rows.to_string();
    let answer = send(&admin, &query, ("application/json", ""), body).await;
    let answer = answer.expect(200).json();
    assert_eq!(
        statuses(&answer),
        ["created", "created", "invalid", "invalid"],
        "{answer}"
    );
    assert_eq!(answer["unknown_columns"], json!(["colour"]));
    let user = world.store.user_by_name("admin").await.unwrap().unwrap();
    let accesses = world.store.last_accesses(user.id, None, 9).await.unwrap();
    let actions: Vec<_> = accesses.iter().map(|one| one.action.as_str()).collect();
    assert_eq!(actions, ["imported"]);
    assert_eq!(jobs().await, before);
    let id = answer["rows"][0]["password_id"].as_i64().unwrap();
    let why = json!({"reason": "test"});
    let shown = admin.post(&format!("/passwords/{id}/reveal"), &why).await;
    assert_eq!(shown.expect(200).json()["value"], "Given-7731");
}

#[tokio::test]
async fn an_import_needs_both_permissions_and_a_body_that_is_one() {
    let (world, admin, _) = ready(Backend::Sqlite).await;
    for granted in [Permission::ImportsRun, Permission::PasswordsWrite] {
        let (_, keys) = world
            .user(granted.as_str().split('.').next().unwrap(), &[granted])
            .await;
        let client = world.native(&keys);
        let answer = send(&client, "", ("text/csv", ""), "name\na\n").await;
        answer.expect(403);
    }
    let both = [Permission::ImportsRun, Permission::PasswordsWrite];
    let (_, keys) = world.user("both", &both).await;
    let client = world.native(&keys);
    let file = "name,organization,resource_type,resource_id\na,Acme,,\nb,Acme,Managed Account,1\n";
    assert_eq!(
        statuses(&csv(&client, "", file).await),
        ["created", "invalid"]
    );
    for (kind, query, body, status) in [
        ("text/csv", "", "", 400),
        ("text/csv", "", "web,secret\n", 400),
        ("text/plain", "", "name\na\n", 415),
        ("text/csv", "?organization_id=77", "name\na\n", 404),
        ("text/csv", "?dry_run=maybe", "name\na\n", 400),
        ("application/x-keepass2", "", "x", 400),
        ("application/x-keepass2", "?organization_id=1", "x", 400),
    ] {
        send(&admin, query, (kind, ""), body).await.expect(status);
    }
    let large = format!("name\n{}", "x".repeat(2_000_000));
    send(&admin, "", ("text/csv", ""), large).await.expect(413);
}

#[tokio::test]
async fn many_rows_are_written_in_chunks_and_one_that_is_refused_late_keeps_none_away() {
    let (world, admin, _) = ready(Backend::Sqlite).await;
    let mut file = "name,organization,password\n".to_owned();
    for nth in 0..250 {
        writeln!(file, "record {nth},Acme,value {nth}").unwrap();
    }
    let commits = world.store.commits();
    let answer = csv(&admin, "", &file).await;
    assert_eq!(answer["counts"]["created"], 250);
    let commits = world.store.commits() - commits;
    assert!((3..=4).contains(&commits), "{commits} commits");
    assert_eq!(count(&world).await, 250);
}

fn keepass_file(password: &str) -> Vec<u8> {
    let mut config = DatabaseConfig::default();
    config.kdf_config = KdfConfig::Aes { rounds: 10 };
    let mut database = Database::with_config(config);
    let mut root = database.root_mut();
    let mut entry = root.add_entry();
    entry.set_unprotected(fields::TITLE, "Top & <first>");
    entry.set_unprotected(fields::USERNAME, "admin");
    entry.set_protected(fields::PASSWORD, "Näïve-7731");
    entry.set_unprotected("Colour", "red");
    let mut group = root.add_group();
    group.name = "Ops / Web".to_owned();
    let mut entry = group.add_entry();
    entry.set_unprotected(fields::TITLE, "Below");
    entry.set("Hidden", Field::protected("not wanted"));
    entry.set_protected(fields::PASSWORD, "Below-7731");
    entry.set_unprotected(
        fields::OTP,
        "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBV&digits=6",
    );
    let mut bytes = Vec::new();
    let key = DatabaseKey::new().with_password(password);
    database.save(&mut bytes, key).unwrap();
    bytes
}

#[tokio::test]
async fn a_keepass_file_comes_in_with_its_groups_and_values() {
    let (world, admin, acme) = ready(Backend::Sqlite).await;
    let bytes = keepass_file("Schlüssel");
    let query = format!("?organization_id={}", acme.0);
    let kind = "application/x-keepass2";
    let wrong = send(&admin, &query, (kind, "wrong"), bytes.clone())
        .await
        .expect(422);
    assert!(
        wrong.json()["detail"].to_string().contains("password"),
        "{wrong:?}"
    );
    for broken in [bytes[..bytes.len() / 2].to_vec(), b"no such file".to_vec()] {
        let refused = send(&admin, &query, (kind, "Schlüssel"), broken)
            .await
            .expect(422);
        assert!(
            refused.json()["detail"]
                .to_string()
                .contains("broken in its"),
            "{refused:?}"
        );
    }
    assert_eq!(count(&world).await, 0);
    let answer = send(&admin, &query, (kind, "Schlüssel"), bytes.clone())
        .await
        .expect(200);
    assert!(!answer.body.contains("7731"), "{answer:?}");
    let answer = answer.json();
    assert_eq!(statuses(&answer), ["created", "created"], "{answer}");
    assert_eq!(answer["unknown_columns"], json!(["Colour", "Hidden"]));
    let why = json!({"reason": "test"});
    // In which order groups and entries stand in the file is the writer's.
    for nth in 0..2 {
        let id = answer["rows"][nth]["password_id"].as_i64().unwrap();
        let found = admin.get(&format!("/passwords/{id}")).await.expect(200);
        let found = found.json();
        let (below, value) = match found["name"].as_str().unwrap() {
            "Top & <first>" => (false, "Näïve-7731"),
            "Below" => (true, "Below-7731"),
            other => panic!("{other}"),
        };
        assert_eq!(found["otp_enabled"], below, "{found}");
        assert_eq!(found["folder_id"].is_number(), below, "{found}");
        let shown = admin.post(&format!("/passwords/{id}/reveal"), &why).await;
        assert_eq!(shown.expect(200).json()["value"], value);
    }
    let folders = world.store.password_folders(Some(acme)).await.unwrap();
    assert_eq!(folders[0].name, "Ops - Web");
    let again = send(&admin, &query, (kind, "Schlüssel"), bytes)
        .await
        .expect(200);
    assert_eq!(statuses(&again.json()), ["exists", "exists"]);
}
