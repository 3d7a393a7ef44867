//! Lists of records: every filter, sort and page.

use std::time::Duration;

use serde_json::json;

use super::{ids, organization, password, refused, service};
use crate::api::world::{Client, World};

/// Four records in two organizations, each a day younger than the one before.
async fn four() -> (World, Client) {
    let (world, client) = service().await;
    let (acme, other) = (
        organization(&client, "Acme").await,
        organization(&client, "Other").await,
    );
    for (of, record) in [
        (
            acme,
            json!({
                "name": "Web, root", "username": "root", "password": "1", "url": "https://web",
                "password-category-id": 1, "folder-path": "Servers",
            }),
        ),
        (
            acme,
            json!({
                "name": "db", "username": "postgres", "password": "2", "notes": "on DC01",
                "resource-type": "Configurations", "resource-id": 7, "cached-resource-name": "db1",
            }),
        ),
        (
            other,
            json!({"name": "Web", "password": "3", "archived": true}),
        ),
        (other, json!({"name": "alpha", "url": "https://alpha"})),
    ] {
        password(&client, of, &record).await;
        world.clock.advance(Duration::from_hours(24));
    }
    (world, client)
}

#[tokio::test]
async fn filters_narrow_and_hold_together() {
    let (_world, client) = four().await;
    for (query, want) in [
        ("", vec![1, 2, 3, 4]),
        ("filter[id]=1,4", vec![1, 4]),
        ("filter%5Bname%5D=WEB", vec![3]),
        ("filter[name]=Web\\, root,alpha", vec![1, 4]),
        ("filter[organization-id]=1", vec![1, 2]),
        ("filter[organization_id]=1&filter[name]=db", vec![2]),
        ("filter[password_category_id]=1", vec![1]),
        ("filter[password_folder_id]=1", vec![1]),
        ("filter[url]=https://alpha", vec![4]),
        ("filter[username]=ROOT,postgres", vec![1, 2]),
        ("filter[cached_resource_name]=db1", vec![2]),
        ("filter[resource_id]=7", vec![2]),
        ("filter[resource_type]=configuration", vec![2]),
        ("filter[resource_type]=printer", vec![]),
        ("filter[archived]=true", vec![3]),
        ("filter[archived]=0", vec![1, 2, 4]),
        ("exclude[id]=1,2", vec![3, 4]),
        ("filter[server]=dc01", vec![2]),
        ("filter[server]=WEB", vec![1, 3]),
        ("filter[stale_days]=3", vec![1, 4]),
        ("filter[created_at]=2026-05-30,*", vec![3, 4]),
        ("filter[created_at][lt]=2026-05-30", vec![1, 2]),
        ("filter[updated-at]=*,2026-05-29", vec![1, 2]),
        ("filter[password_updated_at][gte]=2026-05-30", vec![3]),
        ("filter[colour]=red&filter={\"id\":1}&x=y", vec![1, 2, 3, 4]),
        ("filter[name]=", vec![1, 2, 3, 4]),
    ] {
        let query = query
            .replace(' ', "%20")
            .replace('"', "%22")
            .replace(['{', '}'], "");
        let found = ids(client.get(&format!("/passwords?{query}")).await);
        assert_eq!(found, want, "{query}");
    }
    for bad in [
        "filter[id]=x",
        "filter[archived]=maybe",
        "filter[updated_at]=soon",
        "filter[stale_days]=x",
    ] {
        refused(
            client.get(&format!("/passwords?{bad}")).await,
            400,
            "Bad Request",
        );
    }
}

#[tokio::test]
async fn a_nested_list_is_of_its_organization_whatever_else_is_asked() {
    let (_world, client) = four().await;
    let nested = "/organizations/2/relationships/passwords";
    assert_eq!(ids(client.get(nested).await), [3, 4]);
    assert_eq!(
        ids(client.get(&format!("{nested}?filter[name]=alpha")).await),
        [4]
    );
    assert!(
        ids(client
            .get(&format!("{nested}?filter[organization_id]=1"))
            .await)
        .is_empty()
    );
    assert_eq!(
        ids(client
            .get(&format!("{nested}?filter[organization_id]=1,2"))
            .await),
        [3, 4]
    );
    let missing = client
        .get("/organizations/77/relationships/passwords")
        .await;
    refused(missing, 404, "Organization not found");
}

#[tokio::test]
async fn lists_are_sorted_with_what_is_missing_last() {
    let (_world, client) = four().await;
    for (sort, want) in [
        ("name", vec![4, 2, 3, 1]),
        ("-name", vec![1, 3, 2, 4]),
        ("username", vec![2, 1, 3, 4]),
        ("url", vec![4, 1, 2, 3]),
        ("-id", vec![4, 3, 2, 1]),
        ("created-at", vec![1, 2, 3, 4]),
        ("-updated_at", vec![4, 3, 2, 1]),
        ("-password_updated_at", vec![3, 2, 1, 4]),
        ("colour", vec![1, 2, 3, 4]),
    ] {
        assert_eq!(
            ids(client.get(&format!("/passwords?sort={sort}")).await),
            want,
            "{sort}"
        );
    }
}

#[tokio::test]
async fn pages_follow_each_other() {
    let (_world, client) = four().await;
    let host = [("host", "h:1")];
    let first = client
        .call("GET", "/passwords?page[size]=3&sort=-id", None, &host)
        .await;
    let first = first.expect(200).json();
    assert_eq!(first["meta"]["total-count"], 4);
    assert_eq!(first["meta"]["total-pages"], 2);
    let next = first["links"]["next"].as_str().unwrap();
    let next = next.strip_prefix("http://h:1/itglue").unwrap();
    assert_eq!(ids(client.get(next).await), [1]);
    assert!(ids(client.get("/passwords?page[number]=9").await).is_empty());
}
