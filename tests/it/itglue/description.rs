//! The description of the dialect, which is written by hand, against what the handlers read and show.

use std::collections::BTreeSet;

use keywheel::api::itglue;
use serde_json::{Value, json};

use super::{document, id, organization, password, refused, service};
use crate::api::world::{Client, World};

/// What else must be among the attributes for one wrong one to be all that is wrong.
fn valid(attributes: &str) -> Value {
    match attributes {
        "PasswordOrder" | "PasswordFolderOrder" => json!({"name": "new", "organization-id": 1}),
        "PasswordOrderWithin"
        | "PasswordFolderOrderWithin"
        | "OrganizationOrder"
        | "PasswordCategoryOrder" => json!({"name": "new"}),
        "PasswordEdits" | "PasswordFolderEdits" => json!({"id": 1}),
        _ => json!({}),
    }
}

/// A path on which there is everything.
fn filled(path: &str) -> String {
    path.replace("{oid}", "1").replace("{id}", "1")
}

/// An organization with a folder, and in that a record with a value: each the first of its kind.
async fn everything() -> (World, Client) {
    let (world, client) = service().await;
    assert_eq!(organization(&client, "Acme").await, 1);
    let folder = document(
        "password-folders",
        &json!({"name": "top", "organization-id": 1}),
    );
    let made = client.post("/password_folders", &folder).await.expect(201);
    assert_eq!(id(&made.json()["data"]), 1);
    let record = json!({
        "name": "db", "password": "pw-canary", "password-folder-id": 1, "password-category-id": 1,
        "restricted": true,
    });
    assert_eq!(password(&client, 1, &record).await, 1);
    let order = document("exports", &json!({"organization-id": 1}));
    client.post("/exports", &order).await.expect(201);
    (world, client)
}

/// Every operation: method, path, and what is said of it.
fn operations(description: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    assert!(all.len() > 30, "{}", all.len());
    all
}

/// The first schema that something refers to.
fn referred(value: &Value) -> Option<String> {
    if let Some(target) = value.get("$ref") {
        let name = target.as_str().unwrap().rsplit('/').next().unwrap();
        return Some(name.to_owned());
    }
    match value {
        Value::Array(items) => items.iter().find_map(referred),
        Value::Object(fields) => fields.values().find_map(referred),
        _ => None,
    }
}

/// The longest text that an attribute takes.
fn longest(schema: &Value) -> Option<usize> {
    let text = schema.get("anyOf").map_or(schema, |either| &either[0]);
    let most = text.get("maxLength")?.as_u64().unwrap();
    Some(usize::try_from(most).unwrap())
}

#[tokio::test]
async fn every_attribute_that_a_body_is_said_to_have_is_read() {
    let (_world, client) = everything().await;
    let description = itglue::description();
    let (mut sent, mut too_long) = (0, 0);
    for (method, path, operation) in operations(&description) {
        let Some(body) = operation.get("requestBody") else {
            continue;
        };
        let content = body["content"].as_object().unwrap();
        let kinds: Vec<&str> = content.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["application/vnd.api+json"]);
        let name = referred(body).unwrap();
        let attributes = &description["components"]["schemas"][&name]["properties"];
        for (attribute, schema) in attributes.as_object().unwrap() {
            let over = longest(schema).map(|most| json!("a".repeat(most + 1)));
            too_long += usize::from(over.is_some());
            let wrong = [Some(json!({"of a wrong": "type"})), over];
            for value in wrong.into_iter().flatten() {
                let mut all = valid(&name);
                all[attribute] = value;
                let mut data = json!({ "attributes": all });
                if method == "DELETE" {
                    data = json!([data]);
                }
                let body = json!({ "data": data });
                println!("{method} {path}: {attribute}");
                let answer = client.call(&method, &filled(&path), Some(&body), &[]).await;
                let pointer = refused_as_bad(answer);
                let meant = if attribute == "id" {
                    pointer.starts_with("data")
                } else {
                    pointer.ends_with(&format!("attributes/{}", attribute.replace('-', "_")))
                };
                assert!(meant, "{method} {path}: {attribute}: {pointer}");
                sent += 1;
            }
        }
    }
    assert!(sent > 150 && too_long > 50, "{sent}, {too_long}");
}

#[track_caller]
fn refused_as_bad(answer: crate::api::world::Answer) -> String {
    let pointer = refused(answer, 400, "Bad Request");
    pointer.as_str().unwrap_or_default().to_owned()
}

/// The attributes of a resource are exactly those that its type is described with.
fn conforms(description: &Value, resource: &Value, place: &str) {
    let schemas = description["components"]["schemas"].as_object().unwrap();
    let of_it = schemas
        .values()
        .find(|schema| schema["properties"]["type"]["const"] == resource["type"]);
    let described = &of_it.unwrap_or_else(|| panic!("{place}: {resource}"))["properties"];
    let described = &described["attributes"];
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let required = described["required"].as_array().unwrap().iter();
    let required: BTreeSet<String> = required
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let all = names(&described["properties"]);
    let shown = names(&resource["attributes"]);
    assert!(required.is_subset(&shown), "{place}: {resource}");
    assert!(shown.is_subset(&all), "{place}: {resource}");
}

#[tokio::test]
async fn every_resource_has_the_attributes_that_it_is_described_with() {
    let (_world, client) = everything().await;
    let description = itglue::description();
    let mut seen = BTreeSet::new();
    for (method, path, operation) in operations(&description) {
        let content = &operation["responses"]["200"]["content"];
        if method != "GET" || content.get("application/zip").is_some() {
            continue;
        }
        let include = "organization,password-category,password-folder,updater,recent-versions,\
                       authorized-users,attachments";
        let place = format!("{}?show_password=true&include={include}", filled(&path));
        let answer = client.get(&place).await.expect(200).json();
        let one = match &answer["data"] {
            Value::Array(all) => all[0].clone(),
            one => one.clone(),
        };
        conforms(&description, &one, &place);
        seen.insert(one["type"].as_str().unwrap().to_owned());
        for included in answer["included"].as_array().into_iter().flatten() {
            conforms(&description, included, &place);
            seen.insert(included["type"].as_str().unwrap().to_owned());
        }
    }
    let schemas = description["components"]["schemas"].as_object().unwrap();
    let kinds = schemas.values().filter_map(|schema| {
        let kind = schema["properties"]["type"]["const"].as_str()?;
        Some(kind.to_owned())
    });
    assert_eq!(seen, kinds.collect());
}

/// A value of a filter that nothing fits of what there is.
fn fitting_nothing(name: &str) -> &'static str {
    match name {
        "exclude[name]" => "Acme",
        _ if name.starts_with("exclude[") => "1",
        _ if name.ends_with("[gt]") || name.ends_with("[gte]") => "2999-01-01",
        _ if name.ends_with("[lt]") || name.ends_with("[lte]") => "1999-01-01",
        _ if name.ends_with("_at]") => "1999-01-01,1999-12-31",
        "filter[archived]" | "filter[primary]" => "true",
        "filter[stale_days]" => "36500",
        _ if name.ends_with("id]") => "999999999",
        _ => "no such",
    }
}

#[tokio::test]
async fn every_filter_that_is_described_narrows() {
    let (_world, client) = everything().await;
    let mut filters = 0;
    for (method, path, operation) in operations(&itglue::description()) {
        let path = filled(&path);
        let parameters = operation["parameters"].as_array().unwrap().iter();
        let names = parameters.map(|parameter| parameter["name"].as_str().unwrap());
        for name in names.filter(|name| name.contains("er[") || name.starts_with("exclude[")) {
            let value = fitting_nothing(name);
            let place = format!("{path}?{name}={}", value.replace(' ', "%20"));
            let answer = client.call(&method, &place, None, &[]).await.expect(200);
            let body = answer.json();
            assert_eq!(body["data"], json!([]), "{method} {place}");
            if method == "GET" {
                assert_eq!(body["meta"]["total-count"], 0, "{place}");
                let whole = client.get(&path).await.expect(200).json();
                assert_ne!(whole["meta"]["total-count"], 0, "{path}");
            }
            filters += 1;
        }
    }
    // Nothing was deleted by a filter that nothing fits.
    client.get("/passwords/1").await.expect(200);
    assert!(filters > 100, "{filters}");
}
