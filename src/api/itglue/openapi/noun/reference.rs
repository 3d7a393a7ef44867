//! `organization_types` and `organization_statuses`, described.
//!
//! Invariant: whatever `reference.rs` shows of an entry stands here.

use serde_json::json;

use super::{Noun, filters};
use crate::api::itglue::openapi::operation::operation;
use crate::api::itglue::openapi::schema::{self, boolean, text};

/// What is listed: type, schema, paths, and what the operations do.
struct List {
    tag: &'static str,
    kind: &'static str,
    schema: &'static str,
    paths: [&'static str; 2],
    summaries: [&'static str; 2],
}

const LISTS: [List; 2] = [
    List {
        tag: "organization types",
        kind: "organization-types",
        schema: "OrganizationType",
        paths: ["/organization_types", "/organization_types/{id}"],
        summaries: [
            "Lists types of organizations",
            "Shows a type of organizations",
        ],
    },
    List {
        tag: "organization statuses",
        kind: "organization-statuses",
        schema: "OrganizationStatus",
        paths: ["/organization_statuses", "/organization_statuses/{id}"],
        summaries: [
            "Lists where organizations stand",
            "Shows where organizations stand",
        ],
    },
];

pub(super) fn nouns() -> Vec<Noun> {
    let never = json!({"type": "null"});
    let shown = [
        ("name", text()),
        ("synced", boolean()),
        ("created-at", never.clone()),
        ("updated-at", never),
    ];
    let noun = |list: List| {
        let ([all, one], [of_all, of_one]) = (list.paths, list.summaries);
        Noun {
            tag: list.tag,
            operations: vec![
                operation("GET", all, of_all)
                    .lists(list.schema, &["id", "name"])
                    .filters(filters(&["id", "name"])),
                operation("GET", one, of_one).shows(list.schema),
            ],
            schemas: vec![(list.schema, schema::shown(list.kind, &shown, &[]))],
        }
    };
    LISTS.into_iter().map(noun).collect()
}
