//! Deliveries of workflows: what became of notices, and sending them again.
//!
//! Invariant: a delivery is shown without what it sends and without its address.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::input::{At, ListQuery, long_id};
use super::output::{Listed, page};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::{DeliveryId, WorkflowId};
use crate::model::principal::Permission;
use crate::model::workflow::{Attempt, Delivery};

pub(super) fn routes() -> Routes {
    let needs = Permission::WorkflowsWrite;
    Routes::new(Dialect::Native)
        .get("/api/v1/workflows/{id}/deliveries", needs, list)
        .post("/api/v1/deliveries/{id}/redeliver", needs, redeliver)
}

/// A notice, or an alert that notices have failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryAnswer {
    /// Also the `webhook-id`.
    id: i64,
    workflow_id: i64,
    action_id: i64,
    action: String,
    /// `notice`; `alert`: mail to the workflow's failure e-mail.
    kind: &'static str,
    /// `email`, `webhook` or `slack`.
    channel: &'static str,
    /// Of which access; the same in all its notices.
    event_id: String,
    event_at: At,
    /// What was seen, by name.
    about: String,
    /// `pending`, `sending`, `sent` or `failed`.
    status: &'static str,
    /// When it is tried next.
    next_attempt_at: Option<At>,
    queued_at: At,
    /// When it was sent or failed.
    ended_at: Option<At>,
    /// Why the last attempt failed.
    error: Option<String>,
    /// The last 100, in order.
    attempts: Vec<AttemptAnswer>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptAnswer {
    number: i64,
    at: At,
    took_ms: i64,
    /// The HTTP status or SMTP code of the answer.
    status: Option<i64>,
    error: Option<String>,
}

impl From<(Delivery, Vec<Attempt>)> for DeliveryAnswer {
    fn from((delivery, attempts): (Delivery, Vec<Attempt>)) -> Self {
        let said = |text: String| (!text.is_empty()).then_some(text);
        let attempts = attempts.into_iter().map(|attempt| AttemptAnswer {
            number: attempt.number,
            at: At(attempt.at),
            took_ms: attempt.took_ms,
            status: attempt.status,
            error: said(attempt.error),
        });
        Self {
            id: delivery.id.0,
            workflow_id: delivery.workflow.0,
            action_id: delivery.action.0.0,
            action: delivery.action.1,
            kind: delivery.kind.as_str(),
            channel: delivery.channel.as_str(),
            event_id: delivery.event_id,
            event_at: At(delivery.event_at),
            about: delivery.about,
            status: delivery.state.as_str(),
            next_attempt_at: (!delivery.state.has_ended()).then_some(At(delivery.due_at)),
            queued_at: At(delivery.queued_at),
            ended_at: delivery.ended_at.map(At),
            error: said(delivery.error),
            attempts: attempts.collect(),
        }
    }
}

/// Deliveries of a workflow with their attempts, newest first; kept for 90 days after their end.
#[utoipa::path(
    get, path = "/api/v1/workflows/{id}/deliveries", tag = "workflows",
    params(
        ("id" = i64, Path, description = "The workflow; it may be deleted"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<DeliveryAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    segments: Segments,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let workflow: WorkflowId = segments.id("id", "Workflow")?;
    let before = query.cursor.map(DeliveryId);
    let found = api.store.deliveries(workflow, before, query.limit).await?;
    if found.is_empty() && before.is_none() && api.store.workflow(workflow).await?.is_none() {
        return Err(ApiError::NotFound { what: "Workflow" });
    }
    let mut attempts: HashMap<i64, Vec<Attempt>> = HashMap::new();
    if let (Some(newest), Some(oldest)) = (found.first(), found.last()) {
        let range = (oldest.id, newest.id);
        for attempt in api.store.delivery_attempts(workflow, range).await? {
            attempts
                .entry(attempt.delivery.0)
                .or_default()
                .push(attempt);
        }
    }
    let rows: Vec<_> = found
        .into_iter()
        .map(|delivery| {
            let own = attempts.remove(&delivery.id.0).unwrap_or_default();
            (delivery, own)
        })
        .collect();
    Ok(page::<DeliveryAnswer, _>(&query, rows, |(one, _)| one.id.0))
}

/// Sends a delivery again that was sent or has failed, under the same id, with as many attempts as a
/// new one.
#[utoipa::path(
    post, path = "/api/v1/deliveries/{id}/redeliver", tag = "workflows",
    params(("id" = i64, Path, description = "The delivery")),
    responses((status = 202, body = DeliveryAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn redeliver(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    const MISSING: ApiError = ApiError::NotFound { what: "Delivery" };
    let id: DeliveryId = long_id(&segments, "Delivery")?;
    let found = api.store.delivery(id).await?.ok_or(MISSING)?;
    if found.retired {
        return Err(ApiError::conflict("Its action was removed"));
    }
    if !found.state.has_ended() {
        return Err(ApiError::conflict("It is still being delivered"));
    }
    api.workflows.redeliver(id, caller.actor()).await?;
    let queued = api.store.delivery(id).await?.ok_or(MISSING)?;
    let attempts = api.store.delivery_attempts(queued.workflow, (id, id));
    let answer = DeliveryAnswer::from((queued, attempts.await?));
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}
