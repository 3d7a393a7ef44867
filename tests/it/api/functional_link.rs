//! The link between a functional account and a managed account, natively.

use axum::http::header;
use serde_json::{Value, json};

use super::world::{Answer, Client, HOST, Target, World};

async fn ready() -> (World, Client, Client, Target, i64) {
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
    (world, native, session, target, own)
}

async fn put(native: &Client, path: &str, body: Value) -> Answer {
    let any = [("if-match", "*")];
    native.call("PUT", path, Some(&body), &any).await
}

#[tokio::test]
async fn a_functional_account_is_linked_and_parted() {
    let (world, native, session, target, own) = ready().await;
    let system = native.get(&format!("/systems/{}", target.system)).await;
    let id = system.expect(200).json()["functional_account_id"]
        .as_i64()
        .unwrap();
    let one = format!("/functional-accounts/{id}");
    let path = format!("{one}/account");
    native
        .get("/functional-accounts/99/account")
        .await
        .expect(404);
    let before = native.get(&path).await.expect(200);
    assert_eq!(
        before.json(),
        json!({"functional_account_id": id, "account_id": null, "systems": [target.system]})
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
    let test = format!("/accounts/{own}/test");
    let answer = native.post(&test, &json!({})).await.expect(200);
    assert_eq!(answer.json(), json!({"passed": true}));
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

    // The managed account stays; neither becomes another login or gets a credential aside.
    let gone = session
        .call("DELETE", &format!("/ManagedAccounts/{own}"), None, &[])
        .await;
    gone.expect(409);
    let any = [("if-match", "*")];
    for body in [json!({"password": "x"}), json!({"account_name": "y"})] {
        let refused = native.call("PATCH", &one, Some(&body), &any).await;
        let text = refused.expect(409).body;
        assert!(text.contains(&format!("managed account {own}")), "{text}");
    }
    let edit = json!({"description": "changes the others"});
    native
        .call("PATCH", &one, Some(&edit), &any)
        .await
        .expect(200);

    // It changes where that is meant, and the others go on.
    let rotate = format!("/accounts/{own}/rotate?wait=30");
    let refused = native.post(&rotate, &json!({})).await.expect(409);
    assert!(refused.body.contains("confirm_functional"), "{refused:?}");
    let sure = json!({"confirm_functional": true});
    let done = native.post(&rotate, &sure).await.expect(202);
    assert_eq!(done.json()["state"], "succeeded", "{done:?}");
    assert!(!world.targets.system(HOST).accepts("changer", "functional"));
    let other = format!("/accounts/{}/rotate?wait=30", target.ann);
    let done = native.post(&other, &json!({})).await.expect(202);
    assert_eq!(done.json()["state"], "succeeded", "{done:?}");

    let parted = put(&native, &path, json!({"account_id": null})).await;
    assert_eq!(parted.expect(200).json()["account_id"], json!(null));
    let done = native.post(&other, &json!({})).await.expect(202);
    assert_eq!(done.json()["state"], "succeeded", "{done:?}");
    session
        .call("DELETE", &format!("/ManagedAccounts/{own}"), None, &[])
        .await
        .expect(200);
    let rows = world
        .store
        .audit_of(&format!("functional account {id}"), 99)
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
