//! `/api/v1/sessions`: signing in with a password, and what is signed in.
//!
//! Invariant: a cookie and its token are shown in the answer that makes them and never again.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::functional_account::Given;
use super::input::{At, Body, ListQuery};
use super::output::{Listed, page};
use super::problem::Problem;
use super::user::{may_hold_back, own_or};
use crate::api::caller::{By, Caller};
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::peer::Peer;
use crate::api::route::{Need, Routes};
use crate::api::sign_in::{self, COOKIE};
use crate::api::{Api, Dialect};
use crate::model::audit::Event;
use crate::model::id::{UserId, UserSessionId};
use crate::model::key::csrf_token;
use crate::model::principal::Permission;
use crate::model::session::UserSession;

const MISSING: ApiError = ApiError::NotFound { what: "Session" };

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .open_post("/api/v1/sessions", sign_in)
        .get("/api/v1/sessions", Need::SignedIn, list)
        .delete("/api/v1/sessions/{id}", Need::SignedIn, end)
        .delete("/api/v1/users/{id}/sessions", Need::SignedIn, end_all)
}

/// What somebody signs in with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    /// Sign-in name.
    name: String,
    #[schema(value_type = String, format = Password)]
    password: Given,
    /// A code of the second factor, or a recovery code; of users who have one.
    #[schema(value_type = Option<String>, format = Password)]
    otp: Option<Given>,
}

/// A session that was just opened; its cookie is in `Set-Cookie`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignedIn {
    id: i64,
    user_id: i64,
    user_name: String,
    /// Calls other than GET carry it as `X-CSRF-Token`. It is shown this once.
    #[schema(value_type = String)]
    csrf_token: Value,
    created_at: At,
    /// When it ends in any case; without calls it ends earlier.
    expires_at: At,
}

/// A session that a user opened with their password.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionAnswer {
    id: i64,
    user_id: i64,
    /// From where they signed in; empty where nobody knows.
    address: String,
    created_at: At,
    /// Last call, at a minute's grain.
    seen_at: At,
}

impl From<UserSession> for SessionAnswer {
    fn from(session: UserSession) -> Self {
        Self {
            id: session.id.0,
            user_id: session.user_id.0,
            address: session.address,
            created_at: At(session.created_at),
            seen_at: At(session.seen_at),
        }
    }
}

/// Signs in with a password. Whatever is wrong, the answer is 401.
#[utoipa::path(
    post, path = "/api/v1/sessions", tag = "sessions",
    request_body = SignIn,
    responses(
        (status = 201, body = SignedIn, headers(("Set-Cookie" = String))),
        (status = "4XX", body = Problem),
    ),
    security(()),
)]
pub(super) async fn sign_in(
    State(api): State<Api>,
    peer: Peer,
    headers: HeaderMap,
    Body(given): Body<SignIn>,
) -> Result<Response, ApiError> {
    // Or a page of another site could sign somebody in as somebody else.
    if !sign_in::is_of_this_site(&headers) {
        return Err(ApiError::TokenMissing);
    }
    let given = sign_in::Given {
        name: given.name,
        password: given.password.text(),
        code: given.otp.map(Given::text),
    };
    let opened = sign_in::open(&api, peer, given).await?;
    let body = SignedIn {
        id: opened.id.0,
        user_id: opened.user.id.0,
        user_name: opened.user.name,
        csrf_token: clear::handed_over(&csrf_token(&opened.cookie)),
        created_at: At(opened.at),
        expires_at: At(opened.at.plus(api.settings.sessions.most)),
    };
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    let about = (COOKIE, "; SameSite=Strict");
    let cookie = clear::set_cookie(about, &opened.cookie, api.settings.tls)?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Sessions of a user, by id: the caller's own, or with `users.write` anybody's.
#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "sessions",
    params(
        ("user_id" = Option<i64>, Query, description = "Whose; default the caller's"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<SessionAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let wanted = query.filters.int("user_id", 1..=i64::MAX)?.map(UserId);
    let of = wanted.unwrap_or(caller.user.id);
    if of != caller.user.id {
        caller.require(Permission::UsersWrite)?;
    }
    let after = UserSessionId(query.cursor.unwrap_or(0));
    let found = api.store.user_sessions(of, after, query.limit).await?;
    Ok(page::<SessionAnswer, _>(&query, found, |one| one.id.0))
}

/// Ends a session: the caller's own, or with `users.write` anybody's.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{id}", tag = "sessions",
    params(("id" = i64, Path, description = "The session")),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn end(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let may_all = caller.user.may(Permission::UsersWrite);
    let found = match segments.id::<UserSessionId>("id", "Session") {
        Ok(id) => api.store.user_session(id).await?,
        Err(_) => None,
    };
    let session = match found {
        Some(session) if may_all || session.user_id == caller.user.id => session,
        None if may_all => return Err(MISSING),
        Some(_) | None => return Err(ApiError::Forbidden),
    };
    if session.user_id != caller.user.id {
        let user = api.store.user(session.user_id).await?.ok_or(MISSING)?;
        may_hold_back(&caller, &user)?;
    }
    let mut tx = api.store.begin().await?;
    if tx.end_user_session(session.id).await? {
        let details = json!({"user": session.user_id});
        let event = Event::by(caller.actor(), "session.ended", session.id, details);
        tx.audit(&event, api.clock.now()).await?;
    }
    tx.commit().await?;
    let own = matches!(caller.by, By::SignIn(id, _) if id == session.id);
    Ok(gone(own))
}

/// Ends every session of a user, those of the Password Safe dialect included: the caller's own, or
/// with `users.write` anybody's.
#[utoipa::path(
    delete, path = "/api/v1/users/{id}/sessions", tag = "sessions",
    params(("id" = i64, Path, description = "The user")),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn end_all(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let user = own_or(&api, &caller, &segments, Permission::UsersWrite).await?;
    if user.id != caller.user.id {
        may_hold_back(&caller, &user)?;
    }
    let mut tx = api.store.begin().await?;
    let ended = tx.end_sessions_of(user.id).await?;
    let details = json!({"name": user.name, "sessions_ended": ended});
    let event = Event::by(caller.actor(), "user.sessions_ended", user.id, details);
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    let own = matches!(caller.by, By::SignIn(..)) && user.id == caller.user.id;
    Ok(gone(own))
}

/// 204; a browser forgets the cookie of its own session.
fn gone(own: bool) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if own {
        let line = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
        if let Ok(line) = HeaderValue::try_from(line) {
            response.headers_mut().insert(header::SET_COOKIE, line);
        }
    }
    response
}
