//! `/api/v1/…/reports/…`: what is stale, how records are sorted, which values are weak, shared or
//! breached, and which are at risk.
//!
//! Invariant: no report holds a value, and what the caller may not see is in none.

pub(super) mod at_risk;
pub(super) mod at_risk_file;
pub(super) mod value;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::input::ListQuery;
use super::output::{Listed, until};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::peer::Peer;
use crate::api::record::Asker;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::Timestamp;
use crate::model::id::OrganizationId;
use crate::model::password_record::PasswordRecord;
use crate::model::principal::Permission;
use crate::model::report::{NEVER, UNCATEGORIZED, UNKNOWN, days_since};
use crate::store::{PasswordFilter, PasswordOrder, PasswordSort, Seeing};

/// After how many days a value is stale, where nobody says.
const DAYS_DEFAULT: i64 = 90;
/// A hundred years.
const DAYS_MAX: i64 = 36_525;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get(
            "/api/v1/organizations/{id}/reports/stale",
            Permission::ReportsRead,
            stale,
        )
        .get(
            "/api/v1/organizations/{id}/reports/categories",
            Permission::ReportsRead,
            categories,
        )
        .and(value::routes())
        .and(at_risk::routes())
        .and(at_risk_file::routes())
}

/// Whom restricted records are looked up for.
pub(super) fn seeing(caller: &Caller) -> Seeing {
    Asker::anywhere(caller, Peer(None)).seeing()
}

/// What is asked about: an organization that is there.
pub(super) struct Asked<'a> {
    api: &'a Api,
    pub(super) organization: OrganizationId,
}

impl<'a> Asked<'a> {
    pub(super) async fn of(api: &'a Api, segments: &Segments) -> Result<Self, ApiError> {
        const MISSING: ApiError = ApiError::NotFound {
            what: "Organization",
        };
        let organization: OrganizationId = segments.id("id", "Organization")?;
        let found = api.store.organization(organization).await?;
        found.ok_or(MISSING)?;
        Ok(Self { api, organization })
    }

    /// A page of records, and where the next one begins.
    pub(super) async fn page(
        &self,
        filter: &PasswordFilter,
        sorts: &[PasswordSort],
        query: &ListQuery,
    ) -> Result<(Vec<PasswordRecord>, Option<i64>), ApiError> {
        let page = query.rows();
        let (found, total) = self.api.store.password_records(filter, sorts, page).await?;
        let next = page.offset + page.limit;
        Ok((found, (next < total).then_some(next)))
    }
}

/// When a value last changed.
fn last_updated(record: &PasswordRecord) -> String {
    let changed_at = record.shown_changed_at();
    changed_at.map_or_else(|| NEVER.to_owned(), Timestamp::rfc3339)
}

/// A record whose value is stale.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StalePassword {
    id: i64,
    name: String,
    /// RFC 3339 in UTC, or `Never`: it has no value.
    last_updated: String,
    days_since_update: Days,
}

/// Whole days, or `Unknown`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Days {
    /// So many.
    Counted(i64),
    /// There is nothing to count from.
    Unknown(&'static str),
}

/// Records whose value has not changed for so many days, or never, by id.
#[utoipa::path(
    get, path = "/api/v1/organizations/{id}/reports/stale", tag = "reports",
    params(
        ("id" = i64, Path, description = "The organization"),
        ("days" = Option<i64>, Query, description = "1 to 36525, default 90"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "Where the last page ended"),
    ),
    responses((status = 200, body = Listed<StalePassword>), (status = "4XX", body = Problem)),
)]
pub(super) async fn stale(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let asked = Asked::of(&api, &segments).await?;
    let days = query.filters.int("days", 1..=DAYS_MAX)?;
    let days = days.unwrap_or(DAYS_DEFAULT).unsigned_abs();
    let now = api.clock.now();
    let filter = PasswordFilter {
        seeing: seeing(&caller),
        organizations: vec![asked.organization],
        stale_since: Some(now.minus(std::time::Duration::from_hours(24 * days))),
        ..PasswordFilter::default()
    };
    let (found, next) = asked
        .page(&filter, &[(PasswordOrder::Id, false)], &query)
        .await?;
    let items = found.iter().map(|record| StalePassword {
        id: record.id.0,
        name: record.fields.name.clone(),
        last_updated: last_updated(record),
        days_since_update: match record.shown_changed_at() {
            Some(changed_at) => Days::Counted(days_since(changed_at, now)),
            None => Days::Unknown(UNKNOWN),
        },
    });
    Ok(until(&query, items.collect(), next))
}

/// A category, and records that have it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CategoryPasswords {
    /// The category's id, as a text; or `Uncategorized`.
    category: String,
    name: Option<String>,
    passwords: Vec<CategorizedPassword>,
}

/// A record in its category.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CategorizedPassword {
    id: i64,
    name: String,
    username: Option<String>,
    url: Option<String>,
    /// RFC 3339 in UTC, or `Never`: it has no value.
    last_updated: String,
}

/// Records by category, those without one at the end. `limit` counts records: a category that does
/// not fit goes on in the next page.
#[utoipa::path(
    get, path = "/api/v1/organizations/{id}/reports/categories", tag = "reports",
    params(
        ("id" = i64, Path, description = "The organization"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "Where the last page ended"),
    ),
    responses((status = 200, body = Listed<CategoryPasswords>), (status = "4XX", body = Problem)),
)]
pub(super) async fn categories(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let asked = Asked::of(&api, &segments).await?;
    let filter = PasswordFilter {
        seeing: seeing(&caller),
        organizations: vec![asked.organization],
        ..PasswordFilter::default()
    };
    let sorts = [(PasswordOrder::Category, false)];
    let (found, next) = asked.page(&filter, &sorts, &query).await?;
    let mut items: Vec<CategoryPasswords> = Vec::new();
    for record in found {
        let id = record.fields.category_id;
        let category = id.map_or_else(|| UNCATEGORIZED.to_owned(), |id| id.0.to_string());
        let password = CategorizedPassword {
            id: record.id.0,
            name: record.fields.name.clone(),
            username: record.username().map(str::to_owned),
            url: record.fields.url.clone(),
            last_updated: last_updated(&record),
        };
        match items.last_mut().filter(|last| last.category == category) {
            Some(last) => last.passwords.push(password),
            None => items.push(CategoryPasswords {
                category,
                name: record.category_name,
                passwords: vec![password],
            }),
        }
    }
    Ok(until(&query, items, next))
}
