//! `password_categories`, described.
//!
//! Invariant: whatever `category.rs` reads or shows of a category stands here.

use serde_json::json;

use super::{Noun, filters};
use crate::api::itglue::openapi::operation::operation;
use crate::api::itglue::openapi::schema::{self, at, sent, text};

const KIND: &str = "password-categories";
const ALL: &str = "/password_categories";
const ONE: &str = "/password_categories/{id}";

pub(super) fn noun() -> Noun {
    let count = json!({"type": "integer", "minimum": 0});
    let shown = [
        ("name", text()),
        ("created-at", at()),
        ("updated-at", at()),
        ("passwords-count", count),
    ];
    Noun {
        tag: "password categories",
        operations: vec![
            operation("GET", ALL, "Lists categories")
                .lists(
                    "PasswordCategory",
                    &["id", "name", "created_at", "updated_at"],
                )
                .filters(filters(&["id", "name"])),
            operation("POST", ALL, "Makes a category")
                .takes(KIND, "PasswordCategoryOrder", true)
                .makes("PasswordCategory"),
            operation("GET", ONE, "Shows a category").shows("PasswordCategory"),
            operation("PATCH", ONE, "Renames a category")
                .takes(KIND, "PasswordCategoryEdit", false)
                .shows("PasswordCategory"),
        ],
        schemas: vec![
            ("PasswordCategory", schema::shown(KIND, &shown, &[])),
            (
                "PasswordCategoryOrder",
                sent(vec![schema::name().required()]),
            ),
            ("PasswordCategoryEdit", sent(vec![schema::name()])),
        ],
    }
}
