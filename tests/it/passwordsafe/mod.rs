//! The resource endpoints of the Password Safe dialect, asked through the router.
//!
//! Invariant: every test has its own database and moves its own clock.

mod access;
mod asset;
mod description;
mod functional_account;
mod managed_account;
mod managed_system;
mod reference;
mod request;
mod schedule;
mod workgroup;

use serde_json::{Value, json};

use crate::api::world::{Answer, Client, World};

/// A service and its administrator's session.
async fn service() -> (World, Client) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let client = world.session(&keys).await;
    (world, client)
}

async fn delete(client: &Client, path: &str) -> Answer {
    client.call("DELETE", path, None, &[]).await
}

/// Workgroup 1 with asset 1, `web1`.
async fn with_asset(client: &Client) {
    client
        .post("/Workgroups", &json!({"Name": "Default"}))
        .await
        .expect(201);
    let body = json!({"IPAddress": "10.0.0.1", "AssetName": "web1"});
    client
        .post("/workgroups/Default/assets?version=3.0", &body)
        .await
        .expect(201);
}

/// Asset 1 with Linux system 1 and functional account 1.
async fn with_system(client: &Client) {
    with_asset(client).await;
    let body = json!({
        "PlatformID": 2, "AccountName": "fa", "DisplayName": "fa", "Password": "pw-canary",
        "AzureInstance": "AzurePublic",
    });
    client.post("/functionalaccounts", &body).await.expect(201);
    client
        .post("/assets/1/managedsystems?version=3.0", &by_asset())
        .await
        .expect(201);
}

/// What `ps-cli managed-systems create-by-asset` sends.
fn by_asset() -> Value {
    json!({
        "PlatformID": 2, "ContactEmail": "a@b", "Description": "d", "Port": 22, "Timeout": 30,
        "SshKeyEnforcementMode": 0, "PasswordRuleID": 0, "DSSKeyRuleID": 0,
        "ReleaseDuration": 120, "MaxReleaseDuration": 525_600, "ISAReleaseDuration": 120,
        "AutoManagementFlag": true, "FunctionalAccountID": 1, "CheckPasswordFlag": false,
        "ChangePasswordAfterAnyReleaseFlag": false, "ResetPasswordOnMismatchFlag": false,
        "ChangeFrequencyType": "first", "ChangeTime": "23:30",
    })
}

/// What `ps-cli managed-accounts create -s 1 -an <name> -p x -ae -amf` sends.
fn managed(name: &str) -> Value {
    json!({
        "AccountName": name, "Password": "pw-canary", "PasswordFallbackFlag": false,
        "LoginAccountFlag": false, "PasswordRuleID": 0, "ApiEnabled": true,
        "ChangeServicesFlag": false, "RestartServicesFlag": false, "ChangeTasksFlag": false,
        "ReleaseDuration": 120, "MaxReleaseDuration": 525_600, "ISAReleaseDuration": 120,
        "MaxConcurrentRequests": 1, "AutoManagementFlag": true, "DSSAutoManagementFlag": false,
        "CheckPasswordFlag": false, "ResetPasswordOnMismatchFlag": false,
        "ChangePasswordAfterAnyReleaseFlag": false, "ChangeFrequencyType": "first",
        "ChangeTime": "23:30",
    })
}

/// System 1 with account 1, `root`.
async fn with_account(client: &Client) {
    with_system(client).await;
    let path = "/managedsystems/1/managedaccounts?version=3.0";
    client.post(path, &managed("root")).await.expect(201);
}

/// The answer is 400 and names this field.
#[track_caller]
fn names(answer: Answer, field: &str) {
    let answer = answer.expect(400);
    let text = answer.json();
    let text = text.as_str().unwrap();
    assert!(text.contains(&format!("{field}: ")), "{field}: {text}");
    assert!(!text.contains("canary"), "{text}");
}
