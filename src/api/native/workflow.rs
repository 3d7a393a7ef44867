//! `/api/v1/workflows`: who is told that somebody has seen a password.
//!
//! Invariant: what a workflow names exists when it is saved, and each edit is on record.

mod document;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::input::{Body, IfMatch, ListQuery, etag};
use super::output::{Listed, made, page, revised, set};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::{ApiError, Fault, Refusal};
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::{
    OrganizationId, PasswordCategoryId, PasswordRecordId, UserId, WorkflowActionId, WorkflowId,
};
use crate::model::principal::Permission;
use crate::model::reveal::Reader;
use crate::model::workflow::{Filter, IdField, Workflow};
use crate::workflow::WorkflowError;

pub(super) use document::{ActionDocument, WorkflowAnswer, WorkflowDocument};

const MISSING: ApiError = ApiError::NotFound { what: "Workflow" };

pub(super) fn routes() -> Routes {
    let needs = Permission::WorkflowsWrite;
    Routes::new(Dialect::Native)
        .get("/api/v1/workflows", needs, list)
        .post("/api/v1/workflows", needs, create)
        .post("/api/v1/workflows/test-action", needs, test)
        .get("/api/v1/workflows/{id}", needs, one)
        .put("/api/v1/workflows/{id}", needs, replace)
        .delete("/api/v1/workflows/{id}", needs, delete)
        .post(
            "/api/v1/workflows/{id}/actions/{action}/signing-secret",
            needs,
            renew_secret,
        )
}

impl From<WorkflowError> for ApiError {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Store(error) => Self::Store(error),
            WorkflowError::Vault(error) => Self::Vault(error),
        }
    }
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tested {
    /// `sent`.
    status: &'static str,
    message: &'static str,
}

/// A signing secret that was drawn anew.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Renewed {
    /// Shown this once.
    #[schema(value_type = String)]
    signing_secret: serde_json::Value,
}

/// Workflows, by id.
#[utoipa::path(
    get, path = "/api/v1/workflows", tag = "workflows",
    params(
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<WorkflowAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let after = WorkflowId(query.cursor.unwrap_or(0));
    let found = api.store.workflows(after, query.limit).await?;
    Ok(page::<WorkflowAnswer, _>(&query, found, |one| one.id.0))
}

/// One workflow.
#[utoipa::path(
    get, path = "/api/v1/workflows/{id}", tag = "workflows",
    params(("id" = i64, Path, description = "The workflow")),
    responses(
        (status = 200, body = WorkflowAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn one(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let found = found(&api, &segments).await?;
    let revision = found.revision;
    Ok(revised(
        StatusCode::OK,
        revision,
        &WorkflowAnswer::from(found),
    ))
}

async fn found(api: &Api, segments: &Segments) -> Result<Workflow, ApiError> {
    let id = segments.id("id", "Workflow")?;
    api.store.workflow(id).await?.ok_or(MISSING)
}

/// Makes a workflow; it is off unless `status` says otherwise. What its webhooks are signed with is
/// shown in this answer alone.
#[utoipa::path(
    post, path = "/api/v1/workflows", tag = "workflows",
    request_body = WorkflowDocument,
    responses(
        (status = 201, body = WorkflowAnswer,
         headers(("Location" = String), ("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(document): Body<WorkflowDocument>,
) -> Result<Response, ApiError> {
    let (fields, drafts) = document.read(None)?;
    known(&api, &fields.filters, None).await?;
    let made_by = caller.actor();
    let (id, drawn) = api.workflows.create(&fields, &drafts, made_by).await?;
    let stored = api.store.workflow(id).await?.ok_or(MISSING)?;
    let location = format!("/api/v1/workflows/{}", id.0);
    let revision = stored.revision;
    let answer = WorkflowAnswer::from(stored).showing(&drawn);
    let mut response = made(StatusCode::CREATED, location, &answer);
    set(&mut response, header::ETAG, Some(etag(revision)));
    Ok(response)
}

/// Replaces a workflow. Actions keep their ids, addresses and signing secrets where they are named
/// by their ids and their URLs are sent as they were read; actions that are missing are removed,
/// and what they have queued still goes.
#[utoipa::path(
    put, path = "/api/v1/workflows/{id}", tag = "workflows",
    params(
        ("id" = i64, Path, description = "The workflow"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    request_body = WorkflowDocument,
    responses(
        (status = 200, body = WorkflowAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn replace(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
    body: Result<Body<WorkflowDocument>, ApiError>,
) -> Result<Response, ApiError> {
    let stored = found(&api, &segments).await?;
    let revision = if_match?.revision(stored.revision, "the workflow")?;
    let Body(document) = body?;
    let (fields, drafts) = document.read(Some(&stored))?;
    known(&api, &fields.filters, Some(&stored)).await?;
    let at = (stored.id, revision);
    let drawn = api.workflows.replace(at, &fields, &drafts, caller.actor());
    let drawn = drawn.await?;
    let stored = api.store.workflow(stored.id).await?.ok_or(MISSING)?;
    let answer = WorkflowAnswer::from(stored).showing(&drawn);
    Ok(revised(StatusCode::OK, revision + 1, &answer))
}

/// Deletes a workflow; what it has queued still goes.
#[utoipa::path(
    delete, path = "/api/v1/workflows/{id}", tag = "workflows",
    params(
        ("id" = i64, Path, description = "The workflow"),
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
    let stored = found(&api, &segments).await?;
    if_match?.revision(stored.revision, "the workflow")?;
    api.workflows.delete(&stored, caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Draws anew what a webhook is signed with; the old secret ends at once.
#[utoipa::path(
    post, path = "/api/v1/workflows/{id}/actions/{action}/signing-secret", tag = "workflows",
    params(
        ("id" = i64, Path, description = "The workflow"),
        ("action" = i64, Path, description = "Its action, a webhook"),
    ),
    responses((status = 200, body = Renewed), (status = "4XX", body = Problem)),
)]
pub(super) async fn renew_secret(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    const ACTION: ApiError = ApiError::NotFound { what: "Action" };
    let stored = found(&api, &segments).await?;
    let action: WorkflowActionId = segments.id("action", "Action")?;
    let own = stored.actions.iter().find(|one| one.id == action);
    let own = own.ok_or(ACTION)?;
    if own.content.channel() != crate::model::workflow::Channel::Webhook {
        return Err(ApiError::conflict("Only webhooks are signed"));
    }
    let renewed = api
        .workflows
        .renew_secret(stored.id, action, caller.actor());
    let drawn = renewed.await?;
    let signing_secret = crate::api::clear::handed_over(&drawn.secret);
    Ok(Json(Renewed { signing_secret }).into_response())
}

/// Sends an action's notice with sample data, at once and once; saved or not, on or off. An action
/// with an `id` is signed with its own secret and may have its masked URL.
#[utoipa::path(
    post, path = "/api/v1/workflows/test-action", tag = "workflows",
    request_body = ActionDocument,
    responses((status = 200, body = Tested), (status = "4XX", body = Problem)),
)]
pub(super) async fn test(
    State(api): State<Api>,
    caller: Caller,
    Body(document): Body<ActionDocument>,
) -> Result<Response, ApiError> {
    let kept = match document.named() {
        None => Vec::new(),
        Some(id) => match api.store.sealed_action(id).await? {
            None => Vec::new(),
            Some(sealed) => {
                let workflow = api.store.workflow(sealed.workflow).await?;
                workflow.map_or_else(Vec::new, |workflow| workflow.actions)
            }
        },
    };
    let draft = document.read("", &kept)?;
    let by = Reader {
        user_id: caller.user.id,
        name: caller.user.name.clone(),
        email: caller.user.email.clone(),
        address: "192.0.2.1".to_owned(),
    };
    match api.workflows.test(&draft, by).await? {
        Ok(()) => Ok(Json(Tested {
            status: "sent",
            message: "Notification Sent",
        })
        .into_response()),
        Err(untaken) => Err(Refusal::unprocessable("Not sent", untaken.why).into()),
    }
}

/// Refuses filters that name what is not there; what a stored workflow names already may be gone.
async fn known(api: &Api, filters: &[Filter], stored: Option<&Workflow>) -> Result<(), ApiError> {
    for (nth, filter) in filters.iter().enumerate() {
        let Filter::Ids { field, ids, .. } = filter else {
            continue;
        };
        for (place, id) in ids.iter().enumerate() {
            if stored.is_some_and(|stored| names(stored, *field, *id))
                || exists(api, *field, *id).await?
            {
                continue;
            }
            return Err(ApiError::Invalid(vec![Fault {
                field: format!("/filters/{nth}/values/{place}"),
                text: format!("is no {}", field.as_str().replace('_', " ")),
            }]));
        }
    }
    Ok(())
}

fn names(stored: &Workflow, wanted: IdField, id: i64) -> bool {
    stored.fields.filters.iter().any(|one| match one {
        Filter::Ids { field, ids, .. } => *field == wanted && ids.contains(&id),
        Filter::Text { .. } => false,
    })
}

async fn exists(api: &Api, field: IdField, id: i64) -> Result<bool, ApiError> {
    let store = &api.store;
    Ok(match field {
        IdField::Password => store.password_record(PasswordRecordId(id)).await?.is_some(),
        IdField::Organization => store.organization(OrganizationId(id)).await?.is_some(),
        // Its ids are fixed: the filter has looked.
        IdField::OrganizationStatus => true,
        IdField::UpdatedBy => store.user(UserId(id)).await?.is_some(),
        IdField::PasswordCategory => {
            let id = PasswordCategoryId(id);
            store.password_category(id).await?.is_some()
        }
    })
}
