//! `password_categories`: read and written by all, and never deleted.
//!
//! Invariant: two categories never share a name, whatever its case.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::ask::{Ask, named, renamed, unfit};
use super::body::Document;
use super::wire::{self, Included, Place, Resource, at};
use crate::api::error::ApiError;
use crate::api::inventory::{Act, password_category as act};
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::PasswordCategoryId;
use crate::model::password_category::{NAME_MAX_CHARS, PasswordCategory};
use crate::model::principal::Permission;

const WHAT: &str = "Password category";
const MISSING: ApiError = ApiError::NotFound { what: WHAT };
const TAKEN: &str = "Name has already been taken";
/// The type of the dialect, as bodies spell it once they are read.
const TYPE: &str = "password_categories";

pub(super) fn routes() -> Routes {
    let (read, write) = (Permission::PasswordsRead, Permission::PasswordsWrite);
    Routes::new(Dialect::ItGlue)
        .get("/password_categories", read, list)
        .post("/password_categories", write, create)
        .get("/password_categories/{id}", read, show)
        .patch("/password_categories/{id}", write, edit)
}

/// A category as the dialect shows it.
pub(super) fn resource(one: &PasswordCategory) -> Resource {
    let attributes = json!({
        "name": one.name,
        "created-at": at(one.created_at),
        "updated-at": at(one.updated_at),
        "passwords-count": one.records,
    });
    Resource::new("password-categories", one.id.0, attributes)
}

#[derive(Clone, Copy)]
enum By {
    Id,
    Name,
    Created,
    Updated,
}

async fn list(State(api): State<Api>, place: Place) -> Result<Response, ApiError> {
    let mut found = api.store.password_categories().await?;
    if let Some(names) = place.query.any_of("filter[name]")? {
        let names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        found.retain(|one| names.contains(&one.name.to_lowercase()));
    }
    if let Some(ids) = place.query.ids("filter[id]")? {
        found.retain(|one| ids.contains(&one.id.0));
    }
    let known = [
        ("id", By::Id),
        ("name", By::Name),
        ("created_at", By::Created),
        ("updated_at", By::Updated),
    ];
    for (by, reverse) in place.query.sort(&known).into_iter().rev() {
        found.sort_by(|one, other| {
            let order = match by {
                By::Id => one.id.cmp(&other.id),
                By::Name => one.name.to_lowercase().cmp(&other.name.to_lowercase()),
                By::Created => one.created_at.cmp(&other.created_at),
                By::Updated => one.updated_at.cmp(&other.updated_at),
            };
            if reverse { order.reverse() } else { order }
        });
    }
    let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let page: Vec<Resource> = place.part(found).iter().map(resource).collect();
    Ok(place.listed(&page, total, &Included::default()))
}

async fn show(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    answer(&api, StatusCode::OK, segments.id("id", WHAT)?).await
}

async fn answer(
    api: &Api,
    status: StatusCode,
    id: PasswordCategoryId,
) -> Result<Response, ApiError> {
    let found = api.store.password_category(id).await?.ok_or(MISSING)?;
    Ok(wire::one(status, &resource(&found), &Included::default()))
}

async fn create(
    State(api): State<Api>,
    ask: Ask,
    document: Document,
) -> Result<Response, ApiError> {
    let item = document.one(TYPE)?;
    let name = named(&item, NAME_MAX_CHARS)?;
    let added = act::add(Act::of(&api, &ask.caller), &name).await;
    let id = added.map_err(|error| unfit(error, TAKEN, &item, "name"))?;
    answer(&api, StatusCode::CREATED, id).await
}

async fn edit(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    document: Document,
) -> Result<Response, ApiError> {
    let id: PasswordCategoryId = segments.id("id", WHAT)?;
    let found = api.store.password_category(id).await?.ok_or(MISSING)?;
    let item = document.one(TYPE)?;
    let name = renamed(&item, NAME_MAX_CHARS)?;
    if let Some(name) = name.filter(|name| *name != found.name) {
        let done = act::rename(Act::of(&api, &ask.caller), id, &name).await;
        done.map_err(|error| unfit(error, TAKEN, &item, "name"))?;
    }
    answer(&api, StatusCode::OK, id).await
}
