//! How requests end, and how they are approved.
//!
//! Invariant: nobody approves or denies their own request.

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{EITHER, GONE, approves, existing, own, standing};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::{Fields, Segments, managed_system};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::audit::Event;
use crate::model::id::{AccountId, JobId, UserId};
use crate::model::principal::Permission;
use crate::model::request::{Request, RequestState};
use crate::store::{Page, RequestFilter, StoreError};

/// Live requests that one call ends at most.
const TERMINATED_MAX: i64 = 10_000;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::PasswordSafe)
        .put("/requests/{id}/checkin", EITHER, check_in)
        .put("/requests/{id}/approve", EITHER, approve)
        .put("/requests/{id}/deny", EITHER, deny)
        .put("/requests/{id}/rotateoncheckin", EITHER, rotate_on_check_in)
        .post(
            "/managedaccounts/{id}/requests/terminate",
            Permission::AccountsWrite,
            end_of_account,
        )
        .post(
            "/managedsystems/{id}/requests/terminate",
            Permission::SystemsWrite,
            end_of_system,
        )
        .post(
            "/users/{id}/requests/terminate",
            Permission::UsersWrite,
            end_of_user,
        )
}

/// Ends a request; the change that follows is in `Location`.
async fn end(
    api: &Api,
    caller: &Caller,
    request: &Request,
    (state, event): (RequestState, &'static str),
    reason: Option<String>,
) -> Result<Option<JobId>, ApiError> {
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    let (ended, job) = tx.end_request(request, state, caller.actor(), now).await?;
    if ended {
        let details = json!({"account": request.account_id, "reason": reason, "job": job});
        tx.audit(&Event::by(caller.actor(), event, request.id, details), now)
            .await?;
        tx.commit().await?;
    }
    Ok(job)
}

fn done(job: Option<JobId>) -> Response {
    let location: Option<[(HeaderName, String); 1]> =
        job.map(|job| [(header::LOCATION, format!("/api/v1/jobs/{}", job.0))]);
    match location {
        Some(location) => (StatusCode::NO_CONTENT, location).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn reason(fields: Result<Fields, ApiError>) -> Result<Option<String>, ApiError> {
    fields?.text("Reason", 1_000)
}

async fn check_in(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let request = own(&api, &caller, &segments).await?;
    let how = (RequestState::CheckedIn, "request.checked_in");
    let job = end(&api, &caller, &request, how, reason(fields)?).await?;
    Ok(done(job))
}

async fn rotate_on_check_in(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let request = own(&api, &caller, &segments).await?;
    if !standing(&api, &request).is_live() {
        return Err(GONE);
    }
    let mut tx = api.store.begin().await?;
    tx.rotate_at_end(request.id)
        .await
        .map_err(ended_meanwhile)?;
    let event = Event::by(
        caller.actor(),
        "request.rotates_at_end",
        request.id,
        json!({"account": request.account_id}),
    );
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An end that came in between; any other fault of the store stays one.
fn ended_meanwhile(error: StoreError) -> ApiError {
    match error {
        StoreError::Stale { .. } => GONE,
        other => other.into(),
    }
}

/// A request of somebody else that waits for approval, if the caller approves such; and why.
async fn to_judge(
    api: &Api,
    caller: &Caller,
    segments: &Segments,
    fields: Result<Fields, ApiError>,
) -> Result<(Request, Option<String>), ApiError> {
    let request = existing(api, segments, "id").await?;
    let own = request.user_id == caller.user.id;
    if own || !approves(api, caller, request.account_id).await? {
        return Err(ApiError::ApproverOnly);
    }
    let state = standing(api, &request);
    if !state.is_live() {
        return Err(GONE);
    }
    let why = reason(fields)?;
    if state != RequestState::Pending {
        return Err(ApiError::conflict("The request is approved already"));
    }
    Ok((request, why))
}

async fn approve(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<StatusCode, ApiError> {
    let (request, why) = to_judge(&api, &caller, &segments, fields).await?;
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    let open = tx.approve_request(request.id, caller.user.id, now).await?;
    let details = json!({"account": request.account_id, "reason": why, "active": open});
    tx.audit(
        &Event::by(caller.actor(), "request.approved", request.id, details),
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn deny(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<StatusCode, ApiError> {
    let (request, why) = to_judge(&api, &caller, &segments, fields).await?;
    let how = (RequestState::Denied, "request.denied");
    end(&api, &caller, &request, how, why).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_of_account(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<StatusCode, ApiError> {
    let id: AccountId = segments.id("id", "Managed Account")?;
    api.store.account(id).await?.ok_or(ApiError::NotFound {
        what: "Managed Account",
    })?;
    let filter = RequestFilter {
        account_id: Some(id),
        ..RequestFilter::default()
    };
    terminate(&api, &caller, filter, fields).await
}

async fn end_of_system(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<StatusCode, ApiError> {
    let system = managed_system::existing(&api, &segments).await?;
    let filter = RequestFilter {
        system_id: Some(system.id),
        ..RequestFilter::default()
    };
    terminate(&api, &caller, filter, fields).await
}

async fn end_of_user(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<StatusCode, ApiError> {
    let id: UserId = segments.id("id", "User")?;
    api.store
        .user(id)
        .await?
        .ok_or(ApiError::NotFound { what: "User" })?;
    let filter = RequestFilter {
        user_id: Some(id),
        ..RequestFilter::default()
    };
    terminate(&api, &caller, filter, fields).await
}

async fn terminate(
    api: &Api,
    caller: &Caller,
    filter: RequestFilter,
    fields: Result<Fields, ApiError>,
) -> Result<StatusCode, ApiError> {
    let why = reason(fields)?;
    let filter = RequestFilter {
        live: true,
        ..filter
    };
    let how = (RequestState::Canceled, "request.terminated");
    for request in api
        .store
        .requests(filter, Page::first(TERMINATED_MAX))
        .await?
    {
        end(api, caller, &request, how, why.clone()).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
