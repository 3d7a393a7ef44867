//! `/api/v1/users/{id}/totp`: second factors.
//!
//! Invariant: a factor counts once its user has shown a code of it; its secret and its recovery
//! codes are shown once, and only to them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::functional_account::Given;
use super::input::{At, Body};
use super::key::may_act_for;
use super::problem::Problem;
use super::user::own_or;
use crate::api::caller::Caller;
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::peer::Peer;
use crate::api::route::{Need, Routes};
use crate::api::sign_in::{self, Proof};
use crate::api::{Api, Dialect};
use crate::generate::{recovery_code, totp_secret};
use crate::model::audit::Event;
use crate::model::key::KeyHash;
use crate::model::principal::{Permission, User};
use crate::model::totp::Totp;
use crate::vault::{Place, enrolment};

const MISSING: ApiError = ApiError::NotFound {
    what: "Second factor",
};

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/users/{id}/totp", Need::SignedIn, one)
        .post("/api/v1/users/{id}/totp", Need::SignedIn, enrol)
        .post("/api/v1/users/{id}/totp/confirm", Need::SignedIn, confirm)
        .post("/api/v1/users/{id}/totp/remove", Need::SignedIn, remove)
}

/// Where a user's second factor stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TotpAnswer {
    /// True: a secret was handed out; it counts once it is confirmed.
    enrolled: bool,
    /// Since when sign-ins need a code.
    confirmed_at: Option<At>,
    /// Recovery codes that are still unused.
    recovery_codes_left: i64,
}

/// A second factor that was just drawn.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Enrolled {
    /// What an app reads; it holds the secret, and is shown this once.
    #[schema(value_type = String)]
    otpauth_url: Value,
}

/// A code that an app shows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeOrder {
    /// Six digits.
    #[schema(value_type = String, format = Password)]
    code: Given,
}

/// What replaces the factor if it is lost.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecoveryCodes {
    /// Each signs in once, in place of a code. They are shown this once.
    #[schema(value_type = Vec<String>)]
    recovery_codes: Vec<Value>,
}

/// How a factor is removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    /// A code, or a recovery code; of callers who remove their own.
    #[schema(value_type = Option<String>, format = Password)]
    code: Option<Given>,
}

/// Where a second factor stands: the caller's own, or with `users.read` anybody's.
#[utoipa::path(
    get, path = "/api/v1/users/{id}/totp", tag = "users",
    params(("id" = i64, Path, description = "The user")),
    responses((status = 200, body = TotpAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let user = own_or(&api, &caller, &segments, Permission::UsersRead).await?;
    let factor = api.store.totp_of(user.id).await?;
    let answer = TotpAnswer {
        enrolled: factor.is_some(),
        confirmed_at: factor.and_then(|factor| factor.confirmed_at).map(At),
        recovery_codes_left: api.store.recovery_codes_left(user.id).await?,
    };
    Ok(Json(answer).into_response())
}

/// The caller, if the path names them.
fn own(caller: &Caller, segments: &Segments) -> Result<User, ApiError> {
    let id = segments.id("id", "User");
    if id.is_ok_and(|id| caller.user.id == id) {
        Ok(caller.user.clone())
    } else {
        Err(ApiError::Forbidden)
    }
}

/// Draws the caller a second factor. It counts once it is confirmed; until then it may be drawn
/// anew.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/totp", tag = "users",
    params(("id" = i64, Path, description = "The caller")),
    responses((status = 201, body = Enrolled), (status = "4XX", body = Problem)),
)]
pub(super) async fn enrol(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let user = own(&caller, &segments)?;
    let now = api.clock.now();
    caller.require_fresh(now)?;
    let factor = api.store.totp_of(user.id).await?;
    if factor.is_some_and(|factor| factor.confirmed_at.is_some()) {
        let text = "There is a second factor; remove it first";
        return Err(ApiError::conflict(text));
    }
    let secret = totp_secret(&*api.dice);
    let sealed = api.vault.seal(&Place::totp(user.id), &secret, &*api.dice)?;
    let mut tx = api.store.begin().await?;
    tx.enrol_totp(user.id, sealed.0, now).await?;
    let details = json!({"name": user.name});
    let event = Event::by(caller.actor(), "user.totp_enrolled", user.id, details);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    let otpauth_url = clear::handed_over(&enrolment(&secret, &user.name));
    Ok((StatusCode::CREATED, Json(Enrolled { otpauth_url })).into_response())
}

/// Takes the caller's second factor into use: from now on their sign-ins need a code.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/totp/confirm", tag = "users",
    params(("id" = i64, Path, description = "The caller")),
    request_body = CodeOrder,
    responses((status = 200, body = RecoveryCodes), (status = "4XX", body = Problem)),
)]
pub(super) async fn confirm(
    State(api): State<Api>,
    caller: Caller,
    peer: Peer,
    segments: Segments,
    body: Result<Body<CodeOrder>, ApiError>,
) -> Result<Response, ApiError> {
    let user = own(&caller, &segments)?;
    let Body(order) = body?;
    let factor = api.store.totp_of(user.id).await?.ok_or(MISSING)?;
    if factor.confirmed_at.is_some() {
        return Err(ApiError::conflict("The second factor was confirmed before"));
    }
    let Proof::Step(step) = sign_in::proof(&api, user.id, &factor, &order.code.text())? else {
        return Err(sign_in::wrong_code(&api, peer, &user).await);
    };
    let drawn = || recovery_code(&*api.dice);
    let codes: Vec<SecretString> = std::iter::repeat_with(drawn)
        .take(Totp::RECOVERY_CODES)
        .collect();
    let hashes: Vec<KeyHash> = codes.iter().map(KeyHash::of).collect();
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    tx.confirm_totp(user.id, (&factor.sealed, step), &hashes, now)
        .await?;
    let details = json!({"name": user.name, "recovery_codes": hashes.len()});
    let event = Event::by(caller.actor(), "user.totp_confirmed", user.id, details);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    let recovery_codes = codes.iter().map(clear::handed_over).collect();
    Ok(Json(RecoveryCodes { recovery_codes }).into_response())
}

/// Removes a second factor: the caller's own by a code of it, or with `users.write` that of
/// somebody who may do no more.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/totp/remove", tag = "users",
    params(("id" = i64, Path, description = "The user")),
    request_body = Removal,
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    peer: Peer,
    segments: Segments,
    body: Result<Body<Removal>, ApiError>,
) -> Result<StatusCode, ApiError> {
    let user = own_or(&api, &caller, &segments, Permission::UsersWrite).await?;
    let now = api.clock.now();
    let is_own = user.id == caller.user.id;
    if !is_own {
        may_act_for(&caller, &user)?;
        caller.require_fresh(now)?;
    }
    let Body(order) = body?;
    let factor = api.store.totp_of(user.id).await?.ok_or(MISSING)?;
    let proof = match order.code {
        _ if !is_own || factor.confirmed_at.is_none() => None,
        Some(code) => Some(sign_in::proof(&api, user.id, &factor, &code.text())?),
        None => return Err(ApiError::field("code", "is required")),
    };
    let mut tx = api.store.begin().await?;
    if let Some(proof) = &proof
        && !proof.spend(&mut tx, user.id, now).await?
    {
        tx.rollback().await?;
        return Err(sign_in::wrong_code(&api, peer, &user).await);
    }
    if !tx.remove_totp(user.id).await? {
        return Err(MISSING);
    }
    let details = json!({"name": user.name});
    let event = Event::by(caller.actor(), "user.totp_removed", user.id, details);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
