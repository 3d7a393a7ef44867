//! `/api/v1/passwords/export` and that of one organization: records with their values, as a file.
//!
//! Invariant: a file is one reveal of all that is in it, on record before its first byte leaves.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::discovery::flag;
use super::problem::Problem;
use super::report::Asked;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::{Params, Segments};
use crate::api::peer::Peer;
use crate::api::record::{Asker, export};
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::id::OrganizationId;
use crate::model::principal::Permission;
use crate::model::reveal::AccessMethod;
use crate::store::PasswordFilter;

/// Who sees values: those of records, or those of the accounts that records show.
const SEERS: &[Permission] = &[Permission::PasswordsReveal, Permission::CredentialsReveal];

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/passwords/export", Need::Any(SEERS), all)
        .get(
            "/api/v1/organizations/{id}/passwords/export",
            Need::Any(SEERS),
            of_organization,
        )
}

/// The password records of an organization with their values, as CSV in UTF-8. Records whose values
/// the caller may not see have none. A session that somebody opened with their password must be
/// younger than five minutes.
#[utoipa::path(
    get, path = "/api/v1/organizations/{id}/passwords/export", tag = "passwords",
    params(
        ("id" = i64, Path, description = "The organization"),
        ("archived" = Option<bool>, Query, description = "Put away or not; default: both"),
    ),
    responses(
        (status = 200, content_type = "text/csv", body = String),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn of_organization(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let asked = Asked::of(&api, &segments).await?;
    let organizations = vec![asked.organization];
    let way = (AccessMethod::ListExport, organizations);
    file(&api, (&caller, from), way, &params).await
}

/// The same of all organizations.
#[utoipa::path(
    get, path = "/api/v1/passwords/export", tag = "passwords",
    params(("archived" = Option<bool>, Query, description = "Put away or not; default: both")),
    responses(
        (status = 200, content_type = "text/csv", body = String),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn all(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    params: Params,
) -> Result<Response, ApiError> {
    let way = (AccessMethod::GlobalExport, Vec::new());
    file(&api, (&caller, from), way, &params).await
}

async fn file(
    api: &Api,
    (caller, from): (&Caller, Peer),
    (method, organizations): (AccessMethod, Vec<OrganizationId>),
    params: &Params,
) -> Result<Response, ApiError> {
    caller.require_fresh(api.clock.now())?;
    let asker = Asker::anywhere(caller, from);
    let filter = PasswordFilter {
        organizations,
        archived: flag(params, "archived")?,
        ..asker.filter()
    };
    let records = export::found(api, &filter).await?;
    let bytes = export::with_values(api, asker, method, &records, None).await?;
    api.metrics.revealed(caller.actor_type(), "reveal");
    let heads = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"passwords.csv\"",
        ),
    ];
    Ok((heads, bytes).into_response())
}
