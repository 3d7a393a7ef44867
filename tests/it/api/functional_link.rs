//! The link between a functional account and a managed account, natively.

use axum::http::header;
use serde_json::{Value, json};

use super::world::{Answer, Client, HOST, Target, World};

/// A system, the managed account of its functional account, and where the two are linked.
async fn ready() -> (World, Client, Client, Target, (i64, String)) {
    let world = World::new().await;
    world.work();
    let (_, keys) = world.administrator().await;
    let session = world.session(&keys).await;
    let target = world.target(&session).await;
    let path = format!("/ManagedSystems/{}/ManagedAccounts", target.system);
    let account = json!({"AccountName": "changer", "Password": "functional"});
    let own = session.post(&path, &account).await.expect(201);
    let own = own.json()["ManagedAccountID"].as_i64().unwrap();
    let native = world.native(&keys);
    let system = native.get(&format!("/systems/{}", target.system)).await;
    let id = system.expect(200).json()["functional_account_id"].clone();
    let path = format!("/functional-accounts/{id}/account");
    (world, native, session, target, (own, path))
}

async fn put(native: &Client, path: &str, body: Value) -> Answer {
    let any = [("if-match", "*")];
    native.call("PUT", path, Some(&body), &any).await
}

async fn tested(native: &Client, account: i64) {
    let path = format!("/accounts/{account}/test");
    let answer = native.post(&path, &json!({})).await.expect(200);
    assert_eq!(answer.json(), json!({"passed": true}));
}

async fn rotated(native: &Client, account: i64, order: Value) {
    let path = format!("/accounts/{account}/rotate?wait=30");
    let done = native.post(&path, &order).await.expect(202);
    assert_eq!(done.json()["state"], "succeeded", "{done:?}");
}

#[tokio::test]
async fn only_a_tested_account_of_the_same_login_is_linked_and_only_once() {
    let (_world, native, _session, target, (own, path)) = ready().await;
    native
        .get("/functional-accounts/99/account")
        .await
        .expect(404);
    let before = native.get(&path).await.expect(200);
    assert_eq!(
        before.json(),
        json!({"functional_account_id": 1, "account_id": null, "systems": [target.system]})
    );
    let tag = before.header(header::ETAG).to_owned();
    native
        .call("PUT", &path, Some(&json!({"account_id": own})), &[])
        .await
        .expect(428);
    put(&native, &path, json!({})).await.expect(400);
    // Another login, no login, an untested one.
    let stranger = put(&native, &path, json!({"account_id": target.ann})).await;
    let fault = stranger.expect(400).json()["errors"][0].clone();
    assert_eq!(fault["pointer"], "/account_id");
    put(&native, &path, json!({"account_id": 99}))
        .await
        .expect(400);
    let untested = put(&native, &path, json!({"account_id": own})).await;
    assert!(untested.expect(409).body.contains("test it first"));
    tested(&native, own).await;
    let linked = native
        .call(
            "PUT",
            &path,
            Some(&json!({"account_id": own})),
            &[("if-match", &tag)],
        )
        .await
        .expect(200);
    assert_eq!(linked.json()["account_id"], own);
    assert_ne!(linked.header(header::ETAG), tag);
    native
        .call(
            "PUT",
            &path,
            Some(&json!({"account_id": null})),
            &[("if-match", &tag)],
        )
        .await
        .expect(412);
    // Once is enough, and two are too many.
    put(&native, &path, json!({"account_id": own}))
        .await
        .expect(200);
    put(&native, &path, json!({"account_id": target.ann}))
        .await
        .expect(400);
}

#[tokio::test]
async fn a_linked_account_stays_changes_where_that_is_meant_and_is_parted_again() {
    let (world, native, session, target, (own, path)) = ready().await;
    let one = path.trim_end_matches("/account").to_owned();
    tested(&native, own).await;
    put(&native, &path, json!({"account_id": own}))
        .await
        .expect(200);

    // The managed account stays; neither becomes another login or gets a credential aside.
    let gone = session
        .call("DELETE", &format!("/ManagedAccounts/{own}"), None, &[])
        .await;
    gone.expect(409);
    let any = [("if-match", "*")];
    for body in [json!({"password": "x"}), json!({"account_name": "y"})] {
        let refused = native.call("PATCH", &one, Some(&body), &any).await;
        let said = refused.expect(409).body;
        assert!(said.contains(&format!("managed account {own}")), "{said}");
    }
    let edit = json!({"description": "changes the others"});
    native
        .call("PATCH", &one, Some(&edit), &any)
        .await
        .expect(200);

    // It changes where that is meant, and the others go on.
    let rotate = format!("/accounts/{own}/rotate");
    let refused = native.post(&rotate, &json!({})).await.expect(409);
    assert!(refused.body.contains("confirm_functional"), "{refused:?}");
    rotated(&native, own, json!({"confirm_functional": true})).await;
    assert!(!world.targets.system(HOST).accepts("changer", "functional"));
    rotated(&native, target.ann, json!({})).await;

    let parted = put(&native, &path, json!({"account_id": null})).await;
    assert_eq!(parted.expect(200).json()["account_id"], json!(null));
    rotated(&native, target.ann, json!({})).await;
    session
        .call("DELETE", &format!("/ManagedAccounts/{own}"), None, &[])
        .await
        .expect(200);
    let rows = world
        .store
        .audit_of("functional account 1", 99)
        .await
        .unwrap();
    for event in ["linked", "unlinked", "login"] {
        let event = format!("functional_account.{event}");
        assert!(
            rows.iter().any(|row| row.event == event),
            "{event}: {rows:#?}"
        );
    }
}
