//! `/api/v1/access-policies`: how credentials are asked for.
//!
//! Invariant: a policy is never edited: what somebody was promised when a role was given stays.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::input::Body;
use super::output::made;
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::audit::Event;
use crate::model::principal::Permission;
use crate::model::request::AccessPolicy;

/// Approvals that a policy may ask for.
const APPROVALS_MAX: i64 = 10;

pub(super) fn routes() -> Routes {
    const PATH: &str = "/api/v1/access-policies";
    Routes::new(Dialect::Native)
        .get(PATH, Permission::RolesRead, list)
        .post(PATH, Permission::RolesWrite, create)
}

/// An access policy; the roles Requestor, and Requestor and Approver, name one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccessPolicyAnswer {
    /// `AccessPolicyID` of the Password Safe dialect.
    id: i64,
    name: String,
    description: String,
    /// How many must approve a request.
    approvals: i64,
}

impl From<AccessPolicy> for AccessPolicyAnswer {
    fn from(policy: AccessPolicy) -> Self {
        Self {
            id: policy.id,
            name: policy.name,
            description: policy.description,
            approvals: policy.approvals,
        }
    }
}

/// An access policy to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessPolicyOrder {
    /// 1 to 128 characters, unique in any case.
    name: String,
    #[serde(default)]
    description: Option<String>,
    /// 0 to 10.
    approvals: i64,
}

/// All access policies.
#[utoipa::path(
    get, path = "/api/v1/access-policies", tag = "requests",
    responses((status = 200, body = Vec<AccessPolicyAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let found = api.store.access_policies().await?.into_iter();
    let shown: Vec<AccessPolicyAnswer> = found.map(Into::into).collect();
    Ok(Json(shown).into_response())
}

/// Makes an access policy.
#[utoipa::path(
    post, path = "/api/v1/access-policies", tag = "requests",
    request_body = AccessPolicyOrder,
    responses(
        (status = 201, body = AccessPolicyAnswer, headers(("Location" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(order): Body<AccessPolicyOrder>,
) -> Result<Response, ApiError> {
    let name = order.name.trim().to_owned();
    let description = order.description.unwrap_or_default();
    for (field, text, least, most) in [
        ("name", &name, 1, 128),
        ("description", &description, 0, 1_000),
    ] {
        let fits = (least..=most).contains(&text.chars().count());
        if !fits || text.chars().any(char::is_control) {
            let text =
                format!("must have {least} to {most} characters, without control characters");
            return Err(ApiError::field(field, text));
        }
    }
    if !(0..=APPROVALS_MAX).contains(&order.approvals) {
        let text = format!("must be 0 to {APPROVALS_MAX}");
        return Err(ApiError::field("approvals", text));
    }
    let mut tx = api.store.begin().await?;
    let id = tx
        .insert_access_policy(&name, &description, order.approvals)
        .await?;
    let details = json!({"name": name, "approvals": order.approvals});
    let subject = format!("access policy {id}");
    let event = Event::by(caller.actor(), "access_policy.created", subject, details);
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    let answer = AccessPolicyAnswer {
        id,
        name,
        description,
        approvals: order.approvals,
    };
    let location = "/api/v1/access-policies".to_owned();
    Ok(made(StatusCode::CREATED, location, &answer))
}
