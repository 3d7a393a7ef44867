//! `/api/v1/jobs`: queued work, and what became of it.
//!
//! Invariant: whoever lacks `jobs.read` learns of its own jobs alone, and not whether others
//! exist.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::input::{At, ListQuery, Wait, long_id};
use super::output::{Listed, page};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::id::{AccountId, JobId};
use crate::model::job::JobView;
use crate::model::principal::Permission;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/jobs", Permission::JobsRead, list)
        .get("/api/v1/jobs/{id}", Need::OrOwn(Permission::JobsRead), one)
}

/// A job with the attempts that have ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Job {
    /// Below 2^53.
    id: i64,
    account_id: i64,
    system_id: i64,
    /// `rotate` or `test`.
    kind: &'static str,
    /// `schedule`, `order`, `quarantine`, `mismatch` or `operator`.
    trigger: &'static str,
    /// Who ordered it.
    actor: String,
    /// `interactive`, `quarantine` or `scheduled`.
    lane: &'static str,
    /// `queued`, `running`, `retrying`; in the end `succeeded`, `failed` or `needs_operator`.
    state: &'static str,
    queued_at: At,
    /// Null once the job has ended.
    next_attempt_at: Option<At>,
    /// Null until the job has ended.
    ended_at: Option<At>,
    /// Oldest first.
    attempts: Vec<Attempt>,
}

/// One attempt that has ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Attempt {
    /// Counts from 1.
    #[serde(rename = "attempt")]
    number: i64,
    started_at: At,
    ended_at: At,
    /// `succeeded`, `failed`, `needs_operator` or `retried`.
    outcome: String,
    /// Error class; empty where none.
    class: String,
    /// What was done, without secrets.
    log: String,
}

impl From<JobView> for Job {
    fn from(view: JobView) -> Self {
        let attempts = view.attempts.into_iter().map(|attempt| Attempt {
            number: attempt.attempt,
            started_at: At(attempt.started_at),
            ended_at: At(attempt.ended_at),
            outcome: attempt.outcome,
            class: attempt.class,
            log: attempt.log,
        });
        Self {
            id: view.id.0,
            account_id: view.account_id.0,
            system_id: view.system_id.0,
            kind: view.kind.as_str(),
            trigger: view.cause.as_str(),
            actor: view.actor,
            lane: view.priority.lane(),
            state: view.state.as_str(),
            queued_at: At(view.queued_at),
            next_attempt_at: view.next_attempt_at.map(At),
            ended_at: view.ended_at.map(At),
            attempts: attempts.collect(),
        }
    }
}

/// Jobs, newest first.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs",
    params(
        ("state" = Option<String>, Query, description = "`open` (default) or `ended`"),
        ("account_id" = Option<i64>, Query, description = "Of this account alone"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<Job>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let open = match query.filters.text("state") {
        None | Some("open") => true,
        Some("ended") => false,
        Some(_) => return Err(ApiError::field("state", "must be open or ended")),
    };
    let account = query
        .filters
        .int("account_id", 1..=i64::MAX)?
        .map(AccountId);
    let jobs = api
        .store
        .jobs(open, account, query.cursor.map(JobId), query.limit)
        .await?;
    Ok(page::<Job, _>(&query, jobs, |job| job.id.0))
}

/// What was found, if the caller may know of it: with `jobs.read`, or as who ordered it.
pub(super) fn known_to<T>(
    caller: &Caller,
    found: Option<T>,
    actor: impl Fn(&T) -> &str,
    missing: ApiError,
) -> Result<T, ApiError> {
    if caller.user.may(Permission::JobsRead) {
        return found.ok_or(missing);
    }
    let own = found.filter(|found| actor(found) == caller.actor());
    own.ok_or(ApiError::Forbidden)
}

/// One job; with `wait` the answer is held back until it has ended or an attempt has failed.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(
        ("id" = i64, Path, description = "The job"),
        ("wait" = Option<i64>, Query, description = "Seconds, 0 to 60"),
    ),
    responses((status = 200, body = Job), (status = "4XX", body = Problem)),
    security(("key" = []), ("session" = [])),
)]
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    Wait(limit): Wait,
) -> Result<Response, ApiError> {
    const MISSING: ApiError = ApiError::NotFound { what: "Job" };
    let found = match long_id::<JobId>(&segments, "Job") {
        Ok(id) => api.store.job(id).await?,
        Err(_) => None,
    };
    let view = known_to(&caller, found, |view| &view.actor, MISSING)?;
    if limit.is_zero() || view.state.is_final() {
        return Ok(Json(Job::from(view)).into_response());
    }
    let ended = api.orders.wait_job(view.id, limit).await?;
    Ok(Json(Job::from(ended.ok_or(MISSING)?)).into_response())
}
