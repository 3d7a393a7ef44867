//! The description of bodies, which is written by hand, against what the handlers read.

use keywheel::api::passwordsafe;
use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::{names, service, with_account};

/// What else must be in a body for one wrong field to be all that is wrong.
fn valid(body: &str) -> Value {
    match body {
        "WorkgroupOrder" => json!({"Name": "new"}),
        "AssetOrder" => json!({"IPAddress": "10.0.0.9"}),
        "FunctionalAccountOrder" => json!({"PlatformID": 2, "AccountName": "fb"}),
        "AssetSystemOrder" => json!({"PlatformID": 2}),
        "WorkgroupSystemOrder" => json!({"PlatformID": 2, "EntityTypeID": 1, "HostName": "h"}),
        "ManagedAccountOrder" => json!({"AccountName": "new", "Password": "pw-canary"}),
        "PermissionOrders" => json!({"PermissionID": 1, "AccessLevelID": 1}),
        "RolesOrder" => json!({"Roles": []}),
        "QuickRuleOrder" => json!({"IDs": [], "Title": "new"}),
        "MembersOrder" => json!({"AccountIDs": []}),
        "RequestOrder" | "ISARequestOrder" => json!({"SystemID": 1, "AccountID": 1}),
        _ => json!({}),
    }
}

/// A path on which there is everything: system 2 has no asset, rule 3 has fixed members.
fn filled(path: &str) -> String {
    match path {
        "/credentials" => {
            return "/credentials?workgroupName=Default&assetName=web1&accountName=root".to_owned();
        }
        "/managedsystems/{id}" => return "/managedsystems/2".to_owned(),
        "/quickrules/{id}/managedaccounts" => return "/quickrules/3/managedaccounts".to_owned(),
        _ => {}
    }
    let account = if path.ends_with("/credentials") {
        "root"
    } else {
        "1"
    };
    path.replace("{id}", "1")
        .replace("{rule}", "1")
        .replace("{workgroup}", "Default")
        .replace("{asset}", "web1")
        .replace("{account}", account)
}

#[tokio::test]
async fn every_field_that_a_body_is_said_to_have_is_read() {
    let (world, admin) = service().await;
    with_account(&admin).await;
    let system = json!({"PlatformID": 2, "EntityTypeID": 1, "HostName": "bare"});
    let path = "/workgroups/1/managedsystems";
    admin.post(path, &system).await.expect(201);
    let rule = json!({"IDs": [1], "Title": "Fixed"});
    let rule = admin.post("/quickrules", &rule).await.expect(201).json();
    assert_eq!(rule["SmartRuleID"], 3);
    let (_, keys) = world.user("maker", &[Permission::UsersWrite]).await;
    let group = json!({"name": "people"});
    let group = world.native(&keys).post("/groups", &group).await;
    assert_eq!(group.expect(201).json()["id"], 1);
    let request = json!({"SystemID": 1, "AccountID": 1});
    assert_eq!(
        admin.post("/requests", &request).await.expect(201).json(),
        1
    );

    let description = passwordsafe::description();
    let schemas = &description["components"]["schemas"];
    let mut fields = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        // Errors of a token are in RFC 6749's words, and nobody judges their own request; that
        // reads its body as a check-in does.
        if ["/token", "/approve", "/deny"]
            .iter()
            .any(|end| path.ends_with(end))
        {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let content = &operation["requestBody"]["content"]["application/json"];
            let schema = &content["schema"];
            let body = schema.get("anyOf").map_or(schema, |either| &either[0]);
            let Some(body) = body["$ref"].as_str() else {
                continue;
            };
            let body = body.rsplit('/').next().unwrap();
            let schema = &schemas[body];
            let record = schema.get("anyOf").map_or(schema, |either| &either[0]);
            for field in record["properties"].as_object().unwrap().keys() {
                let mut wrong = valid(body);
                wrong[field] = json!({"of a wrong": "type"});
                let method = method.to_uppercase();
                let answer = admin.call(&method, &filled(path), Some(&wrong), &[]).await;
                println!("{method} {path}: {field}");
                names(answer, field);
                fields += 1;
            }
        }
    }
    assert!(fields > 200, "{fields}");
}
