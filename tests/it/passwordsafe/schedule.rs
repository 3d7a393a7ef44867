//! Access-policy schedules: when credentials are asked for, by whose approval, and what is said
//! to those who may not.
//!
//! Every test begins on a Thursday at 20:26:40 UTC.

use std::time::Duration;

use serde_json::{Value, json};

use super::request::{Office, body, location, member, office_with};
use super::{names, service};
use crate::api::world::{Answer, Client};

/// Open from 20:00 to 21:00 UTC.
fn evening() -> Value {
    json!([{"cron": "0 20 * * *", "duration": "1h", "zone": "UTC"}])
}

/// Open in the mornings.
fn morning() -> Value {
    json!([{"cron": "0 8 * * *", "duration": "1h", "zone": "UTC"}])
}

fn with(change: &Value) -> Value {
    let mut body = body();
    let fields = change.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// The answer is 403 and this number.
#[track_caller]
fn refused(answer: Answer, number: i64) {
    assert_eq!(answer.expect(403).json(), json!(number));
}

async fn status(client: &Client, id: &Value) -> Value {
    let path = format!("/requests/{id}");
    client.get(&path).await.expect(200).json()["Status"].clone()
}

#[tokio::test]
async fn a_request_ends_with_its_window_and_none_is_made_outside() {
    let policy = json!({"name": "Evenings", "schedules": [
        {"name": "Evening", "windows": evening()},
    ]});
    let Office { world, ada, .. } = office_with(Some(policy), false).await;
    ada.post("/requests", &body()).await.expect(201);
    let shown = ada.get("/requests/1").await.expect(200).json();
    assert_eq!(shown["ExpiresDate"], "2026-05-28T21:00:00");
    for _ in 0..3 {
        world.clock.advance(Duration::from_mins(11));
        ada.get("/credentials/1").await.expect(200);
    }
    world.clock.advance(Duration::from_secs(20));
    ada.get("/credentials/1").await.expect(404);
    refused(ada.post("/requests", &body()).await, 4031);
    let shown = ada.get("/requests/1").await.expect(200).json();
    assert_eq!(shown["Status"], "Expired");
}

#[tokio::test]
async fn a_request_may_outlast_its_window_where_the_schedule_says_so() {
    let policy = json!({"name": "Evenings", "schedules": [
        {"name": "Evening", "windows": evening(), "outlasts_window": true},
    ]});
    let Office { ada, .. } = office_with(Some(policy), false).await;
    ada.post("/requests", &body()).await.expect(201);
    let shown = ada.get("/requests/1").await.expect(200).json();
    assert_eq!(shown["ExpiresDate"], "2026-05-28T21:26:40");
}

#[tokio::test]
async fn a_request_names_a_schedule_or_gets_the_best_one_that_is_open() {
    let policy = json!({"name": "Hours", "schedules": [
        {"name": "Morning", "windows": morning()},
        {"name": "Strict", "approvals": 2},
        {"name": "Any", "approvals": 1},
    ]});
    let Office { admin, ada, .. } = office_with(Some(policy), false).await;
    let shown = admin.get("/AccessPolicies").await.expect(200).json();
    assert_eq!(shown[0]["Schedules"][0]["ScheduleID"], 1);
    let schedules: Vec<_> = shown[1]["Schedules"].as_array().unwrap().iter().collect();
    let ids: Vec<_> = schedules
        .iter()
        .map(|one| one["ScheduleID"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, [2, 3, 4]);
    assert_eq!(schedules[1]["Name"], "Strict");
    assert_eq!(schedules[1]["AccessTypes"][0]["MinApprovers"], 2);
    // The morning asks for nobody, but it is evening.
    let id = ada.post("/requests", &body()).await.expect(201).json();
    assert_eq!(status(&ada, &id).await, "Pending");
    let named = |schedule: i64| with(&json!({"AccessPolicyScheduleID": schedule}));
    refused(ada.post("/requests", &named(2)).await, 4031);
    for unknown in [1, 77] {
        names(
            ada.post("/requests", &named(unknown)).await,
            "AccessPolicyScheduleID",
        );
    }
    let word = with(&json!({"AccessPolicyScheduleID": "x"}));
    names(ada.post("/requests", &word).await, "AccessPolicyScheduleID");
    // An administrator asks at any time, unless it names a schedule.
    refused(admin.post("/requests", &named(2)).await, 4031);
    names(
        admin.post("/requests", &named(77)).await,
        "AccessPolicyScheduleID",
    );
    let id = admin.post("/requests", &named(4)).await.expect(201).json();
    assert_eq!(status(&admin, &id).await, "Pending");
    refused(
        admin
            .put(&format!("/requests/{id}/approve"), &json!({}))
            .await,
        4033,
    );
    let renewed = with(&json!({"ConflictOption": "renew"}));
    let id = admin.post("/requests", &renewed).await.expect(201).json();
    assert_eq!(status(&admin, &id).await, "Active");
}

#[tokio::test]
async fn the_change_after_a_release_is_waived_only_where_the_schedule_lets_it() {
    for (lets, rotate, changes) in [
        (true, false, false),
        (true, true, true),
        (false, false, true),
    ] {
        let policy = json!({"name": "P", "schedules": [
            {"name": "Any", "rotation_override": lets},
        ]});
        let Office { ada, .. } = office_with(Some(policy), true).await;
        let asked = with(&json!({"RotateOnCheckin": rotate}));
        ada.post("/requests", &asked).await.expect(201);
        let done = ada.put("/requests/1/checkin", &json!({})).await.expect(204);
        assert_eq!(!location(&done).is_empty(), changes, "{lets} {rotate}");
    }
}

#[tokio::test]
async fn too_few_approvers_are_told_from_approval_that_may_come() {
    // Bob approves, and so does the administrator.
    let policy = json!({"name": "Eyes", "schedules": [
        {"name": "Six", "approvals": 3}, {"name": "Four", "approvals": 2},
    ]});
    let Office {
        world,
        admin,
        ada,
        bob,
        ..
    } = office_with(Some(policy), false).await;
    let six = with(&json!({"AccessPolicyScheduleID": 2}));
    refused(ada.post("/requests", &six).await, 4035);
    ada.post("/requests", &body()).await.expect(201);
    refused(ada.get("/credentials/1").await, 4034);
    world
        .write("UPDATE users SET disabled = 1 WHERE name = 'bob'")
        .await;
    refused(ada.get("/credentials/1").await, 4035);
    let mine = with(&json!({"ConflictOption": "renew"}));
    refused(ada.post("/requests", &mine).await, 4035);
    world
        .write("UPDATE users SET disabled = 0 WHERE name = 'bob'")
        .await;
    for _ in 0..2 {
        // One person counts once.
        bob.put("/requests/1/approve", &json!({})).await.expect(204);
        refused(ada.get("/credentials/1").await, 4034);
    }
    assert_eq!(status(&ada, &json!(1)).await, "Pending");
    // What bob has approved stays approved.
    world
        .write("UPDATE users SET disabled = 1 WHERE name = 'bob'")
        .await;
    refused(ada.get("/credentials/1").await, 4034);
    admin
        .put("/requests/1/approve", &json!({}))
        .await
        .expect(204);
    ada.get("/credentials/1").await.expect(200);
}

#[tokio::test]
async fn nobody_approves_their_own_whatever_their_role() {
    let policy = json!({"name": "Four eyes", "approvals": 1});
    let Office {
        world,
        admin,
        ada,
        bob,
        ..
    } = office_with(Some(policy), false).await;
    let both = json!({"Roles": [{"RoleID": 3}], "AccessPolicyID": 2});
    let carl = member(&world, &admin, "carl", (1, both)).await;
    carl.post("/requests", &body()).await.expect(201);
    for act in ["approve", "deny"] {
        let path = format!("/requests/1/{act}");
        refused(carl.put(&path, &json!({})).await, 4033);
    }
    refused(carl.get("/credentials/1").await, 4034);
    bob.put("/requests/1/approve", &json!({})).await.expect(204);
    carl.get("/credentials/1").await.expect(200);
    // What others ask for, the same role approves.
    let id = ada.post("/requests", &body()).await.expect(201).json();
    let path = format!("/requests/{id}/approve");
    carl.put(&path, &json!({})).await.expect(204);
    assert_eq!(status(&ada, &id).await, "Active");
}

#[tokio::test]
async fn whoever_has_lost_the_role_since_has_lost_the_request() {
    let Office {
        world, admin, ada, ..
    } = office_with(None, false).await;
    ada.post("/requests", &body()).await.expect(201);
    ada.get("/credentials/1").await.expect(200);
    let group = "SELECT group_id FROM group_members m JOIN users u ON u.id = m.user_id
                 WHERE u.name = 'ada'";
    let group = world.number(group).await;
    let roles = format!("/usergroups/{group}/smartrules/1/roles");
    let judges = json!({"Roles": [{"RoleID": 2}]});
    admin.post(&roles, &judges).await.expect(204);
    refused(ada.get("/credentials/1").await, 4032);
    admin.call("DELETE", &roles, None, &[]).await.expect(200);
    refused(ada.get("/credentials/1").await, 4031);
}

#[tokio::test]
async fn who_may_not_is_told_before_what_is_missing_and_what_is_missing_before_what_is_wrong() {
    let policy = json!({"name": "Four eyes", "approvals": 1});
    let Office {
        world,
        admin,
        ada,
        bob,
        eve,
    } = office_with(Some(policy), false).await;
    let nobody = world.nobody().below(crate::api::world::PS);
    let wrong = json!({"DurationMinutes": 0, "ConflictOption": "both", "AccessType": "SSH"});
    let nowhere = json!({"AccountID": 77, "DurationMinutes": 0});
    for path in ["/requests", "/isarequests"] {
        nobody.post(path, &with(&wrong)).await.expect(401);
        refused(eve.post(path, &with(&nowhere)).await, 4031);
        admin.post(path, &with(&nowhere)).await.expect(404);
    }
    refused(ada.post("/requests", &with(&nowhere)).await, 4031);
    refused(bob.post("/requests", &with(&wrong)).await, 4032);
    refused(ada.post("/isarequests", &with(&wrong)).await, 4031);
    names(
        admin
            .post("/isarequests", &with(&json!({"DurationMinutes": 0})))
            .await,
        "DurationMinutes",
    );
    ada.post("/requests", &body()).await.expect(201);
    names(ada.post("/requests", &with(&wrong)).await, "AccessType");
    assert_eq!(
        ada.post("/requests", &body()).await.expect(409).json(),
        json!(4091)
    );

    let long = json!({"Reason": "x".repeat(1_001)});
    for act in ["approve", "deny"] {
        let (one, none) = (format!("/requests/1/{act}"), format!("/requests/77/{act}"));
        nobody.put(&one, &long).await.expect(401);
        refused(eve.put(&none, &long).await, 4031);
        bob.put(&none, &long).await.expect(404);
        refused(ada.put(&one, &long).await, 4033);
        names(bob.put(&one, &long).await, "Reason");
    }
    bob.put("/requests/1/approve", &json!({})).await.expect(204);
    names(bob.put("/requests/1/approve", &long).await, "Reason");
    bob.put("/requests/1/approve", &json!({})).await.expect(409);

    nobody.put("/requests/1/checkin", &long).await.expect(401);
    refused(bob.put("/requests/1/checkin", &long).await, 4031);
    ada.put("/requests/77/checkin", &long).await.expect(404);
    names(ada.put("/requests/1/checkin", &long).await, "Reason");

    nobody.get("/credentials/1?type=x").await.expect(401);
    refused(eve.get("/credentials/77?type=x").await, 4031);
    ada.get("/credentials/77?type=x").await.expect(404);
    names(ada.get("/credentials/1?type=x").await, "type");
    let (_world, fresh) = service().await;
    fresh.get("/credentials/1?type=x").await.expect(404);
}
