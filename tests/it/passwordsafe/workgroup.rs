//! Workgroups.

use keywheel::model::principal::Permission;
use serde_json::json;

use super::{names, service};

#[tokio::test]
async fn a_workgroup_is_made_listed_and_found_by_id_and_name() {
    let (world, client) = service().await;
    let made = client
        .post("/workgroups", &json!({"Name": "new"}))
        .await
        .expect(201)
        .json();
    let want = json!({
        "OrganizationID": "00000000-0000-0000-0000-000000000000", "ID": 1, "Name": "new",
    });
    assert_eq!(made, want);
    assert_eq!(
        client.get("/Workgroups").await.expect(200).json(),
        json!([want])
    );
    assert_eq!(client.get("/workgroups/1").await.expect(200).json(), want);
    assert_eq!(
        client.get("/workgroups?Name=NEW").await.expect(200).json(),
        want
    );
    for path in ["/workgroups?name=none", "/workgroups/2", "/workgroups/new"] {
        let answer = client.get(path).await.expect(404);
        assert_eq!(answer.json(), "Workgroup not found", "{path}");
    }
    let rows = world.store.audit_of("workgroup 1", 10).await.unwrap();
    assert_eq!(
        (rows[0].event.as_str(), rows[0].actor.as_str()),
        ("workgroup.added", "admin")
    );
}

#[tokio::test]
async fn a_workgroups_name_is_needed_and_never_taken_twice() {
    let (_world, client) = service().await;
    names(
        client.post("/workgroups", &json!({"Name": ""})).await,
        "Name",
    );
    names(
        client
            .post("/workgroups", &json!({"Name": "x".repeat(257)}))
            .await,
        "Name",
    );
    let body = json!({"Name": "a", "OrganizationID": "none"});
    names(client.post("/workgroups", &body).await, "OrganizationID");
    client
        .post("/workgroups", &json!({"Name": "a"}))
        .await
        .expect(201);
    client
        .post("/workgroups", &json!({"name": "A"}))
        .await
        .expect(409);
}

#[tokio::test]
async fn whoever_is_signed_in_reads_workgroups_but_may_not_add_any() {
    let (world, client) = service().await;
    client
        .post("/workgroups", &json!({"Name": "a"}))
        .await
        .expect(201);
    let (_, keys) = world.user("ada", &[Permission::AssetsRead]).await;
    let ada = world.session(&keys).await;
    ada.get("/workgroups/1").await.expect(200);
    ada.post("/workgroups", &json!({"Name": "b"}))
        .await
        .expect(403);
    let page = client.get("/workgroups?limit=1&offset=1").await.expect(200);
    assert_eq!(page.json(), json!([]));
    client.get("/workgroups?limit=x").await.expect(400);
}
