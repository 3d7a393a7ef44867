//! `/api/v1/quarantines`: a new credential for every active account of a system.
//!
//! Invariant: a dry run orders nothing.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::{At, Body, ListQuery, Wait, long_id};
use super::job::known_to;
use super::output::{Listed, made, page};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::id::{QuarantineId, SystemId};
use crate::model::principal::Permission;
use crate::model::quarantine::QuarantineView;

const SYSTEM: ApiError = ApiError::NotFound {
    what: "Managed System",
};
const MISSING: ApiError = ApiError::NotFound { what: "Quarantine" };
/// Characters of a reason, and of a reference elsewhere.
pub(super) const REASON_MAX_CHARS: usize = 1_000;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/quarantines", Permission::JobsRead, list)
        .post("/api/v1/quarantines", Permission::QuarantinesRun, run)
        .get(
            "/api/v1/quarantines/{id}",
            Need::OrOwn(Permission::JobsRead),
            one,
        )
}

/// A quarantine and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Quarantine {
    /// Below 2^53.
    id: i64,
    system_id: i64,
    /// Empty where nobody said: the Password Safe dialect has no field for it.
    reason: String,
    /// A reference elsewhere.
    incident: Option<String>,
    /// Who ordered it.
    actor: String,
    ordered_at: At,
    /// Null until the last account is settled.
    finished_at: Option<At>,
    /// How many accounts it covers.
    accounts: i64,
    counts: Counts,
}

/// Accounts of a quarantine by state.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Counts {
    queued: i64,
    running: i64,
    retrying: i64,
    succeeded: i64,
    failed: i64,
    needs_operator: i64,
}

impl From<QuarantineView> for Quarantine {
    fn from(view: QuarantineView) -> Self {
        Self {
            id: view.id.0,
            system_id: view.system_id.0,
            reason: view.reason,
            incident: view.incident,
            actor: view.actor,
            ordered_at: At(view.ordered_at),
            finished_at: view.finished_at.map(At),
            accounts: view.accounts,
            counts: Counts {
                queued: view.counts.queued,
                running: view.counts.running,
                retrying: view.counts.retrying,
                succeeded: view.counts.succeeded,
                failed: view.counts.failed,
                needs_operator: view.counts.needs_operator,
            },
        }
    }
}

/// An order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewQuarantine {
    system_id: i64,
    /// 1 to 1000 characters.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// A reference elsewhere, up to 1000 characters.
    #[serde(default)]
    incident: Option<String>,
    /// Only say how many accounts would change.
    #[serde(default)]
    dry_run: bool,
}

/// What a quarantine would do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DryRun {
    system_id: i64,
    /// Active accounts, each of which would get a new credential.
    accounts: i64,
}

/// Quarantines, newest first.
#[utoipa::path(
    get, path = "/api/v1/quarantines", tag = "quarantines",
    params(
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<Quarantine>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let found = api
        .store
        .quarantines(query.cursor.map(QuarantineId), query.limit)
        .await?;
    Ok(page::<Quarantine, _>(&query, found, |view| view.id.0))
}

/// Orders a new credential for every active account of a system.
#[utoipa::path(
    post, path = "/api/v1/quarantines", tag = "quarantines",
    request_body = NewQuarantine,
    responses(
        (status = 202, description = "Ordered", body = Quarantine,
         headers(("Location" = String, description = "Where to follow it"))),
        (status = 200, description = "Dry run", body = DryRun),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn run(
    State(api): State<Api>,
    caller: Caller,
    Body(order): Body<NewQuarantine>,
) -> Result<Response, ApiError> {
    let system = SystemId(order.system_id);
    if api.store.system_row(system).await?.is_none() {
        return Err(SYSTEM);
    }
    let reason = reason(&order.reason)?;
    let incident = order
        .incident
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty());
    if incident.is_some_and(|incident| incident.chars().count() > REASON_MAX_CHARS) {
        return Err(ApiError::field(
            "incident",
            "must have at most 1000 characters",
        ));
    }
    if order.dry_run {
        let accounts = api.store.count_active_accounts(system).await?;
        return Ok(Json(DryRun {
            system_id: system.0,
            accounts,
        })
        .into_response());
    }
    let id = crate::api::quarantine(&api, system, reason, incident, caller.actor()).await?;
    let view = api.store.quarantine(id).await?.ok_or(MISSING)?;
    let location = format!("/api/v1/quarantines/{}", id.0);
    Ok(made(
        StatusCode::ACCEPTED,
        location,
        &Quarantine::from(view),
    ))
}

/// A reason that says something.
pub(super) fn reason(given: &str) -> Result<&str, ApiError> {
    let reason = given.trim();
    if reason.is_empty() {
        return Err(ApiError::field("reason", "is required"));
    }
    if reason.chars().count() > REASON_MAX_CHARS {
        return Err(ApiError::field(
            "reason",
            "must have at most 1000 characters",
        ));
    }
    Ok(reason)
}

/// One quarantine; with `wait` the answer is held back until it has finished.
#[utoipa::path(
    get, path = "/api/v1/quarantines/{id}", tag = "quarantines",
    params(
        ("id" = i64, Path, description = "The quarantine"),
        ("wait" = Option<i64>, Query, description = "Seconds, 0 to 60"),
    ),
    responses((status = 200, body = Quarantine), (status = "4XX", body = Problem)),
    security(("key" = []), ("session" = [])),
)]
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    Wait(limit): Wait,
) -> Result<Response, ApiError> {
    let found = match long_id::<QuarantineId>(&segments, "Quarantine") {
        Ok(id) => api.store.quarantine(id).await?,
        Err(_) => None,
    };
    let view = known_to(&caller, found, |view| &view.actor, MISSING)?;
    if limit.is_zero() || view.finished_at.is_some() {
        return Ok(Json(Quarantine::from(view)).into_response());
    }
    let ended = api.orders.wait_quarantine(view.id, limit).await?;
    Ok(Json(Quarantine::from(ended.ok_or(MISSING)?)).into_response())
}
