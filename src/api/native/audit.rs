//! `/api/v1/audit`: what happened, and who did it.
//!
//! Invariant: reading changes nothing, and rows are shown as they were written.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::input::{At, LONG_ID_MAX, ListQuery};
use super::output::{Listed, page};
use super::problem::Problem;
use crate::api::error::ApiError;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::audit::AuditRow;
use crate::model::audit_chain::{Anchor, Broken, Link, Mac, Verifier};
use crate::model::id::AuditId;
use crate::model::principal::Permission;
use crate::store::StoreError;

/// Rows that one request verifies: a second's work.
const VERIFY_MAX: i64 = 50_000;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/audit", Permission::AuditRead, list)
        .get("/api/v1/audit/verify", Permission::AuditRead, verify)
        .get("/api/v1/audit/anchors", Permission::AuditRead, anchors)
        .get("/api/v1/audit/export", Permission::AuditExport, export)
}

/// One row of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditAnswer {
    /// Grows, but need not be dense. Below 2^53.
    id: i64,
    /// Its place in the chain, from 1 and without gaps; null until it is sealed, within seconds.
    position: Option<i64>,
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
            position: row.seq,
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

/// Whether rows of the chain are what was sealed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerifyAnswer {
    /// True if no verified row is broken.
    sound: bool,
    /// The first position that was asked for. What comes before it was taken as it stands.
    from: i64,
    /// The last position that was found sound; `from` - 1 if none was.
    to: i64,
    /// True if that is the chain's head. If it is false and `sound` is true, ask again from `to` + 1.
    complete: bool,
    /// The first row at which the chain breaks.
    #[schema(required)]
    broken: Option<BrokenAnswer>,
}

/// Where the chain breaks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BrokenAnswer {
    /// The row's position, or the position that it had.
    position: i64,
    /// Its id; null if it is not there.
    #[schema(required)]
    id: Option<i64>,
    /// `mac`, `gap`, `order`, `truncated` or `head`.
    flaw: String,
    /// The same in words.
    detail: String,
}

impl From<Broken> for BrokenAnswer {
    fn from(broken: Broken) -> Self {
        Self {
            position: broken.seq,
            id: broken.id.map(|id| id.0),
            flaw: broken.flaw.name().to_owned(),
            detail: broken.to_string(),
        }
    }
}

/// Verifies the chain in the database, 50,000 rows at most. Anchors are not looked at: they count
/// where the database's owner cannot reach them. `keywheel audit verify` holds an export against them.
#[utoipa::path(
    get, path = "/api/v1/audit/verify", tag = "audit",
    params(("from" = Option<i64>, Query, description = "First position, default 1")),
    responses((status = 200, body = VerifyAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn verify(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let from = query.filters.int("from", 1..=LONG_ID_MAX)?.unwrap_or(1);
    let before = api.store.audit_link(from - 1).await?;
    let missing = Link {
        seq: from - 1,
        mac: Mac::NONE,
    };
    let mut verifier = Verifier::new(&api.audit.chain, before.unwrap_or(missing));
    let found = api.store.verify_audit(&mut verifier, VERIFY_MAX).await?;
    Ok(Json(VerifyAnswer {
        sound: found.is_ok(),
        from,
        to: verifier.last().seq,
        complete: found.unwrap_or(false),
        broken: found.err().map(BrokenAnswer::from),
    })
    .into_response())
}

/// Sealed rows as JSON lines, in the order of the chain: what `keywheel audit verify --export`
/// reads. It ends at the chain's head as it was at the beginning; an answer that is cut short is
/// not whole, and ends without its last chunk.
#[utoipa::path(
    get, path = "/api/v1/audit/export", tag = "audit",
    params(
        ("from" = Option<i64>, Query, description = "First position, default 1"),
        ("to" = Option<i64>, Query, description = "Last position, default the newest"),
    ),
    responses(
        (status = 200, body = String, content_type = "application/jsonl"),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn export(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let from = query.filters.int("from", 1..=LONG_ID_MAX)?.unwrap_or(1);
    let to = query.filters.int("to", 1..=LONG_ID_MAX)?;
    if to.is_some_and(|to| to < from) {
        return Err(ApiError::field("to", "must not be below from"));
    }
    let begun = api.store.export_audit(from, to).await?;
    // A page is read once the one before it is on its way: a slow reader holds one of them.
    let pages = futures::stream::try_unfold(begun, async |mut export| {
        let page = export.page().await.inspect_err(|error| {
            tracing::error!(%error, "an export of the audit trail was cut short");
        })?;
        Ok::<_, StoreError>(page.map(|(lines, _)| (lines, export)))
    });
    let kind = [(header::CONTENT_TYPE, "application/jsonl")];
    Ok((kind, Body::from_stream(pages)).into_response())
}

/// The newest anchors, and the key that they are signed with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnchorsAnswer {
    /// Which store signed them.
    store: String,
    /// The public half of its Ed25519 key, 64 hex digits.
    anchor_key: String,
    /// Newest first; the last 30 days at most.
    items: Vec<AnchorAnswer>,
}

/// Where the chain stood.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnchorAnswer {
    /// When it was signed.
    at: At,
    /// The newest sealed row's position.
    position: i64,
    /// Its mac, 64 hex digits.
    mac: String,
    /// The signature, 128 hex digits.
    signature: String,
}

impl From<Anchor> for AnchorAnswer {
    fn from(anchor: Anchor) -> Self {
        Self {
            at: At(anchor.at),
            position: anchor.seq,
            mac: anchor.mac.to_string(),
            signature: anchor.signature,
        }
    }
}

/// The newest anchors, as the database keeps them; their copies outside of it are the witnesses.
#[utoipa::path(
    get, path = "/api/v1/audit/anchors", tag = "audit",
    params(("limit" = Option<i64>, Query, description = "1 to 200, default 50")),
    responses((status = 200, body = AnchorsAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn anchors(
    State(api): State<Api>,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let found = api.store.audit_anchors(query.limit).await?;
    let key = api.audit.anchor.public();
    Ok(Json(AnchorsAnswer {
        store: api.audit.store.clone(),
        anchor_key: key.to_string(),
        items: found.into_iter().map(AnchorAnswer::from).collect(),
    })
    .into_response())
}
