//! The dialect's description, OpenAPI 3.1: served at `/openapi-passwordsafe.json`.
//!
//! Paths, methods and needs come from the routes, answers from the types that are sent; what a
//! body or query string may hold, and in which words an operation is summed up, stands in tables.
//!
//! Invariant: every route of the dialect is described, and what is described exists; a test
//! compares.

mod body;
mod operation;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use self::operation::Operation;
use super::{
    BASE, LEGACY_BASE, asset, functional_account, managed_account, managed_system, password_rule,
    permission, platform, request, smart_rule, workgroup,
};
use crate::api::caller::SESSION_COOKIE;
use crate::api::route::{Declared, Need, segments};

/// The types of the answers.
#[derive(OpenApi)]
#[openapi(components(schemas(
    asset::Shape,
    functional_account::Shape,
    managed_account::Full,
    managed_account::Requestable,
    managed_system::Shape,
    password_rule::Shape,
    password_rule::KeyShape,
    permission::Shape,
    platform::EntityType,
    platform::Shape,
    request::Shape,
    smart_rule::Shape,
    workgroup::Shape,
)))]
struct Answers;

/// What holds for every operation.
const ABOUT: &str = "\
The BeyondTrust Password Safe public API v3, as Keywheel answers it. Both servers answer alike.

Paths and names of query parameters and fields match in any case; a trailing slash, unknown query \
parameters and unknown fields are ignored. A body is JSON with or without a Content-Type, or a \
form with the same names, in which `true` and `false` are booleans and digits are numbers. `null` \
and `\"\"` mean that an optional field is not given. Texts hold no control characters; a PUT keeps \
what it does not name. Dates are `YYYY-MM-DDTHH:MM:SS[.f]` in UTC.

Sign in first: every other call needs the cookie that this sets.";

/// The description of the dialect, OpenAPI 3.1, with the need of each operation.
pub fn description() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let operations = operation::all();
    for route in super::routes().declared() {
        let Some(said) = operations.iter().find(|said| said.is_of(route)) else {
            continue; // the tests compare routes and description
        };
        let path = paths
            .entry(route.path)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_lowercase(), described(said, route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keywheel: Password Safe dialect",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{"url": BASE}, {"url": LEGACY_BASE, "description": "The vendor's former base."}],
        "security": [{"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": refusals(),
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
                "registration": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`PS-Auth key=<key>; runas=<user>;`, or `Bearer <access token>`.",
                },
            },
        },
    })
}

fn described(said: &Operation, route: &Declared) -> Value {
    let mut operation = json!({
        "tags": [said.tag],
        "summary": said.summary,
        "operationId": route.name(),
        "parameters": parameters(said, route),
        "responses": said.responses(route),
    });
    if let Some(operation) = operation.as_object_mut() {
        if let Some(needs) = route.need.in_words() {
            operation.insert("description".to_owned(), json!(needs));
        }
        if let Some(body) = said.request_body() {
            operation.insert("requestBody".to_owned(), body);
        }
        if route.need == Need::Open {
            operation.insert("security".to_owned(), json!(said.security));
        }
    }
    operation
}

fn parameters(said: &Operation, route: &Declared) -> Vec<Value> {
    let mut parameters: Vec<Value> = segments(route.path)
        .map(|name| {
            json!({
                "name": name, "in": "path", "required": true, "schema": segment(route.path, name),
            })
        })
        .collect();
    parameters.extend(said.query.iter().cloned());
    parameters
}

fn segment(path: &str, name: &str) -> Value {
    let by_name = path.ends_with("/managedaccounts/{account}/credentials");
    match name {
        "asset" | "account" if by_name => json!({"type": "string", "minLength": 1}),
        "name" => json!({"type": "string", "minLength": 1, "description": "The account's name."}),
        "workgroup" if by_name => json!({
            "type": "string", "minLength": 1, "description": "The workgroup's name.",
        }),
        "workgroup" if path != "/workgroups/{workgroup}" => json!({
            "type": "string", "minLength": 1, "description": "ID or name; digits mean the ID.",
        }),
        // The default of both kinds of rules is 0.
        _ if path.contains("rules/{id}") && !path.contains("smart") && !path.contains("quick") => {
            json!({"type": "integer", "minimum": 0, "maximum": body::INT_MAX})
        }
        _ => body::id(),
    }
}

fn schemas() -> Value {
    let components = serde_json::to_value(Answers::openapi().components).unwrap_or_default();
    let mut schemas = components
        .get("schemas")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let written = operation::answers().into_iter().chain(body::all());
    schemas.extend(written.map(|(name, schema)| (name.to_owned(), schema)));
    Value::Object(schemas)
}

/// The answers that refuse, in the dialect's form.
fn refusals() -> Value {
    let said = |description: &str, schema: Value| {
        json!({
            "description": description,
            "content": {"application/json": {"schema": schema}},
        })
    };
    let text = || json!({"type": "string"});
    let mut later = said(
        "Too many calls, or a busy database, or a change that still runs: repeat the call after \
         the seconds in `Retry-After`.",
        text(),
    );
    if let Some(later) = later.as_object_mut() {
        let seconds = json!({"required": true, "schema": {"type": "integer", "minimum": 1}});
        later.insert("headers".to_owned(), json!({"Retry-After": seconds}));
    }
    json!({
        "400": said("What is wrong with the call, or the log of a change that failed.", text()),
        "401": said("Not signed in.", json!({"const": "Unauthorized"})),
        "403": said(
            "4031 no permission, 4032 requestors only, 4033 approvers only, 4034 not yet \
             approved, 4035 too few approvers.",
            json!({"enum": [4031, 4032, 4033, 4034, 4035]}),
        ),
        "404": said("What was not found.", text()),
        "409": said(
            "What is in the way; 4091 is a conflicting request.",
            json!({"anyOf": [{"type": "string"}, {"const": 4091}]}),
        ),
        "413": said("The body is too long.", text()),
        "415": said("The body is neither JSON nor a form.", text()),
        "429": later,
        "5XX": said("The service failed, or its disk is full; its log has the reason.", text()),
    })
}
