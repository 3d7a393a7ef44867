//! `/api/v1/functional-accounts/{id}/account`: the managed account whose credential a functional
//! account logs in with.
//!
//! Invariant: an answer names accounts, and holds no credential of theirs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::{Body, IfMatch};
use super::output::revised;
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::{AccountId, FunctionalAccountId};
use crate::model::principal::Permission;
use crate::queue::OrderError;

const MISSING: ApiError = ApiError::NotFound {
    what: "Functional Account",
};

pub(super) fn routes() -> Routes {
    const LINK: &str = "/api/v1/functional-accounts/{id}/account";
    Routes::new(Dialect::Native)
        .get(LINK, Permission::AccountsRead, linked)
        .put(LINK, Permission::AccountsWrite, link)
}

/// Which managed account a functional account is linked to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinkAnswer {
    functional_account_id: i64,
    /// The managed account whose credential it logs in with; null: it has one of its own.
    account_id: Option<i64>,
    /// The systems that log in by it.
    systems: Vec<i64>,
}

/// Links, or parts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkOrder {
    /// The managed account with the same login, whose current credential has been tested. Null
    /// parts the two: the functional account keeps the current password as its own.
    #[schema(required)]
    #[serde(deserialize_with = "Option::deserialize")]
    account_id: Option<i64>,
}

/// The managed account that a functional account is linked to.
#[utoipa::path(
    get, path = "/api/v1/functional-accounts/{id}/account", tag = "functional-accounts",
    params(("id" = i64, Path, description = "The functional account")),
    responses(
        (status = 200, body = LinkAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn linked(
    State(api): State<Api>,
    segments: Segments,
) -> Result<Response, ApiError> {
    answer(&api, existing(&api, &segments).await?).await
}

async fn existing(api: &Api, segments: &Segments) -> Result<FunctionalAccountId, ApiError> {
    let id: FunctionalAccountId = segments.id("id", "Functional Account")?;
    let found = api.store.functional_account(id).await?.ok_or(MISSING)?;
    Ok(found.id)
}

/// The tag is the state itself: which account, or none.
async fn tag(api: &Api, id: FunctionalAccountId) -> Result<i64, ApiError> {
    let link = api.store.functional_link(id).await?;
    Ok(link.map_or(0, |link| link.account.0))
}

async fn answer(api: &Api, id: FunctionalAccountId) -> Result<Response, ApiError> {
    let tag = tag(api, id).await?;
    let systems = api.store.systems_using(id).await?;
    let body = LinkAnswer {
        functional_account_id: id.0,
        account_id: (tag != 0).then_some(tag),
        systems: systems.into_iter().map(|id| id.0).collect(),
    };
    Ok(revised(StatusCode::OK, tag, &body))
}

/// Links a functional account to a managed account: it logs in with that account's current
/// credential, and each change of it changes the login. Null parts them.
#[utoipa::path(
    put, path = "/api/v1/functional-accounts/{id}/account", tag = "functional-accounts",
    params(
        ("id" = i64, Path, description = "The functional account"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    request_body = LinkOrder,
    responses(
        (status = 200, body = LinkAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn link(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
    body: Result<Body<LinkOrder>, ApiError>,
) -> Result<Response, ApiError> {
    let id = existing(&api, &segments).await?;
    let now = tag(&api, id).await?;
    if_match?.revision(now, "the functional account's link")?;
    let Body(order) = body?;
    let done = match order.account_id {
        Some(account) if account == now => Ok(()),
        Some(account) => {
            let account = AccountId(account);
            api.orders
                .link_functional(id, account, caller.actor())
                .await
        }
        None => api.orders.unlink_functional(id, caller.actor()).await,
    };
    done.map_err(|error| match error {
        OrderError::NotFound => MISSING,
        OrderError::Refused(why) => ApiError::field("account_id", why),
        other => other.into(),
    })?;
    answer(&api, id).await
}
