//! Folders: flat, nested and in bulk.

use keywheel::model::principal::Permission;
use serde_json::{Value, json};

use super::{delete, document, id, ids, organization, password, patch, refused, service};
use crate::api::world::Client;

fn nested(organization: i64) -> String {
    format!("/organizations/{organization}/relationships/password-folders")
}

async fn folder(client: &Client, organization: i64, attributes: &Value) -> i64 {
    let body = document("password-folders", attributes);
    let made = client.post(&nested(organization), &body).await.expect(201);
    id(&made.json()["data"])
}

#[tokio::test]
async fn a_folder_is_made_flat_and_nested_and_moved() {
    let (world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let top = folder(&client, acme, &json!({"name": "Infrastructure"})).await;
    let body = document(
        "password-folders",
        &json!({"organization-id": acme, "name": "Domain Controllers", "parent-id": top}),
    );
    let made = client
        .post("/password-folders", &body)
        .await
        .expect(201)
        .json();
    let inner = id(&made["data"]);
    let now = "2026-05-28T20:26:40.000Z";
    let want = json!({"data": {"id": inner.to_string(), "type": "password-folders", "attributes": {
        "organization-id": acme, "name": "Domain Controllers", "parent-id": top,
        "restricted": false, "created-at": now, "updated-at": now,
    }, "relationships": {}}});
    assert_eq!(made, want);
    let path = format!("{}/{inner}", nested(acme));
    assert_eq!(client.get(&path).await.expect(200).json(), want);
    for (query, found) in [
        ("", vec![top, inner]),
        ("?filter[name]=infrastructure", vec![top]),
        ("?filter[parent-id]=1", vec![inner]),
        ("?filter[id]=2,9", vec![inner]),
        ("?sort=name", vec![inner, top]),
    ] {
        assert_eq!(
            ids(client.get(&format!("{}{query}", nested(acme))).await),
            found,
            "{query}"
        );
        assert_eq!(
            ids(client.get(&format!("/password_folders{query}")).await),
            found,
            "{query}"
        );
    }
    // `parent-folder-id` says the same, and null leads to the top.
    let up = document(
        "password_folders",
        &json!({"parent-folder-id": null, "name": "DCs"}),
    );
    let moved = patch(&client, &path, &up).await.expect(200).json();
    let attributes = &moved["data"]["attributes"];
    assert_eq!(
        (&attributes["name"], &attributes["parent-id"]),
        (&json!("DCs"), &Value::Null)
    );
    delete(&client, &path, None).await.expect(204);
    refused(client.get(&path).await, 404, "Password folder not found");
    let rows = world
        .store
        .audit_of(&format!("password folder {inner}"), 9)
        .await
        .unwrap();
    let events: Vec<_> = rows.iter().map(|row| row.event.as_str()).collect();
    let want = [
        "password_folder.deleted",
        "password_folder.edited",
        "password_folder.created",
    ];
    assert_eq!(events, want);
}

#[tokio::test]
async fn a_folder_fits_into_its_tree_or_is_refused() {
    let (_world, client) = service().await;
    let (acme, other) = (
        organization(&client, "Acme").await,
        organization(&client, "Other").await,
    );
    let top = folder(&client, acme, &json!({"name": "Top"})).await;
    let inner = folder(&client, acme, &json!({"name": "Inner", "parent_id": top})).await;
    let foreign = folder(&client, other, &json!({"name": "Top"})).await;
    let post = |attributes: Value| {
        let (client, path) = (client.clone(), nested(acme));
        async move {
            client
                .post(&path, &document("password_folders", &attributes))
                .await
        }
    };
    refused(post(json!({"name": "TOP"})).await, 422, "Invalid folder");
    refused(post(json!({"name": ""})).await, 400, "Name can't be blank");
    for parent in [foreign, 99] {
        let answer = post(json!({"name": "x", "parent-id": parent})).await;
        assert_eq!(
            refused(answer, 422, "Invalid folder"),
            "data/attributes/parent_id"
        );
    }
    for (parent, other) in [(json!(top), json!(inner)), (json!(null), json!(inner))] {
        let both = json!({"name": "x", "parent-id": parent, "parent-folder-id": other});
        assert_eq!(
            refused(post(both).await, 422, "Invalid folder"),
            "data/attributes/parent_folder_id"
        );
    }
    let both = json!({"name": "x", "parent-id": top, "parentFolderId": top.to_string()});
    post(both).await.expect(201);
    let flat = document("password_folders", &json!({"name": "x"}));
    refused(
        client.post("/password_folders", &flat).await,
        400,
        "Organization required",
    );
    let ring = document("password_folders", &json!({"parent_id": inner}));
    let path = format!("{}/{top}", nested(acme));
    refused(patch(&client, &path, &ring).await, 422, "Invalid folder");
    refused(
        delete(&client, &path, None).await,
        422,
        "Folder is not empty",
    );
    password(
        &client,
        acme,
        &json!({"name": "n", "password_folder_id": inner}),
    )
    .await;
    let full = format!("{}/{inner}", nested(acme));
    refused(
        delete(&client, &full, None).await,
        422,
        "Folder is not empty",
    );
    let elsewhere = format!("{}/{foreign}", nested(acme));
    refused(
        client.get(&elsewhere).await,
        404,
        "Password folder not found",
    );
}

#[tokio::test]
async fn folders_are_made_edited_and_deleted_in_bulk_or_not_at_all() {
    let (_world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let two = json!({"data": [{"attributes": {"name": "A"}}, {"attributes": {"name": "B"}}]});
    let made = client.post(&nested(acme), &two).await.expect(201).json();
    let (a, b) = (id(&made["data"][0]), id(&made["data"][1]));
    let bad = json!({"data": [
        {"attributes": {"id": a, "name": "C"}}, {"attributes": {"id": b, "name": "C"}},
    ]});
    let answer = patch(&client, "/password_folders", &bad).await;
    let pointer = refused(answer, 422, "Invalid folder");
    assert_eq!(pointer, "data/1/attributes/parent_id");
    let edit = json!({"data": [{"id": a, "name": "C"}, {"id": b, "parent-id": a}]});
    let edited = patch(&client, "/password-folders", &edit)
        .await
        .expect(200)
        .json();
    assert_eq!(edited["data"][0]["attributes"]["name"], "C");
    assert_eq!(edited["data"][1]["attributes"]["parent-id"], a);
    // The upper one first: both go all the same.
    let both = json!({"data": [{"attributes": {"id": a}}, {"attributes": {"id": b}}]});
    let gone = delete(&client, &nested(acme), Some(&both))
        .await
        .expect(200)
        .json();
    assert_eq!(gone["data"].as_array().unwrap().len(), 2);
    assert!(ids(client.get(&nested(acme)).await).is_empty());
}

#[tokio::test]
async fn a_restricted_folder_is_for_the_named_alone() {
    let (world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let (_, keys) = world.user("ada", &[Permission::PasswordsWrite]).await;
    let ada = world.itglue(&keys);
    let (_, keys) = world.user("eve", &[Permission::PasswordsWrite]).await;
    let eve = world.itglue(&keys);
    let hidden = folder(&ada, acme, &json!({"name": "Vault", "restricted": true})).await;
    let inner = folder(&ada, acme, &json!({"name": "Deep", "parent_id": hidden})).await;
    let record = json!({"name": "n", "password_folder_id": inner});
    let secret = password(&ada, acme, &record).await;
    assert_eq!(ids(ada.get(&nested(acme)).await), [hidden, inner]);
    assert!(ids(eve.get(&nested(acme)).await).is_empty());
    let path = format!("{}/{inner}", nested(acme));
    refused(eve.get(&path).await, 403, "Access denied");
    refused(delete(&eve, &path, None).await, 403, "Access denied");
    let into = document("passwords", &record);
    let path = format!("/organizations/{acme}/relationships/passwords");
    let answer = eve.post(&path, &into).await;
    refused(answer, 403, "Access denied");
    assert!(ids(eve.get("/passwords").await).is_empty(), "lists omit it");
    let shown = eve.get(&format!("/passwords/{secret}")).await;
    refused(shown, 403, "Access denied");
    ada.get(&format!("/passwords/{secret}")).await.expect(200);
    client
        .get(&format!("/passwords/{secret}"))
        .await
        .expect(200);
}
