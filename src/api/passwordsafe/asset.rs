//! Assets: machines, by workgroup.
//!
//! Invariant: a name that stands for one asset answers with that asset or 404, never a list.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::wire::{LIST_LIMIT, Overlay, created, date, list, named};
use super::workgroup::named_in;
use super::{Fields, Params, Segments};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::{Act, asset};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::asset::{Asset, AssetSettings};
use crate::model::id::AssetId;
use crate::model::principal::Permission;
use crate::store::AssetFilter;

const GONE: ApiError = ApiError::NotFound { what: "Asset" };
const RENAMED: [(&str, &str); 1] = [("name", "AssetName")];

pub(super) fn routes() -> Routes {
    const OF_WORKGROUP: &str = "/workgroups/{workgroup}/assets";
    Routes::new(Dialect::PasswordSafe)
        .get(OF_WORKGROUP, Permission::AssetsRead, find)
        .post(OF_WORKGROUP, Permission::AssetsWrite, add)
        .delete(OF_WORKGROUP, Permission::AssetsWrite, remove_named)
        .get("/assets/{id}", Permission::AssetsRead, get)
        .put("/assets/{id}", Permission::AssetsWrite, change)
        .delete("/assets/{id}", Permission::AssetsWrite, remove)
        .post("/assets/search", Permission::AssetsRead, search)
}

/// `Asset`.
#[derive(Serialize, ToSchema)]
#[schema(as = Asset)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shape {
    #[serde(rename = "WorkgroupID")]
    workgroup_id: i64,
    #[serde(rename = "AssetID")]
    asset_id: i64,
    asset_name: String,
    dns_name: String,
    domain_name: String,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    mac_address: String,
    asset_type: String,
    operating_system: String,
    description: String,
    create_date: String,
    last_update_date: String,
}

impl From<Asset> for Shape {
    fn from(asset: Asset) -> Self {
        let settings = asset.settings;
        Self {
            workgroup_id: asset.workgroup_id.0,
            asset_id: asset.id.0,
            asset_name: settings.name,
            dns_name: settings.dns_name,
            domain_name: settings.domain_name,
            ip_address: settings.ip_address,
            mac_address: settings.mac_address,
            asset_type: settings.asset_type,
            operating_system: settings.operating_system,
            description: settings.description,
            create_date: date(asset.created_at),
            last_update_date: date(asset.updated_at),
        }
    }
}

fn overlay(fields: &Fields, settings: &mut AssetSettings) -> Result<(), ApiError> {
    let given = Overlay(fields);
    given.text("IPAddress", &mut settings.ip_address)?;
    given.text("AssetName", &mut settings.name)?;
    given.text("DnsName", &mut settings.dns_name)?;
    given.text("DomainName", &mut settings.domain_name)?;
    given.text("MacAddress", &mut settings.mac_address)?;
    given.text("AssetType", &mut settings.asset_type)?;
    given.text("OperatingSystem", &mut settings.operating_system)?;
    given.text("Description", &mut settings.description)
}

/// The asset that a path names by its ID.
pub(super) async fn existing(api: &Api, segments: &Segments) -> Result<Asset, ApiError> {
    let id: AssetId = segments.id("id", "Asset")?;
    api.store.asset(id).await?.ok_or(GONE)
}

async fn find(
    State(api): State<Api>,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let workgroup = named_in(&api, &segments).await?.id;
    if let Some(name) = params.text("name") {
        let found = api.store.asset_named(workgroup, name).await?.ok_or(GONE)?;
        return Ok(Json(Shape::from(found)).into_response());
    }
    let filter = AssetFilter {
        workgroup_id: Some(workgroup),
        ..AssetFilter::default()
    };
    answer(&api, &filter, &params).await
}

/// A list, in its envelope if the client names a limit.
pub(super) async fn answer(
    api: &Api,
    filter: &AssetFilter,
    params: &Params,
) -> Result<Response, ApiError> {
    let page = params.page(LIST_LIMIT)?;
    let found = api.store.assets(filter, page.rows()).await?;
    let total = if page.limited {
        Some(api.store.count_assets(filter).await?)
    } else {
        None
    };
    Ok(list(found.into_iter().map(Shape::from).collect(), total))
}

async fn search(
    State(api): State<Api>,
    params: Params,
    fields: Fields,
) -> Result<Response, ApiError> {
    let filter = AssetFilter {
        workgroup_id: None,
        name: fields.text("AssetName", 128)?,
        dns_name: fields.text("DnsName", 255)?,
        domain_name: fields.text("DomainName", 64)?,
        ip_address: fields.text("IPAddress", 45)?,
        mac_address: fields.text("MacAddress", 128)?,
        asset_type: fields.text("AssetType", 64)?,
        rule_id: None,
    };
    if filter == AssetFilter::default() {
        return Err(ApiError::bad(
            "Give at least one of AssetName, DnsName, DomainName, IPAddress, MacAddress, AssetType",
        ));
    }
    answer(&api, &filter, &params).await
}

async fn get(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    Ok(Json(Shape::from(existing(&api, &segments).await?)).into_response())
}

async fn add(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let workgroup = named_in(&api, &segments).await?.id;
    let mut settings = AssetSettings::default();
    overlay(&fields?, &mut settings)?;
    let act = Act::of(&api, &caller);
    let made = asset::add(act, workgroup, settings).await;
    Ok(created(Shape::from(named(made, &RENAMED)?)))
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
    let changed = asset::change(act, id, |settings| overlay(&fields, settings)).await;
    Ok(Json(Shape::from(named(changed, &RENAMED)?)).into_response())
}

async fn remove(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let id = existing(&api, &segments).await?.id;
    asset::remove(Act::of(&api, &caller), id).await?;
    Ok(StatusCode::OK)
}

async fn remove_named(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let workgroup = named_in(&api, &segments).await?.id;
    let name = params.required("name")?;
    let id = api
        .store
        .asset_named(workgroup, name)
        .await?
        .ok_or(GONE)?
        .id;
    asset::remove(Act::of(&api, &caller), id).await?;
    Ok(StatusCode::OK)
}
