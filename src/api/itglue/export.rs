//! `exports`: files with passwords, ordered, looked at and fetched.
//!
//! A file is made when it is fetched, with the key that everything else needs: the URL alone opens
//! nothing.
//!
//! Invariant: nobody but an administrator learns of an order that is not theirs, and no answer but
//! the file itself holds a value.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::BASE;
use super::ask::Ask;
use super::body::Document;
use super::wire::{self, Included, Place, Resource, at};
use crate::api::error::{ApiError, Refusal};
use crate::api::passwordsafe::Segments;
use crate::api::record::export::{self, ExportError, Order, RECORDS_MAX};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::export::{Export, ORDERS_MAX, ZIP_PASSWORD_MAX_CHARS};
use crate::model::principal::Permission;

const WHAT: &str = "Export";
/// The type of the dialect.
const TYPE: &str = "exports";
/// Who orders files and fetches them: whoever sees some value.
const SEERS: &[Permission] = &[Permission::PasswordsReveal, Permission::CredentialsReveal];
/// Who looks at orders.
const READERS: &[Permission] = &[
    Permission::PasswordsRead,
    Permission::PasswordsReveal,
    Permission::CredentialsReveal,
];

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::ItGlue)
        .get("/exports", READERS, list)
        .post("/exports", SEERS, create)
        .get("/exports/{id}", READERS, show)
        .delete("/exports/{id}", READERS, delete)
        .get("/exports/{id}/download", SEERS, download)
}

/// An export as the dialect shows it.
fn resource(one: &Export, origin: &str) -> Resource {
    let organization = one.organization.as_ref();
    let attributes = json!({
        "organization-id": organization.map(|(id, _)| id.0),
        "organization-name": organization.map(|(_, name)| name),
        "include-logs": one.include_logs,
        "export-all": organization.is_none(),
        "encrypted-status": one.encrypted,
        // There is nothing to wait for: the file is made when it is fetched.
        "download-url": format!("{origin}{BASE}/exports/{}/download", one.id.0),
        "created-at": at(one.created_at),
        "updated-at": at(one.created_at),
    });
    Resource::new(TYPE, one.id.0, attributes)
}

async fn list(State(api): State<Api>, ask: Ask, place: Place) -> Result<Response, ApiError> {
    let mut found = export::all_seen(&api, ask.asker()).await?;
    if let Some(ids) = place.query.ids("filter[id]")? {
        found.retain(|one| ids.contains(&one.id.0));
    }
    if let Some(ids) = place.query.ids("filter[organization_id]")? {
        let of = |one: &Export| one.organization.as_ref().map(|(id, _)| id.0);
        found.retain(|one| of(one).is_some_and(|id| ids.contains(&id)));
    }
    let sorts = place
        .query
        .sort(&[("id", false), ("created_at", true), ("updated_at", true)]);
    for (by_time, reverse) in sorts.into_iter().rev() {
        found.sort_by(|one, other| {
            let order = if by_time {
                one.created_at.cmp(&other.created_at)
            } else {
                one.id.cmp(&other.id)
            };
            if reverse { order.reverse() } else { order }
        });
    }
    let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let page = place.part(found);
    let page: Vec<Resource> = page.iter().map(|one| resource(one, &ask.origin)).collect();
    Ok(place.listed(&page, total, &Included::default()))
}

/// The export that a path names.
async fn found(api: &Api, ask: &Ask, segments: &Segments) -> Result<Export, ApiError> {
    export::seen(api, ask.asker(), segments.id("id", WHAT)?).await
}

fn answer(status: StatusCode, one: &Export, ask: &Ask) -> Response {
    let shown = resource(one, &ask.origin);
    wire::one(status, &shown, &Included::default())
}

async fn show(State(api): State<Api>, ask: Ask, segments: Segments) -> Result<Response, ApiError> {
    let found = found(&api, &ask, &segments).await?;
    Ok(answer(StatusCode::OK, &found, &ask))
}

async fn create(
    State(api): State<Api>,
    ask: Ask,
    document: Document,
) -> Result<Response, ApiError> {
    let item = document.one(TYPE)?;
    let named = item.id_of("organization_id")?.value();
    let organization = match named.or_else(|| item.related_id("organization")) {
        Some(_) => Some(ask.organization_of(&api, None, &item).await?),
        None => None,
    };
    let wanted = Order {
        organization,
        include_logs: item.flag("include_logs")?.value().unwrap_or(false),
        zip_password: item.secret("zip_password", ZIP_PASSWORD_MAX_CHARS)?.value(),
    };
    let ordered = export::order(&api, ask.asker(), &wanted).await;
    let id = ordered.map_err(refused)?;
    let made = export::seen(&api, ask.asker(), id).await?;
    Ok(answer(StatusCode::CREATED, &made, &ask))
}

async fn delete(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let found = found(&api, &ask, &segments).await?;
    export::withdraw(&api, ask.asker(), &found).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn download(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
) -> Result<Response, ApiError> {
    let found = found(&api, &ask, &segments).await?;
    let fetched = export::fetch(&api, ask.asker(), &found).await;
    let bytes = fetched.map_err(refused)?;
    let name = format!("attachment; filename=\"export-{}.zip\"", found.id.0);
    let heads = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((heads, bytes).into_response())
}

/// What is in an export's way, as the dialect says it.
fn refused(error: ExportError) -> ApiError {
    match error {
        ExportError::TooMany(total) => {
            let text = format!(
                "{total} passwords are more than the {RECORDS_MAX} of one file: export the \
                 organizations one by one"
            );
            Refusal::unprocessable("Export too large", text).into()
        }
        ExportError::Orders => {
            let text = format!("{ORDERS_MAX} of your exports stand already: delete one first");
            Refusal::unprocessable("Too many exports", text).into()
        }
        ExportError::Api(error) => error,
    }
}
