//! `/api/v1/access-policies`: made, edited while nothing relies on them, deleted.

use axum::http::header;
use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::world::{Answer, Client, World};

const PATH: &str = "/access-policies/2";

fn office() -> Value {
    json!({
        "name": "Office", "description": "on call",
        "schedules": [
            {"name": "Day", "windows": [
                {"cron": "0 8 * * 1-5", "duration": "10h", "zone": "Europe/Berlin"}]},
            {"name": "Night", "approvals": 2, "access_types": ["View"],
             "rotation_override": true, "outlasts_window": true},
        ],
    })
}

async fn ready() -> (World, Client) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let native = world.native(&keys);
    let made = native.post("/access-policies", &office()).await.expect(201);
    assert_eq!(made.header(header::LOCATION), "/api/v1/access-policies/2");
    (world, native)
}

async fn put(client: &Client, body: &Value, tag: &str) -> Answer {
    client
        .call("PUT", PATH, Some(body), &[("if-match", tag)])
        .await
}

async fn delete(client: &Client, path: &str, tag: &str) -> Answer {
    client
        .call("DELETE", path, None, &[("if-match", tag)])
        .await
}

fn pointers(answer: Answer) -> Vec<String> {
    let errors = answer.expect(400).json()["errors"].clone();
    let errors = errors.as_array().unwrap().iter();
    errors
        .map(|error| error["pointer"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_policy_is_read_as_it_was_made_and_its_schedules_keep_their_numbers() {
    let (world, native) = ready().await;
    let read = native.get(PATH).await.expect(200);
    assert_eq!(read.header(header::ETAG), "\"1\"");
    assert_eq!(
        read.json(),
        json!({
            "id": 2, "revision": 1, "name": "Office", "description": "on call",
            "schedules": [
                {"id": 2, "name": "Day", "approvals": 0, "access_types": ["View"],
                 "rotation_override": false, "outlasts_window": false, "windows": [
                    {"cron": "0 8 * * 1-5", "duration": "10h", "zone": "Europe/Berlin"}]},
                {"id": 3, "name": "Night", "approvals": 2, "access_types": ["View"],
                 "rotation_override": true, "outlasts_window": true, "windows": []},
            ],
        })
    );
    let edit = json!({"name": "Office", "schedules": [
        {"id": 3, "name": "Night", "approvals": 1}, {"name": "Noon"},
    ]});
    let unguarded = native.call("PUT", PATH, Some(&edit), &[]).await;
    unguarded.expect(428);
    put(&native, &edit, "\"9\"").await.expect(412);
    let edited = put(&native, &edit, "\"1\"").await.expect(200);
    assert_eq!(edited.header(header::ETAG), "\"2\"");
    let shown = edited.json()["schedules"].clone();
    let ids: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, [&json!(3), &json!(4)]);
    assert_eq!(native.get(PATH).await.expect(200).json(), edited.json());
    delete(&native, PATH, "\"1\"").await.expect(412);
    delete(&native, PATH, "\"2\"").await.expect(204);
    native.get(PATH).await.expect(404);
    native.get("/access-policies/0").await.expect(404);
    let listed = native.get("/access-policies").await.expect(200).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let rows = world.store.audit_of("access policy 2", 9).await.unwrap();
    let events: Vec<_> = rows.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(
        events,
        [
            "access_policy.deleted",
            "access_policy.updated",
            "access_policy.created"
        ]
    );
    assert!(rows[2].body.contains("Europe/Berlin"), "{}", rows[2].body);
}

#[tokio::test]
async fn what_a_role_relies_on_and_what_is_built_in_stays() {
    let (world, native) = ready().await;
    let (_, keys) = world.user("ps", &[Permission::RolesWrite]).await;
    let session = world.session(&keys).await;
    let group = native.post("/groups", &json!({"name": "Night"})).await;
    let group = group.expect(201).json()["id"].clone();
    let roles = format!("/usergroups/{group}/smartrules/1/roles");
    let asks = json!({"Roles": [{"RoleID": 1}], "AccessPolicyID": 2});
    session.post(&roles, &asks).await.expect(204);
    delete(&native, PATH, "\"1\"").await.expect(409);
    put(&native, &office(), "\"1\"").await.expect(200);
    delete(&native, PATH, "\"2\"").await.expect(409);
    session.call("DELETE", &roles, None, &[]).await.expect(200);
    delete(&native, PATH, "\"2\"").await.expect(204);
    // A role cannot come to name it any more.
    session.post(&roles, &asks).await.expect(400);
    delete(&native, "/access-policies/1", "\"1\"")
        .await
        .expect(409);
    let edit = native
        .call(
            "PUT",
            "/access-policies/1",
            Some(&office()),
            &[("if-match", "*")],
        )
        .await;
    edit.expect(409);
}

#[tokio::test]
async fn every_fault_of_a_policy_is_pointed_to() {
    let (_world, native) = ready().await;
    let body = json!({"name": "Bad", "schedules": [
        {"name": "", "approvals": 11, "access_types": ["SSH"]},
        {"id": 7, "name": "x", "windows": [
            {"cron": "0 0 31 2 *", "duration": "1h", "zone": "Europe/Berlin"},
            {"cron": "0 8 * * *", "duration": "32d", "zone": "Berlin"},
        ]},
    ]});
    let found = pointers(native.post("/access-policies", &body).await);
    assert_eq!(
        found,
        [
            "/schedules/0/access_types",
            "/schedules/0/name",
            "/schedules/0/approvals",
            "/schedules/1/id",
            "/schedules/1/windows/0/cron",
            "/schedules/1/windows/1/duration",
            "/schedules/1/windows/1/zone",
        ]
    );
    for (body, pointer) in [
        (json!({"name": "x", "schedules": []}), "/schedules"),
        (
            json!({"name": "x", "schedules": [{"name": "a"}, {"name": "A"}]}),
            "/schedules",
        ),
        (
            json!({"name": "x", "approvals": 1, "schedules": []}),
            "/approvals",
        ),
        (
            json!({"name": "x", "approvals": -1}),
            "/schedules/0/approvals",
        ),
        (json!({"name": " "}), "/name"),
        (
            json!({"name": "x", "schedules": [{"name": "a", "open": true}]}),
            "/schedules/0/open",
        ),
    ] {
        let found = pointers(native.post("/access-policies", &body).await);
        assert_eq!(found, [pointer], "{body}");
    }
    native.post("/access-policies", &office()).await.expect(409);
    // Another policy's schedule is none of this one's.
    let foreign = json!({"name": "Office", "schedules": [{"id": 1, "name": "Always"}]});
    assert_eq!(
        pointers(put(&native, &foreign, "\"1\"").await),
        ["/schedules/0/id"]
    );
}
