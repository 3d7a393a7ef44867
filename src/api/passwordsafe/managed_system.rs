//! Managed systems.
//!
//! Invariant: an asset has one managed system at most, and answers with it, never with a list.

mod shape;

pub(super) use self::shape::Shape;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use self::shape::{RENAMED, overlay};
use super::wire::{LIST_LIMIT, created, list, named};
use super::workgroup::named_in;
use super::{Fields, Params, Segments, asset, functional_account};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::{Act, system};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::{PlatformId, SystemId};
use crate::model::principal::Permission::{SystemsRead, SystemsWrite};
use crate::model::system::{EntityType, System, SystemPlace, SystemSettings};
use crate::store::{Page, SystemFilter};

const GONE: ApiError = ApiError::NotFound {
    what: "Managed System",
};
const ID_MAX: i64 = 2_147_483_647;

pub(super) fn routes() -> Routes {
    const OF_ASSET: &str = "/assets/{id}/managedsystems";
    const OF_WORKGROUP: &str = "/workgroups/{workgroup}/managedsystems";
    Routes::new(Dialect::PasswordSafe)
        .get(OF_ASSET, SystemsRead, get_of_asset)
        .post(OF_ASSET, SystemsWrite, add_to_asset)
        .get(OF_WORKGROUP, SystemsRead, find_of_workgroup)
        .post(OF_WORKGROUP, SystemsWrite, add_to_workgroup)
        .get(
            "/functionalaccounts/{id}/managedsystems",
            SystemsRead,
            find_of_functional,
        )
        .get("/managedsystems", SystemsRead, find)
        .get("/managedsystems/{id}", SystemsRead, get)
        .put("/managedsystems/{id}", SystemsWrite, change)
        .delete("/managedsystems/{id}", SystemsWrite, remove)
}

/// The system that a path names by its ID.
pub(super) async fn existing(api: &Api, segments: &Segments) -> Result<System, ApiError> {
    let id: SystemId = segments.id("id", "Managed System")?;
    api.store.system(id).await?.ok_or(GONE)
}

/// A list, in its envelope if the client names a limit.
pub(super) async fn answer(
    api: &Api,
    filter: &SystemFilter,
    params: &Params,
) -> Result<Response, ApiError> {
    let page = params.page(LIST_LIMIT)?;
    let found = api.store.systems(filter, page.rows()).await?;
    let total = if page.limited {
        Some(api.store.count_systems(filter).await?)
    } else {
        None
    };
    Ok(list(
        found
            .into_iter()
            .map(|system| Shape::of(system, &api.platforms))
            .collect(),
        total,
    ))
}

async fn find(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let mut filter = SystemFilter {
        name: params.text("name").map(str::to_owned),
        ..SystemFilter::default()
    };
    if let Some(number) = params.int("type", 1..=4)? {
        filter.entity_type = EntityType::from_number(number);
        if filter.entity_type.is_none() {
            // Databases and clouds: the vendor has them, this service manages none.
            let page = params.page(LIST_LIMIT)?;
            return Ok(list(Vec::<Shape>::new(), page.limited.then_some(0)));
        }
    }
    answer(&api, &filter, &params).await
}

async fn find_of_workgroup(
    State(api): State<Api>,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let workgroup_id = Some(named_in(&api, &segments).await?.id);
    answer(
        &api,
        &SystemFilter {
            workgroup_id,
            ..SystemFilter::default()
        },
        &params,
    )
    .await
}

async fn find_of_functional(
    State(api): State<Api>,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let functional_account_id = Some(functional_account::existing(&api, &segments).await?.id);
    answer(
        &api,
        &SystemFilter {
            functional_account_id,
            ..SystemFilter::default()
        },
        &params,
    )
    .await
}

async fn get_of_asset(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let asset_id = Some(asset::existing(&api, &segments).await?.id);
    let filter = SystemFilter {
        asset_id,
        ..SystemFilter::default()
    };
    let found = api
        .store
        .systems(&filter, Page::first(1))
        .await?
        .pop()
        .ok_or(GONE)?;
    Ok(Json(Shape::of(found, &api.platforms)).into_response())
}

async fn get(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    Ok(Json(Shape::of(existing(&api, &segments).await?, &api.platforms)).into_response())
}

async fn add_to_asset(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let asset = asset::existing(&api, &segments).await?;
    let fields = fields?;
    let place = SystemPlace {
        entity_type: EntityType::Asset,
        asset_id: Some(asset.id),
        workgroup_id: asset.workgroup_id,
        platform_id: PlatformId(fields.required_int("PlatformID", 1..=ID_MAX)?),
    };
    let mut settings = SystemSettings::of_host(asset.settings.name);
    settings.dns_name = Some(asset.settings.dns_name).filter(|name| !name.is_empty());
    settings.ip_address = Some(asset.settings.ip_address);
    add(&api, &caller, place, settings, &fields).await
}

async fn add_to_workgroup(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let workgroup_id = named_in(&api, &segments).await?.id;
    let fields = fields?;
    let kind = fields.required_int("EntityTypeID", 1..=4)?;
    let place = SystemPlace {
        entity_type: EntityType::from_number(kind)
            .ok_or_else(|| ApiError::field("EntityTypeID", "must be 1 (asset) or 3 (directory)"))?,
        asset_id: None,
        workgroup_id,
        platform_id: PlatformId(fields.required_int("PlatformID", 1..=ID_MAX)?),
    };
    let settings = SystemSettings::of_host(fields.required_text("HostName", 128)?);
    add(&api, &caller, place, settings, &fields).await
}

async fn add(
    api: &Api,
    caller: &Caller,
    place: SystemPlace,
    mut settings: SystemSettings,
    fields: &Fields,
) -> Result<Response, ApiError> {
    settings.timeout_s = api.settings.target_timeout_s;
    overlay(fields, place, &mut settings)?;
    let act = Act::of(api, caller);
    let made = system::add(act, place, settings).await;
    Ok(created(Shape::of(named(made, &RENAMED)?, &api.platforms)))
}

async fn change(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let id = existing(&api, &segments).await?.id;
    let fields = fields?;
    let act = Act::of(&api, &caller);
    let changed = system::change(act, id, |settings, system| {
        overlay(&fields, system.place, settings)
    })
    .await;
    Ok(Json(Shape::of(named(changed, &RENAMED)?, &api.platforms)).into_response())
}

async fn remove(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let id = existing(&api, &segments).await?.id;
    system::remove(Act::of(&api, &caller), id).await?;
    Ok(StatusCode::OK)
}
