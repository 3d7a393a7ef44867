//! Managed systems.

use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::{by_asset, delete, names, service, with_account, with_asset, with_system};

fn want() -> Value {
    let record = r#"{
        "ManagedSystemID": 1, "EntityTypeID": 1, "AssetID": 1, "DatabaseID": null,
        "DirectoryID": null, "CloudID": null, "WorkgroupID": 1, "HostName": "web1",
        "DnsName": null, "IPAddress": "10.0.0.1", "InstanceName": null, "IsDefaultInstance": null,
        "Template": null, "ForestName": null, "UseSSL": null, "OracleInternetDirectoryID": null,
        "OracleInternetDirectoryServiceName": null, "SystemName": "web1", "PlatformID": 2,
        "NetBiosName": null, "Port": 22, "Timeout": 30, "Description": "d", "ContactEmail": "a@b",
        "PasswordRuleID": 0, "DSSKeyRuleID": 0, "ReleaseDuration": 120,
        "MaxReleaseDuration": 525600, "ISAReleaseDuration": 120, "AutoManagementFlag": true,
        "FunctionalAccountID": 1, "LoginAccountID": null, "ElevationCommand": null,
        "SshKeyEnforcementMode": 0, "CheckPasswordFlag": false,
        "ChangePasswordAfterAnyReleaseFlag": false, "ResetPasswordOnMismatchFlag": false,
        "ChangeFrequencyType": "first", "ChangeFrequencyDays": null, "ChangeTime": "23:30",
        "AccountNameFormat": 0, "RemoteClientType": null, "ApplicationHostID": null,
        "IsApplicationHost": false, "AccessURL": null
    }"#;
    // Too long for `json!`.
    serde_json::from_str(record).unwrap()
}

#[tokio::test]
async fn an_asset_has_one_managed_system_and_answers_with_it() {
    let (world, client) = service().await;
    with_system(&client).await;
    assert_eq!(
        client.get("/managedsystems/1").await.expect(200).json(),
        want()
    );
    assert_eq!(
        client
            .get("/assets/1/managedsystems")
            .await
            .expect(200)
            .json(),
        want()
    );
    client
        .post("/assets/1/managedsystems", &by_asset())
        .await
        .expect(409);
    let rows = world.store.audit_of("system 1", 10).await.unwrap();
    assert_eq!(rows[0].event, "system.added");
}

#[tokio::test]
async fn a_system_sent_back_whole_changes_nothing() {
    let (world, client) = service().await;
    with_system(&client).await;
    assert_eq!(
        client
            .put("/managedsystems/1", &want())
            .await
            .expect(200)
            .json(),
        want()
    );
    let rows = world.store.audit_of("system 1", 10).await.unwrap();
    assert_eq!(rows[0].body, r#"{"changed":[],"name":"web1"}"#);
    let body = json!({"ChangeFrequencyType": "xdays", "ChangeFrequencyDays": 30, "Port": 2222});
    let changed = client
        .put("/managedsystems/1", &body)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&changed["ChangeFrequencyDays"], &changed["Port"]),
        (&json!(30), &json!(2222))
    );
    assert_eq!(changed["Description"], "d", "PUT keeps what is absent");
    assert_eq!(
        client.get("/managedsystems/1").await.expect(200).json(),
        changed
    );
}

#[tokio::test]
async fn a_directory_is_made_in_its_workgroup() {
    let (_world, client) = service().await;
    with_asset(&client).await;
    let path = "/workgroups/1/managedsystems";
    let body = json!({"EntityTypeID": 3, "PlatformID": 32, "HostName": "ldap1"});
    let made = client.post(path, &body).await.expect(201).json();
    assert_eq!(
        (&made["SystemName"], &made["Port"]),
        (&json!("ldap1"), &json!(null))
    );
    assert_eq!(
        (&made["AssetID"], &made["EntityTypeID"]),
        (&json!(null), &json!(3))
    );
    assert_eq!(made["SshKeyEnforcementMode"], json!(null));
    let found = client
        .get("/managedsystems?type=3&name=LDAP1")
        .await
        .expect(200)
        .json();
    assert_eq!(found, json!([made]));
    assert_eq!(
        client
            .get("/managedsystems?type=1")
            .await
            .expect(200)
            .json(),
        json!([])
    );
    assert_eq!(
        client
            .get("/managedsystems?type=2")
            .await
            .expect(200)
            .json(),
        json!([])
    );
    let listed = client
        .get("/workgroups/1/managedsystems")
        .await
        .expect(200)
        .json();
    assert_eq!(listed, json!([made]));
    for field in ["EntityTypeID", "PlatformID", "HostName"] {
        let mut body = json!({"EntityTypeID": 3, "PlatformID": 32, "HostName": "ldap2"});
        body[field] = json!(null);
        names(client.post(path, &body).await, field);
    }
    client.get("/managedsystems?type=9").await.expect(400);
}

#[tokio::test]
async fn lists_of_systems_have_an_envelope_only_when_limited() {
    let (_world, client) = service().await;
    with_system(&client).await;
    assert_eq!(
        client.get("/managedsystems").await.expect(200).json(),
        json!([want()])
    );
    let limited = client
        .get("/managedsystems?limit=100000&offset=0")
        .await
        .expect(200)
        .json();
    assert_eq!(limited, json!({"TotalCount": 1, "Data": [want()]}));
    let of = client
        .get("/functionalaccounts/1/managedsystems")
        .await
        .expect(200)
        .json();
    assert_eq!(of, json!([want()]));
    client
        .get("/functionalaccounts/2/managedsystems")
        .await
        .expect(404);
}

#[tokio::test]
async fn what_is_wrong_with_a_system_names_the_field() {
    let (_world, client) = service().await;
    with_system(&client).await;
    for (field, value) in [
        ("PlatformID", json!(32)),
        ("Port", json!(0)),
        ("Port", json!("22")),
        ("Timeout", json!(3_601)),
        ("Description", json!("x".repeat(256))),
        ("ContactEmail", json!("x".repeat(1_001))),
        ("NetBiosName", json!("x".repeat(16))),
        ("PasswordRuleID", json!(7)),
        ("DSSKeyRuleID", json!(8)),
        ("ReleaseDuration", json!(0)),
        ("MaxReleaseDuration", json!(525_601)),
        ("FunctionalAccountID", json!(9)),
        ("ElevationCommand", json!("su")),
        ("SshKeyEnforcementMode", json!(3)),
        ("ChangeFrequencyType", json!("weekly")),
        ("ChangeTime", json!("24:00")),
        ("AutoManagementFlag", json!("yes")),
        ("AccountNameFormat", json!(3)),
        ("RemoteClientType", json!("RDP")),
        ("AccessURL", json!("x".repeat(2_049))),
    ] {
        let mut body = json!({});
        body[field] = value;
        names(client.put("/managedsystems/1", &body).await, field);
    }
    let body = json!({"ChangeFrequencyType": "xdays"});
    names(
        client.put("/managedsystems/1", &body).await,
        "ChangeFrequencyDays",
    );
    assert_eq!(
        client.get("/managedsystems/1").await.expect(200).json(),
        want()
    );
}

#[tokio::test]
async fn a_system_goes_only_after_its_accounts() {
    let (_world, client) = service().await;
    with_account(&client).await;
    delete(&client, "/managedsystems/1").await.expect(409);
    delete(&client, "/managedsystems/1/managedaccounts")
        .await
        .expect(200);
    assert_eq!(
        delete(&client, "/managedsystems/1").await.expect(200).body,
        ""
    );
    let gone = client.get("/managedsystems/1").await.expect(404);
    assert_eq!(gone.json(), "Managed System not found");
    client.get("/assets/1/managedsystems").await.expect(404);
    client
        .post("/assets/1/managedsystems", &by_asset())
        .await
        .expect(201);
}

#[tokio::test]
async fn reading_systems_is_not_writing_them() {
    let (world, client) = service().await;
    with_system(&client).await;
    let (_, keys) = world.user("ada", &[Permission::SystemsRead]).await;
    let ada = world.session(&keys).await;
    ada.get("/managedsystems/1").await.expect(200);
    assert_eq!(
        ada.put("/managedsystems/1", &json!({}))
            .await
            .expect(403)
            .body,
        "4031"
    );
    delete(&ada, "/managedsystems/9").await.expect(403);
    ada.get("/managedsystems/1/managedaccounts")
        .await
        .expect(403);
}
