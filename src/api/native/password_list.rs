//! `/api/v1/organizations/{id}/passwords`: password records, without their values.
//!
//! Invariant: no answer here holds a value, and a record that the caller may not see is in none.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::discovery::flag;
use super::input::{At, ListQuery};
use super::output::{Listed, until};
use super::problem::Problem;
use super::report::{Asked, seeing};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::password_record::{LinkedAccount, PasswordRecord};
use crate::model::principal::Permission;
use crate::model::report;
use crate::store::{PasswordFilter, PasswordOrder};

/// Longest part of a text that is looked for.
const SERVER_MAX_CHARS: usize = 255;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native).get(
        "/api/v1/organizations/{id}/passwords",
        Permission::PasswordsRead,
        list,
    )
}

/// A password record, without its value.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PasswordItem {
    id: i64,
    organization_id: i64,
    name: String,
    /// The login name; of a linked record its account's.
    username: Option<String>,
    url: Option<String>,
    /// Perhaps in HTML; verbatim.
    notes: Option<String>,
    category_id: Option<i64>,
    category: Option<String>,
    folder_id: Option<i64>,
    /// `general`, `embedded` or `managed account`.
    kind: &'static str,
    /// The managed account whose credential it shows.
    account_id: Option<i64>,
    /// That account, as `system/account`.
    account: Option<String>,
    restricted: bool,
    archived: bool,
    /// When its value last changed; null: it has none.
    changed_at: Option<At>,
    created_at: At,
    updated_at: At,
}

impl From<PasswordRecord> for PasswordItem {
    fn from(record: PasswordRecord) -> Self {
        Self {
            id: record.id.0,
            organization_id: record.organization_id.0,
            username: record.username().map(str::to_owned),
            kind: report::kind(&record),
            account_id: record.account.as_ref().map(|account| account.id.0),
            account: record.account.as_ref().map(LinkedAccount::name),
            archived: record.is_archived(),
            changed_at: record.shown_changed_at().map(At),
            name: record.fields.name,
            url: record.fields.url,
            notes: record.fields.notes,
            category_id: record.fields.category_id.map(|id| id.0),
            category: record.category_name,
            folder_id: record.fields.folder_id.map(|id| id.0),
            restricted: record.fields.restricted,
            created_at: At(record.created_at),
            updated_at: At(record.updated_at),
        }
    }
}

/// The password records of an organization, by id.
#[utoipa::path(
    get, path = "/api/v1/organizations/{id}/passwords", tag = "passwords",
    params(
        ("id" = i64, Path, description = "The organization"),
        ("server" = Option<String>, Query,
         description = "A part of its name, URL or notes, or of its account's system's name, in any case"),
        ("archived" = Option<bool>, Query, description = "Put away or not; default: both"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "Where the last page ended"),
    ),
    responses((status = 200, body = Listed<PasswordItem>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let asked = Asked::of(&api, &segments).await?;
    let server = query.filters.text("server").map(str::to_owned);
    if let Some(part) = &server
        && part.chars().count() > SERVER_MAX_CHARS
    {
        return Err(ApiError::field(
            "server",
            "must have at most 255 characters",
        ));
    }
    let filter = PasswordFilter {
        seeing: seeing(&caller),
        organizations: vec![asked.organization],
        archived: flag(&query.filters, "archived")?,
        server,
        ..PasswordFilter::default()
    };
    let by_id = [(PasswordOrder::Id, false)];
    let (found, next) = asked.page(&filter, &by_id, &query).await?;
    let items: Vec<PasswordItem> = found.into_iter().map(PasswordItem::from).collect();
    Ok(until(&query, items, next))
}
