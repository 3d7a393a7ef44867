//! `/api/v1/systems`: managed systems, and what the dialect has no field for.
//!
//! Invariant: an edit never touches a field that the dialect owns.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::account::edit_policy;
use super::input::{At, Body, IfMatch, ListQuery, Patch};
use super::output::{Listed, counted, revised};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::identity::rename_system;
use crate::api::inventory::{Act, platform_of, sound};
use crate::api::passwordsafe::Segments;
use crate::api::replan::{self, Ruled};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::audit::Event;
use crate::model::id::SystemId;
use crate::model::principal::Permission;
use crate::model::system::{HostKeyMode, System, SystemSettings};
use crate::store::SystemFilter;

const MISSING: ApiError = ApiError::NotFound {
    what: "Managed System",
};

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/systems", Permission::SystemsRead, list)
        .get("/api/v1/systems/{id}", Permission::SystemsRead, one)
        .patch("/api/v1/systems/{id}", Permission::SystemsWrite, edit)
}

/// A managed system.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SystemAnswer {
    id: i64,
    /// Counts edits; the `ETag`.
    revision: i64,
    name: String,
    host_name: String,
    dns_name: Option<String>,
    ip_address: Option<String>,
    /// Null: the platform's.
    port: Option<u16>,
    /// The longest one exchange may take, in seconds.
    timeout_s: i64,
    platform_id: i64,
    workgroup_id: i64,
    asset_id: Option<i64>,
    /// Who changes the others.
    functional_account_id: Option<i64>,
    /// Policy of accounts that have none of their own.
    policy_id: Option<i64>,
    /// `unsaid` and `strict`: only a pinned host key is trusted; `accept_first` pins the first.
    host_key_mode: &'static str,
    /// Pinned, as `ssh-keygen -lf` prints it: `ssh-ed25519 SHA256:…`.
    host_key: Option<String>,
    /// PEM bundle of the trusted authorities.
    tls_ca: Option<String>,
    /// Name in the certificate, if not the host's.
    tls_server_name: Option<String>,
    /// Plain port and StartTLS.
    starttls: bool,
    /// Where accounts without a DN are looked up.
    base_dn: Option<String>,
    /// What the directory was found to be, once it is pinned: `openldap`, `389ds`, `ad`, `samba`
    /// or `generic`.
    flavour: Option<String>,
    /// The attribute that holds SSH public keys, if not the product's own.
    key_attribute: Option<String>,
    /// Sessions at once.
    max_sessions: i64,
    /// Accounts a session.
    max_batch: i64,
    /// Exchanges a session; null: the connector's default.
    in_flight: Option<i64>,
    /// Failed logins that lock an account; 0 never, null unknown.
    lockout_threshold: Option<i64>,
    created_at: At,
}

impl From<System> for SystemAnswer {
    fn from(system: System) -> Self {
        let System {
            id,
            place,
            settings,
            revision,
            created_at,
            ..
        } = system;
        Self {
            id: id.0,
            revision,
            name: settings.name,
            host_name: settings.host_name,
            dns_name: settings.dns_name,
            ip_address: settings.ip_address,
            port: settings.port,
            timeout_s: settings.timeout_s,
            platform_id: place.platform_id.0,
            workgroup_id: place.workgroup_id.0,
            asset_id: place.asset_id.map(|id| id.0),
            functional_account_id: settings.functional_account_id.map(|id| id.0),
            policy_id: settings.policy_id.map(|id| id.0),
            host_key_mode: match settings.host_key_mode {
                HostKeyMode::Unsaid => "unsaid",
                HostKeyMode::AcceptFirst => "accept_first",
                HostKeyMode::Strict => "strict",
            },
            host_key: settings.host_key,
            tls_ca: settings.tls_ca,
            tls_server_name: settings.tls_server_name,
            starttls: settings.starttls,
            base_dn: settings.base_dn,
            flavour: settings.flavour,
            key_attribute: settings.key_attribute,
            max_sessions: settings.max_sessions,
            max_batch: settings.max_batch,
            in_flight: settings.in_flight,
            lockout_threshold: settings.lockout_threshold,
            created_at: At(created_at),
        }
    }
}

/// An edit: absent fields stay, null clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SystemPatch {
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    policy_id: Patch<i64>,
    /// Pins a host key, as `ssh-keygen -lf` prints it: `ssh-ed25519 SHA256:…`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    host_key: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    tls_ca: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    tls_server_name: Patch<String>,
    #[serde(default)]
    #[schema(value_type = bool)]
    starttls: Patch<bool>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    base_dn: Patch<String>,
    /// `openldap`, `389ds`, `ad`, `samba` or `generic`; null has the next contact pin it anew.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    flavour: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    key_attribute: Patch<String>,
    /// 1 to 1000.
    #[serde(default)]
    #[schema(value_type = i64)]
    max_sessions: Patch<i64>,
    /// 1 to 1000.
    #[serde(default)]
    #[schema(value_type = i64)]
    max_batch: Patch<i64>,
    /// 1 to 1000.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    in_flight: Patch<i64>,
    /// 0 to 1000.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    lockout_threshold: Patch<i64>,
}

/// Managed systems, by id.
#[utoipa::path(
    get, path = "/api/v1/systems", tag = "systems",
    params(
        ("name" = Option<String>, Query, description = "Of this name, in any case"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<SystemAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let name = query.filters.text("name").map(str::to_owned);
    let filter = SystemFilter {
        name,
        ..SystemFilter::default()
    };
    let found = api.store.systems(&filter, query.rows()).await?;
    Ok(counted::<SystemAnswer, _>(&query, found))
}

/// One managed system.
#[utoipa::path(
    get, path = "/api/v1/systems/{id}", tag = "systems",
    params(("id" = i64, Path, description = "The system")),
    responses(
        (status = 200, body = SystemAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn one(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    answer(&api, segments.id("id", "Managed System")?).await
}

async fn answer(api: &Api, id: SystemId) -> Result<Response, ApiError> {
    let system = api.store.system(id).await?.ok_or(MISSING)?;
    Ok(revised(
        StatusCode::OK,
        system.revision,
        &SystemAnswer::from(system),
    ))
}

/// Sets what the Password Safe dialect has no field for.
#[utoipa::path(
    patch, path = "/api/v1/systems/{id}", tag = "systems",
    params(
        ("id" = i64, Path, description = "The system"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    request_body = SystemPatch,
    responses(
        (status = 200, body = SystemAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn edit(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
    body: Result<Body<SystemPatch>, ApiError>,
) -> Result<Response, ApiError> {
    let id: SystemId = segments.id("id", "Managed System")?;
    let system = api.store.system(id).await?.ok_or(MISSING)?;
    let revision = if_match?.revision(system.revision, "the managed system")?;
    let Body(patch) = body?;
    let mut settings = system.settings.clone();
    let replans = patch.policy_id != Patch::Keep;
    edit_policy(&api, patch.policy_id.clone(), &mut settings.policy_id).await?;
    patch.apply(&mut settings)?;
    let platform = platform_of(&api, &system)?;
    sound(settings.faults(platform))?;
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    tx.update_system(id, revision, &settings).await?;
    let act = Act::of(&api, &caller);
    rename_system(act, &mut tx, &system, &settings, platform).await?;
    let details = json!({
        "policy_id": settings.policy_id,
        "host_key": settings.host_key,
        "starttls": settings.starttls,
        "flavour": settings.flavour,
        "key_attribute": settings.key_attribute,
        "max_sessions": settings.max_sessions,
        "max_batch": settings.max_batch,
        "in_flight": settings.in_flight,
        "lockout_threshold": settings.lockout_threshold,
    });
    tx.audit(
        &Event::by(caller.actor(), "system.updated", id, details),
        now,
    )
    .await?;
    tx.commit().await?;
    if replans {
        // The edit itself is done: whoever reads "busy" here would repeat it with a stale tag.
        replan::all(&api, Ruled::System(id))
            .await
            .map_err(|error| {
                tracing::error!(%error, "the accounts of a system were not planned anew");
                ApiError::Internal(
                    "the edit is saved, but not all accounts are planned: save again",
                )
            })?;
    }
    answer(&api, id).await
}

impl SystemPatch {
    /// Edits everything but the policy.
    fn apply(self, settings: &mut SystemSettings) -> Result<(), ApiError> {
        self.host_key.edit(&mut settings.host_key);
        self.tls_ca.edit(&mut settings.tls_ca);
        self.tls_server_name.edit(&mut settings.tls_server_name);
        self.starttls
            .edit_value("starttls", &mut settings.starttls)?;
        self.base_dn.edit(&mut settings.base_dn);
        self.flavour.edit(&mut settings.flavour);
        self.key_attribute.edit(&mut settings.key_attribute);
        self.max_sessions
            .edit_value("max_sessions", &mut settings.max_sessions)?;
        self.max_batch
            .edit_value("max_batch", &mut settings.max_batch)?;
        self.in_flight.edit(&mut settings.in_flight);
        self.lockout_threshold.edit(&mut settings.lockout_threshold);
        Ok(())
    }
}
