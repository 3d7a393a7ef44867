//! `/api/v1/platforms`: the kinds of systems that can be managed.
//!
//! Invariant: a platform that only tests use is never listed.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::api::passwordsafe::EITHER;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::platform::Platform;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native).get("/api/v1/platforms", EITHER, list)
}

/// Every platform.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlatformList {
    items: Vec<PlatformAnswer>,
}

/// A platform.
#[derive(Debug, Serialize, ToSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a platform is described by what it has"
)]
pub(super) struct PlatformAnswer {
    /// The vendor's number; 1001 to 1999 where the vendor has none, 10000 to 19999 for an
    /// operator's own.
    id: i64,
    name: String,
    /// Of a definition its id.
    short_name: String,
    /// `ssh`, `ldap` or `dialogue`: who changes credentials there.
    connector: &'static str,
    /// TCP port of systems that name none.
    default_port: u16,
    /// `EntityTypeID` of its systems: 1 asset, 3 directory.
    entity_type: i64,
    /// Its accounts may have SSH keys beside passwords.
    ssh_keys: bool,
    /// Functional accounts may log in by SSH key.
    functional_keys: bool,
    /// Functional accounts may have an enable secret.
    enable_secret: bool,
    /// Functional accounts may raise their rights by a command.
    elevation: bool,
    /// Accounts can change themselves.
    own_credentials: bool,
}

impl From<&Platform> for PlatformAnswer {
    fn from(platform: &Platform) -> Self {
        Self {
            id: platform.id.0,
            name: platform.name.clone().into_owned(),
            short_name: platform.short_name.clone().into_owned(),
            connector: platform.connector.as_str(),
            default_port: platform.default_port,
            entity_type: platform.entity_type,
            ssh_keys: platform.ssh_keys,
            functional_keys: platform.connector.takes_keys(),
            enable_secret: platform.enable_secret,
            elevation: platform.supports_elevation,
            own_credentials: platform.changes_own(),
        }
    }
}

/// Platforms, by id. The list is as long as the definitions are many, and has no pages.
#[utoipa::path(
    get, path = "/api/v1/platforms", tag = "platforms",
    responses((status = 200, body = PlatformList), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>) -> Response {
    let items = api.platforms.listed().map(PlatformAnswer::from).collect();
    Json(PlatformList { items }).into_response()
}
