//! What the dialect's records refer to: platforms, rules, kinds of systems, the version.

use keywheel::model::principal::Permission;
use serde_json::json;

use super::service;

#[tokio::test]
async fn platforms_carry_the_vendors_numbers() {
    let (_world, client) = service().await;
    let found = client
        .get("/platforms?version=3.0")
        .await
        .expect(200)
        .json();
    assert_eq!(found.as_array().unwrap().len(), 6);
    assert_eq!(
        found[0],
        json!({
            "PlatformID": 2, "Name": "Linux", "ShortName": "Linux", "PortFlag": true,
            "DefaultPort": 22, "SupportsElevationFlag": true, "DomainNameFlag": false,
            "AutoManagementFlag": true, "DSSAutoManagementFlag": true, "ManageableFlag": true,
            "DSSFlag": true, "LoginAccountFlag": false, "DefaultSessionType": "SSH",
            "ApplicationHostFlag": false, "RequiresApplicationHost": false,
            "RequiresTenantID": false, "RequiresObjectID": false, "RequiresSecret": false,
        })
    );
    assert_eq!(
        (&found[1]["PlatformID"], &found[1]["DefaultPort"]),
        (&json!(32), &json!(636))
    );
    let page = client
        .get("/platforms?limit=1&offset=1")
        .await
        .expect(200)
        .json();
    assert_eq!(page, json!([found[1]]));
}

#[tokio::test]
async fn entity_types_lead_to_their_platforms() {
    let (_world, client) = service().await;
    let kinds = client.get("/entitytypes").await.expect(200).json();
    assert_eq!(kinds.as_array().unwrap().len(), 4);
    assert_eq!(
        (&kinds[2]["EntityTypeID"], &kinds[2]["Name"]),
        (&json!(3), &json!("Directory"))
    );
    let of = client
        .get("/entitytypes/3/platforms")
        .await
        .expect(200)
        .json();
    assert_eq!(of[0]["PlatformID"], 32);
    assert_eq!(
        client
            .get("/entitytypes/2/platforms")
            .await
            .expect(200)
            .json(),
        json!([])
    );
    client.get("/entitytypes/5/platforms").await.expect(404);
}

#[tokio::test]
async fn the_default_rules_have_id_0() {
    let (_world, client) = service().await;
    let rule = client.get("/passwordrules/0").await.expect(200).json();
    assert_eq!(
        (&rule["PasswordRuleID"], &rule["MaximumLength"]),
        (&json!(0), &json!(32))
    );
    assert_eq!(rule["FirstCharacterRequirement"], "C");
    assert!(
        rule["ValidLowercaseCharacters"][0]
            .as_str()
            .is_some_and(|c| c.len() == 1)
    );
    let rules = json!([rule]);
    assert_eq!(
        client
            .get("/passwordrules?version=3.0")
            .await
            .expect(200)
            .json(),
        rules
    );
    let path = "/passwordrules?enabledproducts=PasswordSafe";
    assert_eq!(client.get(path).await.expect(200).json(), rules);
    let path = "/passwordrules?enabledproducts=SecretsSafe";
    assert_eq!(client.get(path).await.expect(200).json(), json!([]));
    let answer = client
        .get("/passwordrules?enabledproducts=x")
        .await
        .expect(400);
    assert_eq!(answer.json(), "Enabled product not valid");
    client.get("/passwordrules/1").await.expect(404);
    let key = client.get("/dsskeyrules/0").await.expect(200).json();
    assert_eq!(
        (&key["KeyType"], &key["KeySize"]),
        (&json!("RSA"), &json!(4_096))
    );
    let all = client.get("/dsskeyrules").await.expect(200).json();
    let kinds: Vec<_> = all.as_array().unwrap().iter().collect();
    assert_eq!((kinds.len(), kinds[0]), (8, &key));
    let sealed = client.get("/dsskeyrules/6").await.expect(200).json();
    assert_eq!(
        (
            &sealed["KeyType"],
            &sealed["EncryptionType"],
            &sealed["PasswordRuleID"]
        ),
        (&json!("ED25519"), &json!("A"), &json!(0))
    );
    client.get("/dsskeyrules/8").await.expect(404);
    client.get("/dsskeyrules/x").await.expect(404);
}

#[tokio::test]
async fn lists_that_systems_and_accounts_refer_to_are_open_to_readers_of_either() {
    let (world, _) = service().await;
    for (name, granted, status) in [
        ("ada", Permission::SystemsRead, 200),
        ("bob", Permission::AccountsRead, 200),
        ("cid", Permission::JobsRead, 403),
    ] {
        let (_, keys) = world.user(name, &[granted]).await;
        let client = world.session(&keys).await;
        for path in [
            "/platforms",
            "/passwordrules",
            "/dsskeyrules",
            "/entitytypes",
        ] {
            client.get(path).await.expect(status);
        }
        let version = client.get("/Configuration/Version").await.expect(200);
        assert_eq!(version.json(), json!({"Version": "24.3.0"}));
    }
}
