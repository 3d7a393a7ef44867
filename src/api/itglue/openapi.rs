//! The dialect's description, OpenAPI 3.1: served at `/openapi-itglue.json`.
//!
//! Paths, methods and needs come from the routes. What a noun's operations take and answer stands in
//! its file of `noun`: whoever adds a route says there what it takes and answers.
//!
//! Invariant: every route of the dialect is described, and what is described exists; a test
//! compares.

mod noun;
mod operation;
mod schema;

use serde_json::{Map, Value, json};

use self::noun::Noun;
use self::operation::Operation;
use super::BASE;
use crate::api::route::{Declared, segments};

/// What holds for every operation.
const ABOUT: &str = "\
The IT Glue API around passwords, as Keywheel answers it.

Written are the forms that the vendor documents; others are read as well. Hyphens equal underscores in \
paths, in names of parameters and of attributes, and attributes may be written in camel case, beside \
`type`, or without `data`. Ids and switches may be quoted. A trailing slash, unknown parameters, \
filters and attributes are ignored; an empty parameter was not given, and `null` and `\"\"` mean that \
an attribute has no value. A body is JSON with or without a Content-Type. No text holds U+0000.

Dates are RFC 3339 in UTC with milliseconds. Every attribute is in every answer, but for `password`, \
which is there where it was asked for and the key may see it.";

/// The description of the dialect, OpenAPI 3.1, with the need of each operation.
pub fn description() -> Value {
    let nouns = noun::all();
    let mut paths: Map<String, Value> = Map::new();
    for route in super::routes().declared() {
        let all = nouns.iter().flat_map(|noun| {
            let operations = noun.operations.iter();
            operations.map(move |operation| (noun.tag, operation))
        });
        let mut of_it = all.filter(|(_, operation)| operation.is_of(route));
        let Some((tag, operation)) = of_it.next() else {
            continue; // the tests compare routes and description
        };
        let path = paths
            .entry(route.path)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(path) = path.as_object_mut() {
            let described = described(tag, operation, route);
            path.insert(route.method.to_lowercase(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keywheel: IT Glue dialect",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{"url": BASE}],
        "security": [{"key": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(&nouns),
            "responses": operation::refusals(),
            "securitySchemes": {
                "key": {
                    "type": "apiKey", "in": "header", "name": "x-api-key",
                    "description": "A key of kind `itglue`.",
                },
                "bearer": {
                    "type": "http", "scheme": "bearer", "description": "The same key.",
                },
            },
        },
    })
}

fn described(tag: &str, said: &Operation, route: &Declared) -> Value {
    let own = said.query.iter().cloned();
    let parameters: Vec<Value> = segments(route.path).map(segment).chain(own).collect();
    let mut operation = json!({
        "tags": [tag],
        "summary": said.summary,
        "description": route.need.in_words(),
        "operationId": route.name(),
        "parameters": parameters,
        "responses": said.responses(route),
    });
    if let (Some(body), Some(operation)) = (said.request_body(), operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

/// The segments of all paths are ids.
fn segment(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema::id()})
}

fn schemas(nouns: &[Noun]) -> Value {
    let own = nouns.iter().flat_map(|noun| noun.schemas.iter().cloned());
    let all = schema::shared().into_iter().chain(own);
    Value::Object(
        all.map(|(name, schema)| (name.to_owned(), schema))
            .collect(),
    )
}
