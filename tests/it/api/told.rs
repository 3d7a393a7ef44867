//! Every way by which a value leaves is told of: one test for each source of the dialects, the native
//! API and the reports.

use keywheel::model::organization::OrganizationFields;
use serde_json::{Value, json};

use super::world::{Client, NOON, World};

/// A service with one workflow on, whose notices wait in the outbox.
struct Stage {
    world: World,
    native: Client,
    itglue: Client,
    session: Client,
    /// A record of its own.
    own: i64,
    /// An account, and a record that shows it.
    account: i64,
}

async fn stage() -> Stage {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let (native, itglue) = (world.native(&keys), world.itglue(&keys));
    let session = world.session(&keys).await;
    let acme = OrganizationFields::named("Acme");
    let mut tx = world.store.begin().await.unwrap();
    tx.insert_organization(&acme, NOON).await.unwrap();
    tx.commit().await.unwrap();
    let target = world.target(&session).await;
    world.work();
    let record = |body: Value| {
        let native = native.clone();
        async move {
            let made = native.post("/organizations/1/passwords", &body).await;
            made.expect(201).json()["id"].as_i64().unwrap()
        }
    };
    let own = record(json!({"name": "Own", "password": "s3cret"})).await;
    record(json!({"name": "Linked", "account_id": target.root})).await;
    let workflow = json!({
        "trigger": "password_access", "name": "all", "failure_email": "ops@example.com",
        "status": "on", "filters": [],
        "actions": [{
            "type": "webhook", "name": "hook", "url": "https://siem.example.com/hook",
            "payload": {"by": "[access_method]", "what": "[resource_name]", "count": "[resource_count]"},
        }],
    });
    native.post("/workflows", &workflow).await.expect(201);
    Stage {
        world,
        native,
        itglue,
        session,
        own,
        account: target.root,
    }
}

impl Stage {
    /// The notices so far, oldest first: by which way, and of what.
    async fn told(&self) -> Vec<(String, String)> {
        let found = self.native.get("/workflows/1/deliveries?limit=50").await;
        let mut rows = found.expect(200).json()["items"]
            .as_array()
            .unwrap()
            .clone();
        rows.sort_by_key(|row| row["id"].as_i64());
        let mut told = Vec::new();
        for row in rows {
            let id = row["id"].as_i64().unwrap();
            let body = self.world.body_of_delivery(id).await;
            let body: Value = serde_json::from_str(&body).unwrap();
            let text = |name: &str| body[name].as_str().unwrap().to_owned();
            assert!(!body.to_string().contains("s3cret"), "{body}");
            told.push((text("by"), text("what")));
        }
        told
    }

    #[track_caller]
    fn only(told: &[(String, String)], by: &str, what: &str) {
        assert_eq!(told, [(by.to_owned(), what.to_owned())]);
    }
}

fn document(attributes: &Value) -> Value {
    json!({"data": {"type": "passwords", "attributes": attributes}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_dialect_shows() {
    let stage = stage().await;
    let path = format!("/passwords/{}", stage.own);
    stage.itglue.get(&path).await.expect(200);
    stage.itglue.get("/passwords").await.expect(200);
    assert_eq!(stage.told().await, [], "nothing was shown");
    let shown = stage
        .itglue
        .get(&format!("{path}?show_password=true"))
        .await;
    assert!(shown.expect(200).body.contains("s3cret"));
    Stage::only(&stage.told().await, "api_show", "Own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_shows_and_one_that_does_not() {
    let stage = stage().await;
    let path = format!("/passwords/{}", stage.own);
    let body = document(&json!({"notes": "n"}));
    stage
        .itglue
        .call("PATCH", &path, Some(&body), &[])
        .await
        .expect(200);
    assert_eq!(stage.told().await, []);
    let path = format!("{path}?show_password=true");
    stage
        .itglue
        .call("PATCH", &path, Some(&body), &[])
        .await
        .expect(200);
    Stage::only(&stage.told().await, "api_update", "Own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_update_that_shows() {
    let stage = stage().await;
    let body = json!({"data": [{"attributes": {"id": stage.own, "notes": "n"}}]});
    stage
        .itglue
        .call("PATCH", "/passwords", Some(&body), &[])
        .await
        .expect(200);
    assert_eq!(stage.told().await, []);
    let path = "/passwords?show_password=true";
    stage
        .itglue
        .call("PATCH", path, Some(&body), &[])
        .await
        .expect(200);
    Stage::only(&stage.told().await, "api_bulk_update", "Own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_made_and_shown() {
    let stage = stage().await;
    let body = document(&json!({"name": "New", "password": "x", "organization_id": 1}));
    stage.itglue.post("/passwords", &body).await.expect(201);
    assert_eq!(stage.told().await, []);
    let path = "/passwords?show_password=true";
    stage.itglue.post(path, &body).await.expect(201);
    Stage::only(&stage.told().await, "api_create", "New");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_leave_as_files_are_one_notice_each() {
    let stage = stage().await;
    let path = "/organizations/1/passwords/export";
    stage.native.get(path).await.expect(200);
    stage.native.get("/passwords/export").await.expect(200);
    let told = stage.told().await;
    let ways: Vec<&str> = told.iter().map(|(by, _)| by.as_str()).collect();
    assert_eq!(ways, ["list_export", "global_export"]);
    for (_, what) in told {
        assert!(what.contains("Own") && what.contains("Linked"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_that_are_fetched_are_one_notice_each() {
    let stage = stage().await;
    for organization in [json!(1), Value::Null] {
        let body = json!({"data": {"attributes": {"organization_id": organization}}});
        stage.itglue.post("/exports", &body).await.expect(201);
    }
    stage.itglue.get("/exports").await.expect(200);
    stage.itglue.get("/exports/1").await.expect(200);
    assert_eq!(stage.told().await, [], "nothing was fetched");
    for id in [1, 2] {
        let path = format!("/exports/{id}/download");
        stage.itglue.fetch(&path).await.0.expect(200);
    }
    let told = stage.told().await;
    let ways: Vec<&str> = told.iter().map(|(by, _)| by.as_str()).collect();
    assert_eq!(ways, ["organization_export", "account_export"]);
    for (_, what) in told {
        assert!(what.contains("Own") && what.contains("Linked"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_of_what_is_at_risk() {
    let stage = stage().await;
    let path = "/reports/at-risk/export?user_id=1&format=csv";
    stage.native.get(path).await.expect(200);
    let told = stage.told().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, "at_risk_export");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_a_search_or_the_command_line_shows() {
    let stage = stage().await;
    let path = format!("/passwords/{}/reveal", stage.own);
    for via in [
        "search_show",
        "search_copy",
        "list_copy",
        "show",
        "copy",
        "cli",
    ] {
        let why = json!({"reason": "r", "via": via});
        stage.native.post(&path, &why).await.expect(200);
        let last = stage.told().await.pop().unwrap();
        assert_eq!(last, (via.to_owned(), "Own".to_owned()));
    }
    let why = json!({"reason": "r", "via": "glance"});
    stage.native.post(&path, &why).await.expect(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_checked_out_is_told_as_its_record() {
    let stage = stage().await;
    let requestable = json!({"ApiEnabled": true, "MaxConcurrentRequests": 0});
    let path = format!("/ManagedAccounts/{}", stage.account);
    stage.session.put(&path, &requestable).await.expect(200);
    let order = json!({"SystemID": 1, "AccountID": stage.account, "DurationMinutes": 30});
    let request = stage
        .session
        .post("/Requests", &order)
        .await
        .expect(201)
        .json();
    stage
        .session
        .get(&format!("/Credentials/{request}"))
        .await
        .expect(200);
    Stage::only(&stage.told().await, "checkout", "Linked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_a_record_is_told_by_its_own_name() {
    let stage = stage().await;
    let why = json!({"reason": "r"});
    let path = format!("/accounts/{}/reveal", stage.account + 1);
    stage.native.post(&path, &why).await.expect(200);
    Stage::only(&stage.told().await, "api_show", "web1/ann");
}
