//! Functional accounts.

use keywheel::generate::{SystemDice, key_pair};
use keywheel::model::id::FunctionalAccountId;
use keywheel::model::key_rule::KeyRule;
use keywheel::vault::Place;
use serde_json::json;

use super::{by_asset, delete, names, service, with_asset, with_system};
use crate::api::world::text;

#[tokio::test]
async fn a_functional_accounts_password_is_sealed_and_never_shown() {
    let (world, client) = service().await;
    let body = json!({
        "PlatformID": 2, "AccountName": "fa", "Password": "pw-canary", "ElevationCommand": "sudo",
        "AzureInstance": "AzurePublic",
    });
    let made = client.post("/FunctionalAccounts", &body).await.expect(201);
    let want = json!({
        "FunctionalAccountID": 1, "PlatformID": 2, "DomainName": null, "AccountName": "fa",
        "DisplayName": "fa", "Description": null, "ElevationCommand": "sudo",
        "SystemReferenceCount": 0, "TenantID": null, "ObjectID": null, "AzureInstance": null,
    });
    assert_eq!(made.json(), want);
    assert_eq!(
        client.get("/functionalaccounts").await.expect(200).json(),
        json!([want])
    );
    assert_eq!(
        client.get("/functionalaccounts/1").await.expect(200).json(),
        want
    );
    let id = FunctionalAccountId(1);
    let sealed = world.store.functional_password(id).await.unwrap().unwrap();
    let place = Place {
        table: "functional_accounts",
        row: 1,
        column: "password",
        version: 0,
    };
    assert_eq!(
        text(&world.api.vault.open(&place, &sealed).unwrap()),
        "pw-canary"
    );
    let rows = world
        .store
        .audit_of("functional account 1", 10)
        .await
        .unwrap();
    assert_eq!(rows[0].event, "functional_account.added");
    assert!(!rows[0].body.contains("canary"), "{}", rows[0].body);
}

#[tokio::test]
async fn a_functional_account_takes_a_key_and_what_opens_it() {
    let (world, client) = service().await;
    let pair = key_pair(&KeyRule::all()[6], &SystemDice).unwrap();
    let passphrase = pair.given.passphrase.as_ref().map(text);
    let key = text(&pair.given.private);
    let mut body = json!({"PlatformID": 2, "AccountName": "fa", "PrivateKey": key});
    names(
        client.post("/FunctionalAccounts", &body).await,
        "Passphrase",
    );
    body["Passphrase"] = json!("canary");
    names(
        client.post("/FunctionalAccounts", &body).await,
        "Passphrase",
    );
    body["Passphrase"] = json!(passphrase);
    let made = client.post("/FunctionalAccounts", &body).await.expect(201);
    assert_eq!(made.json()["FunctionalAccountID"], 1);
    assert!(!made.body.contains("BEGIN") && !made.body.contains("ssh-"));
    let id = FunctionalAccountId(1);
    let sealed = world.store.functional_key(id).await.unwrap().unwrap();
    assert_eq!(sealed.public, pair.public);
    let place = Place::functional_key(id);
    let opened = world.api.vault.open(&place, &sealed.private).unwrap();
    assert_eq!(text(&opened), key);
    // A directory has no login by key.
    body["PlatformID"] = json!(32);
    names(
        client.post("/FunctionalAccounts", &body).await,
        "PrivateKey",
    );
}

#[tokio::test]
async fn a_functional_account_goes_only_after_its_systems() {
    let (_world, client) = service().await;
    with_system(&client).await;
    let found = client.get("/functionalaccounts/1").await.expect(200).json();
    assert_eq!(found["SystemReferenceCount"], 1);
    delete(&client, "/functionalaccounts/1").await.expect(409);
    delete(&client, "/managedsystems/1").await.expect(200);
    delete(&client, "/functionalaccounts/1").await.expect(200);
    let gone = client.get("/functionalaccounts/1").await.expect(404);
    assert_eq!(gone.json(), "Functional Account not found");
}

#[tokio::test]
async fn what_is_wrong_with_a_functional_account_names_the_field() {
    let (_world, client) = service().await;
    let path = "/functionalaccounts";
    names(
        client.post(path, &json!({"AccountName": "fa"})).await,
        "PlatformID",
    );
    names(
        client.post(path, &json!({"PlatformID": 2})).await,
        "AccountName",
    );
    for (field, value) in [
        ("PlatformID", json!(1)),
        ("AccountName", json!("a:b")),
        ("DisplayName", json!("x".repeat(101))),
        ("ElevationCommand", json!("su")),
        ("Password", json!("canary\n")),
        ("Password", json!("canary".repeat(200))),
        ("PrivateKey", json!("canary")),
        ("PublicKey", json!(5)),
    ] {
        let mut body = json!({"PlatformID": 2, "AccountName": "fa"});
        body[field] = value;
        names(client.post(path, &body).await, field);
    }
    let body = json!({"PlatformID": 32, "AccountName": "cn=x", "ElevationCommand": "sudo"});
    names(client.post(path, &body).await, "ElevationCommand");
}

#[tokio::test]
async fn a_system_refers_to_a_functional_account_that_is_there() {
    let (_world, client) = service().await;
    with_asset(&client).await;
    names(
        client.post("/assets/1/managedsystems", &by_asset()).await,
        "FunctionalAccountID",
    );
}
