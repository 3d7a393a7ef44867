//! `PUT /api/v1/users/{id}/password`: what users sign in with.
//!
//! Invariant: nobody sets the password of a user who may do more than they, or their own without the
//! one before; with the new one all that was opened with the old one ends.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::functional_account::Given;
use super::input::Body;
use super::key::may_act_for;
use super::problem::Problem;
use super::user::own_or;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::peer::Peer;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect, sign_in};
use crate::model::audit::Event;
use crate::model::principal::Permission;
use crate::vault::password_fault;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native).put("/api/v1/users/{id}/password", Need::SignedIn, set)
}

/// A new password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordOrder {
    /// At least 12 characters, at most 1000 bytes; no control characters, and not the user's name.
    #[schema(value_type = String, format = Password)]
    password: Given,
    /// The password before; of callers who set their own, if they have one.
    #[schema(value_type = Option<String>, format = Password)]
    current: Option<Given>,
}

/// Sets the caller's own password, or with `users.write` that of somebody who may do no more, and
/// ends every session for which the password before was given.
#[utoipa::path(
    put, path = "/api/v1/users/{id}/password", tag = "users",
    params(("id" = i64, Path, description = "The user")),
    request_body = PasswordOrder,
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn set(
    State(api): State<Api>,
    caller: Caller,
    peer: Peer,
    segments: Segments,
    body: Result<Body<PasswordOrder>, ApiError>,
) -> Result<StatusCode, ApiError> {
    let user = own_or(&api, &caller, &segments, Permission::UsersWrite).await?;
    let own = user.id == caller.user.id;
    if !own {
        may_act_for(&caller, &user)?;
        caller.require_fresh(api.clock.now())?;
    }
    let Body(order) = body?;
    let password = order.password.text();
    if let Some(fault) = password_fault(&password, &user.name) {
        return Err(ApiError::field("password", fault));
    }
    let kept = api.store.password_of(user.id).await?;
    let before = kept.filter(|_| own);
    match (&before, order.current) {
        (Some(kept), Some(given)) => {
            let given = given.text();
            sign_in::require_current(&api, peer, &user, (&given, kept)).await?;
        }
        (Some(_), None) => return Err(ApiError::field("current", "is required")),
        (None, _) => {}
    }
    let hash = api.passwords.hash(&password, &*api.dice).await?;
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    if let Some(before) = &before {
        // Stale if somebody set another one meanwhile: theirs was not proven.
        tx.use_password(user.id, before, now).await?;
    }
    tx.set_password(user.id, &hash, now).await?;
    let ended = tx.end_password_sessions(user.id).await?;
    let details = json!({"name": user.name, "sessions_ended": ended});
    let event = Event::by(caller.actor(), "user.password_set", user.id, details);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
