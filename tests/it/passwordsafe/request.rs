//! Requests and checkout.

use std::time::Duration;

use keywheel::model::id::AccountId;
use keywheel::model::principal::Permission;
use keywheel::scheduler::Tick;
use serde_json::{Value, json};

use super::{names, service, with_account};
use crate::api::world::{Answer, Client, World};

/// A world with account 1, `root`, and three people: ada may ask, bob may approve, eve neither.
pub(super) struct Office {
    pub(super) world: World,
    pub(super) admin: Client,
    pub(super) ada: Client,
    pub(super) bob: Client,
    pub(super) eve: Client,
}

/// Somebody whose group has these roles on a rule.
pub(super) async fn member(
    world: &World,
    admin: &Client,
    name: &str,
    (rule, roles): (i64, Value),
) -> Client {
    let (user, keys) = world.user(name, &[]).await;
    let granted = [Permission::UsersWrite, Permission::RolesWrite];
    let (_, maker) = world.user(&format!("{name}-maker"), &granted).await;
    let native = world.native(&maker);
    let made = native
        .post("/groups", &json!({"name": name}))
        .await
        .expect(201);
    let group = made.json()["id"].as_i64().unwrap();
    let path = format!("/groups/{group}/members/{}", user.0);
    native.put(&path, &json!({})).await.expect(204);
    let path = format!("/usergroups/{group}/smartrules/{rule}/roles");
    admin.post(&path, &roles).await.expect(204);
    world.session(&keys).await
}

/// Approval by one person is needed if `approved`; the credential changes after use if `rotates`.
async fn office(approved: bool, rotates: bool) -> Office {
    let order = approved.then(|| json!({"name": "Four eyes", "approvals": 1}));
    office_with(order, rotates).await
}

/// Ada asks by this access policy, or by the built-in one.
pub(super) async fn office_with(order: Option<Value>, rotates: bool) -> Office {
    let (world, admin) = service().await;
    with_account(&admin).await;
    let body = json!({"ChangePasswordAfterAnyReleaseFlag": rotates, "MaxConcurrentRequests": 2});
    admin.put("/managedaccounts/1", &body).await.expect(200);
    let mut policy = json!(1);
    if let Some(order) = order {
        let (_, keys) = world.user("policies", &[Permission::RolesWrite]).await;
        let native = world.native(&keys);
        let made = native.post("/access-policies", &order).await.expect(201);
        policy = made.json()["id"].clone();
    }
    let asks = json!({"Roles": [{"RoleID": 1}], "AccessPolicyID": policy});
    let ada = member(&world, &admin, "ada", (1, asks)).await;
    let judges = json!({"Roles": [{"RoleID": 2}]});
    let bob = member(&world, &admin, "bob", (1, judges)).await;
    let (_, keys) = world.user("eve", &[]).await;
    let eve = world.session(&keys).await;
    Office {
        world,
        admin,
        ada,
        bob,
        eve,
    }
}

pub(super) fn body() -> Value {
    json!({"SystemID": 1, "AccountID": 1, "DurationMinutes": 60, "RotateOnCheckin": false})
}

pub(super) fn location(answer: &Answer) -> &str {
    answer.header(axum::http::header::LOCATION)
}

#[tokio::test]
async fn a_request_opens_the_credential_until_it_is_checked_in() {
    let Office {
        world,
        admin,
        ada,
        eve,
        ..
    } = office(false, true).await;
    let made = ada.post("/requests", &body()).await.expect(201);
    assert_eq!(made.json(), json!(1), "a bare number");
    let shown = ada.get("/requests/1").await.expect(200).json();
    for (field, meant) in [
        ("RequestID", json!(1)),
        ("SystemName", json!("web1")),
        ("AccountName", json!("root")),
        ("Status", json!("Active")),
        ("AccessType", json!("View")),
    ] {
        assert_eq!(shown[field], meant, "{field}");
    }
    let credential = ada.get("/Credentials/1").await.expect(200);
    assert_eq!(credential.json(), "pw-canary");
    ada.get("/credentials/1?type=dsskey").await.expect(404);
    names(ada.get("/credentials/1?type=totp").await, "type");
    for other in [&eve, &admin] {
        assert_eq!(
            other.get("/credentials/1").await.expect(403).json(),
            json!(4031)
        );
    }
    let done = ada
        .put("/requests/1/Checkin", &json!({"Reason": null}))
        .await
        .expect(204);
    assert!(location(&done).starts_with("/api/v1/jobs/"), "{done:?}");
    assert_eq!(
        ada.get("/credentials/1").await.expect(404).json(),
        "Request not found"
    );
    ada.put("/requests/1/checkin", &json!({})).await.expect(204);
    ada.put("/requests/1/rotateoncheckin", &json!({}))
        .await
        .expect(404);
    let shown = ada.get("/requests/1").await.expect(200).json();
    assert_eq!(shown["Status"], "Expired");
    let rows = world.store.audit_of("request 1", 9).await.unwrap();
    let events: Vec<_> = rows.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(events, ["request.checked_in", "request.made"]);
    let rows = world.store.audit_of("account 1", 9).await.unwrap();
    let reveal = rows
        .iter()
        .find(|row| row.event == "credential.revealed")
        .unwrap();
    assert_eq!(reveal.actor, "ada");
    assert!(reveal.body.contains("\"request\":1"), "{}", reveal.body);
    assert!(!reveal.body.contains("canary"));
    let open = world.store.account(AccountId(1)).await.unwrap().unwrap();
    assert!(open.work.is_some(), "the change after its release");
}

#[tokio::test]
async fn who_may_not_ask_is_refused_and_bad_requests_are_told() {
    let Office {
        admin,
        ada,
        bob,
        eve,
        ..
    } = office(false, false).await;
    for (client, number) in [(&bob, 4032), (&eve, 4031)] {
        assert_eq!(
            client.post("/requests", &body()).await.expect(403).json(),
            json!(number)
        );
    }
    for (change, field) in [
        (json!({"DurationMinutes": 0}), "DurationMinutes"),
        (json!({"DurationMinutes": 525_601}), "DurationMinutes"),
        (json!({"AccessType": "SSH"}), "AccessType"),
        (json!({"ConflictOption": "both"}), "ConflictOption"),
        (json!({"SystemID": null}), "SystemID"),
    ] {
        let mut body = body();
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        names(ada.post("/requests", &body).await, field);
    }
    let elsewhere = json!({"SystemID": 7, "AccountID": 1});
    ada.post("/requests", &elsewhere).await.expect(404);
    admin.post("/requests", &elsewhere).await.expect(404);
    let unknown = json!({"SystemID": 1, "AccountID": 7});
    ada.post("/requests", &unknown).await.expect(403);
    let limit = json!({"MaxReleaseDuration": 30, "ReleaseDuration": 20});
    admin.put("/managedaccounts/1", &limit).await.expect(200);
    names(ada.post("/requests", &body()).await, "DurationMinutes");
    let hidden = json!({"ApiEnabled": false});
    admin.put("/managedaccounts/1", &hidden).await.expect(200);
    ada.post("/requests", &json!({"SystemID": 1, "AccountID": 1}))
        .await
        .expect(403);
    names(ada.get("/requests?status=open").await, "status");
    names(ada.get("/requests?queue=all").await, "queue");
}

#[tokio::test]
async fn conflicting_requests_are_reused_renewed_or_refused() {
    let Office {
        admin, ada, world, ..
    } = office(false, false).await;
    ada.post("/requests", &body()).await.expect(201);
    assert_eq!(
        ada.post("/requests", &body()).await.expect(409).json(),
        json!(4091)
    );
    let with = |option: &str| {
        let mut body = body();
        body["ConflictOption"] = json!(option);
        body
    };
    assert_eq!(
        ada.post("/requests", &with("reuse"))
            .await
            .expect(200)
            .json(),
        json!(1)
    );
    assert_eq!(
        ada.post("/requests", &with("renew"))
            .await
            .expect(201)
            .json(),
        json!(2)
    );
    let shown = ada.get("/requests/1").await.expect(200).json();
    assert_eq!(shown["Status"], "Canceled");
    assert!(shown["CanceledDate"].is_string());
    // Two at once are the account's limit.
    admin.post("/requests", &body()).await.expect(201);
    let third = json!({"Roles": [{"RoleID": 1}], "AccessPolicyID": 1});
    let carl = member(&world, &admin, "carl", (1, third)).await;
    assert_eq!(
        carl.post("/requests", &body()).await.expect(409).json(),
        json!(4091)
    );
    let list = ada
        .get("/requests?status=active&queue=req")
        .await
        .expect(200)
        .json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let list = ada.get("/requests").await.expect(200).json();
    assert_eq!(list.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_request_waits_for_approval_by_somebody_else() {
    let Office {
        ada,
        bob,
        eve,
        world,
        ..
    } = office(true, false).await;
    ada.post("/requests", &body()).await.expect(201);
    assert_eq!(
        ada.get("/requests/1").await.expect(200).json()["Status"],
        "Pending"
    );
    assert_eq!(
        ada.get("/credentials/1").await.expect(403).json(),
        json!(4034)
    );
    assert_eq!(
        ada.put("/requests/1/approve", &json!({}))
            .await
            .expect(403)
            .json(),
        json!(4033)
    );
    eve.put("/requests/1/approve", &json!({})).await.expect(403);
    let list = bob
        .get("/requests?status=pending&queue=app")
        .await
        .expect(200)
        .json();
    assert_eq!(list[0]["RequestID"], 1);
    assert_eq!(
        ada.get("/requests?queue=app").await.expect(200).json(),
        json!([])
    );
    bob.put("/requests/1/Approve", &json!({"Reason": "fine"}))
        .await
        .expect(204);
    assert_eq!(
        ada.get("/credentials/1").await.expect(200).json(),
        "pw-canary"
    );
    bob.put("/requests/1/approve", &json!({})).await.expect(409);
    let refused = bob.get("/credentials/1").await.expect(403);
    assert_eq!(refused.json(), json!(4032), "approvers do not see");
    ada.put("/requests/1/checkin", &json!({})).await.expect(204);
    ada.post("/requests", &body()).await.expect(201);
    bob.put("/requests/2/deny", &json!({"Reason": "no"}))
        .await
        .expect(204);
    ada.get("/credentials/2").await.expect(404);
    assert_eq!(
        ada.get("/requests/2").await.expect(200).json()["Status"],
        "Canceled"
    );
    bob.put("/requests/2/approve", &json!({})).await.expect(404);
    let account = world.store.account(AccountId(1)).await.unwrap().unwrap();
    assert!(account.work.is_none(), "nothing changes without the flag");
}

#[tokio::test]
async fn an_expired_request_is_over_at_once_and_its_change_follows_whenever_the_service_is_back() {
    let Office { ada, world, .. } = office(false, true).await;
    ada.post("/requests", &body()).await.expect(201);
    // Nothing ticks meanwhile: as if the service were down.
    world.clock.advance(Duration::from_mins(61));
    let session = ada.get("/requests/1").await;
    assert_eq!(session.status.as_u16(), 401, "the session has idled out");
    let before = world.store.account(AccountId(1)).await.unwrap().unwrap();
    assert!(before.work.is_none());
    world.tick(Tick::RequestExpiry).await;
    let after = world.store.account(AccountId(1)).await.unwrap().unwrap();
    assert!(after.work.is_some());
    let rows = world.store.audit_of("request 1", 9).await.unwrap();
    assert_eq!(
        (rows[0].event.as_str(), rows[0].actor.as_str()),
        ("request.expired", "keywheel")
    );
    world.tick(Tick::RequestExpiry).await;
    assert_eq!(world.store.audit_of("request 1", 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_expired_request_opens_nothing_before_the_tick_comes() {
    let Office {
        ada, admin, world, ..
    } = office(false, false).await;
    let mut short = body();
    short["DurationMinutes"] = json!(5);
    ada.post("/requests", &short).await.expect(201);
    world.clock.advance(Duration::from_mins(5));
    ada.get("/credentials/1").await.expect(404);
    assert_eq!(
        ada.get("/requests/1").await.expect(200).json()["Status"],
        "Expired"
    );
    // Nor does it stand in the way of another.
    ada.post("/requests", &short).await.expect(201);
    admin.post("/requests", &short).await.expect(201);
}

#[tokio::test]
async fn an_order_to_rotate_at_check_in_is_obeyed_without_the_flag() {
    let Office { ada, bob, .. } = office(false, false).await;
    ada.post("/requests", &body()).await.expect(201);
    bob.put("/requests/1/rotateoncheckin", &json!({}))
        .await
        .expect(403);
    ada.put("/requests/1/RotateOnCheckin", &json!({}))
        .await
        .expect(204);
    let done = ada.put("/requests/1/checkin", &json!({})).await.expect(204);
    assert!(location(&done).starts_with("/api/v1/jobs/"));
}

#[tokio::test]
async fn requests_are_terminated_by_account_system_and_user() {
    let Office {
        ada, admin, eve, ..
    } = office(false, false).await;
    for path in [
        "/ManagedAccounts/1/Requests/Terminate",
        "/ManagedSystems/1/Requests/Terminate",
        "/Users/2/Requests/Terminate",
    ] {
        eve.post(path, &json!({})).await.expect(403);
        admin
            .post(path, &json!({"Reason": "leak"}))
            .await
            .expect(204);
    }
    let id = ada.post("/requests", &body()).await.expect(201).json();
    admin
        .post("/managedaccounts/1/requests/terminate", &json!({}))
        .await
        .expect(204);
    ada.get(&format!("/credentials/{id}")).await.expect(404);
    for path in ["/managedaccounts/7", "/managedsystems/7", "/users/77"] {
        admin
            .post(&format!("{path}/requests/terminate"), &json!({}))
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn an_administrator_of_the_system_sees_without_asking_and_on_record() {
    let Office {
        ada,
        admin,
        eve,
        world,
        ..
    } = office(false, true).await;
    let isa = json!({"Roles": [{"RoleID": 4}]});
    let session = member(&world, &admin, "isa", (2, isa)).await;
    let order = json!({"SystemID": 1, "AccountID": 1, "Reason": "outage"});
    let seen = session
        .post("/ISARequests?type=password", &order)
        .await
        .expect(201);
    assert_eq!(seen.json(), "pw-canary");
    for client in [&ada, &eve] {
        client.post("/isarequests", &order).await.expect(403);
    }
    let other = json!({"SystemID": 1, "AccountID": 7});
    session.post("/isarequests", &other).await.expect(403);
    admin.post("/isarequests", &other).await.expect(404);
    world.clock.advance(Duration::from_mins(121));
    world.tick(Tick::RequestExpiry).await;
    let account = world.store.account(AccountId(1)).await.unwrap().unwrap();
    assert!(account.work.is_some(), "it changes after this use, too");
}
