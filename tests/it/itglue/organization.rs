//! Organizations and categories.

use serde_json::{Value, json};

use super::{document, id, ids, organization, patch, reaching, refused, service};

#[tokio::test]
async fn an_organization_is_made_shown_listed_and_edited() {
    let (world, client) = service().await;
    let body = document(
        "organizations",
        &json!({"name": "Acme Corporation", "short-name": "acme"}),
    );
    let made = client
        .post("/organizations", &body)
        .await
        .expect(201)
        .json();
    let acme = id(&made["data"]);
    let shown = client
        .get(&format!("/organizations/{acme}"))
        .await
        .expect(200);
    assert_eq!(shown.json(), made);
    let now = "2026-05-28T20:26:40.000Z";
    let want = json!({"data": {"id": acme.to_string(), "type": "organizations", "attributes": {
        "name": "Acme Corporation", "alert": null, "description": null,
        "organization-type-id": 1, "organization-type-name": "Customer",
        "organization-status-id": 1, "organization-status-name": "Active", "primary": false,
        "logo": "", "quick-notes": null, "short-name": "acme", "created-at": now,
        "updated-at": now, "parent-id": null, "ancestor-ids": "[]",
    }, "relationships": {}}});
    assert_eq!(made, want);
    let part = json!({
        "name": "Acme Berlin", "parent-id": acme, "organization-status-id": "2", "primary": 1,
    });
    let body = document("organizations", &part);
    let made = client
        .post("/organizations", &body)
        .await
        .expect(201)
        .json();
    let berlin = id(&made["data"]);
    let attributes = &made["data"]["attributes"];
    assert_eq!(attributes["parent-id"], acme.to_string());
    assert_eq!(attributes["ancestor-ids"], format!("[{acme}]"));
    assert_eq!(attributes["organization-status-name"], "Inactive");
    let edit = document(
        "organizations",
        &json!({"quick-notes": "<b>call</b>", "alert": "!"}),
    );
    let path = format!("/organizations/{acme}");
    let edited = patch(&client, &path, &edit).await.expect(200).json();
    assert_eq!(edited["data"]["attributes"]["quick-notes"], "<b>call</b>");
    assert_eq!(edited["data"]["attributes"]["name"], "Acme Corporation");
    for (query, want) in [
        ("", vec![acme, berlin]),
        ("?sort=-name", vec![acme, berlin]),
        ("?sort=name", vec![berlin, acme]),
        ("?filter[name]=ACME%20berlin", vec![berlin]),
        ("?filter[organization-status-id]=2", vec![berlin]),
        ("?exclude[organization_status_id]=2", vec![acme]),
        ("?filter[organization_type_id]=2", vec![]),
        ("?filter[primary]=true", vec![berlin]),
        ("?exclude[id]=1", vec![berlin]),
        ("?filter[created_at]=2026-01-01,*", vec![acme, berlin]),
        ("?filter[updated_at][gt]=2026-12-01", vec![]),
    ] {
        let found = ids(client.get(&format!("/organizations{query}")).await);
        assert_eq!(found, want, "{query}");
    }
    let rows = world
        .store
        .audit_of(&format!("organization {acme}"), 9)
        .await
        .unwrap();
    let events: Vec<_> = rows.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(events, ["organization.edited", "organization.created"]);
}

#[tokio::test]
async fn what_is_wrong_with_an_organization_has_its_title() {
    let (_world, client) = service().await;
    let acme = organization(&client, "Acme").await;
    let order = |attributes: Value| document("organizations", &attributes);
    for (attributes, status, title) in [
        (json!({}), 400, "Name can't be blank"),
        (json!({"name": " "}), 400, "Name can't be blank"),
        (json!({"name": "ACME"}), 422, "Name has already been taken"),
        (
            json!({"name": "x", "organization-type-id": 86}),
            422,
            "Invalid organization type",
        ),
        (
            json!({"name": "x", "organization_status_id": 9}),
            422,
            "Invalid organization status",
        ),
        (json!({"name": "x", "parent_id": 99}), 422, "Invalid parent"),
        (json!({"name": 7}), 400, "Bad Request"),
    ] {
        let answer = client.post("/organizations", &order(attributes)).await;
        let pointer = refused(answer, status, title);
        assert!(pointer.as_str().unwrap().starts_with("data/attributes/"));
    }
    refused(
        client.get("/organizations/99").await,
        404,
        "Organization not found",
    );
    refused(
        patch(&client, "/organizations/99", &order(json!({}))).await,
        404,
        "Organization not found",
    );
    let (path, ring) = (
        format!("/organizations/{acme}"),
        order(json!({"parent_id": acme})),
    );
    let own = patch(&client, &path, &ring).await;
    refused(own, 422, "Invalid organization");
}

#[tokio::test]
async fn a_key_reaches_its_organizations_alone() {
    let (world, client) = service().await;
    let (acme, other) = (
        organization(&client, "Acme").await,
        organization(&client, "Other").await,
    );
    let admin = world.store.user_by_name("admin").await.unwrap().unwrap().id;
    let key = reaching(&world, admin, (true, &[acme])).await;
    assert_eq!(ids(key.get("/organizations").await), [acme]);
    key.get(&format!("/organizations/{acme}")).await.expect(200);
    refused(
        key.get(&format!("/organizations/{other}")).await,
        403,
        "Access denied",
    );
    let new = document("organizations", &json!({"name": "Third"}));
    refused(key.post("/organizations", &new).await, 403, "Access denied");
    let path = format!("/organizations/{other}/relationships/passwords");
    refused(key.get(&path).await, 403, "Access denied");
}

#[tokio::test]
async fn categories_are_there_from_the_start_and_more_are_made() {
    let (_world, client) = service().await;
    let listed = client.get("/password-categories").await.expect(200).json();
    let names = listed["data"].as_array().unwrap().iter();
    let names: Vec<_> = names
        .map(|one| one["attributes"]["name"].as_str().unwrap())
        .collect();
    let first = [
        "Administrative",
        "Application",
        "Network",
        "Service Account",
        "User",
        "Vendor",
        "Cloud",
    ];
    assert_eq!(names, first);
    assert_eq!(listed["data"][0]["attributes"]["passwords-count"], 0);
    let body = document("password-categories", &json!({"name": "Mainframe"}));
    let made = client
        .post("/password_categories", &body)
        .await
        .expect(201)
        .json();
    assert_eq!(made["data"]["type"], "password-categories");
    let path = format!("/password_categories/{}", id(&made["data"]));
    let edit = document("password_categories", &json!({"name": "Host"}));
    let edited = patch(&client, &path, &edit).await.expect(200).json();
    assert_eq!(edited["data"]["attributes"]["name"], "Host");
    assert_eq!(client.get(&path).await.expect(200).json(), edited);
    assert_eq!(
        ids(client
            .get("/password_categories?filter[name]=host,cloud")
            .await),
        [7, 8]
    );
    let sorted = ids(client
        .get("/password_categories?sort=-name&page[size]=1")
        .await);
    assert_eq!(sorted, [6]);
    let taken = document("password_categories", &json!({"name": "CLOUD"}));
    refused(
        client.post("/password_categories", &taken).await,
        422,
        "Name has already been taken",
    );
    let blank = document("password_categories", &json!({}));
    refused(
        client.post("/password_categories", &blank).await,
        400,
        "Name can't be blank",
    );
    refused(
        client.get("/password_categories/99").await,
        404,
        "Password category not found",
    );
    let gone = client.call("DELETE", &path, None, &[]).await;
    refused(gone, 405, "Method Not Allowed");
}
