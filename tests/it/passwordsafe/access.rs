//! Feature permissions, Smart Rules, Quick Rules and roles.

use keywheel::model::id::UserId;
use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::{delete, managed, names, service, with_account};
use crate::api::world::{Client, World};

/// A group with one member, by the native API; its id.
async fn group_of(world: &World, user: UserId) -> i64 {
    let (_, keys) = world
        .user("maker", &[Permission::UsersWrite, Permission::RolesWrite])
        .await;
    let native = world.native(&keys);
    let made = native
        .post("/groups", &json!({"name": "Night"}))
        .await
        .expect(201);
    let id = made.json()["id"].as_i64().unwrap();
    let path = format!("/groups/{id}/members/{}", user.0);
    native.put(&path, &json!({})).await.expect(204);
    id
}

/// Accounts 1, `root`, and 2, `www`; nobody works.
async fn with_accounts(client: &Client) {
    with_account(client).await;
    let path = "/managedsystems/1/managedaccounts?version=3.0";
    client.post(path, &managed("www")).await.expect(201);
}

fn ids(list: &Value, field: &str) -> Vec<i64> {
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| row[field].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn feature_permissions_have_the_vendors_numbers_and_reach_the_members() {
    let (world, client) = service().await;
    let all = client.get("/Permissions").await.expect(200).json();
    assert_eq!(ids(&all, "PermissionID"), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(all[1]["Name"], "Password Safe API Global Quarantine");
    let levels = client.get("/AccessLevels").await.expect(200).json();
    assert_eq!(ids(&levels, "AccessLevelID"), [0, 1, 2]);
    let (eve, keys) = world.user("eve", &[]).await;
    let group = group_of(&world, eve).await;
    let session = world.session(&keys).await;
    session.get("/assets/1").await.expect(403);
    let path = format!("/UserGroups/{group}/Permissions");
    let body = json!([
        {"PermissionID": 3, "AccessLevelID": 1}, {"PermissionID": 2, "AccessLevelID": 2},
    ]);
    client.post(&path, &body).await.expect(204);
    assert_eq!(
        client.get(&path).await.expect(200).json(),
        json!([
            {"PermissionID": 2, "AccessLevelID": 2}, {"PermissionID": 3, "AccessLevelID": 1},
        ])
    );
    session.get("/assets/1").await.expect(404);
    session
        .post("/workgroups", &json!({"Name": "x"}))
        .await
        .expect(403);
    let bulk = "/managedsystems/9/managedaccounts/credentials/change";
    session.post(bulk, &json!({})).await.expect(404);
    // One alone, and level 0 takes away.
    let none = json!({"PermissionID": 3, "AccessLevelID": 0});
    client.post(&path, &none).await.expect(204);
    session.get("/assets/1").await.expect(403);
    delete(&client, &path).await.expect(200);
    assert_eq!(client.get(&path).await.expect(200).json(), json!([]));
    session.post(bulk, &json!({})).await.expect(403);
    let shown = client.get("/usergroups").await.expect(200).json();
    assert_eq!(
        shown[0],
        json!({
            "GroupID": group, "Name": "Night", "Description": "", "GroupType": "BeyondInsight",
            "IsActive": true,
        })
    );
    client.get("/usergroups/77").await.expect(404);
}

#[tokio::test]
async fn nobody_gives_a_group_what_they_lack() {
    let (world, _client) = service().await;
    let (eve, keys) = world.user("eve", &[Permission::UsersWrite]).await;
    let group = group_of(&world, eve).await;
    let session = world.session(&keys).await;
    let path = format!("/usergroups/{group}/permissions");
    let body = json!([{"PermissionID": 1, "AccessLevelID": 1}]);
    session.post(&path, &body).await.expect(403);
    let own = json!([{"PermissionID": 6, "AccessLevelID": 1}]);
    session.post(&path, &own).await.expect(204);
    for (body, field) in [
        (
            json!([{"PermissionID": 8, "AccessLevelID": 1}]),
            "PermissionID",
        ),
        (
            json!([{"PermissionID": 6, "AccessLevelID": 3}]),
            "AccessLevelID",
        ),
        (json!([{"AccessLevelID": 1}]), "PermissionID"),
        (json!([7]), ""),
    ] {
        let answer = session.post(&path, &body).await;
        if field.is_empty() {
            answer.expect(400);
        } else {
            names(answer, field);
        }
    }
}

#[tokio::test]
async fn rules_list_what_they_reference() {
    let (_world, client) = service().await;
    with_accounts(&client).await;
    let rules = client.get("/SmartRules").await.expect(200).json();
    assert_eq!(ids(&rules, "SmartRuleID"), [1, 2]);
    assert_eq!(
        rules[0],
        json!({
            "SmartRuleID": 1, "OrganizationID": "00000000-0000-0000-0000-000000000000",
            "Title": "All Managed Accounts", "Description": "Every managed account",
            "Category": "Built in", "Status": "Processed", "LastProcessedDate": null,
            "IsReadOnly": true, "RuleType": "ManagedAccount",
        })
    );
    let titled = client
        .get("/smartrules?title=ALL%20assets")
        .await
        .expect(200)
        .json();
    assert_eq!(titled["SmartRuleID"], 2);
    client.get("/smartrules?title=none").await.expect(404);
    for (path, field, meant) in [
        (
            "/smartrules/1/managedaccounts",
            "ManagedAccountID",
            vec![1, 2],
        ),
        (
            "/smartrules/2/managedaccounts",
            "ManagedAccountID",
            vec![1, 2],
        ),
        ("/smartrules/1/managedsystems", "ManagedSystemID", vec![1]),
        ("/smartrules/2/managedsystems", "ManagedSystemID", vec![1]),
        ("/smartrules/1/assets", "AssetID", vec![1]),
        ("/smartrules/2/assets", "AssetID", vec![1]),
    ] {
        let list = client.get(path).await.expect(200).json();
        assert_eq!(ids(&list, field), meant, "{path}");
        let page = client
            .get(&format!("{path}?limit=1"))
            .await
            .expect(200)
            .json();
        assert_eq!(page["TotalCount"], meant.len(), "{path}");
        assert_eq!(ids(&page["Data"], field), meant[..1], "{path}");
    }
    let processed = client
        .post("/smartrules/1/Process?queue=true", &json!({}))
        .await;
    assert!(processed.expect(200).json()["LastProcessedDate"].is_string());
    delete(&client, "/smartrules/1").await.expect(409);
    client.get("/smartrules/3").await.expect(404);
}

#[tokio::test]
async fn quick_rules_hold_what_they_were_given() {
    let (world, client) = service().await;
    with_accounts(&client).await;
    let body = json!({
        "IDs": [1], "Title": "Web", "Category": "Servers", "Description": "d",
        "RuleType": "ManagedAccount",
    });
    let made = client.post("/QuickRules", &body).await.expect(201).json();
    assert_eq!(
        (&made["SmartRuleID"], &made["IsReadOnly"], &made["RuleType"]),
        (&json!(3), &json!(false), &json!("ManagedAccount"))
    );
    client.post("/quickrules", &body).await.expect(409);
    let listed = client.get("/quickrules").await.expect(200).json();
    assert_eq!(ids(&listed, "SmartRuleID"), [3]);
    assert_eq!(client.get("/quickrules/3").await.expect(200).json(), made);
    client.get("/quickrules/1").await.expect(404);
    let path = "/quickrules/3/managedaccounts";
    let list = client.get(path).await.expect(200).json();
    assert_eq!(ids(&list, "ManagedAccountID"), [1]);
    let body = json!({"AccountIDs": [2]});
    let list = client.put(path, &body).await.expect(200).json();
    assert_eq!(ids(&list, "ManagedAccountID"), [2]);
    let list = client
        .post("/quickrules/3/managedaccounts/1", &json!({}))
        .await;
    assert_eq!(ids(&list.expect(200).json(), "ManagedAccountID"), [1, 2]);
    let list = delete(&client, "/quickrules/3/managedaccounts/2").await;
    assert_eq!(ids(&list.expect(200).json(), "ManagedAccountID"), [1]);
    delete(&client, "/quickrules/3/managedaccounts/2")
        .await
        .expect(404);
    client
        .post("/quickrules/3/managedaccounts/77", &json!({}))
        .await
        .expect(404);
    names(
        client.put(path, &json!({"AccountIDs": [1, 77]})).await,
        "AccountIDs",
    );
    let list = client.get(path).await.expect(200).json();
    assert_eq!(ids(&list, "ManagedAccountID"), [1], "nothing was replaced");
    for (body, field) in [
        (json!({"IDs": [1], "Title": ""}), "Title"),
        (json!({"Title": "x"}), "IDs"),
        (json!({"IDs": ["1"], "Title": "x"}), "IDs"),
        (json!({"IDs": [77], "Title": "x"}), "IDs"),
        (
            json!({"IDs": [1], "Title": "x", "RuleType": "Asset"}),
            "RuleType",
        ),
    ] {
        names(client.post("/quickrules", &body).await, field);
    }
    let body = json!({"IDs": [1], "Title": "Sys", "RuleType": "ManagedSystem"});
    client.post("/quickrules", &body).await.expect(201);
    let list = client
        .get("/quickrules/4/managedaccounts")
        .await
        .expect(200)
        .json();
    assert_eq!(ids(&list, "ManagedAccountID"), [1, 2]);
    client
        .put("/quickrules/4/managedaccounts", &json!({"AccountIDs": [1]}))
        .await
        .expect(400);
    delete(&client, "/quickrules/3").await.expect(204);
    delete(&client, "/smartrules/4").await.expect(204);
    delete(&client, "/smartrules/4").await.expect(404);
    let rows = world.store.audit_of("smart rule 3", 10).await.unwrap();
    let events: Vec<_> = rows.iter().rev().map(|row| row.event.as_str()).collect();
    assert_eq!(
        events,
        [
            "smart_rule.created",
            "smart_rule.members_replaced",
            "smart_rule.member_added",
            "smart_rule.member_removed",
            "smart_rule.deleted"
        ]
    );
}

#[tokio::test]
async fn a_role_opens_the_accounts_of_its_rule_and_no_other() {
    let (world, client) = service().await;
    with_accounts(&client).await;
    let body = json!({"IDs": [1], "Title": "Root"});
    client.post("/quickrules", &body).await.expect(201);
    let (eve, keys) = world.user("eve", &[]).await;
    let group = group_of(&world, eve).await;
    let session = world.session(&keys).await;
    let store_only = json!({"Password": "pw-canary-2", "UpdateSystem": false});
    let [own, other, gone] = [1, 2, 77].map(|id| format!("/managedaccounts/{id}/credentials"));
    for path in [&own, &other, &gone] {
        session.put(path, &store_only).await.expect(403);
    }
    session.get("/managedaccounts").await.expect(403);
    session.get("/smartrules").await.expect(403);

    let roles = format!("/UserGroups/{group}/SmartRules/3/Roles");
    let manager = json!({"Roles": [{"RoleID": 7}, {"RoleID": 1}], "AccessPolicyID": 1});
    client.post(&roles, &manager).await.expect(204);
    let shown = client.get(&roles).await.expect(200).json();
    assert_eq!(
        shown,
        json!([
            {"RoleID": 1, "Name": "Requestor"}, {"RoleID": 7, "Name": "Credentials Manager"},
        ])
    );
    session.put(&own, &store_only).await.expect(204);
    for path in [&other, &gone] {
        assert_eq!(
            session.put(path, &store_only).await.expect(403).json(),
            json!(4031)
        );
    }
    let by_names = |account: &str| {
        format!("/credentials?workgroupName=Default&assetName=web1&accountName={account}")
    };
    session
        .put(&by_names("ROOT"), &store_only)
        .await
        .expect(204);
    for account in ["www", "nobody"] {
        session
            .put(&by_names(account), &store_only)
            .await
            .expect(403);
    }
    // Tests and changes stay with the permission.
    session
        .post("/managedaccounts/1/credentials/test", &json!({}))
        .await
        .expect(403);
    session
        .post("/managedaccounts/1/credentials/change", &json!({}))
        .await
        .expect(403);
    // It is found, and nothing else is.
    let list = session.get("/managedaccounts").await.expect(200).json();
    assert_eq!(ids(&list, "AccountId"), [1]);
    assert_eq!(list[0]["IsISAAccess"], false);
    session
        .get("/managedaccounts?systemName=web1&accountName=www")
        .await
        .expect(404);
    let seen = session.get("/smartrules").await.expect(200).json();
    assert_eq!(ids(&seen, "SmartRuleID"), [3]);
    session
        .get("/smartrules/3/managedaccounts")
        .await
        .expect(200);
    for path in [
        "/smartrules/1",
        "/smartrules/1/managedaccounts",
        "/smartrules/77",
    ] {
        session.get(path).await.expect(403);
    }
    delete(&client, &roles).await.expect(200);
    session.put(&own, &store_only).await.expect(403);
}

#[tokio::test]
async fn an_isa_of_all_assets_sets_and_sees_their_accounts() {
    let (world, client) = service().await;
    with_accounts(&client).await;
    let (eve, keys) = world.user("eve", &[]).await;
    let group = group_of(&world, eve).await;
    let session = world.session(&keys).await;
    let roles = format!("/usergroups/{group}/smartrules/2/roles");
    client
        .post(&roles, &json!({"Roles": [{"RoleID": 4}]}))
        .await
        .expect(204);
    let store_only = json!({"Password": "pw-canary-2", "UpdateSystem": false});
    for account in [1, 2] {
        let path = format!("/managedaccounts/{account}/credentials");
        session.put(&path, &store_only).await.expect(204);
    }
    let list = session.get("/managedaccounts").await.expect(200).json();
    assert_eq!(ids(&list, "AccountId"), [1, 2]);
    assert_eq!(list[0]["IsISAAccess"], true);
}

#[tokio::test]
async fn roles_stand_where_the_vendor_gives_them() {
    let (world, client) = service().await;
    let listed = client.get("/Roles").await.expect(200).json();
    assert_eq!(ids(&listed, "RoleID"), [1, 2, 3, 4, 5, 7, 8, 9]);
    let policies = client.get("/AccessPolicies").await.expect(200).json();
    assert_eq!(policies[0]["AccessPolicyID"], 1);
    let (eve, _) = world.user("eve", &[]).await;
    let group = group_of(&world, eve).await;
    let on = |rule: i64| format!("/usergroups/{group}/smartrules/{rule}/roles");
    for (rule, body, field) in [
        (1, json!({"Roles": [{"RoleID": 4}]}), "RoleID"),
        (2, json!({"Roles": [{"RoleID": 7}]}), "RoleID"),
        (1, json!({"Roles": [{"RoleID": 6}]}), "RoleID"),
        (1, json!({"Roles": [{"RoleID": 1}]}), "AccessPolicyID"),
        (
            1,
            json!({"Roles": [{"RoleID": 3}], "AccessPolicyID": 2}),
            "AccessPolicyID",
        ),
        (
            1,
            json!({"Roles": [{"RoleID": 1}, {"RoleID": 2}], "AccessPolicyID": 1}),
            "Roles",
        ),
        (1, json!({}), "Roles"),
    ] {
        names(client.post(&on(rule), &body).await, field);
    }
    client
        .post(&on(77), &json!({"Roles": []}))
        .await
        .expect(404);
    client
        .post(&on(1), &json!({"Roles": [{"RoleID": 2}]}))
        .await
        .expect(204);
    let (_, keys) = world.user("bob", &[Permission::UsersWrite]).await;
    let native = world.native(&keys);
    // A group with a role is not handed out by somebody who could not give the role.
    native
        .put(&format!("/groups/{group}/members/1"), &json!({}))
        .await
        .expect(403);
    let order = json!({"name": "carl", "group_ids": [group]});
    native.post("/users", &order).await.expect(403);
}

#[tokio::test]
async fn a_disabled_group_grants_nothing_until_somebody_who_could_enables_it() {
    let (world, admin) = service().await;
    let (eve, keys) = world.user("eve", &[]).await;
    let group = group_of(&world, eve).await;
    let path = format!("/usergroups/{group}/permissions");
    let body = json!([{"PermissionID": 3, "AccessLevelID": 1}]);
    admin.post(&path, &body).await.expect(204);
    let session = world.session(&keys).await;
    session.get("/assets/1").await.expect(404);
    let (_, keys) = world.user("bob", &[Permission::UsersWrite]).await;
    let native = world.native(&keys);
    let switch = |word: &str| format!("/groups/{group}/{word}");
    let answer = native
        .post(&switch("disable"), &json!({}))
        .await
        .expect(200);
    assert_eq!(answer.json()["active"], false);
    session.get("/assets/1").await.expect(403);
    let shown = admin.get("/usergroups").await.expect(200).json();
    assert_eq!(shown[0]["IsActive"], false);
    // Bob may not read assets himself.
    native.post(&switch("enable"), &json!({})).await.expect(403);
    let (_, keys) = world
        .user("carl", &[Permission::UsersWrite, Permission::AssetsRead])
        .await;
    let native = world.native(&keys);
    native.post(&switch("enable"), &json!({})).await.expect(200);
    session.get("/assets/1").await.expect(404);
}
