//! Records made, edited and deleted, one by one and in bulk.
//!
//! Invariant: a bulk call is checked whole before anything is written, and a mistyped filter never
//! widens what is deleted.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::sent::{self, New, refusal, refused};
use super::shape::resource;
use super::{TYPE, WHAT, filter, found, value};
use crate::api::Api;
use crate::api::error::{ApiError, Refusal};
use crate::api::itglue::ask::Ask;
use crate::api::itglue::body::{Document, Item};
use crate::api::itglue::query::Query;
use crate::api::itglue::wire::{self, Included, Resource};
use crate::api::passwordsafe::Segments;
use crate::api::record::{self, Change};
use crate::model::id::{OrganizationId, PasswordRecordId};
use crate::model::password_record::PasswordRecord;
use crate::model::reveal::AccessMethod;
use crate::store::Page;

/// Records of one bulk call.
const BULK_MAX: i64 = 1_000;

/// The answer to what was written.
async fn answer(
    api: &Api,
    ask: &Ask,
    records: &[PasswordRecord],
    (status, many): (StatusCode, bool),
    shows: Option<AccessMethod>,
) -> Result<Response, ApiError> {
    let mut all: Vec<Resource> = Vec::with_capacity(records.len());
    for record in records {
        let mut one = resource(record, &ask.origin);
        if let Some(method) = shows {
            // What was written stays so; whoever may not see it reads it without its value.
            match value(api, ask, record, (method, None), &mut one).await {
                Ok(()) | Err(ApiError::Forbidden) => {}
                Err(other) => return Err(other),
            }
        }
        all.push(one);
    }
    Ok(match all.as_slice() {
        [one] if !many => wire::one(status, one, &Included::default()),
        all => wire::several(status, all, &Included::default()),
    })
}

/// The way of a reveal, if the call asks for one.
fn shows(query: &Query, method: AccessMethod) -> Option<AccessMethod> {
    query
        .flag("show_password")
        .unwrap_or(false)
        .then_some(method)
}

pub(super) async fn create(
    State(api): State<Api>,
    ask: Ask,
    query: Query,
    document: Document,
) -> Result<Response, ApiError> {
    made(&api, &ask, None, &query, document).await
}

pub(super) async fn create_within(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    query: Query,
    document: Document,
) -> Result<Response, ApiError> {
    let within = ask.within(&api, &segments).await?.id;
    made(&api, &ask, Some(within), &query, document).await
}

async fn made(
    api: &Api,
    ask: &Ask,
    within: Option<OrganizationId>,
    query: &Query,
    document: Document,
) -> Result<Response, ApiError> {
    let (items, many) = document.all(TYPE)?;
    let mut drafts = Vec::with_capacity(items.len());
    let mut values = Vec::with_capacity(items.len());
    let mut paths = Vec::with_capacity(items.len());
    for item in &items {
        let New {
            draft,
            path,
            linked_value,
        } = sent::new(api, ask, within, item).await?;
        if linked_value.is_some() && !ask.reach.password_access {
            return Err(ApiError::Forbidden);
        }
        drafts.push(draft);
        values.push(linked_value);
        paths.push(path);
    }
    for ((item, draft), path) in items.iter().zip(&mut drafts).zip(paths) {
        if let Some(path) = path {
            let of = draft.organization_id;
            let folder = record::ensured(api, ask.asker(), of, &path).await;
            draft.fields.folder_id = folder.map_err(|error| refused(error, item))?;
        }
    }
    let made = record::create_all(api, ask.asker(), &drafts).await;
    let made = made.map_err(|(nth, error)| of_item(error, &items, nth))?;
    let ids: Vec<_> = made.iter().map(|record| record.id).collect();
    let (mut changes, mut places) = (Vec::new(), Vec::new());
    for (nth, (record, value)) in made.into_iter().zip(values).enumerate() {
        if value.is_some() {
            places.push(nth);
            changes.push(Change {
                value,
                ..Change::of(record)
            });
        }
    }
    rotated(api, ask, (&items, &ids), (changes, places)).await?;
    let records = api.store.password_records_by_id(&ids).await?;
    let shows = shows(query, AccessMethod::ApiCreate);
    answer(api, ask, &records, (StatusCode::CREATED, many), shows).await
}

/// Gives new links the values that came with them. What could not be rotated is not made.
async fn rotated(
    api: &Api,
    ask: &Ask,
    (items, ids): (&[Item], &[PasswordRecordId]),
    (changes, places): (Vec<Change>, Vec<usize>),
) -> Result<(), ApiError> {
    let place = |nth: usize| places.get(nth).copied().unwrap_or_default();
    let (gone, error) = match record::change_all(api, ask.asker(), changes).await {
        Ok(failed) => {
            let (mut gone, mut refusals) = (Vec::new(), Vec::new());
            for (nth, error) in failed {
                let nth = place(nth);
                if !matches!(error, record::RecordError::RotationPending(_)) {
                    gone.extend(ids.get(nth).copied());
                }
                let item = items
                    .get(nth)
                    .ok_or(ApiError::Internal("an item is gone"))?;
                refusals.push(refusal(error, item)?);
            }
            if refusals.is_empty() {
                return Ok(());
            }
            (gone, ApiError::Refused(refusals))
        }
        // Not one was rotated: nothing of the call stays.
        Err((nth, error)) => (ids.to_vec(), of_item(error, items, place(nth))),
    };
    deleted(api, ask, &gone).await?;
    Err(error)
}

/// What stood in the way of one of several items.
fn of_item(error: record::RecordError, items: &[Item], nth: usize) -> ApiError {
    match items.get(nth) {
        Some(item) => refused(error, item),
        None => error.into(),
    }
}

pub(super) async fn edit(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    query: Query,
    document: Document,
) -> Result<Response, ApiError> {
    let record = found(&api, &ask, segments.id("id", WHAT)?, None).await?;
    edited(&api, &ask, record, &query, document).await
}

pub(super) async fn edit_within(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    query: Query,
    document: Document,
) -> Result<Response, ApiError> {
    let within = ask.within(&api, &segments).await?.id;
    let id = segments.id("id", WHAT)?;
    let record = found(&api, &ask, id, Some(within)).await?;
    edited(&api, &ask, record, &query, document).await
}

async fn edited(
    api: &Api,
    ask: &Ask,
    record: PasswordRecord,
    query: &Query,
    document: Document,
) -> Result<Response, ApiError> {
    let item = document.one(TYPE)?;
    let change = sent::change(api, ask, record, &item).await?;
    let record = record::change(api, ask.asker(), change).await;
    let record = record.map_err(|error| refused(error, &item))?;
    let shows = shows(query, AccessMethod::ApiUpdate);
    answer(api, ask, &[record], (StatusCode::OK, false), shows).await
}

pub(super) async fn edit_all(
    State(api): State<Api>,
    ask: Ask,
    query: Query,
    document: Document,
) -> Result<Response, ApiError> {
    if !ask.reach.password_access {
        let refusal = Refusal {
            status: StatusCode::FORBIDDEN,
            ..Refusal::unprocessable(
                "Cannot PATCH Password in bulk",
                "the key has no password access",
            )
        };
        return Err(refusal.into());
    }
    let (items, _) = document.all(TYPE)?;
    let mut changes = Vec::with_capacity(items.len());
    let mut ids = Vec::with_capacity(items.len());
    for item in &items {
        let id = id_of(item)?;
        let record = found(&api, &ask, id, None).await?;
        changes.push(sent::change(&api, &ask, record, item).await?);
        ids.push(id);
    }
    let failed = record::change_all(&api, ask.asker(), changes).await;
    let failed = failed.map_err(|(nth, error)| of_item(error, &items, nth))?;
    let mut refusals = Vec::with_capacity(failed.len());
    for (nth, error) in failed {
        match items.get(nth) {
            Some(item) => refusals.push(refusal(error, item)?),
            None => return Err(error.into()),
        }
    }
    if !refusals.is_empty() {
        return Err(ApiError::Refused(refusals));
    }
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        records.push(found(&api, &ask, id, None).await?);
    }
    let shows = shows(&query, AccessMethod::ApiBulkUpdate);
    answer(&api, &ask, &records, (StatusCode::OK, true), shows).await
}

/// The id that an item of a bulk call must have.
fn id_of(item: &Item) -> Result<PasswordRecordId, ApiError> {
    let id = item.id.map(PasswordRecordId);
    id.ok_or_else(|| item.fault("id", "is required"))
}

pub(super) async fn delete(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    deleted(&api, &ask, &[segments.id("id", WHAT)?]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One record without a body; with an array of them those.
pub(super) async fn delete_within(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    document: Document,
) -> Result<Response, ApiError> {
    let within = ask.within(&api, &segments).await?.id;
    if let Document::Many(_) = document {
        return several(&api, &ask, Some(within), document).await;
    }
    let record = found(&api, &ask, segments.id("id", WHAT)?, Some(within)).await?;
    deleted(&api, &ask, &[record.id]).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn delete_all(
    State(api): State<Api>,
    ask: Ask,
    query: Query,
    document: Document,
) -> Result<Response, ApiError> {
    bulk(&api, &ask, None, &query, document).await
}

pub(super) async fn delete_all_within(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    query: Query,
    document: Document,
) -> Result<Response, ApiError> {
    let within = ask.within(&api, &segments).await?.id;
    bulk(&api, &ask, Some(within), &query, document).await
}

/// Deletes what an array names, or what filters pass.
async fn bulk(
    api: &Api,
    ask: &Ask,
    within: Option<OrganizationId>,
    query: &Query,
    document: Document,
) -> Result<Response, ApiError> {
    let filters: Vec<&str> = query.filters().collect();
    match (document.is_empty(), filters.is_empty()) {
        (false, true) => return several(api, ask, within, document).await,
        (true, false) => {}
        (false, false) => {
            return Err(ApiError::bad(
                "Send an array of records or filters, not both: nothing was deleted",
            ));
        }
        (true, true) => {
            return Err(ApiError::bad(
                "Send an array of records, or filters: nothing was deleted",
            ));
        }
    }
    for name in filters {
        if !filter::is_known(name) || !query.narrows(name) {
            return Err(ApiError::bad(
                "One of the filters is unknown or has no value: nothing was deleted",
            ));
        }
    }
    let filter = filter::read(query, ask.asker(), within, api.clock.now())?;
    let page = Page::first(BULK_MAX);
    let (records, total) = api.store.password_records(&filter, &[], page).await?;
    if total > BULK_MAX {
        let text = format!(
            "{total} records pass the filters, and at most {BULK_MAX} are deleted at once: nothing was deleted"
        );
        return Err(ApiError::bad(text));
    }
    let ids: Vec<_> = records.iter().map(|record| record.id).collect();
    gone(api, ask, &ids).await
}

/// Deletes what an array names.
async fn several(
    api: &Api,
    ask: &Ask,
    within: Option<OrganizationId>,
    document: Document,
) -> Result<Response, ApiError> {
    let (items, _) = document.all(TYPE)?;
    let mut ids = Vec::with_capacity(items.len());
    for item in &items {
        let record = found(api, ask, id_of(item)?, within).await?;
        if !ids.contains(&record.id) {
            ids.push(record.id);
        }
    }
    gone(api, ask, &ids).await
}

async fn gone(api: &Api, ask: &Ask, ids: &[PasswordRecordId]) -> Result<Response, ApiError> {
    let records = deleted(api, ask, ids).await?;
    answer(api, ask, &records, (StatusCode::OK, true), None).await
}

async fn deleted(
    api: &Api,
    ask: &Ask,
    ids: &[PasswordRecordId],
) -> Result<Vec<PasswordRecord>, ApiError> {
    let gone = record::delete_all(api, ask.asker(), ids).await;
    gone.map_err(|(_, error)| error.into())
}
