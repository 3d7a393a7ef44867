//! `exports`, described.
//!
//! Invariant: whatever `export.rs` reads or shows of an export stands here.

use serde_json::json;

use super::{Noun, filters};
use crate::api::itglue::openapi::operation::operation;
use crate::api::itglue::openapi::schema::{
    self, at, boolean, flag, id_of, maybe_id, maybe_text, secret, sent,
};
use crate::model::export::ZIP_PASSWORD_MAX_CHARS;

const KIND: &str = "exports";
const ALL: &str = "/exports";
const ONE: &str = "/exports/{id}";

pub(super) fn noun() -> Noun {
    let shown = [
        ("organization-id", maybe_id()),
        ("organization-name", maybe_text()),
        ("include-logs", boolean()),
        ("export-all", boolean()),
        ("encrypted-status", boolean()),
        ("download-url", json!({"type": "string"})),
        ("created-at", at()),
        ("updated-at", at()),
    ];
    let order = vec![
        id_of("organization-id"),
        flag("include-logs"),
        secret("zip-password", ZIP_PASSWORD_MAX_CHARS),
    ];
    Noun {
        tag: "exports",
        operations: vec![
            operation("GET", ALL, "Lists exports")
                .lists("Export", &["id", "created_at", "updated_at"])
                .filters(filters(&["id", "organization_id"])),
            operation("POST", ALL, "Orders a file of passwords")
                .takes(KIND, "ExportOrder", false)
                .makes("Export"),
            operation("GET", ONE, "Shows an export").shows("Export"),
            operation("DELETE", ONE, "Withdraws an export").ends(),
            operation(
                "GET",
                "/exports/{id}/download",
                "Makes the file and gives it",
            )
            .gives_file()
            .also("422"),
        ],
        schemas: vec![
            ("Export", schema::shown(KIND, &shown, &[])),
            ("ExportOrder", sent(order)),
        ],
    }
}
