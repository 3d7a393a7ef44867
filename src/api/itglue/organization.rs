//! `organizations`: those in reach are listed, shown, made and edited.
//!
//! Invariant: a key that reaches some organizations alone makes none.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::ask::{Ask, named, renamed, unfit};
use super::body::{Document, Item, Sent};
use super::query::Query;
use super::wire::{self, Included, Place, Resource, at};
use crate::api::error::{ApiError, Refusal};
use crate::api::inventory::{Act, organization as act};
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::Timestamp;
use crate::model::id::OrganizationId;
use crate::model::organization::{
    Organization, OrganizationFields, OrganizationKind, OrganizationStatus,
};
use crate::model::principal::Permission;
use crate::store::Page;

const WHAT: &str = "Organization";
const MISSING: ApiError = ApiError::NotFound { what: WHAT };
const TYPE: &str = "organizations";
/// Rows of one look into the database.
const ROWS: i64 = 1_000;
/// Longest name and short name.
const NAME_MAX_CHARS: usize = 255;
/// Longest prose.
const PROSE_MAX_CHARS: usize = 65_536;

pub(super) fn routes() -> Routes {
    let (read, write) = (Permission::PasswordsRead, Permission::PasswordsWrite);
    Routes::new(Dialect::ItGlue)
        .get("/organizations", read, list)
        .post("/organizations", write, create)
        .get("/organizations/{id}", read, show)
        .patch("/organizations/{id}", write, edit)
}

/// Every organization, by id.
async fn all(api: &Api) -> Result<Vec<Organization>, ApiError> {
    let mut all = Vec::new();
    loop {
        let offset = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let limit = ROWS;
        let mut rows = api.store.organizations(Page { limit, offset }).await?;
        let last = rows.len() < usize::try_from(ROWS).unwrap_or_default();
        all.append(&mut rows);
        if last {
            return Ok(all);
        }
    }
}

/// One organization as others include it.
pub(super) async fn included(api: &Api, id: OrganizationId) -> Result<Option<Resource>, ApiError> {
    let Some(found) = api.store.organization(id).await? else {
        return Ok(None);
    };
    let above = api.store.ancestors(id).await?;
    Ok(Some(resource(&found, &above)))
}

fn resource(one: &Organization, above: &[OrganizationId]) -> Resource {
    let fields = &one.fields;
    let above: Vec<String> = above.iter().map(|id| id.0.to_string()).collect();
    let attributes = json!({
        "name": fields.name,
        "alert": fields.alert,
        "description": fields.description,
        "organization-type-id": fields.kind.number(),
        "organization-type-name": fields.kind.name(),
        "organization-status-id": fields.status.number(),
        "organization-status-name": fields.status.name(),
        "primary": fields.primary,
        "logo": "",
        "quick-notes": fields.quick_notes,
        "short-name": fields.short_name,
        "created-at": at(one.created_at),
        "updated-at": at(one.updated_at),
        "parent-id": fields.parent_id.map(|id| id.0.to_string()),
        "ancestor-ids": format!("[{}]", above.join(",")),
    });
    Resource::new(TYPE, one.id.0, attributes)
}

#[derive(Clone, Copy)]
enum By {
    Id,
    Name,
    Created,
    Updated,
}

fn compared(by: By, one: &Organization, other: &Organization) -> Ordering {
    match by {
        By::Id => one.id.cmp(&other.id),
        By::Name => {
            let key = |one: &Organization| one.fields.name.to_lowercase();
            key(one).cmp(&key(other))
        }
        By::Created => one.created_at.cmp(&other.created_at),
        By::Updated => one.updated_at.cmp(&other.updated_at),
    }
}

/// A number of an organization's.
type Number = fn(&Organization) -> i64;
/// A moment of an organization's.
type Moment = fn(&Organization) -> Timestamp;

/// Those that the filters of a call pass.
fn passed(query: &Query, mut found: Vec<Organization>) -> Result<Vec<Organization>, ApiError> {
    for (name, exclude) in [("filter", false), ("exclude", true)] {
        let numbers = |field: &str| query.ids(&format!("{name}[{field}]"));
        let known: [(&str, Number); 3] = [
            ("id", |one| one.id.0),
            ("organization_type_id", |one| one.fields.kind.number()),
            ("organization_status_id", |one| one.fields.status.number()),
        ];
        for (field, number) in known {
            if let Some(ids) = numbers(field)? {
                found.retain(|one| ids.contains(&number(one)) != exclude);
            }
        }
        if let Some(names) = query.any_of(&format!("{name}[name]"))? {
            let names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
            found.retain(|one| names.contains(&one.fields.name.to_lowercase()) != exclude);
        }
    }
    if let Some(primary) = query.either("filter[primary]")? {
        found.retain(|one| one.fields.primary == primary);
    }
    let known: [(&str, Moment); 2] = [
        ("filter[created_at]", |one| one.created_at),
        ("filter[updated_at]", |one| one.updated_at),
    ];
    for (name, moment) in known {
        if let Some(span) = query.span(name)? {
            found.retain(|one| span.holds(moment(one)));
        }
    }
    Ok(found)
}

async fn list(State(api): State<Api>, ask: Ask, place: Place) -> Result<Response, ApiError> {
    let whole = all(&api).await?;
    let parents: BTreeMap<_, _> = whole
        .iter()
        .map(|one| (one.id, one.fields.parent_id))
        .collect();
    let mut found = whole;
    found.retain(|one| ask.reach.holds(one.id));
    let mut found = passed(&place.query, found)?;
    let known = [
        ("id", By::Id),
        ("name", By::Name),
        ("created_at", By::Created),
        ("updated_at", By::Updated),
    ];
    for (by, reverse) in place.query.sort(&known).into_iter().rev() {
        found.sort_by(|one, other| {
            let order = compared(by, one, other);
            if reverse { order.reverse() } else { order }
        });
    }
    let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let page = place.part(found);
    let page: Vec<Resource> = page
        .iter()
        .map(|one| resource(one, &above(&parents, one.id)))
        .collect();
    Ok(place.listed(&page, total, &Included::default()))
}

/// Those that an organization is a part of, the highest first.
fn above(
    parents: &BTreeMap<OrganizationId, Option<OrganizationId>>,
    id: OrganizationId,
) -> Vec<OrganizationId> {
    let parent = |id: &OrganizationId| parents.get(id).copied().flatten();
    let line = std::iter::successors(parent(&id), parent);
    let mut above: Vec<_> = line.take(parents.len()).collect();
    above.reverse();
    above
}

async fn show(State(api): State<Api>, ask: Ask, segments: Segments) -> Result<Response, ApiError> {
    let id = segments.id("id", WHAT)?;
    let found = included(&api, id).await?.ok_or(MISSING)?;
    ask.reaches(id)?;
    Ok(wire::one(StatusCode::OK, &found, &Included::default()))
}

async fn create(
    State(api): State<Api>,
    ask: Ask,
    document: Document,
) -> Result<Response, ApiError> {
    if ask.organizations().is_some() {
        return Err(ApiError::Forbidden);
    }
    let item = document.one(TYPE)?;
    let mut fields = OrganizationFields::named(named(&item, NAME_MAX_CHARS)?);
    written(&api, &item, &mut fields).await?;
    let added = act::add(Act::of(&api, &ask.caller), &fields).await;
    let id = added.map_err(|error| unfit(error, "Name has already been taken", &item, "name"))?;
    let made = included(&api, id).await?.ok_or(MISSING)?;
    Ok(wire::one(StatusCode::CREATED, &made, &Included::default()))
}

async fn edit(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    document: Document,
) -> Result<Response, ApiError> {
    let id: OrganizationId = segments.id("id", WHAT)?;
    let found = api.store.organization(id).await?.ok_or(MISSING)?;
    ask.reaches(id)?;
    let item = document.one(TYPE)?;
    let mut fields = found.fields.clone();
    if let Some(name) = renamed(&item, NAME_MAX_CHARS)? {
        fields.name = name;
    }
    written(&api, &item, &mut fields).await?;
    if fields != found.fields {
        let edited = act::edit(Act::of(&api, &ask.caller), id, &fields).await;
        edited.map_err(|error| unfit(error, "Invalid organization", &item, "name"))?;
    }
    let shown = included(&api, id).await?.ok_or(MISSING)?;
    Ok(wire::one(StatusCode::OK, &shown, &Included::default()))
}

/// Takes over what an item says, its name apart.
async fn written(api: &Api, item: &Item, fields: &mut OrganizationFields) -> Result<(), ApiError> {
    let texts: [(&str, usize, &mut Option<String>); 4] = [
        ("short_name", NAME_MAX_CHARS, &mut fields.short_name),
        ("description", PROSE_MAX_CHARS, &mut fields.description),
        ("alert", PROSE_MAX_CHARS, &mut fields.alert),
        ("quick_notes", PROSE_MAX_CHARS, &mut fields.quick_notes),
    ];
    for (name, chars_max, into) in texts {
        match item.text(name, chars_max)? {
            Sent::Absent => {}
            Sent::Null => *into = None,
            Sent::Value(text) => *into = Some(text),
        }
    }
    let unknown = |title, name: &str| {
        let refusal = Refusal::unprocessable(title, "there is no such id");
        ApiError::from(refusal.at(&item.pointer(name)))
    };
    if let Some(number) = item.id_of("organization_type_id")?.value() {
        let kind = OrganizationKind::of(number);
        fields.kind =
            kind.ok_or_else(|| unknown("Invalid organization type", "organization_type_id"))?;
    }
    if let Some(number) = item.id_of("organization_status_id")?.value() {
        let status = OrganizationStatus::of(number);
        fields.status = status
            .ok_or_else(|| unknown("Invalid organization status", "organization_status_id"))?;
    }
    if let Some(primary) = item.flag("primary")?.value() {
        fields.primary = primary;
    }
    match item.id_of("parent_id")? {
        Sent::Absent => {}
        Sent::Null => fields.parent_id = None,
        Sent::Value(id) => {
            let id = OrganizationId(id);
            if fields.parent_id != Some(id) && api.store.organization(id).await?.is_none() {
                return Err(unknown("Invalid parent", "parent_id"));
            }
            fields.parent_id = Some(id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn parents_are_named_from_the_top_even_in_a_ring() {
        let id = OrganizationId;
        let parents: BTreeMap<_, _> = [
            (id(1), None),
            (id(2), Some(id(1))),
            (id(3), Some(id(2))),
            (id(8), Some(id(9))),
            (id(9), Some(id(8))),
        ]
        .into();
        assert_eq!(above(&parents, id(3)), [id(1), id(2)]);
        assert_eq!(above(&parents, id(1)), []);
        assert_eq!(above(&parents, id(8)).len(), 5);
        let found = Organization {
            id: id(3),
            fields: OrganizationFields::named("Acme"),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        };
        let shown = resource(&found, &[id(1), id(2)]).attributes;
        assert_eq!(shown["ancestor-ids"], "[1,2]");
        assert_eq!(shown["parent-id"], Value::Null);
    }
}
