//! Assets.

use std::time::Duration;

use serde_json::json;

use super::{by_asset, delete, names, service, with_asset};

#[tokio::test]
async fn an_asset_is_made_found_changed_and_removed() {
    let (world, client) = service().await;
    with_asset(&client).await;
    let want = json!({
        "WorkgroupID": 1, "AssetID": 1, "AssetName": "web1", "DnsName": "", "DomainName": "",
        "IPAddress": "10.0.0.1", "MacAddress": "", "AssetType": "", "OperatingSystem": "",
        "Description": "", "CreateDate": "2026-05-28T20:26:40",
        "LastUpdateDate": "2026-05-28T20:26:40",
    });
    assert_eq!(client.get("/assets/1").await.expect(200).json(), want);
    for path in [
        "/workgroups/1/assets?name=WEB1",
        "/workgroups/default/assets?name=web1",
    ] {
        assert_eq!(client.get(path).await.expect(200).json(), want);
    }
    world.clock.advance(Duration::from_millis(1_500));
    let body = json!({"DnsName": "web1.example.org", "OperatingSystem": "Linux"});
    let changed = client.put("/assets/1", &body).await.expect(200).json();
    assert_eq!(changed["DnsName"], "web1.example.org");
    assert_eq!(changed["IPAddress"], "10.0.0.1", "PUT keeps what is absent");
    assert_eq!(changed["LastUpdateDate"], "2026-05-28T20:26:41.500");
    let answer = delete(&client, "/assets/1").await.expect(200);
    assert_eq!(answer.body, "");
    assert_eq!(
        client.get("/assets/1").await.expect(404).json(),
        "Asset not found"
    );
    let rows = world.store.audit_of("asset 1", 10).await.unwrap();
    let events: Vec<_> = rows.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(events, ["asset.removed", "asset.changed", "asset.added"]);
}

#[tokio::test]
async fn lists_of_assets_have_an_envelope_only_when_limited() {
    let (_world, client) = service().await;
    with_asset(&client).await;
    let body = json!({"IPAddress": "10.0.0.2"});
    client.post("/workgroups/1/assets", &body).await.expect(201);
    let bare = client.get("/workgroups/1/assets").await.expect(200).json();
    assert_eq!(bare.as_array().unwrap().len(), 2);
    assert_eq!(bare[1]["AssetName"], "10.0.0.2", "named by its address");
    let limited = client
        .get("/workgroups/1/assets?limit=1&offset=1")
        .await
        .expect(200)
        .json();
    assert_eq!(limited["TotalCount"], 2);
    assert_eq!(limited["Data"][0]["AssetID"], 2);
}

#[tokio::test]
async fn assets_are_searched_by_equality() {
    let (_world, client) = service().await;
    with_asset(&client).await;
    let found = client
        .post("/assets/search", &json!({"IPAddress": "10.0.0.1"}))
        .await
        .expect(200);
    assert_eq!(found.json()[0]["AssetID"], 1);
    let found = client
        .post("/assets/search", &json!({"AssetName": "web"}))
        .await
        .expect(200);
    assert_eq!(found.json(), json!([]));
    client.post("/assets/search", &json!({})).await.expect(400);
}

#[tokio::test]
async fn what_is_wrong_with_an_asset_names_the_field() {
    let (_world, client) = service().await;
    with_asset(&client).await;
    let path = "/workgroups/1/assets";
    names(
        client.post(path, &json!({"AssetName": "x"})).await,
        "IPAddress",
    );
    for (field, length) in [
        ("IPAddress", 46),
        ("AssetName", 129),
        ("DnsName", 256),
        ("DomainName", 65),
    ] {
        let mut body = json!({"IPAddress": "10.0.0.9"});
        body[field] = json!("x".repeat(length));
        names(client.post(path, &body).await, field);
    }
    names(
        client.put("/assets/1", &json!({"MacAddress": 7})).await,
        "MacAddress",
    );
    client
        .post(path, &json!({"IPAddress": "10.0.0.9", "AssetName": "WEB1"}))
        .await
        .expect(409);
    client
        .post("/workgroups/none/assets", &json!({"IPAddress": "x"}))
        .await
        .expect(404);
    client.put("/assets/9", &json!({})).await.expect(404);
}

#[tokio::test]
async fn an_asset_with_a_managed_system_stays() {
    let (_world, client) = service().await;
    with_asset(&client).await;
    let mut body = by_asset();
    body["AutoManagementFlag"] = json!(false);
    body["FunctionalAccountID"] = json!(null);
    client
        .post("/assets/1/managedsystems", &body)
        .await
        .expect(201);
    delete(&client, "/workgroups/1/assets?name=web1")
        .await
        .expect(409);
    delete(&client, "/managedsystems/1").await.expect(200);
    delete(&client, "/workgroups/1/assets").await.expect(400);
    delete(&client, "/workgroups/1/assets?name=web1")
        .await
        .expect(200);
    delete(&client, "/workgroups/1/assets?name=web1")
        .await
        .expect(404);
}
