//! `/api/v1/policies`: when credentials change.
//!
//! Invariant: a policy's accounts are planned anew before an edit of it is answered.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::input::{At, Body, IfMatch, ListQuery};
use super::output::{Listed, made, page, revised, set};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::{ApiError, Fault};
use crate::api::passwordsafe::Segments;
use crate::api::replan::{self, Ruled};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::audit::Event;
use crate::model::id::PolicyId;
use crate::model::policy;
use crate::model::principal::Permission;
use crate::store::StoredPolicy;

const MISSING: ApiError = ApiError::NotFound { what: "Policy" };
const RUNS_DEFAULT: usize = 12;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/policies", Permission::PoliciesRead, list)
        .post("/api/v1/policies", Permission::PoliciesWrite, create)
        .post(
            "/api/v1/policies/preview",
            Permission::PoliciesRead,
            preview,
        )
        .get("/api/v1/policies/{id}", Permission::PoliciesRead, one)
        .put("/api/v1/policies/{id}", Permission::PoliciesWrite, replace)
        .delete("/api/v1/policies/{id}", Permission::PoliciesWrite, delete)
}

/// A policy as it is stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyAnswer {
    id: i64,
    /// Counts edits; the `ETag`.
    revision: i64,
    created_at: At,
    updated_at: At,
    /// The policy with all its fields, defaults included; PUT takes it back.
    #[schema(value_type = PolicyDocument)]
    policy: Value,
}

/// A policy. All fields but `name` and `max_age` are optional.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "name": "nightly", "mode": "auto", "max_age": "30d", "jitter": 0.1,
    "windows": [{"cron": "30 2 * * *", "duration": "4h", "zone": "Europe/Berlin"}]
}))]
pub(super) struct PolicyDocument {
    name: String,
    /// `auto` flags and changes, `flag` only flags, `manual` does neither.
    mode: Option<String>,
    /// For example `30d`.
    max_age: String,
    /// Share of `max_age`, always earlier.
    jitter: Option<f64>,
    /// 0 first to 9.
    priority: Option<u8>,
    /// When changes may start: `cron`, `duration`, `zone`.
    windows: Option<Vec<Object>>,
    /// When they may not: `cron`, `duration`, `zone`, or `from`, `until`.
    blackouts: Option<Vec<Object>>,
    /// `attempts`, `first`, `factor`, `up_to`, `spread`.
    retry: Option<Object>,
    /// For example `1d`.
    check_every: Option<String>,
    change_after_release: Option<bool>,
    change_on_mismatch: Option<bool>,
    /// `reference`, `owner`, `review_date`.
    risk_analysis: Option<Object>,
}

/// Some JSON object.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Object {}

/// A policy to look at before it is saved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewOrder {
    #[schema(value_type = PolicyDocument)]
    policy: Value,
    /// How many runs, 1 to 100; default 12.
    #[serde(default)]
    runs: Option<usize>,
}

/// What a policy is going to do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Preview {
    runs: Vec<PreviewedRun>,
}

/// One coming run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PreviewedRun {
    at: At,
    /// On the wall clock of the window's zone.
    local: String,
    /// What may surprise: clock changes, a `max_age` that cannot be met.
    note: Option<String>,
}

impl From<StoredPolicy> for PolicyAnswer {
    fn from(stored: StoredPolicy) -> Self {
        Self {
            id: stored.id.0,
            revision: stored.revision,
            created_at: At(stored.created_at),
            updated_at: At(stored.updated_at),
            policy: stored.policy.to_json(),
        }
    }
}

fn read(document: &Value, below: &str) -> Result<policy::Policy, ApiError> {
    policy::Policy::from_json(document).map_err(|error| {
        let faults = error.faults.into_iter().map(|fault| Fault {
            field: format!("{below}{}", fault.pointer),
            text: fault.message,
        });
        ApiError::Invalid(faults.collect())
    })
}

/// Policies, by id.
#[utoipa::path(
    get, path = "/api/v1/policies", tag = "policies",
    params(
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<PolicyAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let after = PolicyId(query.cursor.unwrap_or(0));
    let found = api.store.policies(after, query.limit).await?;
    Ok(page::<PolicyAnswer, _>(&query, found, |one| one.id.0))
}

/// One policy.
#[utoipa::path(
    get, path = "/api/v1/policies/{id}", tag = "policies",
    params(("id" = i64, Path, description = "The policy")),
    responses(
        (status = 200, body = PolicyAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn one(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let stored = api
        .store
        .policy(segments.id("id", "Policy")?)
        .await?
        .ok_or(MISSING)?;
    Ok(revised(
        StatusCode::OK,
        stored.revision,
        &PolicyAnswer::from(stored),
    ))
}

/// Makes a policy; it rules nothing until systems or accounts refer to it.
#[utoipa::path(
    post, path = "/api/v1/policies", tag = "policies",
    request_body = PolicyDocument,
    responses(
        (status = 201, body = PolicyAnswer,
         headers(("Location" = String), ("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(document): Body<Value>,
) -> Result<Response, ApiError> {
    let policy = read(&document, "")?;
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    let id = tx.insert_policy(&policy, now).await?;
    let event = Event::by(
        caller.actor(),
        "policy.created",
        id,
        json!({"policy": policy.to_json()}),
    );
    tx.audit(&event, now).await?;
    tx.commit().await?;
    let stored = StoredPolicy {
        id,
        policy,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    let location = format!("/api/v1/policies/{}", id.0);
    let mut response = made(StatusCode::CREATED, location, &PolicyAnswer::from(stored));
    set(&mut response, header::ETAG, Some(super::input::etag(1)));
    Ok(response)
}

/// Replaces a policy and plans its accounts anew.
#[utoipa::path(
    put, path = "/api/v1/policies/{id}", tag = "policies",
    params(
        ("id" = i64, Path, description = "The policy"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    request_body = PolicyDocument,
    responses(
        (status = 200, body = PolicyAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn replace(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
    body: Result<Body<Value>, ApiError>,
) -> Result<Response, ApiError> {
    let id: PolicyId = segments.id("id", "Policy")?;
    let stored = api.store.policy(id).await?.ok_or(MISSING)?;
    let revision = if_match?.revision(stored.revision, "the policy")?;
    let Body(document) = body?;
    let policy = read(&document, "")?;
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    tx.update_policy(id, revision, &policy, now).await?;
    let event = Event::by(
        caller.actor(),
        "policy.updated",
        id,
        json!({"policy": policy.to_json()}),
    );
    tx.audit(&event, now).await?;
    tx.commit().await?;
    // The edit itself is done: whoever reads "busy" here would repeat it with a stale tag.
    replan::all(&api, Ruled::Policy(id))
        .await
        .map_err(|error| {
            tracing::error!(%error, "the accounts of a policy were not planned anew");
            ApiError::Internal(
                "the policy is saved, but not all its accounts are planned: save again",
            )
        })?;
    let stored = StoredPolicy {
        policy,
        revision: revision + 1,
        updated_at: now,
        ..stored
    };
    Ok(revised(
        StatusCode::OK,
        revision + 1,
        &PolicyAnswer::from(stored),
    ))
}

/// Deletes a policy that no system and no account refers to.
#[utoipa::path(
    delete, path = "/api/v1/policies/{id}", tag = "policies",
    params(
        ("id" = i64, Path, description = "The policy"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
) -> Result<StatusCode, ApiError> {
    let id: PolicyId = segments.id("id", "Policy")?;
    let stored = api.store.policy(id).await?.ok_or(MISSING)?;
    let revision = if_match?.revision(stored.revision, "the policy")?;
    let mut tx = api.store.begin().await?;
    tx.delete_policy(id, revision).await?;
    let event = Event::by(
        caller.actor(),
        "policy.deleted",
        id,
        json!({"name": stored.policy.name()}),
    );
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The next runs of a policy, saved or not.
#[utoipa::path(
    post, path = "/api/v1/policies/preview", tag = "policies",
    request_body = PreviewOrder,
    responses((status = 200, body = Preview), (status = "4XX", body = Problem)),
)]
pub(super) async fn preview(
    State(api): State<Api>,
    Body(order): Body<PreviewOrder>,
) -> Result<Response, ApiError> {
    let policy = read(&order.policy, "/policy")?;
    let runs = order.runs.unwrap_or(RUNS_DEFAULT);
    if !(1..=100).contains(&runs) {
        return Err(ApiError::field("runs", "must be 1 to 100"));
    }
    let runs = policy::preview(&policy, api.clock.now(), runs)
        .into_iter()
        .map(|run| PreviewedRun {
            at: At(run.at_utc),
            local: run.local,
            note: run.note,
        });
    Ok(Json(Preview {
        runs: runs.collect(),
    })
    .into_response())
}
