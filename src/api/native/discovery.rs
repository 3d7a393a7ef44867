//! `/api/v1/…/discoveries`, `…/discovered`: which accounts a system has, managed here or not.
//!
//! Invariant: an order reads on the target and nothing else; bringing accounts in is another act.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::input::{At, Body, ListQuery, Wait, long_id};
use super::output::{Listed, counted, made, page};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::sound;
use crate::api::passwordsafe::{Params, Segments};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::discovery::{DiscoveredAccount, DiscoveryView, Wanted, lock};
use crate::model::id::{DiscoveryId, SystemId};
use crate::model::principal::Permission;
use crate::queue::{DiscoverError, OrderError};
use crate::store::DiscoveredFilter;

const SYSTEM: ApiError = ApiError::NotFound {
    what: "Managed System",
};
const MISSING: ApiError = ApiError::NotFound { what: "Discovery" };

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get(
            "/api/v1/systems/{id}/discoveries",
            Permission::ImportsRun,
            list,
        )
        .post(
            "/api/v1/systems/{id}/discoveries",
            Permission::ImportsRun,
            run,
        )
        .get("/api/v1/discoveries/{id}", Permission::ImportsRun, one)
        .get(
            "/api/v1/systems/{id}/discovered",
            Permission::ImportsRun,
            discovered,
        )
}

/// A listing of the accounts that a system has.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Discovery {
    /// Below 2^53.
    id: i64,
    system_id: i64,
    /// What is listed, with what nobody said.
    #[schema(value_type = Object)]
    query: Value,
    /// Who ordered it.
    actor: String,
    /// `queued`, `running`, `succeeded` or `failed`.
    state: &'static str,
    /// Error class; null where none.
    class: Option<String>,
    /// Why it failed.
    why: Option<String>,
    /// Accounts that were found.
    found: i64,
    /// Rows of the target that were no account.
    unreadable: i64,
    /// True: the target has more; ask for less.
    truncated: bool,
    queued_at: At,
    /// When a node last began.
    started_at: Option<At>,
    ended_at: Option<At>,
}

impl From<DiscoveryView> for Discovery {
    fn from(view: DiscoveryView) -> Self {
        let said = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: view.id.0,
            system_id: view.system_id.0,
            query: serde_json::from_str(&view.query).unwrap_or_default(),
            actor: view.actor,
            state: view.state.as_str(),
            class: said(view.class),
            why: said(view.why),
            found: view.found,
            unreadable: view.unreadable,
            truncated: view.truncated,
            queued_at: At(view.queued_at),
            started_at: view.started_at.map(At),
            ended_at: view.ended_at.map(At),
        }
    }
}

/// What is to be listed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDiscovery {
    /// Hosts: the lowest user id, default 1000.
    #[serde(default)]
    uid_min: Option<i64>,
    /// Hosts: the highest user id, default 59999.
    #[serde(default)]
    uid_max: Option<i64>,
    /// Hosts: root, too; default true.
    #[serde(default)]
    with_root: Option<bool>,
    /// Hosts: only accounts with one of these shells, at most 16; default any.
    #[serde(default)]
    shells: Option<Vec<String>>,
    /// Directories: only entries that match this, too; RFC 4515, at most 1000 bytes. Attributes
    /// that may hold a secret are refused.
    #[serde(default)]
    filter: Option<String>,
}

/// An account that the newest successful discovery of a system has found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Discovered {
    discovery_id: i64,
    /// Its login name; escaped where it could not be shown, and then not importable.
    name: String,
    /// True: an account of this name, and DN, can be imported.
    importable: bool,
    /// Directories only.
    distinguished_name: Option<String>,
    /// What stays when it is renamed: user id, UUID or GUID.
    stable_id: Option<String>,
    shell: Option<String>,
    /// `open`, `locked`, `no_password` or `unknown`.
    lock: &'static str,
    /// When its password was set; of hosts the day. Null where unknown.
    last_change: Option<At>,
    /// True: its password must be changed first, or the account has run out. Null where unknown.
    expired: Option<bool>,
    /// The managed account that it is; null: none.
    account_id: Option<i64>,
}

impl From<DiscoveredAccount> for Discovered {
    fn from(found: DiscoveredAccount) -> Self {
        Self {
            discovery_id: found.discovery_id.0,
            name: found.name,
            importable: found.importable,
            distinguished_name: found.distinguished_name,
            stable_id: found.stable_id,
            shell: found.shell,
            lock: found.lock,
            last_change: found.last_change_at.map(At),
            expired: found.expired,
            account_id: found.account_id.map(|id| id.0),
        }
    }
}

async fn existing(api: &Api, segments: &Segments) -> Result<SystemId, ApiError> {
    let id: SystemId = segments.id("id", "Managed System")?;
    let found = api.store.system(id).await?.ok_or(SYSTEM)?;
    Ok(found.id)
}

/// Discoveries of a system, newest first.
#[utoipa::path(
    get, path = "/api/v1/systems/{id}/discoveries", tag = "imports",
    params(
        ("id" = i64, Path, description = "The system"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<Discovery>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    segments: Segments,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let system = existing(&api, &segments).await?;
    let before = query.cursor.map(DiscoveryId);
    let found = api.store.discoveries(system, before, query.limit).await?;
    Ok(page::<Discovery, _>(&query, found, |view| view.id.0))
}

/// Orders a listing of the accounts that a system has. An identical open order is joined. With
/// `wait` the answer is held back until it has ended.
#[utoipa::path(
    post, path = "/api/v1/systems/{id}/discoveries", tag = "imports",
    params(
        ("id" = i64, Path, description = "The system"),
        ("wait" = Option<i64>, Query, description = "Seconds, 0 to 60"),
    ),
    request_body = NewDiscovery,
    responses(
        (status = 202, description = "Ordered, or an open order joined", body = Discovery,
         headers(("Location" = String, description = "Where to follow it"))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn run(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    Wait(limit): Wait,
    body: Result<Body<NewDiscovery>, ApiError>,
) -> Result<Response, ApiError> {
    let system = existing(&api, &segments).await?;
    let Body(order) = body?;
    let wanted = Wanted {
        uid_min: order.uid_min,
        uid_max: order.uid_max,
        with_root: order.with_root,
        shells: order.shells,
        filter: order.filter,
    };
    let ordered = api.orders.discover(system, &wanted, caller.actor()).await;
    let id = match ordered {
        Ok(id) => id,
        Err(DiscoverError::Invalid(faults)) => return Err(unsound(faults)),
        Err(DiscoverError::Another) => {
            return Err(ApiError::conflict(
                "A discovery of this system with another query is under way; wait for its end",
            ));
        }
        Err(DiscoverError::Order(OrderError::NotFound)) => return Err(SYSTEM),
        Err(DiscoverError::Order(error)) => return Err(error.into()),
    };
    let view = api.orders.wait_discovery(id, limit).await?;
    let location = format!("/api/v1/discoveries/{}", id.0);
    Ok(made(
        StatusCode::ACCEPTED,
        location,
        &Discovery::from(view.ok_or(MISSING)?),
    ))
}

fn unsound(faults: Vec<crate::model::fault::Fault>) -> ApiError {
    match sound(faults) {
        Err(error) => error,
        Ok(()) => ApiError::Internal("an order was refused without a fault"),
    }
}

/// One discovery; with `wait` the answer is held back until it has ended.
#[utoipa::path(
    get, path = "/api/v1/discoveries/{id}", tag = "imports",
    params(
        ("id" = i64, Path, description = "The discovery"),
        ("wait" = Option<i64>, Query, description = "Seconds, 0 to 60"),
    ),
    responses((status = 200, body = Discovery), (status = "4XX", body = Problem)),
)]
pub(super) async fn one(
    State(api): State<Api>,
    segments: Segments,
    Wait(limit): Wait,
) -> Result<Response, ApiError> {
    let id: DiscoveryId = long_id(&segments, "Discovery")?;
    let view = api.orders.wait_discovery(id, limit).await?;
    Ok(Json(Discovery::from(view.ok_or(MISSING)?)).into_response())
}

/// What the newest successful discovery of a system has found, in the target's order.
#[utoipa::path(
    get, path = "/api/v1/systems/{id}/discovered", tag = "imports",
    params(
        ("id" = i64, Path, description = "The system"),
        ("managed" = Option<bool>, Query, description = "Managed accounts alone, or the others"),
        ("importable" = Option<bool>, Query, description = "Importable ones alone, or the others"),
        ("lock" = Option<String>, Query,
         description = "`open`, `locked`, `no_password` or `unknown`"),
        ("shell" = Option<String>, Query, description = "With this login shell"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<Discovered>), (status = "4XX", body = Problem)),
)]
pub(super) async fn discovered(
    State(api): State<Api>,
    segments: Segments,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let system = existing(&api, &segments).await?;
    let wanted_lock = query.filters.text("lock").map(|word| {
        lock(word)
            .ok_or_else(|| ApiError::field("lock", "must be open, locked, no_password or unknown"))
    });
    let filter = DiscoveredFilter {
        managed: flag(&query.filters, "managed")?,
        importable: flag(&query.filters, "importable")?,
        lock: wanted_lock.transpose()?,
        shell: query.filters.text("shell").map(str::to_owned),
    };
    let found = api
        .store
        .discovered_accounts(system, &filter, query.rows())
        .await?;
    Ok(counted::<Discovered, DiscoveredAccount>(&query, found))
}

/// A filter or a switch that is `true` or `false`.
pub(super) fn flag(params: &Params, name: &'static str) -> Result<Option<bool>, ApiError> {
    match params.text(name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(ApiError::field(name, "must be true or false")),
    }
}
