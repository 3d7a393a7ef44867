//! Managed accounts.

use keywheel::model::Timestamp;
use keywheel::model::credential::Parts;
use keywheel::model::id::{AccountId, SystemId};
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::principal::Permission;
use keywheel::store::{NewJob, SealedSecret};
use keywheel::vault::Place;
use serde_json::{Value, json};

use super::{delete, managed, names, service, with_account, with_system};
use crate::api::world::{World, text};

const PATH: &str = "/managedsystems/1/managedaccounts";

/// `root`, made at 2026-05-28T20:26:40.
fn want() -> Value {
    let record = r#"{
        "ManagedAccountID": 1, "ManagedSystemID": 1, "DomainName": null, "AccountName": "root",
        "DistinguishedName": null, "PasswordFallbackFlag": false, "UserPrincipalName": null,
        "SAMAccountName": null, "LoginAccountFlag": false, "Description": null,
        "PasswordRuleID": 0, "ApiEnabled": true, "ReleaseNotificationEmail": null,
        "ChangeServicesFlag": false, "RestartServicesFlag": false, "ChangeTasksFlag": false,
        "ReleaseDuration": 120, "MaxReleaseDuration": 525600, "ISAReleaseDuration": 120,
        "MaxConcurrentRequests": 1, "AutoManagementFlag": true, "DSSAutoManagementFlag": false,
        "CheckPasswordFlag": false, "ResetPasswordOnMismatchFlag": false,
        "ChangePasswordAfterAnyReleaseFlag": false, "ChangeFrequencyType": "first",
        "ChangeFrequencyDays": null, "ChangeTime": "23:30", "ParentAccountID": null,
        "IsSubscribedAccount": false, "LastChangeDate": "2026-05-28T20:26:40",
        "NextChangeDate": "2026-06-01T23:30:00", "IsChanging": false, "ChangeState": 0,
        "UseOwnCredentials": false, "ChangeIISAppPoolFlag": false,
        "RestartIISAppPoolFlag": false, "WorkgroupID": null, "ChangeWindowsAutoLogonFlag": false,
        "ChangeComPlusFlag": false, "ChangeDComFlag": false, "ChangeSComFlag": false,
        "ObjectID": null
    }"#;
    // Too long for `json!`.
    serde_json::from_str(record).unwrap()
}

async fn secret(world: &World, version: i64) -> String {
    let kept = world.store.sealed_version(AccountId(1), version).await;
    let Some(SealedSecret::Password(sealed)) = kept.unwrap() else {
        panic!("version {version} is no password");
    };
    let place = Place {
        table: "credential_versions",
        row: 1,
        column: "sealed",
        version,
    };
    text(&world.api.vault.open(&place, &sealed).unwrap()).to_owned()
}

#[tokio::test]
async fn an_account_is_made_with_its_first_version_and_its_next_change() {
    let (world, client) = service().await;
    with_account(&client).await;
    assert_eq!(
        client.get("/managedaccounts/1").await.expect(200).json(),
        want()
    );
    let listed = client
        .get("/managedsystems/1/managedaccounts?version=3.0")
        .await
        .expect(200);
    assert_eq!(listed.json(), json!([want()]));
    assert_eq!(secret(&world, 1).await, "pw-canary");
    let rows = world.store.audit_of("account 1", 10).await.unwrap();
    assert_eq!(rows[0].event, "account.added");
    assert!(!rows[0].body.contains("canary"), "{}", rows[0].body);
}

#[tokio::test]
async fn an_account_of_which_only_the_name_is_given_has_the_vendors_defaults() {
    let (_world, client) = service().await;
    with_system(&client).await;
    let body = json!({"AccountName": "root", "Password": "pw-canary"});
    let made = client.post(PATH, &body).await.expect(201).json();
    let mut plain = want();
    plain["ApiEnabled"] = json!(false);
    plain["AutoManagementFlag"] = json!(false);
    plain["NextChangeDate"] = json!(null);
    assert_eq!(made, plain);
    names(
        client.post(PATH, &json!({"AccountName": "other"})).await,
        "Password",
    );
    let body = json!({"AccountName": "auto", "AutoManagementFlag": true});
    let made = client.post(PATH, &body).await.expect(201).json();
    assert_eq!(made["LastChangeDate"], json!(null));
    client
        .post(PATH, &json!({"AccountName": "root", "Password": "x"}))
        .await
        .expect(409);
    client
        .post("/managedsystems/9/managedaccounts", &body)
        .await
        .expect(404);
}

#[tokio::test]
async fn an_account_sent_back_whole_changes_nothing() {
    let (world, client) = service().await;
    with_account(&client).await;
    let changed = client
        .put("/managedaccounts/1?version=3.0", &want())
        .await
        .expect(200);
    assert_eq!(changed.json(), want());
    let rows = world.store.audit_of("account 1", 10).await.unwrap();
    assert_eq!(
        rows[0].body,
        r#"{"changed":[],"key":false,"name":"root","password":false}"#
    );
}

#[tokio::test]
async fn put_keeps_what_is_absent_and_plans_anew() {
    let (_world, client) = service().await;
    with_account(&client).await;
    let path = "/managedaccounts/1";
    let body = json!({"ChangeFrequencyType": "xdays", "ChangeFrequencyDays": 7});
    let changed = client.put(path, &body).await.expect(200).json();
    assert_eq!(changed["NextChangeDate"], "2026-06-04T23:30:00");
    assert_eq!(
        (&changed["AccountName"], &changed["ApiEnabled"]),
        (&json!("root"), &json!(true))
    );
    let changed = client
        .put(path, &json!({"NextChangeDate": "2026-07-09"}))
        .await
        .expect(200);
    assert_eq!(changed.json()["NextChangeDate"], "2026-07-09T23:30:00");
    let changed = client
        .put(path, &json!({"NextChangeDate": "2020-01-01"}))
        .await
        .expect(200);
    assert_eq!(changed.json()["NextChangeDate"], "2026-05-28T23:30:00");
    let changed = client
        .put(path, &json!({"AutoManagementFlag": false}))
        .await
        .expect(200);
    assert_eq!(changed.json()["NextChangeDate"], json!(null));
}

#[tokio::test]
async fn a_password_in_put_is_stored_as_the_next_version() {
    let (world, client) = service().await;
    with_account(&client).await;
    client
        .put("/managedaccounts/1", &json!({"Password": "new-canary"}))
        .await
        .expect(200);
    assert_eq!(secret(&world, 2).await, "new-canary");
    assert_eq!(
        secret(&world, 1).await,
        "pw-canary",
        "the former value stays in history"
    );
    let account = world.store.account(AccountId(1)).await.unwrap().unwrap();
    assert_eq!(account.credential.current_version, Some(2));
    let (_, keys) = world.user("ada", &[Permission::AccountsWrite]).await;
    let ada = world.session(&keys).await;
    ada.put("/managedaccounts/1", &json!({"Description": "d"}))
        .await
        .expect(200);
    ada.put("/managedaccounts/1", &json!({"Password": "x"}))
        .await
        .expect(403);
}

#[tokio::test]
async fn what_is_wrong_with_an_account_names_the_field() {
    let (_world, client) = service().await;
    with_account(&client).await;
    for (field, value) in [
        ("AccountName", json!("x".repeat(246))),
        ("AccountName", json!("a:b")),
        ("DomainName", json!("x".repeat(51))),
        ("DistinguishedName", json!("x".repeat(1_001))),
        ("SAMAccountName", json!("x".repeat(21))),
        ("Description", json!("x".repeat(1_025))),
        ("PasswordRuleID", json!(3)),
        ("ReleaseDuration", json!(525_601)),
        ("ISAReleaseDuration", json!(0)),
        ("MaxConcurrentRequests", json!(1_000)),
        ("ChangeFrequencyType", json!("never")),
        ("ChangeTime", json!("7:30")),
        ("NextChangeDate", json!("tomorrow")),
        ("ObjectID", json!("x".repeat(37))),
        ("ApiEnabled", json!(1)),
        ("ParentAccountID", json!(2)),
        ("Password", json!("canary\r")),
        ("PublicKey", json!(["canary"])),
        ("PrivateKey", json!("canary")),
    ] {
        let mut body = json!({});
        body[field] = value;
        names(client.put("/managedaccounts/1", &body).await, field);
    }
    assert_eq!(
        client.get("/managedaccounts/1").await.expect(200).json(),
        want()
    );
}

#[tokio::test]
async fn accounts_are_removed_by_id_by_name_and_all_at_once() {
    let (_world, client) = service().await;
    with_account(&client).await;
    for name in ["Ann", "bob", "BOB", "cid"] {
        client.post(PATH, &managed(name)).await.expect(201);
    }
    assert_eq!(
        delete(&client, "/managedaccounts/1").await.expect(200).body,
        ""
    );
    let gone = client.get("/managedaccounts/1").await.expect(404);
    assert_eq!(gone.json(), "Managed Account not found");
    delete(&client, &format!("{PATH}/ann")).await.expect(200);
    delete(&client, &format!("{PATH}/ann")).await.expect(404);
    delete(&client, &format!("{PATH}/bob")).await.expect(400);
    delete(&client, PATH).await.expect(200);
    assert_eq!(client.get(PATH).await.expect(200).json(), json!([]));
    client.post(PATH, &managed("root")).await.expect(201);
}

#[tokio::test]
async fn an_account_with_a_change_under_way_stays_and_says_so() {
    let (world, client) = service().await;
    with_account(&client).await;
    let job = NewJob {
        account: AccountId(1),
        system: SystemId(1),
        kind: JobKind::Rotate,
        cause: Cause::Order,
        actor: "ada".to_owned(),
        priority: Priority::Routine,
        run_at: Timestamp(1_780_000_000_000),
        parts: Parts::ALL_THERE_ARE,
        version: None,
        key_version: None,
    };
    let mut tx = world.store.begin().await.unwrap();
    tx.locked_system(SystemId(1)).await.unwrap();
    tx.enqueue(&job, job.run_at).await.unwrap();
    tx.commit().await.unwrap();
    let found = client.get("/managedaccounts/1").await.expect(200).json();
    assert_eq!(
        (&found["ChangeState"], &found["IsChanging"]),
        (&json!(2), &json!(false))
    );
    delete(&client, "/managedaccounts/1").await.expect(409);
    delete(&client, PATH).await.expect(409);
    client
        .put("/managedaccounts/1", &json!({"Password": "x"}))
        .await
        .expect(409);
    client
        .put("/managedaccounts/1", &json!({"AccountName": "toor"}))
        .await
        .expect(409);
    client
        .put("/managedaccounts/1", &json!({"Description": "d"}))
        .await
        .expect(200);
}

#[tokio::test]
async fn both_names_find_one_requestable_account() {
    let (_world, client) = service().await;
    with_account(&client).await;
    let mut hidden = managed("hidden");
    hidden["ApiEnabled"] = json!(false);
    client.post(PATH, &hidden).await.expect(201);
    let want = json!({
        "PlatformID": 2, "SystemId": 1, "SystemName": "web1", "InstanceName": null,
        "DomainName": null, "AccountId": 1, "AccountName": "root", "UserPrincipalName": null,
        "ApplicationID": null, "ApplicationDisplayName": null, "MaximumReleaseDuration": 525_600,
        "DefaultReleaseDuration": 120, "LastChangeDate": "2026-05-28T20:26:40",
        "NextChangeDate": "2026-06-01T23:30:00", "ChangeState": 0, "IsChanging": false,
        "IsISAAccess": true, "PreferredNodeID": "", "AccountDescription": "",
    });
    let both = "/managedaccounts?systemname=WEB1&accountname=root&limit=1000&offset=0";
    assert_eq!(client.get(both).await.expect(200).json(), want);
    for path in [
        "/managedaccounts?limit=1000&offset=0",
        "/managedaccounts?systemName=web1",
        "/ManagedAccounts?accountName=ROOT",
        "/managedaccounts?systemID=1&workgroupName=default&ipAddress=10.0.0.1&type=system",
    ] {
        assert_eq!(
            client.get(path).await.expect(200).json(),
            json!([want]),
            "{path}"
        );
    }
    for path in [
        "/managedaccounts?systemID=2",
        "/managedaccounts?type=directory",
        "/managedaccounts?applicationDisplayName=x",
        "/managedaccounts?offset=1",
    ] {
        assert_eq!(
            client.get(path).await.expect(200).json(),
            json!([]),
            "{path}"
        );
    }
    for path in [
        "/managedaccounts?systemName=web1&accountName=hidden",
        "/managedaccounts?systemName=web2&accountName=root",
    ] {
        client.get(path).await.expect(404);
    }
    client.post(PATH, &managed("Root")).await.expect(201);
    client.get(both).await.expect(400);
    client
        .get("/managedaccounts?type=nothing")
        .await
        .expect(400);
}

#[tokio::test]
async fn an_account_that_is_alone_is_synced_with_nobody() {
    let (_world, client) = service().await;
    with_account(&client).await;
    let path = "/managedaccounts/1/syncedaccounts";
    assert_eq!(client.get(path).await.expect(200).json(), json!([]));
    delete(&client, path).await.expect(200);
    client
        .post(&format!("{path}/1"), &json!({}))
        .await
        .expect(400);
    delete(&client, &format!("{path}/1")).await.expect(404);
    client
        .get("/managedaccounts/9/syncedaccounts")
        .await
        .expect(404);
}
