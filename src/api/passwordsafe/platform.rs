//! Platforms, the vendor's kinds of systems, and which version of the vendor's API this is.
//!
//! Invariant: a platform that only tests use is never listed.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wire::{LIST_LIMIT, list, part};
use super::{Params, Segments};
use crate::api::error::ApiError;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::platform::Platform;
use crate::model::principal::Permission;

/// Reading systems or accounts opens the lists that both refer to.
pub(in crate::api) const EITHER: &[Permission] =
    &[Permission::SystemsRead, Permission::AccountsRead];

/// The vendor's release whose API this dialect follows.
const VERSION: &str = "24.3.0";

/// The vendor's kinds of systems. Only assets and directories can be managed.
const ENTITY_TYPES: [EntityType; 4] = [
    EntityType {
        id: 1,
        name: "Asset",
        description: "Machine",
    },
    EntityType {
        id: 2,
        name: "Database",
        description: "Database; not managed here",
    },
    EntityType {
        id: 3,
        name: "Directory",
        description: "Directory",
    },
    EntityType {
        id: 4,
        name: "Cloud",
        description: "Cloud service; not managed here",
    },
];

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::PasswordSafe)
        .get("/configuration/version", Need::SignedIn, version)
        .get("/platforms", EITHER, platforms)
        .get("/entitytypes", EITHER, entity_types)
        .get("/entitytypes/{id}/platforms", EITHER, platforms_of)
}

#[derive(Serialize, ToSchema)]
#[schema(as = EntityType)]
pub(super) struct EntityType {
    #[serde(rename = "EntityTypeID")]
    id: i64,
    #[serde(rename = "Name")]
    name: &'static str,
    #[serde(rename = "Description")]
    description: &'static str,
}

/// `Platform`.
#[derive(Serialize, ToSchema)]
#[schema(as = Platform)]
#[serde(rename_all = "PascalCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the vendor's record is made of flags"
)]
pub(super) struct Shape {
    #[serde(rename = "PlatformID")]
    platform_id: i64,
    name: String,
    short_name: String,
    port_flag: bool,
    default_port: Option<u16>,
    supports_elevation_flag: bool,
    domain_name_flag: bool,
    auto_management_flag: bool,
    #[serde(rename = "DSSAutoManagementFlag")]
    dss_auto_management_flag: bool,
    manageable_flag: bool,
    #[serde(rename = "DSSFlag")]
    dss_flag: bool,
    login_account_flag: bool,
    default_session_type: Option<&'static str>,
    application_host_flag: bool,
    requires_application_host: bool,
    #[serde(rename = "RequiresTenantID")]
    requires_tenant_id: bool,
    #[serde(rename = "RequiresObjectID")]
    requires_object_id: bool,
    requires_secret: bool,
}

impl From<&Platform> for Shape {
    fn from(platform: &Platform) -> Self {
        Self {
            platform_id: platform.id.0,
            name: platform.name.clone().into_owned(),
            short_name: platform.short_name.clone().into_owned(),
            port_flag: true,
            default_port: Some(platform.default_port),
            supports_elevation_flag: platform.supports_elevation,
            domain_name_flag: platform.domain_name,
            auto_management_flag: true,
            dss_auto_management_flag: platform.ssh_keys,
            manageable_flag: true,
            dss_flag: platform.ssh_keys,
            login_account_flag: false,
            default_session_type: platform.session_type,
            application_host_flag: false,
            requires_application_host: false,
            requires_tenant_id: false,
            requires_object_id: false,
            requires_secret: false,
        }
    }
}

async fn version(State(_): State<Api>) -> Json<Value> {
    Json(json!({"Version": VERSION}))
}

async fn platforms(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let page = params.page(LIST_LIMIT)?;
    Ok(list(
        part(api.platforms.listed().map(Shape::from), page),
        None,
    ))
}

async fn entity_types(State(_): State<Api>, params: Params) -> Result<Response, ApiError> {
    let page = params.page(LIST_LIMIT)?;
    Ok(Json(part(ENTITY_TYPES.into_iter(), page)).into_response())
}

async fn platforms_of(
    State(api): State<Api>,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let id: i64 = segments.id("id", "Entity Type")?;
    if ENTITY_TYPES.iter().all(|kind| kind.id != id) {
        return Err(ApiError::NotFound {
            what: "Entity Type",
        });
    }
    let page = params.page(LIST_LIMIT)?;
    let of_it = api
        .platforms
        .listed()
        .filter(|platform| platform.entity_type == id);
    Ok(list(part(of_it.map(Shape::from), page), None))
}
