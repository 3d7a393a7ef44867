//! `passwords`: records listed and shown, and the routes of what is done to them.
//!
//! Invariant: a list never holds a value, and a value that is shown was put on record before.

pub(super) mod filter;
mod include;
mod sent;
mod shape;
mod write;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use self::include::Includes;
use self::shape::resource;
use super::ask::Ask;
use super::query::Query;
use super::wire::{self, Included, Place, Resource, at};
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::record::{self, Asker, Shown};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::{OrganizationId, PasswordRecordId};
use crate::model::password_record::{PasswordRecord, PasswordVersion};
use crate::model::principal::Permission;
use crate::model::reveal::AccessMethod;
use crate::store::Page;

const WHAT: &str = "Password";
const MISSING: ApiError = ApiError::NotFound { what: WHAT };
const TYPE: &str = "passwords";
const NESTED: &str = "/organizations/{oid}/relationships/passwords";
const NESTED_ONE: &str = "/organizations/{oid}/relationships/passwords/{id}";
/// Versions that `version_id` may name, the newest first.
const VERSIONS_MAX: i64 = 10_000;

pub(super) fn routes() -> Routes {
    let (read, write) = (Permission::PasswordsRead, Permission::PasswordsWrite);
    Routes::new(Dialect::ItGlue)
        .get("/passwords", read, list)
        .post("/passwords", write, write::create)
        .patch("/passwords", write, write::edit_all)
        .delete("/passwords", write, write::delete_all)
        .get("/passwords/{id}", read, show)
        .patch("/passwords/{id}", write, write::edit)
        .delete("/passwords/{id}", write, write::delete)
        .get(NESTED, read, list_within)
        .post(NESTED, write, write::create_within)
        .delete(NESTED, write, write::delete_all_within)
        .get(NESTED_ONE, read, show_within)
        .patch(NESTED_ONE, write, write::edit_within)
        .delete(NESTED_ONE, write, write::delete_within)
}

async fn list(State(api): State<Api>, ask: Ask, place: Place) -> Result<Response, ApiError> {
    listed(&api, &ask, &place, None).await
}

async fn list_within(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    place: Place,
) -> Result<Response, ApiError> {
    let within = ask.within(&api, &segments).await?.id;
    listed(&api, &ask, &place, Some(within)).await
}

async fn listed(
    api: &Api,
    ask: &Ask,
    place: &Place,
    within: Option<OrganizationId>,
) -> Result<Response, ApiError> {
    let filter = filter::read(&place.query, ask.asker(), within, api.clock.now())?;
    let page = place.query.page();
    let (limit, offset) = (page.size, page.offset());
    let sorts = place.query.sort(&filter::SORTS);
    let found = api
        .store
        .password_records(&filter, &sorts, Page { limit, offset });
    let (records, total) = found.await?;
    let asked = Includes::of(&place.query, false);
    let mut included = Included::default();
    let mut data = Vec::with_capacity(records.len());
    for record in &records {
        let mut one = resource(record, &ask.origin);
        asked.put(api, record, &mut one, &mut included).await?;
        data.push(one);
    }
    Ok(place.listed(&data, total, &included))
}

/// The record that a path names; `within`: of this organization.
async fn found(
    api: &Api,
    ask: &Ask,
    id: PasswordRecordId,
    within: Option<OrganizationId>,
) -> Result<PasswordRecord, ApiError> {
    let record = record::visible(api, ask.asker(), id).await?;
    if within.is_some_and(|within| within != record.organization_id) {
        return Err(MISSING);
    }
    Ok(record)
}

async fn show(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    query: Query,
) -> Result<Response, ApiError> {
    let record = found(&api, &ask, segments.id("id", WHAT)?, None).await?;
    shown(&api, &ask, &record, &query).await
}

async fn show_within(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    query: Query,
) -> Result<Response, ApiError> {
    let within = ask.within(&api, &segments).await?.id;
    let id = segments.id("id", WHAT)?;
    let record = found(&api, &ask, id, Some(within)).await?;
    shown(&api, &ask, &record, &query).await
}

async fn shown(
    api: &Api,
    ask: &Ask,
    record: &PasswordRecord,
    query: &Query,
) -> Result<Response, ApiError> {
    let version = match query.text("version_id") {
        Some(raw) => Some(version(api, record, raw).await?),
        None => None,
    };
    let mut one = resource(record, &ask.origin);
    if let Some(version) = &version {
        one.set("is-live", Value::from(version.live));
        one.set("password-updated-at", at(version.created_at));
    }
    let wanted = query.flag("show_password");
    if wanted.unwrap_or(api.settings.itglue_shows) {
        let method = AccessMethod::ApiShow;
        let version = version.map(|version| version.id);
        value(api, ask, record, (method, version), &mut one).await?;
    }
    let mut included = Included::default();
    let asked = Includes::of(query, true);
    asked.put(api, record, &mut one, &mut included).await?;
    Ok(wire::one(StatusCode::OK, &one, &included))
}

/// The version that a call names.
async fn version(
    api: &Api,
    record: &PasswordRecord,
    raw: &str,
) -> Result<PasswordVersion, ApiError> {
    const NONE: ApiError = ApiError::NotFound { what: "Version" };
    let id: i64 = raw.trim().parse().map_err(|_| NONE)?;
    let all = record::versions(api, record, VERSIONS_MAX).await?;
    all.into_iter().find(|one| one.id == id).ok_or(NONE)
}

/// Puts a record's value into its resource, if the caller may see it.
async fn value(
    api: &Api,
    ask: &Ask,
    record: &PasswordRecord,
    (method, version): (AccessMethod, Option<i64>),
    into: &mut Resource,
) -> Result<(), ApiError> {
    let shown = record::show(api, ask.asker(), method, record, version).await;
    let shown = shown.inspect_err(|error| {
        if error.status().is_server_error() {
            let record = record.id.0;
            tracing::error!(
                event = "password_access_error",
                record,
                "a value was not shown"
            );
        }
    })?;
    match shown {
        Shown::Value(value) => {
            into.set("password", clear::handed_over(&value));
            api.metrics.revealed(ask.caller.actor_type(), "read");
        }
        Shown::Empty => into.set("password", Value::Null),
        Shown::Hidden => {}
    }
    Ok(())
}

impl Ask {
    /// As the operations on records know them.
    pub(super) fn asker(&self) -> Asker<'_> {
        Asker {
            caller: &self.caller,
            from: self.from,
            organizations: self.organizations(),
            password_access: self.reach.password_access,
        }
    }
}
