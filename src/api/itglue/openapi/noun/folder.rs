//! `password_folders`, described.
//!
//! Invariant: whatever `folder.rs` reads or shows of a folder stands here.

use super::{Noun, filters};
use crate::api::itglue::openapi::operation::{Operation, operation};
use crate::api::itglue::openapi::schema::{
    self, Field, at, boolean, flag, id, id_of, maybe_id, sent, text,
};

const KIND: &str = "password-folders";
const ALL: &str = "/password_folders";
const NESTED: &str = "/organizations/{oid}/relationships/password_folders";
const NESTED_ONE: &str = "/organizations/{oid}/relationships/password_folders/{id}";
const SORTS: [&str; 2] = ["id", "name"];
const FILTERS: [&str; 4] = ["id", "organization_id", "parent_id", "name"];

pub(super) fn noun() -> Noun {
    let shown = [
        ("organization-id", id()),
        ("name", text()),
        ("parent-id", maybe_id()),
        ("restricted", boolean()),
        ("created-at", at()),
        ("updated-at", at()),
    ];
    let with = |before: Vec<Field>| sent(before.into_iter().chain(beside()).collect());
    let name = || schema::name().required();
    Noun {
        tag: "password folders",
        operations: operations(),
        schemas: vec![
            ("PasswordFolder", schema::shown(KIND, &shown, &[])),
            (
                "PasswordFolderOrder",
                with(vec![name(), id_of("organization-id")]),
            ),
            ("PasswordFolderOrderWithin", with(vec![name()])),
            ("PasswordFolderEdit", with(vec![schema::name()])),
            (
                "PasswordFolderEdits",
                with(vec![id_of("id").required(), schema::name()]),
            ),
        ],
    }
}

/// What is sent beside the name.
fn beside() -> Vec<Field> {
    vec![
        id_of("parent-id"),
        id_of("parent-folder-id"),
        flag("restricted"),
    ]
}

fn operations() -> Vec<Operation> {
    vec![
        operation("GET", ALL, "Lists the folders that may be entered")
            .lists("PasswordFolder", &SORTS)
            .filters(filters(&FILTERS)),
        operation("POST", ALL, "Makes a folder, or several at once")
            .takes_any(KIND, "PasswordFolderOrder")
            .makes_as_sent("PasswordFolder"),
        operation("PATCH", ALL, "Edits folders, all or none")
            .takes_any(KIND, "PasswordFolderEdits")
            .gives_several("PasswordFolder")
            .also("404"),
        operation(
            "GET",
            NESTED,
            "Lists an organization's folders that may be entered",
        )
        .lists("PasswordFolder", &SORTS)
        .filters(filters(&FILTERS)),
        operation(
            "POST",
            NESTED,
            "Makes a folder of an organization, or several at once",
        )
        .takes_any(KIND, "PasswordFolderOrderWithin")
        .makes_as_sent("PasswordFolder"),
        operation("DELETE", NESTED, "Deletes empty folders, all or none")
            .takes_any(KIND, "Id")
            .gives_several("PasswordFolder"),
        operation("GET", NESTED_ONE, "Shows a folder").shows("PasswordFolder"),
        operation("PATCH", NESTED_ONE, "Edits a folder")
            .takes(KIND, "PasswordFolderEdit", false)
            .shows("PasswordFolder"),
        operation("DELETE", NESTED_ONE, "Deletes an empty folder").ends(),
    ]
}
