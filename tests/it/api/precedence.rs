//! Requests to the Password Safe dialect at which several things are wrong at once: the answer is
//! that of the first in the order 401, 403, 404, 400 or 415, 409.
//!
//! Invariant: every request here has two faults at least.

use axum::body::Body;
use axum::http::{Request, header};
use keywheel::api::Settings;
use keywheel::model::principal::Permission;
use keywheel_connectors::fake::OnChange;
use serde_json::json;

use super::credential::until;
use super::world::{Answer, Client, HOST, PS, Target, World};

/// One endpoint, and what can be wrong with a call of it.
struct Endpoint {
    method: &'static str,
    /// `{}` stands for what is named.
    path: &'static str,
    /// A name that is there, and one that is not.
    names: [&'static str; 2],
    /// What is then not found.
    what: &'static str,
    /// A body that is refused; empty where none is read.
    bad: &'static str,
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    names: [&'static str; 2],
    what: &'static str,
    bad: &'static str,
) -> Endpoint {
    Endpoint {
        method,
        path,
        names,
        what,
        bad,
    }
}

const ID: [&str; 2] = ["1", "77"];
const ACCOUNT: &str = "Managed Account";
const SYSTEM: &str = "Managed System";
const BROKEN: &str = r#"{"Password": "#;

/// The credential endpoints, and each main resource's.
const ENDPOINTS: &[Endpoint] = &[
    endpoint(
        "PUT",
        "/ManagedAccounts/{}/Credentials",
        ID,
        ACCOUNT,
        r#"{"Password": 7731}"#,
    ),
    endpoint(
        "PUT",
        "/ManagedAccounts/{}/Credentials",
        ["1", "x"],
        ACCOUNT,
        BROKEN,
    ),
    endpoint(
        "PUT",
        "/Credentials?workgroupName=Default&assetName=web1&accountName={}",
        ["root", "nobody"],
        ACCOUNT,
        r#"{"PrivateKey": "7731"}"#,
    ),
    endpoint(
        "PUT",
        "/Workgroups/Default/Assets/{}/ManagedSystems/ManagedAccounts/root/Credentials",
        ["web1", "web9"],
        ACCOUNT,
        r#"{"UpdateSystem": 7731}"#,
    ),
    endpoint(
        "POST",
        "/ManagedAccounts/{}/Credentials/Test",
        ID,
        ACCOUNT,
        "",
    ),
    endpoint(
        "POST",
        "/ManagedAccounts/{}/Credentials/Change",
        ID,
        ACCOUNT,
        r#"{"Queue": "7731"}"#,
    ),
    endpoint(
        "POST",
        "/ManagedSystems/{}/ManagedAccounts/Credentials/Change",
        ID,
        SYSTEM,
        "",
    ),
    endpoint("GET", "/ManagedAccounts/{}", ID, ACCOUNT, ""),
    endpoint(
        "PUT",
        "/ManagedAccounts/{}",
        ID,
        ACCOUNT,
        r#"{"Description": 7731}"#,
    ),
    endpoint("DELETE", "/ManagedAccounts/{}", ID, ACCOUNT, ""),
    endpoint(
        "POST",
        "/ManagedSystems/{}/ManagedAccounts",
        ID,
        SYSTEM,
        r#"{"Password": "7731"}"#,
    ),
    endpoint(
        "DELETE",
        "/ManagedSystems/{}/ManagedAccounts/root",
        ID,
        SYSTEM,
        "",
    ),
    endpoint("GET", "/ManagedSystems/{}", ID, SYSTEM, ""),
    endpoint(
        "PUT",
        "/ManagedSystems/{}",
        ID,
        SYSTEM,
        r#"{"Port": "7731"}"#,
    ),
    endpoint("DELETE", "/ManagedSystems/{}", ID, SYSTEM, ""),
    endpoint(
        "POST",
        "/Assets/{}/ManagedSystems",
        ID,
        "Asset",
        r#"{"PlatformID": "x"}"#,
    ),
    endpoint("PUT", "/Assets/{}", ID, "Asset", r#"{"IPAddress": 7731}"#),
    endpoint("DELETE", "/Assets/{}", ID, "Asset", ""),
    endpoint(
        "POST",
        "/Workgroups/{}/Assets",
        ["Default", "None"],
        "Workgroup",
        r#"{"IPAddress": 7731}"#,
    ),
    endpoint(
        "POST",
        "/Workgroups/{}/ManagedSystems",
        ID,
        "Workgroup",
        r#"{"EntityTypeID": 9}"#,
    ),
    endpoint(
        "DELETE",
        "/FunctionalAccounts/{}",
        ID,
        "Functional Account",
        "",
    ),
    endpoint(
        "PUT",
        "/QuickRules/{}/ManagedAccounts",
        ["3", "77"],
        "Smart Rule",
        r#"{"AccountIDs": "7731"}"#,
    ),
];

impl Endpoint {
    fn at(&self, name: &str) -> String {
        self.path.replace("{}", name)
    }

    fn there(&self) -> String {
        self.at(self.names[0])
    }

    fn missing(&self) -> String {
        self.at(self.names[1])
    }
}

/// A call with these very bytes as its body.
async fn send(client: &Client, method: &str, path: &str, kind: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("{PS}{path}"))
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(body.to_owned()))
        .unwrap();
    client.send(request).await
}

async fn ask(client: &Client, method: &str, path: &str, body: &str) -> Answer {
    send(client, method, path, "application/json", body).await
}

/// The answer is a JSON string that repeats nothing of the request.
#[track_caller]
fn says(answer: Answer, status: u16, says: &str) {
    let answer = answer.expect(status);
    let text = answer.json();
    let text = text
        .as_str()
        .unwrap_or_else(|| panic!("no string: {answer:?}"));
    assert!(text.contains(says) && !text.contains("7731"), "{answer:?}");
}

/// Target, administrator, and rule 3 over account 1.
async fn ready() -> (World, Client, Target) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.session(&keys).await.kept();
    let target = world.target(&admin).await;
    assert_eq!((target.system, target.root, target.ann), (1, 1, 2));
    let rule = json!({"IDs": [1], "Title": "Root"});
    let rule = admin.post("/QuickRules", &rule).await.expect(201);
    assert_eq!(rule.json()["SmartRuleID"], 3);
    (world, admin, target)
}

#[tokio::test]
async fn of_several_faults_the_first_in_order_is_answered() {
    let (world, admin, _) = ready().await;
    let (_, keys) = world.user("eve", &[]).await;
    let (nobody, eve) = (world.nobody(), world.session(&keys).await);
    for endpoint in ENDPOINTS {
        let (method, bad) = (endpoint.method, endpoint.bad);
        let (there, missing) = (endpoint.there(), endpoint.missing());
        for path in [&there, &missing] {
            says(ask(&nobody, method, path, bad).await, 401, "Unauthorized");
            // Alike to the letter: nobody learns what is there.
            let refused = ask(&eve, method, path, bad).await.expect(403);
            assert_eq!(refused.body, "4031", "{method} {path}");
        }
        let gone = format!("{} not found", endpoint.what);
        says(ask(&admin, method, &missing, bad).await, 404, &gone);
        if bad.is_empty() {
            continue;
        }
        says(ask(&admin, method, &there, bad).await, 400, "");
        let strange = async |path: &str| send(&admin, method, path, "text/plain", bad).await;
        says(strange(&missing).await, 404, &gone);
        says(strange(&there).await, 415, "application/json");
    }
    // None of it has done anything.
    let versions = keywheel::model::id::AccountId(1);
    assert_eq!(world.store.versions(versions, 10).await.unwrap().len(), 1);
    assert_eq!(world.number("SELECT COUNT(*) FROM jobs").await, 0);
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_named_to_whoever_is_signed_in() {
    let (world, admin, _) = ready().await;
    let (_, keys) = world.user("eve", &[]).await;
    let (nobody, eve) = (world.nobody(), world.session(&keys).await);
    for endpoint in ENDPOINTS {
        let path = endpoint.missing();
        says(
            ask(&nobody, "PATCH", &path, BROKEN).await,
            401,
            "Unauthorized",
        );
        for client in [&eve, &admin] {
            let answer = ask(client, "PATCH", &path, BROKEN).await.expect(405);
            let allowed = answer.header(header::ALLOW);
            let mut methods = allowed.split(',').map(str::trim);
            assert!(
                methods.any(|one| one == endpoint.method),
                "{path}: {allowed}"
            );
            assert!(answer.json().is_string());
        }
        // A path that nothing answers below is nobody's: 401 first, and no right is needed for 404.
        let below = format!("/Nothing{path}");
        says(
            ask(&nobody, "PATCH", &below, BROKEN).await,
            401,
            "Unauthorized",
        );
        says(ask(&eve, "PATCH", &below, BROKEN).await, 404, "not found");
    }
}

#[tokio::test]
async fn a_body_is_refused_before_what_is_in_its_way() {
    let (_world, admin, _) = ready().await;
    let account = "/ManagedSystems/1/ManagedAccounts";
    for (path, missing, good, bad) in [
        (
            "/Workgroups",
            None,
            json!({"Name": "default"}),
            json!({"Name": "default", "OrganizationID": 7731}),
        ),
        (
            "/Assets/1/ManagedSystems",
            Some("/Assets/77/ManagedSystems"),
            json!({"PlatformID": 1001}),
            json!({"PlatformID": 1001, "Port": "7731"}),
        ),
        (
            account,
            Some("/ManagedSystems/77/ManagedAccounts"),
            json!({"AccountName": "root", "Password": "7731"}),
            json!({"AccountName": "root", "Password": "7731", "ChangeTime": "7731"}),
        ),
    ] {
        says(admin.post(path, &good).await, 409, "");
        says(admin.post(path, &bad).await, 400, "");
        if let Some(missing) = missing {
            says(admin.post(missing, &good).await, 404, "not found");
            says(admin.post(missing, &bad).await, 404, "not found");
        }
    }
    // What is still referred to stays.
    for path in ["/FunctionalAccounts/1", "/Assets/1", "/ManagedSystems/1"] {
        says(ask(&admin, "DELETE", path, BROKEN).await, 409, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_a_change_only_a_sound_and_permitted_order_hears_of_it() {
    let (world, admin, _) = ready().await;
    world.work();
    let (_, keys) = world.user("eve", &[Permission::CredentialsTest]).await;
    let eve = world.session(&keys).await;
    let system = world.targets.system(HOST);
    system.next_change("root", OnChange::Wait);
    let change = "/ManagedAccounts/1/Credentials/Change";
    admin
        .post(change, &json!({"Queue": true}))
        .await
        .expect(204);
    until(async || system.changes("root") == 1).await;
    let set = "/ManagedAccounts/1/Credentials";
    let other = r#"{"Password": "other-one"}"#;
    for (method, path) in [("POST", change), ("PUT", set)] {
        says(
            ask(&world.nobody(), method, path, other).await,
            401,
            "Unauthorized",
        );
        ask(&eve, method, path, other).await.expect(403);
        let unsound = r#"{"Password": "other-one", "UpdateSystem": "7731"}"#;
        says(
            ask(&admin, method, path, unsound).await,
            400,
            "UpdateSystem",
        );
        says(
            ask(&admin, method, path, other).await,
            409,
            "A change is already running",
        );
    }
    system.release(1);
    until(async || !system.accepts("root", "old-root")).await;
    assert_eq!(system.changes("root"), 1);
}

#[tokio::test]
async fn what_a_body_asks_for_is_permitted_before_anything_is_looked_up_or_read() {
    let (world, _, _) = ready().await;
    let granted = [Permission::CredentialsRotate, Permission::AccountsWrite];
    let (_, keys) = world.user("ann", &granted).await;
    let ann = world.session(&keys).await;
    for (method, path) in [
        ("POST", "/ManagedAccounts/{}/Credentials/Change"),
        ("PUT", "/ManagedAccounts/{}"),
    ] {
        for name in ["1", "77"] {
            let path = path.replace("{}", name);
            for asks in [
                r#"{"Password": 7731}"#,
                r#"{"Password": "x", "PublicKey": "7731"}"#,
                r#"{"PrivateKey": "7731", "Queue": "7731"}"#,
            ] {
                let refused = ask(&ann, method, &path, asks).await.expect(403);
                assert_eq!(refused.body, "4031");
            }
            // What asks for nothing more is looked up, then read.
            let status = if name == "1" { 400 } else { 404 };
            let unsound = r#"{"Queue": "7731", "Description": 7731}"#;
            says(ask(&ann, method, &path, unsound).await, status, "");
        }
    }
    let keeps = r#"{"UpdateSystem": false, "Queue": "7731"}"#;
    for name in ["1", "77"] {
        let path = format!("/ManagedAccounts/{name}/Credentials/Change");
        ask(&ann, "POST", &path, keeps).await.expect(403);
    }
}

#[tokio::test]
async fn a_role_on_some_account_tells_nothing_of_others() {
    let (world, admin, _) = ready().await;
    let (eve, keys) = world.user("eve", &[]).await;
    let session = world.session(&keys).await;
    let (_, native) = world.user("chief", &Permission::ALL).await;
    let group = world
        .native(&native)
        .post("/groups", &json!({"name": "setters"}))
        .await
        .expect(201)
        .json()["id"]
        .clone();
    let member = format!("/groups/{group}/members/{}", eve.0);
    world
        .native(&native)
        .put(&member, &json!({}))
        .await
        .expect(204);
    let roles = json!({"Roles": [{"RoleID": 7}, {"RoleID": 1}], "AccessPolicyID": 1});
    let path = format!("/UserGroups/{group}/SmartRules/3/Roles");
    admin.post(&path, &roles).await.expect(204);

    let bad = r#"{"Password": 7731}"#;
    let by_names = |name: &str| {
        format!("/Credentials?workgroupName=Default&assetName=web1&accountName={name}")
    };
    for (own, others) in [
        (
            "/ManagedAccounts/1/Credentials".to_owned(),
            ["2", "77", "x"].map(|id| format!("/ManagedAccounts/{id}/Credentials")),
        ),
        (by_names("root"), ["ann", "nobody", "%00"].map(by_names)),
    ] {
        says(ask(&session, "PUT", &own, bad).await, 400, "Password");
        for other in others {
            let refused = ask(&session, "PUT", &other, bad).await.expect(403);
            assert_eq!(refused.body, "4031", "{other}");
        }
    }
    world.write("UPDATE accounts SET api_enabled = 1").await;
    // Asking for an account that is not theirs, with a body that is not sound either.
    for (account, status) in [(1, 400), (2, 403), (77, 403)] {
        let asked = json!({
            "SystemID": 1, "AccountID": account, "DurationMinutes": "7731",
            "ConflictOption": "7731",
        });
        let answer = session.post("/Requests", &asked).await;
        assert_eq!(answer.status, status, "{account}: {answer:?}");
    }
    let nowhere = json!({"SystemID": 1, "AccountID": 77, "AccessType": "7731"});
    says(admin.post("/Requests", &nowhere).await, 404, "not found");
}

#[tokio::test]
async fn a_spent_budget_is_told_to_whoever_is_signed_in_before_all_else() {
    let world = World::with(Settings {
        requests_per_minute: 3,
        ..Settings::default()
    })
    .await;
    let (_, keys) = world.user("eve", &[]).await;
    let eve = world.session(&keys).await;
    for _ in 0..3 {
        eve.get("/ManagedAccounts/77").await.expect(403);
    }
    for endpoint in ENDPOINTS {
        let (method, path) = (endpoint.method, endpoint.missing());
        let answer = ask(&eve, method, &path, endpoint.bad).await.expect(429);
        let wait: u64 = answer.header(header::RETRY_AFTER).parse().unwrap();
        assert!((1..=120).contains(&wait), "{answer:?}");
        assert!(answer.json().is_string());
        let nobody = ask(&world.nobody(), method, &path, endpoint.bad).await;
        says(nobody, 401, "Unauthorized");
    }
}
