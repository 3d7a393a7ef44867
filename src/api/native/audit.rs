//! `/api/v1/audit`: what happened, and who did it.
//!
//! Invariant: reading changes nothing, and rows are shown as they were written.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::input::{At, ListQuery};
use super::output::{Listed, page};
use super::problem::Problem;
use crate::api::error::ApiError;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::AuditId;
use crate::model::principal::Permission;
use crate::store::AuditRow;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native).get("/api/v1/audit", Permission::AuditRead, list)
}

/// One row of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditAnswer {
    /// Grows, but need not be dense. Below 2^53.
    id: i64,
    at: At,
    /// A user's name, or `keywheel` for the service itself.
    actor: String,
    /// For example `rotation.intended`.
    event: String,
    /// For example `account 7`.
    subject: String,
    /// Details; never a secret.
    #[schema(value_type = Object)]
    details: Value,
}

impl From<AuditRow> for AuditAnswer {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id.0,
            at: At(row.at),
            actor: row.actor,
            event: row.event,
            subject: row.subject,
            // What is no JSON is shown as the text that it is.
            details: serde_json::from_str(&row.body).unwrap_or(Value::String(row.body)),
        }
    }
}

/// The audit trail, newest first.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit",
    params(
        ("subject" = Option<String>, Query, description = "About this alone, for example `account 7`"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<AuditAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let subject = query.filters.text("subject");
    let before = query.cursor.map(AuditId);
    let found = api.store.audit_rows(subject, before, query.limit).await?;
    Ok(page::<AuditAnswer, _>(&query, found, |row| row.id.0))
}
