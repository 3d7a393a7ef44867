//! `passwords`, described.
//!
//! Invariant: whatever `password/` reads or shows of a record stands here.

use serde_json::{Value, json};

use super::Noun;
use crate::api::itglue::openapi::operation::{Operation, operation};
use crate::api::itglue::openapi::schema::{
    self, Field, at, base32, boolean, flag, free, id, id_of, lenient, line, maybe_at, maybe_id,
    maybe_text, moment, prose, resource, resources, secret, sent, shown, switch, text,
};
use crate::api::itglue::password::filter;

const KIND: &str = "passwords";
const ALL: &str = "/passwords";
const ONE: &str = "/passwords/{id}";
const NESTED: &str = "/organizations/{oid}/relationships/passwords";
const NESTED_ONE: &str = "/organizations/{oid}/relationships/passwords/{id}";
const SHOWS: &str =
    "Show the value: a reveal, which is on record. What is no switch counts for nothing.";
/// What a record may be shown with.
const INCLUDED: [&str; 5] = [
    "Organization",
    "PasswordCategory",
    "PasswordFolder",
    "PasswordVersion",
    "User",
];

pub(super) fn noun() -> Noun {
    let with = |before: Vec<Field>, rest: Vec<Field>| {
        let all = before.into_iter().chain(both()).chain(rest);
        sent(all.collect())
    };
    let name = || schema::name().required();
    let of = || id_of("organization-id");
    let (user, version) = included();
    Noun {
        tag: "passwords",
        operations: flat().into_iter().chain(nested()).collect(),
        schemas: vec![
            ("Password", record()),
            ("User", user),
            ("PasswordVersion", version),
            ("PasswordOrder", with(vec![name(), of()], alone())),
            ("PasswordOrderWithin", with(vec![name()], alone())),
            ("PasswordEdit", with(vec![schema::name(), of()], reason())),
            (
                "PasswordEdits",
                with(vec![id_of("id").required(), schema::name(), of()], reason()),
            ),
        ],
    }
}

/// What is read of new records and in edits.
fn both() -> Vec<Field> {
    vec![
        line("username", 255),
        line("url", 2_000),
        prose("notes", 65_536),
        prose("autofill-selectors", 65_536),
        secret("password", 65_536),
        base32("otp-secret"),
        id_of("password-category-id"),
        free("password-category-name", 255),
        id_of("password-folder-id"),
        line("folder-path", 4_000),
        free("resource-type", 255),
        id_of("resource-id"),
        moment("password-updated-at"),
        flag("restricted"),
        flag("archived"),
        flag("shareable"),
    ]
}

/// What is read of new records alone.
fn alone() -> Vec<Field> {
    vec![line("cached-resource-name", 255), prose("purpose", 4_000)]
}

/// What is read in edits alone.
fn reason() -> Vec<Field> {
    vec![prose("rotation-reason", 4_000)]
}

fn listed(operation: Operation) -> Operation {
    let sorts: Vec<&str> = filter::SORTS.iter().map(|(name, _)| *name).collect();
    let about = "With commas between them: organization, password_category, password_folder, \
                 updater. Others come empty, or count for nothing.";
    operation
        .lists("Password", &sorts)
        .asks("include", &lenient(), about)
        .filters(filter::names())
        .includes(&INCLUDED)
}

fn one(operation: Operation) -> Operation {
    let about = "With commas between them: organization, password_category, password_folder, \
                 updater, recent_versions, authorized_users. Others come empty, or count for \
                 nothing.";
    operation
        .shows("Password")
        .asks("show_password", &switch(), SHOWS)
        .asks(
            "version_id",
            &lenient(),
            "The id of one of its versions; 404 if it is none.",
        )
        .asks("include", &lenient(), about)
        .includes(&INCLUDED)
}

fn shows(operation: Operation) -> Operation {
    operation.asks("show_password", &switch(), SHOWS)
}

/// Deletes what is sent, or what filters pass.
fn deletes(operation: Operation) -> Operation {
    operation
        .filters(filter::names())
        .takes_any(KIND, "Id")
        .or_nothing()
        .gives_several("Password")
}

fn flat() -> Vec<Operation> {
    vec![
        listed(operation("GET", ALL, "Lists records, without their values")),
        shows(operation("POST", ALL, "Makes a record, or several at once"))
            .takes_any(KIND, "PasswordOrder")
            .makes_as_sent("Password"),
        shows(operation(
            "PATCH",
            ALL,
            "Edits records; those that are no account's all or none",
        ))
        .takes_any(KIND, "PasswordEdits")
        .gives_several("Password")
        .also("404"),
        deletes(operation(
            "DELETE",
            ALL,
            "Deletes records: those sent, or those that filters pass",
        ))
        .also("404"),
        one(operation("GET", ONE, "Shows a record")),
        shows(operation(
            "PATCH",
            ONE,
            "Edits a record; an account's on its target",
        ))
        .takes(KIND, "PasswordEdit", false)
        .shows("Password"),
        operation("DELETE", ONE, "Deletes a record").ends(),
    ]
}

fn nested() -> Vec<Operation> {
    let named = resource(KIND, "Id", true);
    let several = resources(&named);
    // One resource has the same effect as none: the path says which.
    let perhaps = json!({"anyOf": [
        {
            "type": "object",
            "properties": {"data": {"anyOf": [{"type": ["object", "null"]}, several]}},
        },
        several,
    ]});
    vec![
        listed(operation(
            "GET",
            NESTED,
            "Lists an organization's records, without their values",
        )),
        shows(operation(
            "POST",
            NESTED,
            "Makes a record of an organization, or several at once",
        ))
        .takes_any(KIND, "PasswordOrderWithin")
        .makes_as_sent("Password"),
        deletes(operation(
            "DELETE",
            NESTED,
            "Deletes an organization's records: those sent, or those that filters pass",
        )),
        one(operation(
            "GET",
            NESTED_ONE,
            "Shows a record of an organization",
        )),
        shows(operation(
            "PATCH",
            NESTED_ONE,
            "Edits a record of an organization",
        ))
        .takes(KIND, "PasswordEdit", false)
        .shows("Password"),
        operation(
            "DELETE",
            NESTED_ONE,
            "Deletes a record of an organization, or with an array those",
        )
        .may_take(perhaps)
        .ends()
        .gives_several("Password"),
    ]
}

/// A record as it is shown.
fn record() -> Value {
    let never = || json!({"const": false});
    let none = || json!({"type": "null"});
    let always = [
        ("organization-id", id()),
        ("organization-name", text()),
        ("resource-url", text()),
        ("restricted", boolean()),
        ("my-glue", never()),
        ("name", text()),
        ("autofill-selectors", maybe_text()),
        ("username", maybe_text()),
        ("url", maybe_text()),
        ("notes", maybe_text()),
        ("password-updated-at", maybe_at()),
        ("updated-by", maybe_id()),
        ("updated-by-type", json!({"enum": ["User", null]})),
        ("resource-id", maybe_id()),
        ("resource-type", maybe_text()),
        ("cached-resource-type-name", maybe_text()),
        ("cached-resource-name", maybe_text()),
        ("password-category-id", maybe_id()),
        ("password-category-name", maybe_text()),
        ("created-at", at()),
        ("updated-at", at()),
        ("otp-enabled", boolean()),
        ("password-folder-id", maybe_id()),
        ("parent-url", none()),
        ("vault-id", none()),
        ("archived", boolean()),
        ("personal", never()),
        ("shareable", boolean()),
        ("rotation-permitted", boolean()),
        ("is-live", boolean()),
    ];
    shown(KIND, &always, &[("password", maybe_text())])
}

/// What is included alone: who has changed a record, and its versions.
fn included() -> (Value, Value) {
    let user = shown("users", &[("name", text())], &[]);
    let version = [
        ("created-at", at()),
        ("updated-by", maybe_id()),
        ("is-live", boolean()),
    ];
    (user, shown("password-versions", &version, &[]))
}
