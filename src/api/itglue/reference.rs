//! What organizations are and where they stand: closed lists, read alone.
//!
//! Invariant: ids here are those that organizations name.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::wire::{self, Included, Place, Resource};
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::organization::{OrganizationKind, OrganizationStatus};
use crate::model::principal::Permission;

pub(super) fn routes() -> Routes {
    let read = Permission::PasswordsRead;
    Routes::new(Dialect::ItGlue)
        .get("/organization_types", read, types)
        .get("/organization_types/{id}", read, one_type)
        .get("/organization_statuses", read, statuses)
        .get("/organization_statuses/{id}", read, one_status)
}

/// Number and name of an entry.
type Entry = (i64, &'static str);

fn all_types() -> Vec<Entry> {
    let all = OrganizationKind::ALL.into_iter();
    all.map(|one| (one.number(), one.name())).collect()
}

fn all_statuses() -> Vec<Entry> {
    let all = OrganizationStatus::ALL.into_iter();
    all.map(|one| (one.number(), one.name())).collect()
}

async fn types(State(_): State<Api>, place: Place) -> Result<Response, ApiError> {
    listed("organization-types", all_types(), &place)
}

async fn statuses(State(_): State<Api>, place: Place) -> Result<Response, ApiError> {
    listed("organization-statuses", all_statuses(), &place)
}

async fn one_type(segments: Segments) -> Result<Response, ApiError> {
    let what = "Organization type";
    one(
        "organization-types",
        &all_types(),
        segments.id("id", what)?,
        what,
    )
}

async fn one_status(segments: Segments) -> Result<Response, ApiError> {
    let what = "Organization status";
    let id = segments.id("id", what)?;
    one("organization-statuses", &all_statuses(), id, what)
}

fn resource(kind: &'static str, (id, name): Entry) -> Resource {
    let attributes = json!({
        "name": name, "synced": false, "created-at": Value::Null, "updated-at": Value::Null,
    });
    Resource::new(kind, id, attributes)
}

fn one(
    kind: &'static str,
    all: &[Entry],
    id: i64,
    what: &'static str,
) -> Result<Response, ApiError> {
    let found = all.iter().find(|(number, _)| *number == id);
    let found = found.ok_or(ApiError::NotFound { what })?;
    Ok(wire::one(
        StatusCode::OK,
        &resource(kind, *found),
        &Included::default(),
    ))
}

fn listed(kind: &'static str, mut all: Vec<Entry>, place: &Place) -> Result<Response, ApiError> {
    if let Some(names) = place.query.any_of("filter[name]")? {
        all.retain(|(_, name)| names.iter().any(|one| one.eq_ignore_ascii_case(name)));
    }
    if let Some(ids) = place.query.ids("filter[id]")? {
        all.retain(|(id, _)| ids.contains(id));
    }
    let sorts = place.query.sort(&[("name", true), ("id", false)]);
    for (by_name, reverse) in sorts.into_iter().rev() {
        if by_name {
            all.sort_by_key(|(_, name)| *name);
        } else {
            all.sort_by_key(|(id, _)| *id);
        }
        if reverse {
            all.reverse();
        }
    }
    let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let part = place.part(all);
    let page: Vec<_> = part.into_iter().map(|one| resource(kind, one)).collect();
    Ok(place.listed(&page, total, &Included::default()))
}
