//! `password_folders`: flat and below an organization, one by one and in bulk.
//!
//! Invariant: a bulk call is one transaction, and nobody learns of a folder that they may not enter.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::ask::{Ask, named, renamed, unfit};
use super::body::{Document, Item, Sent};
use super::wire::{self, Included, Place, Resource, at};
use crate::api::error::{ApiError, Refusal};
use crate::api::inventory::password_folder as act;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::{OrganizationId, PasswordFolderId};
use crate::model::password_category::NAME_MAX_CHARS;
use crate::model::password_folder::PasswordFolder;
use crate::model::principal::Permission;
use crate::store::FolderFields;

const WHAT: &str = "Password folder";
const MISSING: ApiError = ApiError::NotFound { what: WHAT };
const INVALID: &str = "Invalid folder";
const NESTED: &str = "/organizations/{oid}/relationships/password_folders";
const NESTED_ONE: &str = "/organizations/{oid}/relationships/password_folders/{id}";
/// The type of the dialect, as bodies spell it once they are read.
const TYPE: &str = "password_folders";

pub(super) fn routes() -> Routes {
    let (read, write) = (Permission::PasswordsRead, Permission::PasswordsWrite);
    Routes::new(Dialect::ItGlue)
        .get("/password_folders", read, list)
        .post("/password_folders", write, create)
        .patch("/password_folders", write, edit_all)
        .get(NESTED, read, list_within)
        .post(NESTED, write, create_within)
        .delete(NESTED, write, delete_all)
        .get(NESTED_ONE, read, show)
        .patch(NESTED_ONE, write, edit)
        .delete(NESTED_ONE, write, delete)
}

/// A folder as the dialect shows it.
pub(super) fn resource(one: &PasswordFolder) -> Resource {
    let attributes = json!({
        "organization-id": one.organization_id.0,
        "name": one.name,
        "parent-id": one.parent_id.map(|id| id.0),
        "restricted": one.restricted,
        "created-at": at(one.created_at),
        "updated-at": at(one.updated_at),
    });
    Resource::new("password-folders", one.id.0, attributes)
}

/// Those of some folders that the caller may enter.
async fn entered(
    api: &Api,
    ask: &Ask,
    mut found: Vec<PasswordFolder>,
) -> Result<Vec<PasswordFolder>, ApiError> {
    let mut gates = BTreeMap::new();
    for gate in found.iter().filter_map(|one| one.gate_id) {
        if let Entry::Vacant(unknown) = gates.entry(gate) {
            let may = match act::enter(api, &ask.caller, gate).await {
                Ok(()) => true,
                Err(ApiError::Forbidden) => false,
                Err(other) => return Err(other),
            };
            unknown.insert(may);
        }
    }
    let may = |gate| gates.get(&gate).copied().unwrap_or(false);
    found.retain(|one| one.gate_id.is_none_or(may));
    Ok(found)
}

async fn list(State(api): State<Api>, ask: Ask, place: Place) -> Result<Response, ApiError> {
    let mut found = api.store.password_folders(None).await?;
    found.retain(|one| ask.reach.holds(one.organization_id));
    listed(&api, &ask, &place, found).await
}

async fn list_within(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    place: Place,
) -> Result<Response, ApiError> {
    let within = ask.within(&api, &segments).await?.id;
    let found = api.store.password_folders(Some(within)).await?;
    listed(&api, &ask, &place, found).await
}

async fn listed(
    api: &Api,
    ask: &Ask,
    place: &Place,
    found: Vec<PasswordFolder>,
) -> Result<Response, ApiError> {
    let mut found = entered(api, ask, found).await?;
    let query = &place.query;
    if let Some(ids) = query.ids("filter[id]")? {
        found.retain(|one| ids.contains(&one.id.0));
    }
    if let Some(ids) = query.ids("filter[organization_id]")? {
        found.retain(|one| ids.contains(&one.organization_id.0));
    }
    if let Some(ids) = query.ids("filter[parent_id]")? {
        found.retain(|one| one.parent_id.is_some_and(|id| ids.contains(&id.0)));
    }
    if let Some(names) = query.any_of("filter[name]")? {
        let names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        found.retain(|one| names.contains(&one.name.to_lowercase()));
    }
    let sorts = query.sort(&[("name", true), ("id", false)]);
    for (by_name, reverse) in sorts.into_iter().rev() {
        if by_name {
            found.sort_by_key(|one| one.name.to_lowercase());
        } else {
            found.sort_by_key(|one| one.id);
        }
        if reverse {
            found.reverse();
        }
    }
    let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let page: Vec<Resource> = place.part(found).iter().map(resource).collect();
    Ok(place.listed(&page, total, &Included::default()))
}

/// A folder that the caller may enter; `within`: of this organization.
async fn reached(
    api: &Api,
    ask: &Ask,
    id: PasswordFolderId,
    within: Option<OrganizationId>,
) -> Result<PasswordFolder, ApiError> {
    let found = api.store.password_folder(id).await?.ok_or(MISSING)?;
    if within.is_some_and(|within| within != found.organization_id) {
        return Err(MISSING);
    }
    ask.reaches(found.organization_id)?;
    act::enter(api, &ask.caller, id).await?;
    Ok(found)
}

/// The folder that a nested path names.
async fn within(api: &Api, ask: &Ask, segments: &Segments) -> Result<PasswordFolder, ApiError> {
    let organization = ask.within(api, segments).await?.id;
    let id = segments.id("id", WHAT)?;
    reached(api, ask, id, Some(organization)).await
}

async fn show(State(api): State<Api>, ask: Ask, segments: Segments) -> Result<Response, ApiError> {
    let found = within(&api, &ask, &segments).await?;
    Ok(wire::one(
        StatusCode::OK,
        &resource(&found),
        &Included::default(),
    ))
}

/// The folders of these ids as they are now, in that order.
async fn shown(api: &Api, ids: &[PasswordFolderId]) -> Result<Vec<Resource>, ApiError> {
    let mut shown = Vec::with_capacity(ids.len());
    for id in ids {
        let found = api.store.password_folder(*id).await?.ok_or(MISSING)?;
        shown.push(resource(&found));
    }
    Ok(shown)
}

/// One resource, or as many as were sent.
fn answer(status: StatusCode, shown: &[Resource], many: bool) -> Response {
    match shown {
        [one] if !many => wire::one(status, one, &Included::default()),
        all => wire::several(status, all, &Included::default()),
    }
}

async fn create(
    State(api): State<Api>,
    ask: Ask,
    document: Document,
) -> Result<Response, ApiError> {
    made(&api, &ask, None, document).await
}

async fn create_within(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    document: Document,
) -> Result<Response, ApiError> {
    let within = ask.within(&api, &segments).await?.id;
    made(&api, &ask, Some(within), document).await
}

async fn made(
    api: &Api,
    ask: &Ask,
    within: Option<OrganizationId>,
    document: Document,
) -> Result<Response, ApiError> {
    let (items, many) = document.all(TYPE)?;
    let mut wanted = Vec::with_capacity(items.len());
    for item in &items {
        let organization = ask.organization_of(api, within, item).await?;
        let fields = FolderFields {
            name: named(item, NAME_MAX_CHARS)?,
            parent_id: parent(api, ask, organization, item).await?.value(),
            restricted: item.flag("restricted")?.value().unwrap_or(false),
        };
        wanted.push((item, organization, fields));
    }
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    let mut ids = Vec::with_capacity(wanted.len());
    for (item, organization, fields) in &wanted {
        let added = act::add(&mut tx, &ask.caller, (*organization, fields), now).await;
        ids.push(added.map_err(|error| unfit(error, INVALID, item, "name"))?);
    }
    tx.commit().await?;
    Ok(answer(StatusCode::CREATED, &shown(api, &ids).await?, many))
}

/// The parent that an item names, under either of its names; two parents are refused, since only one
/// can be meant.
async fn parent(
    api: &Api,
    ask: &Ask,
    organization: OrganizationId,
    item: &Item,
) -> Result<Sent<PasswordFolderId>, ApiError> {
    let other = item.id_of("parent_folder_id")?;
    let (name, sent) = match (item.id_of("parent_id")?, other) {
        (Sent::Absent, other) => ("parent_folder_id", other),
        (sent, Sent::Absent | Sent::Null) => ("parent_id", sent),
        (sent, other) if sent == other => ("parent_id", sent),
        (Sent::Null | Sent::Value(_), Sent::Value(_)) => {
            let text = "says another than parent_id: send one of them";
            let refusal = Refusal::unprocessable(INVALID, text);
            return Err(refusal.at(&item.pointer("parent_folder_id")).into());
        }
    };
    let id = match sent {
        Sent::Absent => return Ok(Sent::Absent),
        Sent::Null => return Ok(Sent::Null),
        Sent::Value(id) => PasswordFolderId(id),
    };
    let found = api.store.password_folder(id).await?;
    if found.is_none_or(|found| found.organization_id != organization) {
        let text = "there is no such folder in the organization";
        let refusal = Refusal::unprocessable(INVALID, text);
        return Err(refusal.at(&item.pointer(name)).into());
    }
    act::enter(api, &ask.caller, id).await?;
    Ok(Sent::Value(id))
}

async fn edit(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    document: Document,
) -> Result<Response, ApiError> {
    let found = within(&api, &ask, &segments).await?;
    let item = document.one(TYPE)?;
    edited(&api, &ask, vec![(found, item)], false).await
}

async fn edit_all(
    State(api): State<Api>,
    ask: Ask,
    document: Document,
) -> Result<Response, ApiError> {
    let (items, _) = document.all(TYPE)?;
    let mut wanted = Vec::with_capacity(items.len());
    for item in items {
        let found = reached(&api, &ask, id_of(&item)?, None).await?;
        wanted.push((found, item));
    }
    edited(&api, &ask, wanted, true).await
}

/// The id that an item of a bulk call must have.
fn id_of(item: &Item) -> Result<PasswordFolderId, ApiError> {
    let id = item.id.map(PasswordFolderId);
    id.ok_or_else(|| item.fault("id", "is required"))
}

async fn edited(
    api: &Api,
    ask: &Ask,
    items: Vec<(PasswordFolder, Item)>,
    many: bool,
) -> Result<Response, ApiError> {
    let mut wanted = Vec::with_capacity(items.len());
    for (folder, item) in items {
        let sent = parent(api, ask, folder.organization_id, &item).await?;
        let fields = FolderFields {
            name: renamed(&item, NAME_MAX_CHARS)?.unwrap_or_else(|| folder.name.clone()),
            parent_id: match sent {
                Sent::Absent => folder.parent_id,
                Sent::Null => None,
                Sent::Value(id) => Some(id),
            },
            restricted: item
                .flag("restricted")?
                .value()
                .unwrap_or(folder.restricted),
        };
        let readers = api.store.readers_of_folder(folder.id).await?;
        wanted.push((folder, item, fields, readers));
    }
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    for (folder, item, fields, readers) in &wanted {
        let done = act::edit(&mut tx, &ask.caller, (folder, fields, readers), now).await;
        done.map_err(|error| unfit(error, INVALID, item, "parent_id"))?;
    }
    tx.commit().await?;
    let ids: Vec<_> = wanted.iter().map(|(folder, ..)| folder.id).collect();
    Ok(answer(StatusCode::OK, &shown(api, &ids).await?, many))
}

async fn delete(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let found = within(&api, &ask, &segments).await?;
    deleted(&api, &ask, &[(found, Item::default())]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_all(
    State(api): State<Api>,
    ask: Ask,
    segments: Segments,
    document: Document,
) -> Result<Response, ApiError> {
    let organization = ask.within(&api, &segments).await?.id;
    let (items, _) = document.all(TYPE)?;
    let mut wanted = Vec::with_capacity(items.len());
    for item in items {
        let found = reached(&api, &ask, id_of(&item)?, Some(organization)).await?;
        wanted.push((found, item));
    }
    deleted(&api, &ask, &wanted).await?;
    let gone: Vec<Resource> = wanted.iter().map(|(one, _)| resource(one)).collect();
    Ok(wire::several(StatusCode::OK, &gone, &Included::default()))
}

async fn deleted(api: &Api, ask: &Ask, wanted: &[(PasswordFolder, Item)]) -> Result<(), ApiError> {
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    // The lowest first, so that a tree goes whole.
    let mut order: Vec<&(PasswordFolder, Item)> = wanted.iter().collect();
    let parents: BTreeMap<_, _> = wanted
        .iter()
        .map(|(one, _)| (one.id, one.parent_id))
        .collect();
    order.sort_by_key(|(one, _)| std::cmp::Reverse(depth(&parents, one.id)));
    for (folder, item) in order {
        let done = act::delete(&mut tx, &ask.caller, folder, now).await;
        done.map_err(|error| unfit(error, "Folder is not empty", item, "id"))?;
    }
    tx.commit().await?;
    Ok(())
}

/// How many of the folders above one are among those named.
fn depth(
    parents: &BTreeMap<PasswordFolderId, Option<PasswordFolderId>>,
    id: PasswordFolderId,
) -> usize {
    let parent = |id: &PasswordFolderId| parents.get(id).copied().flatten();
    std::iter::successors(parent(&id), parent)
        .take(parents.len())
        .count()
}
