//! `organizations`, described.
//!
//! Invariant: whatever `organization.rs` reads or shows of an organization stands here.

use serde_json::json;

use super::{Noun, filters, spans};
use crate::api::itglue::openapi::operation::{Operation, operation};
use crate::api::itglue::openapi::schema::{
    self, Field, at, boolean, flag, free, id_of, id_up_to, line, maybe_text, sent, text,
};
use crate::model::organization::{OrganizationKind, OrganizationStatus};

const KIND: &str = "organizations";
const ALL: &str = "/organizations";
const ONE: &str = "/organizations/{id}";
/// Filters that have an opposite, too.
const FIELDS: [&str; 4] = [
    "id",
    "name",
    "organization_type_id",
    "organization_status_id",
];

pub(super) fn noun() -> Noun {
    let mut order = vec![schema::name().required()];
    order.extend(beside());
    let mut edit = vec![schema::name()];
    edit.extend(beside());
    Noun {
        tag: "organizations",
        operations: operations(),
        schemas: vec![
            ("Organization", shown()),
            ("OrganizationOrder", sent(order)),
            ("OrganizationEdit", sent(edit)),
        ],
    }
}

fn operations() -> Vec<Operation> {
    let mut names = filters(&FIELDS);
    names.extend(FIELDS.map(|field| format!("exclude[{field}]")));
    names.push("filter[primary]".to_owned());
    names.extend(spans(&["created_at", "updated_at"]));
    vec![
        operation("GET", ALL, "Lists the organizations in reach")
            .lists("Organization", &["id", "name", "created_at", "updated_at"])
            .filters(names),
        operation(
            "POST",
            ALL,
            "Makes an organization, with a key that reaches all",
        )
        .takes(KIND, "OrganizationOrder", true)
        .makes("Organization"),
        operation("GET", ONE, "Shows an organization").shows("Organization"),
        operation("PATCH", ONE, "Edits an organization")
            .takes(KIND, "OrganizationEdit", false)
            .shows("Organization"),
    ]
}

/// What is sent beside the name.
fn beside() -> Vec<Field> {
    let last = |numbers: &[i64]| numbers.iter().copied().max().unwrap_or_default();
    let kinds = OrganizationKind::ALL.map(OrganizationKind::number);
    let statuses = OrganizationStatus::ALL.map(OrganizationStatus::number);
    vec![
        line("short-name", 255),
        free("description", 65_536),
        free("alert", 65_536),
        free("quick-notes", 65_536),
        id_up_to("organization-type-id", last(&kinds)),
        id_up_to("organization-status-id", last(&statuses)),
        flag("primary"),
        id_of("parent-id"),
    ]
}

fn shown() -> serde_json::Value {
    let number = || json!({"type": "integer", "minimum": 1});
    let quoted = json!({"type": ["string", "null"], "pattern": "^[1-9][0-9]*$"});
    let above = json!({"type": "string", "pattern": r"^\[([0-9]+(,[0-9]+)*)?\]$"});
    let shown = [
        ("name", text()),
        ("alert", maybe_text()),
        ("description", maybe_text()),
        ("organization-type-id", number()),
        ("organization-type-name", text()),
        ("organization-status-id", number()),
        ("organization-status-name", text()),
        ("primary", boolean()),
        ("logo", json!({"const": ""})),
        ("quick-notes", maybe_text()),
        ("short-name", maybe_text()),
        ("created-at", at()),
        ("updated-at", at()),
        ("parent-id", quoted),
        ("ancestor-ids", above),
    ];
    schema::shown(KIND, &shown, &[])
}
