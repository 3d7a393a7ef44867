//! Imports through the native API, on the target in memory.

use axum::body::Body;
use axum::http::{Request, header};
use keywheel::model::Timestamp;
use keywheel::model::id::AccountId;
use keywheel::model::job::JobKind;
use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::world::{Answer, Client, HOST, World};

async fn world() -> (World, Client, i64) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let target = world.target(&world.session(&keys).await).await;
    let admin = world.native(&keys);
    (world, admin, target.system)
}

async fn send(client: &Client, query: &str, kind: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(format!("/api/v1/imports{query}"))
        .header(header::CONTENT_TYPE, kind)
        .body(body.into())
        .unwrap();
    client.send(request).await
}

async fn csv(client: &Client, query: &str, file: &str) -> Value {
    let answer = send(client, query, "text/csv; charset=utf-8", file.to_owned()).await;
    answer.expect(200).json()
}

fn statuses(answer: &Value) -> Vec<&str> {
    let rows = answer["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| row["status"].as_str().unwrap())
        .collect()
}

async fn count(world: &World) -> usize {
    let page = keywheel::store::Page::first(200);
    let all = keywheel::store::AccountFilter::default();
    world.store.accounts(&all, page).await.unwrap().len()
}

const FILE: &str = "system,name,password,description,policy,auto_management\r\n\
    web1,new,Given-secret-7731,\"two\nlines\",,\r\n\
    web1,bare,,,,\r\n\
    WEB1,root,Given-secret-7731,,,\r\n\
    web1,new,other,,,\r\n\
    elsewhere,new,,,,\r\n\
    web1,a:b,,,,\r\n\
    web1,odd,\"Given-secret-7731\n\",,,\r\n\
    web1,poor,,,nowhere,\r\n\
    web1,late,,,,perhaps\r\n\
    web1,last,Last-secret-7731,,,no\r\n";

const VERDICTS: [&str; 10] = [
    "created",
    "created",
    "exists",
    "duplicate",
    "unknown_system",
    "invalid",
    "invalid",
    "invalid",
    "invalid",
    "created",
];

#[tokio::test]
async fn each_row_has_its_verdict_and_a_dry_run_gives_the_same_and_writes_nothing() {
    let (world, admin, _) = world().await;
    // Not counted: the key's last use, which is noted once a minute.
    admin.get("/keys").await.expect(200);
    let before = (count(&world).await, world.store.commits());
    let dry = csv(&admin, "?dry_run=true", FILE).await;
    assert_eq!(
        (dry["dry_run"].clone(), statuses(&dry)),
        (json!(true), VERDICTS.to_vec())
    );
    assert_eq!((count(&world).await, world.store.commits()), before);
    let real = csv(&admin, "", FILE).await;
    assert_eq!(statuses(&real), VERDICTS);
    assert_eq!(real["counts"]["created"], 3);
    assert_eq!(real["rows"][3]["duplicate_of"], 2);
    assert_eq!(real["rows"][1]["row"], 4, "{real}");
    assert_eq!(real["rows"][5]["errors"][0]["field"], "name");
    assert_eq!(real["rows"][6]["errors"][0]["field"], "password");
    assert_eq!(real["rows"][7]["errors"][0]["field"], "policy");
    assert_eq!(real["rows"][8]["errors"][0]["field"], "auto_management");
    for answer in [&dry, &real] {
        assert!(!answer.to_string().contains("secret-7731"), "{answer}");
    }
    assert_eq!(count(&world).await, before.0 + 3);
    // The same file again does nothing: whoever was created exists.
    let commits = world.store.commits();
    let again = csv(&admin, "", FILE).await;
    let expected = VERDICTS.map(|one| if one == "created" { "exists" } else { one });
    assert_eq!(statuses(&again), expected);
    assert_eq!(world.store.commits(), commits);
    assert_eq!(
        again["rows"][1]["account_id"],
        real["rows"][1]["account_id"]
    );
}

#[tokio::test]
async fn who_comes_with_a_password_is_tested_and_nobody_is_rotated() {
    let (world, admin, system) = world().await;
    let target = world.targets.system(HOST);
    target.add("new", "right").add("other", "right");
    let rows = json!({"rows": [
        {"system": system, "name": "new", "password": "right", "check_password": true},
        {"system": "web1", "name": "other", "password": "wrong", "description": null},
        {"system": "web1", "name": "bare"},
        {"system": "web1", "name": "bare", "password": "x"},
        {"system": "web1", "nmae": "bare"},
        {"system": "web1", "name": ["bare"]},
    ]});
    let answer = send(&admin, "", "application/json", rows.to_string())
        .await
        .expect(200);
    let answer = answer.json();
    let expected = [
        "created",
        "created",
        "created",
        "duplicate",
        "invalid",
        "invalid",
    ];
    assert_eq!(statuses(&answer), expected);
    assert_eq!(answer["rows"][3]["duplicate_of"], 3);
    assert!(answer["rows"][2]["job_id"].is_null());
    world.work();
    let mut verdicts = Vec::new();
    for row in 0..2 {
        let job = answer["rows"][row]["job_id"].as_i64().unwrap();
        let job = keywheel::model::id::JobId(job);
        let limit = std::time::Duration::from_secs(30);
        let view = world
            .api
            .orders
            .wait_end(job, limit)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(view.kind, JobKind::Test);
        let id = AccountId(answer["rows"][row]["account_id"].as_i64().unwrap());
        let account = world.store.account(id).await.unwrap().unwrap();
        assert_eq!(
            (account.due.next_change_at, account.credential.epoch),
            (None, 0)
        );
        assert!(!account.settings.auto_management);
        verdicts.push(account.credential.last_test.as_str());
    }
    assert_eq!(verdicts, ["passed", "out_of_sync"]);
    assert_eq!(target.counts().changes, 0);
    assert_eq!(target.history("new"), ["right"]);
}

#[tokio::test]
async fn a_policy_that_changes_by_itself_needs_the_rows_word() {
    let (world, admin, system) = world().await;
    for (name, mode) in [("nightly", "auto"), ("watched", "flag")] {
        let policy = json!({"name": name, "mode": mode, "max_age": "1d"});
        admin.post("/policies", &policy).await.expect(201);
    }
    let path = format!("/systems/{system}");
    let policies = admin.get("/policies").await.expect(200).json();
    let nightly = &policies["items"][0];
    assert_eq!(
        nightly["policy"]["name"]
            .as_str()
            .or(nightly["name"].as_str()),
        Some("nightly")
    );
    let tag = admin.get(&path).await.header(header::ETAG).to_owned();
    let edit = json!({"policy_id": nightly["id"]});
    let headers = [("If-Match", tag.as_str())];
    admin
        .call("PATCH", &path, Some(&edit), &headers)
        .await
        .expect(200);
    let file = "system,name,policy,auto_management\nweb1,a,,\nweb1,b,watched,\nweb1,c,,yes\n\
                web1,d,nightly,no\n";
    let (_, keys) = world.user("bob", &[Permission::ImportsRun]).await;
    let bob = world.native(&keys);
    let answer = csv(&bob, "?dry_run=true", file).await;
    assert_eq!(
        statuses(&answer),
        ["invalid", "created", "invalid", "invalid"]
    );
    let detail = answer["rows"][2]["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("accounts.write"), "{detail}");
    let answer = csv(&admin, "", file).await;
    assert_eq!(
        statuses(&answer),
        ["invalid", "created", "created", "invalid"]
    );
    let due = async |row: usize| {
        let id = AccountId(answer["rows"][row]["account_id"].as_i64().unwrap());
        let account = world.store.account(id).await.unwrap().unwrap();
        account.due.next_change_at
    };
    assert_eq!(due(1).await, None);
    assert!(due(2).await > Some(Timestamp(0)));
}

#[tokio::test]
async fn a_file_that_is_none_is_refused_whole_and_so_is_a_stranger() {
    let (world, admin, _) = world().await;
    for (kind, body, status) in [
        ("text/csv", "", 400),
        ("text/csv", "system,name\n", 400),
        ("text/csv", "system,nmae\nweb1,a\n", 400),
        ("application/json", "{\"rows\": []}", 400),
        ("application/json", "{\"rows\": [7]}", 400),
        ("text/plain", "system,name\nweb1,a\n", 415),
    ] {
        send(&admin, "", kind, body).await.expect(status);
    }
    send(
        &admin,
        "?dry_run=maybe",
        "text/csv",
        "system,name\nweb1,a\n",
    )
    .await
    .expect(400);
    let large = format!("system,name\n{}", "x".repeat(2_000_000));
    send(&admin, "", "text/csv", large).await.expect(413);
    let (_, keys) = world.user("eve", &[Permission::AccountsWrite]).await;
    let eve = world.native(&keys);
    send(&eve, "", "text/csv", "system,name\nweb1,a\n")
        .await
        .expect(403);
}
