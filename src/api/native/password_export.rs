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
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::passwordsafe::{Params, Segments};
use crate::api::peer::Peer;
use crate::api::record::{Asker, show_all};
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::id::OrganizationId;
use crate::model::password_record::PasswordRecord;
use crate::model::principal::Permission;
use crate::model::report::spreadsheet_text;
use crate::model::reveal::AccessMethod;
use crate::store::{Page, PasswordFilter, PasswordOrder};

/// Who sees values: those of records, or those of the accounts that records show.
const SEERS: &[Permission] = &[Permission::PasswordsReveal, Permission::CredentialsReveal];
/// Most records of one file: all of its values are before somebody at once.
const RECORDS_MAX: i64 = 10_000;
/// Records that are read at once.
const PAGE: i64 = 1_000;
const COLUMNS: [&str; 9] = [
    "id",
    "organization",
    "name",
    "username",
    "password",
    "url",
    "notes",
    "password_category",
    "archived",
];

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
    let records = found(api, &filter).await?;
    let values = show_all(api, asker, method, &records).await?;
    let cells = records.iter().map(cells).zip(&values);
    let (file, values_at) = (COLUMNS.map(str::to_owned).to_vec(), 4);
    let bytes = clear::as_csv(&file, values_at, cells)?;
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

async fn found(api: &Api, filter: &PasswordFilter) -> Result<Vec<PasswordRecord>, ApiError> {
    let by_id = [(PasswordOrder::Id, false)];
    let mut all = Vec::new();
    loop {
        let page = Page {
            limit: PAGE,
            offset: i64::try_from(all.len()).unwrap_or(i64::MAX),
        };
        let (found, total) = api.store.password_records(filter, &by_id, page).await?;
        if total > RECORDS_MAX {
            return Err(ApiError::conflict(format!(
                "{total} records are more than the {RECORDS_MAX} of one file; export one \
                 organization, or leave out what is archived"
            )));
        }
        if found.is_empty() {
            return Ok(all);
        }
        all.extend(found);
    }
}

/// A record's texts in the order of the columns; the value has its place and is not here.
fn cells(record: &PasswordRecord) -> Vec<String> {
    let text = |text: Option<&str>| spreadsheet_text(text.unwrap_or_default()).into_owned();
    let fields = &record.fields;
    vec![
        record.id.0.to_string(),
        text(Some(&record.organization_name)),
        text(Some(&fields.name)),
        text(record.username()),
        String::new(),
        text(fields.url.as_deref()),
        text(fields.notes.as_deref()),
        text(record.category_name.as_deref()),
        record.is_archived().to_string(),
    ]
}
