//! The report of what a user had before them and nobody has changed since.

use std::time::Duration;

use axum::http::header;
use keywheel::api::Settings;
use keywheel::model::id::{AccountId, JobId, OrganizationId, UserId};
use keywheel::model::organization::OrganizationFields;
use keywheel::model::password_record::Accessed;
use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::report::{made, session};
use super::world::{Client, NOON, Target, World};

const HOUR: Duration = Duration::from_hours(1);

struct Stage {
    world: World,
    admin: Client,
    acme: OrganizationId,
    /// Who leaves, and what they call with.
    ann: (UserId, Client),
    target: Target,
}

impl Stage {
    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let world = World::with(settings).await;
        let (_, keys) = world.administrator().await;
        let admin = world.native(&keys);
        let granted = [
            Permission::PasswordsRead,
            Permission::PasswordsWrite,
            Permission::PasswordsReveal,
            Permission::CredentialsReveal,
        ];
        let (id, keys) = world.user("ann", &granted).await;
        let ann = (id, world.native(&keys));
        let session = session(&world).await;
        let target = world.target(&session).await;
        let acme = OrganizationFields::named("Acme");
        let mut tx = world.store.begin().await.unwrap();
        let acme = tx.insert_organization(&acme, NOON).await.unwrap();
        tx.commit().await.unwrap();
        // What was stored at noon was stored before anybody looks.
        world.clock.advance(HOUR);
        Self {
            world,
            admin,
            acme,
            ann,
            target,
        }
    }

    async fn rows(&self, tab: &str) -> Vec<Value> {
        let path = format!("/reports/at-risk?user_id={}&tab={tab}", self.ann.0.0);
        let answer = self.admin.get(&path).await.expect(200).json();
        answer["items"].as_array().unwrap().clone()
    }

    /// How many rows all pages have together.
    async fn count_page_by_page(&self) -> usize {
        let page = format!("/reports/at-risk?user_id={}&tab=all_accessed", self.ann.0.0);
        let (mut count, mut cursor) = (0, String::new());
        for _ in 0..20 {
            let path = format!("{page}&limit=1&cursor={cursor}");
            let answer = self.admin.get(&path).await.expect(200).json();
            count += answer["items"].as_array().unwrap().len();
            let Some(next) = answer["next_cursor"].as_str() else {
                return count;
            };
            cursor = next.to_owned();
        }
        panic!("the report never ends");
    }

    async fn reveals(&self, path: &str) {
        let why = json!({"reason": "test"});
        self.ann.1.post(path, &why).await.expect(200);
    }
}

fn told(rows: &[Value]) -> Vec<(&str, &str, bool)> {
    let mut told = Vec::new();
    for row in rows {
        let (name, kind) = (row["password"].as_str(), row["kind"].as_str());
        told.push((name.unwrap(), kind.unwrap(), row["at_risk"] == true));
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_saw_is_at_risk_until_it_changes() {
    let stage = Stage::new().await;
    let Stage { admin, acme, .. } = &stage;
    let seen = made(
        admin,
        *acme,
        &json!({"name": "seen", "password": "one-7731"}),
    )
    .await;
    made(
        admin,
        *acme,
        &json!({"name": "unseen", "password": "two-7731"}),
    )
    .await;
    let linked = json!({"name": "linked", "account_id": stage.target.root});
    let linked = made(admin, *acme, &linked).await;
    let own = made(
        &stage.ann.1,
        *acme,
        &json!({"name": "own", "password": "x-7731"}),
    )
    .await;
    stage.world.clock.advance(HOUR);
    stage.reveals(&format!("/passwords/{seen}/reveal")).await;
    stage.reveals(&format!("/passwords/{linked}/reveal")).await;
    stage
        .reveals(&format!("/accounts/{}/reveal", stage.target.ann))
        .await;
    let rows = stage.rows("at_risk").await;
    let all = [
        ("linked", "managed account", true),
        ("web1/ann", "managed account", true),
        ("seen", "general", true),
        // Whoever sets a value has had it before them.
        ("own", "general", true),
    ];
    assert_eq!(told(&rows), all);
    assert_eq!(rows[0]["linked_account"], "web1/root");
    assert_eq!(
        (&rows[0]["organization"], &rows[1]["organization"]),
        (&json!("Acme"), &json!(null))
    );
    assert_eq!(
        (&rows[2]["last_action"], &rows[3]["last_action"]),
        (&json!("api_show"), &json!("created"))
    );
    assert_eq!(rows[2]["days_since_change"], 0);
    // Rotated to a value that nobody has seen, by somebody else; archived, which counts; deleted.
    stage.world.clock.advance(HOUR);
    let why = json!({"reason": "left"});
    admin
        .post(&format!("/passwords/{seen}/rotate"), &why)
        .await
        .expect(200);
    stage
        .world
        .write("UPDATE password_records SET archived = 1 WHERE name = 'own'")
        .await;
    let rows = stage.rows("at_risk").await;
    assert_eq!(told(&rows).len(), 3, "{rows:?}");
    let rows = stage.rows("all_accessed").await;
    assert_eq!(told(&rows)[2], ("seen", "general", false));
    let mut tx = stage.world.store.begin().await.unwrap();
    tx.delete_password_record(own.into()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stage.rows("all_accessed").await.len(), 3);
    assert_eq!(stage.count_page_by_page().await, 3);
}

#[tokio::test]
async fn a_date_that_a_client_sent_makes_nothing_safe() {
    let stage = Stage::new().await;
    let id = made(
        &stage.admin,
        stage.acme,
        &json!({"name": "a", "password": "x-7731"}),
    )
    .await;
    stage.reveals(&format!("/passwords/{id}/reveal")).await;
    stage
        .world
        .write("UPDATE password_records SET said_changed_at = 9000000000000")
        .await;
    assert_eq!(told(&stage.rows("at_risk").await), [("a", "general", true)]);
}

#[tokio::test]
async fn the_file_is_a_reveal_of_its_own_and_holds_no_value() {
    let stage = Stage::new().await;
    let body = json!({"name": "=1+1 <b>", "password": "x-7731", "username": "@u"});
    let id = made(&stage.admin, stage.acme, &body).await;
    stage.reveals(&format!("/passwords/{id}/reveal")).await;
    let path = format!("/reports/at-risk/export?user_id={}", stage.ann.0.0);
    let csv = stage.admin.get(&path).await.expect(200);
    assert_eq!(csv.header(header::CONTENT_TYPE), "text/csv; charset=utf-8");
    let lines: Vec<&str> = csv.body.lines().collect();
    assert!(
        lines[0].starts_with("Organization,Password,Username,"),
        "{csv:?}"
    );
    assert!(lines[1].starts_with("Acme,'=1+1 <b>,'@u,"), "{csv:?}");
    assert!(
        lines[1].contains(",yes,") && !csv.body.contains("7731"),
        "{csv:?}"
    );
    let html = stage
        .admin
        .get(&format!("{path}&format=html"))
        .await
        .expect(200);
    assert!(html.header(header::CONTENT_TYPE).starts_with("text/html"));
    assert!(
        html.header(header::CONTENT_SECURITY_POLICY)
            .contains("style-src")
    );
    assert!(
        html.body.contains("=1+1 &lt;b&gt;") && !html.body.contains("<b>"),
        "{html:?}"
    );
    assert!(!html.body.contains("7731"));
    stage
        .admin
        .get(&format!("{path}&format=pdf"))
        .await
        .expect(400);
    let subject = stage.ann.0.to_string();
    let trail = stage.world.store.audit_of(&subject, 9).await.unwrap();
    let events: Vec<&str> = trail.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(
        events
            .iter()
            .filter(|one| **one == "report.exported")
            .count(),
        2,
        "{events:?}"
    );
    // Whoever took it out has seen no value by it.
    let accessed = stage
        .world
        .number("SELECT COUNT(*) FROM last_accesses WHERE action = 'at_risk_export'");
    assert_eq!(accessed.await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_lead_to_where_people_reach_the_service() {
    for (public_url, base) in [
        (Some("https://vault.example/kw"), "https://vault.example/kw"),
        (None, ""),
    ] {
        let settings = Settings {
            public_url: public_url.map(str::to_owned),
            ..Settings::default()
        };
        let stage = Stage::with(settings).await;
        let body = json!({"name": "db", "password": "x-7731"});
        let record = made(&stage.admin, stage.acme, &body).await;
        stage.reveals(&format!("/passwords/{record}/reveal")).await;
        let account = stage.target.root;
        stage.reveals(&format!("/accounts/{account}/reveal")).await;
        let record = format!("{base}/{}/passwords/{record}", stage.acme.0);
        // No record documents it.
        let account = format!("{base}/accounts/{account}");
        let path = format!("/reports/at-risk/export?user_id={}", stage.ann.0.0);
        let csv = stage.admin.get(&path).await.expect(200).body;
        assert!(csv.lines().next().unwrap().ends_with(",Link"), "{csv}");
        let html = stage.admin.get(&format!("{path}&format=html")).await;
        let html = html.expect(200).body;
        for link in [record, account] {
            assert!(csv.contains(&format!(",{link}\r\n")), "{link}: {csv}");
            assert!(
                html.contains(&format!("<a href=\"{link}\">")),
                "{link}: {html}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_account_at_risk_is_changed_by_one_order() {
    let stage = Stage::new().await;
    let linked = json!({"name": "linked", "account_id": stage.target.root});
    let linked = made(&stage.admin, stage.acme, &linked).await;
    let own = made(
        &stage.admin,
        stage.acme,
        &json!({"name": "own", "password": "x-7731"}),
    )
    .await;
    stage.reveals(&format!("/passwords/{linked}/reveal")).await;
    stage.reveals(&format!("/passwords/{own}/reveal")).await;
    let order = json!({"user_id": stage.ann.0.0, "reason": "left"});
    let path = "/reports/at-risk/rotate";
    stage.ann.1.post(path, &order).await.expect(403);
    let answer = stage.admin.post(path, &order).await.expect(202).json();
    let orders = answer["orders"].as_array().unwrap();
    assert_eq!(orders.len(), 1, "{answer}");
    assert_eq!(orders[0]["account_id"], stage.target.root);
    let again = stage.admin.post(path, &order).await.expect(202).json();
    assert_eq!(again["orders"][0]["job_id"], orders[0]["job_id"]);
    stage.world.clock.advance(HOUR);
    stage.world.work();
    let job = JobId(orders[0]["job_id"].as_i64().unwrap());
    let limit = Duration::from_secs(30);
    let ended = stage.world.api.orders.wait_end(job, limit).await.unwrap();
    assert!(ended.is_some());
    let rows = stage.rows("at_risk").await;
    assert_eq!(told(&rows), [("own", "general", true)]);
    // An order to a value that nobody sees is no access of whoever gives it.
    let admin = stage
        .world
        .store
        .user_by_name("admin")
        .await
        .unwrap()
        .unwrap();
    let seen = stage
        .world
        .store
        .last_accesses(admin.id, None, 50)
        .await
        .unwrap();
    let root = Accessed::Account(AccountId(stage.target.root));
    assert!(seen.iter().all(|one| one.accessed != root), "{seen:?}");
    let trail = stage
        .world
        .store
        .audit_of(&stage.ann.0.to_string(), 9)
        .await
        .unwrap();
    let ordered = trail
        .iter()
        .find(|row| row.event == "report.at_risk_rotated");
    assert!(ordered.unwrap().body.contains("left"));
}

#[tokio::test]
async fn the_report_is_for_administrators_and_of_users_that_are_there() {
    let stage = Stage::new().await;
    let (_, keys) = stage.world.user("eve", &[Permission::ReportsRead]).await;
    let eve = stage.world.native(&keys);
    for path in ["/reports/at-risk", "/reports/at-risk/export"] {
        eve.get(&format!("{path}?user_id=1")).await.expect(403);
        stage.admin.get(path).await.expect(400);
        stage
            .admin
            .get(&format!("{path}?user_id=99"))
            .await
            .expect(404);
        stage
            .admin
            .get(&format!("{path}?user_id=1&tab=none"))
            .await
            .expect(400);
    }
    for (order, status) in [
        (json!({"user_id": 99, "reason": "left"}), 404),
        (json!({"user_id": 1, "reason": " "}), 400),
        (json!({"user_id": 1}), 400),
    ] {
        stage
            .admin
            .post("/reports/at-risk/rotate", &order)
            .await
            .expect(status);
    }
}
