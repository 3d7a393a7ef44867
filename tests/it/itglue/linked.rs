//! Records of managed accounts: read, and rotated on their targets.

use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::{delete, document, organization, password, patch, refused, service};
use crate::api::world::{Client, HOST, Target, World};

async fn stage() -> (World, Client, Target, i64) {
    let (world, _) = service().await;
    let (_, keys) = world.user("boss", &Permission::ALL).await;
    let client = world.itglue(&keys);
    let session = world.session(&keys).await;
    let target = world.target(&session).await;
    let acme = organization(&client, "Acme").await;
    (world, client, target, acme)
}

async fn link(client: &Client, acme: i64, account: i64) -> i64 {
    let record =
        json!({"name": "root", "resource-type": "Managed Account", "resource-id": account});
    password(client, acme, &record).await
}

#[tokio::test]
async fn a_linked_record_shows_its_accounts_credential() {
    let (world, client, target, acme) = stage().await;
    let record = link(&client, acme, target.root).await;
    let path = format!("/passwords/{record}?show_password=true&include=recent_versions");
    let shown = client.get(&path).await.expect(200).json();
    let attributes = &shown["data"]["attributes"];
    for (name, want) in [
        ("password", json!("old-root")),
        ("username", json!("root")),
        ("resource-type", json!("Managed Account")),
        ("resource-id", json!(target.root)),
        ("cached-resource-name", json!("web1/root")),
        ("rotation-permitted", json!(true)),
    ] {
        assert_eq!(attributes[name], want, "{name}");
    }
    let (_, keys) = world
        .user(
            "ada",
            &[Permission::PasswordsWrite, Permission::PasswordsReveal],
        )
        .await;
    let ada = world.itglue(&keys);
    refused(ada.get(&path).await, 403, "Access denied");
    ada.get(&format!("/passwords/{record}")).await.expect(200);
    let other = json!({"name": "n", "resource-type": "managed_account", "resource-id": target.ann});
    let nested = format!("/organizations/{acme}/relationships/passwords");
    let order = ada.post(&nested, &document("passwords", &other)).await;
    refused(order, 403, "Access denied");
    delete(&client, &format!("/passwords/{record}"), None)
        .await
        .expect(204);
    let account = world.store.account(target.root.into()).await.unwrap();
    assert!(account.unwrap().deleted_at.is_none());
}

#[tokio::test]
async fn a_linked_records_value_is_changed_on_the_target() {
    let (world, client, target, acme) = stage().await;
    world.work();
    let record = link(&client, acme, target.root).await;
    let path = format!("/passwords/{record}?show_password=true");
    let change = json!({"password": "Fresh-Passw0rd-9x", "notes": "by hand"});
    let answer = patch(&client, &path, &document("passwords", &change))
        .await
        .expect(200)
        .json();
    let attributes = &answer["data"]["attributes"];
    assert_eq!(attributes["password"], "Fresh-Passw0rd-9x");
    assert_eq!(attributes["notes"], "by hand");
    let host = world.targets.system(HOST);
    assert!(host.accepts("root", "Fresh-Passw0rd-9x"));
    // The same again, and what was read is no change.
    patch(&client, &path, &answer).await.expect(200);
    assert_eq!(host.changes("root"), 1);
    for fields in [
        json!({"username": "ann"}),
        json!({"resource_id": target.ann}),
    ] {
        let answer = patch(&client, &path, &document("passwords", &fields)).await;
        refused(answer, 422, "Invalid resource");
    }
}

#[tokio::test]
async fn a_rotation_that_fails_leaves_everything_as_it_was() {
    let (world, client, target, acme) = stage().await;
    world.work();
    let record = link(&client, acme, target.root).await;
    let path = format!("/passwords/{record}");
    // A value that the account's rules refuse.
    let change = json!({"password": "x\u{7}", "notes": "no"});
    let answer = patch(&client, &path, &document("passwords", &change)).await;
    let pointer = refused(answer, 422, "Rotation failed");
    assert_eq!(pointer, "data/attributes/password");
    let shown = client.get(&path).await.expect(200).json();
    assert_eq!(shown["data"]["attributes"]["notes"], Value::Null);
    let made = json!({
        "name": "n", "resource-type": "Managed Account", "resource-id": target.ann,
        "password": "x\u{7}",
    });
    let nested = format!("/organizations/{acme}/relationships/passwords");
    let answer = client.post(&nested, &document("passwords", &made)).await;
    refused(answer, 422, "Rotation failed");
    let records = "SELECT COUNT(*) FROM password_records";
    assert_eq!(world.number(records).await, 1, "nothing was made");
}

#[tokio::test]
async fn a_rotation_that_runs_on_names_its_job() {
    let (world, client, target, acme) = stage().await;
    let record = link(&client, acme, target.root).await;
    let path = format!("/passwords/{record}");
    let change = document("passwords", &json!({"password": "Fresh-Passw0rd-9x"}));
    // Nobody works: the wait ends by the clock.
    let (answer, ()) = tokio::join!(patch(&client, &path, &change), async {
        while world.number("SELECT COUNT(*) FROM jobs").await == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..200 {
            world.clock.advance(std::time::Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    });
    let body = answer.expect(422).json();
    assert_eq!(body["errors"][0]["title"], "Rotation pending");
    assert_eq!(body["meta"]["job-id"], 1);
}
