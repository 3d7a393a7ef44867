//! `/api/v1/users`: who may call, and what they may do.
//!
//! Invariant: nobody grants what they lack themselves.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::group::{may_hand_out, permissions};
use super::input::{At, Body, ListQuery};
use super::output::{Listed, made, page};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::audit::Event;
use crate::model::id::{GroupId, UserId};
use crate::model::principal::{ByGroups, NewUser, Permission, User};

const MISSING: ApiError = ApiError::NotFound { what: "User" };
const NAME_MAX_CHARS: usize = 128;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/users", Permission::UsersRead, list)
        .post("/api/v1/users", Permission::UsersWrite, create)
        .get("/api/v1/users/{id}", Permission::UsersRead, one)
        .post(
            "/api/v1/users/{id}/disable",
            Permission::UsersWrite,
            disable,
        )
        .post("/api/v1/users/{id}/enable", Permission::UsersWrite, enable)
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserAnswer {
    id: i64,
    name: String,
    display_name: String,
    email: String,
    /// Passes every check.
    administrator: bool,
    /// May not sign in.
    disabled: bool,
    /// What was granted, for example `accounts.write`.
    permissions: Vec<&'static str>,
    /// What its groups permit comes on top.
    group_ids: Vec<i64>,
    created_at: At,
}

impl From<User> for UserAnswer {
    fn from(user: User) -> Self {
        Self {
            id: user.id.0,
            name: user.name,
            display_name: user.display_name,
            email: user.email,
            administrator: user.administrator,
            disabled: user.disabled,
            permissions: user.granted.into_iter().map(Permission::as_str).collect(),
            group_ids: user.by_groups.ids.into_iter().map(|id| id.0).collect(),
            created_at: At(user.created_at),
        }
    }
}

/// A user to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserOrder {
    /// Sign-in name, 1 to 128 characters, unique in any case.
    name: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    email: Option<String>,
    /// Only administrators make administrators.
    #[serde(default)]
    administrator: bool,
    /// For example `accounts.write`; only what the caller may do itself.
    #[serde(default)]
    permissions: Vec<String>,
    /// Groups to put it into; only such as permit no more than the caller may do itself.
    #[serde(default)]
    group_ids: Vec<i64>,
}

/// Users, by id.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "users",
    params(
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<UserAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let after = UserId(query.cursor.unwrap_or(0));
    let found = api.store.users(after, query.limit).await?;
    Ok(page::<UserAnswer, _>(&query, found, |user| user.id.0))
}

/// One user.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = "users",
    params(("id" = i64, Path, description = "The user")),
    responses((status = 200, body = UserAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn one(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let user = existing(&api, &segments).await?;
    Ok(Json(UserAnswer::from(user)).into_response())
}

pub(super) async fn existing(api: &Api, segments: &Segments) -> Result<User, ApiError> {
    let id: UserId = segments.id("id", "User")?;
    api.store.user(id).await?.ok_or(MISSING)
}

/// Makes a user.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "users",
    request_body = UserOrder,
    responses(
        (status = 201, body = UserAnswer, headers(("Location" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(order): Body<UserOrder>,
) -> Result<Response, ApiError> {
    let groups: BTreeSet<GroupId> = order.group_ids.iter().copied().map(GroupId).collect();
    let new = order.checked()?;
    for group in &groups {
        let found = api.store.group(*group).await?;
        let found =
            found.ok_or_else(|| ApiError::field("group_ids", "names a group that is not there"))?;
        may_hand_out(&api, &caller, &found).await?;
    }
    let grants_more = new
        .granted
        .iter()
        .any(|permission| !caller.user.may(*permission));
    if grants_more || (new.administrator && !caller.user.administrator) {
        return Err(ApiError::Forbidden);
    }
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    let id = tx.insert_user(&new, now).await?;
    for group in &groups {
        tx.add_member(*group, id).await?;
    }
    let details = json!({
        "name": new.name, "administrator": new.administrator, "permissions": new.granted,
        "groups": groups,
    });
    tx.audit(&Event::by(caller.actor(), "user.created", id, details), now)
        .await?;
    tx.commit().await?;
    let user = User {
        id,
        name: new.name,
        display_name: new.display_name,
        email: new.email,
        administrator: new.administrator,
        disabled: false,
        created_at: now,
        granted: new.granted,
        by_groups: ByGroups {
            ids: groups,
            ..ByGroups::default()
        },
    };
    let location = format!("/api/v1/users/{}", id.0);
    Ok(made(StatusCode::CREATED, location, &UserAnswer::from(user)))
}

impl UserOrder {
    fn checked(self) -> Result<NewUser, ApiError> {
        let name = self.name.trim().to_owned();
        // The characters that separate a name from its domain, and header syntax, are out.
        let odd = |c: char| c.is_control() || matches!(c, '\\' | '@' | ';' | '=' | ',');
        if name.is_empty() || name.chars().count() > NAME_MAX_CHARS || name.chars().any(odd) {
            return Err(ApiError::field(
                "name",
                r"must have 1 to 128 characters, without control characters and \ @ ; = ,",
            ));
        }
        let display_name = self.display_name.unwrap_or_else(|| name.clone());
        let email = self.email.unwrap_or_default();
        for (field, value) in [("display_name", &display_name), ("email", &email)] {
            if value.chars().count() > 255 || value.chars().any(char::is_control) {
                let text = "must have at most 255 characters, without control characters";
                return Err(ApiError::field(field, text));
            }
        }
        let granted = permissions(&self.permissions)?;
        let administrator = self.administrator;
        Ok(NewUser {
            name,
            display_name,
            email,
            administrator,
            granted,
        })
    }
}

/// Ends a user's sessions and lets it sign in no longer.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/disable", tag = "users",
    params(("id" = i64, Path, description = "The user")),
    responses((status = 200, body = UserAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn disable(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    switch(&api, &caller, &segments, true).await
}

/// Lets a user sign in again.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/enable", tag = "users",
    params(("id" = i64, Path, description = "The user")),
    responses((status = 200, body = UserAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn enable(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    switch(&api, &caller, &segments, false).await
}

/// Administrators alone keep administrators from their work.
pub(super) fn may_hold_back(caller: &Caller, user: &User) -> Result<(), ApiError> {
    if user.administrator && !caller.user.administrator {
        return Err(ApiError::Forbidden);
    }
    Ok(())
}

/// The user of a path: the caller, or whom somebody with this permission names. Others are refused
/// whether or not there is such a user.
pub(super) async fn own_or(
    api: &Api,
    caller: &Caller,
    segments: &Segments,
    permission: Permission,
) -> Result<User, ApiError> {
    let id = segments.id::<UserId>("id", "User");
    if id.as_ref().is_ok_and(|id| *id == caller.user.id) {
        return Ok(caller.user.clone());
    }
    caller.require(permission)?;
    api.store.user(id?).await?.ok_or(MISSING)
}

async fn switch(
    api: &Api,
    caller: &Caller,
    segments: &Segments,
    disabled: bool,
) -> Result<Response, ApiError> {
    let user = existing(api, segments).await?;
    may_hold_back(caller, &user)?;
    if user.id == caller.user.id {
        return Err(ApiError::conflict(
            "You cannot lock yourself out; ask somebody else",
        ));
    }
    let name = if disabled {
        "user.disabled"
    } else {
        "user.enabled"
    };
    let mut tx = api.store.begin().await?;
    tx.set_user_disabled(user.id, disabled).await?;
    let event = Event::by(caller.actor(), name, user.id, json!({"name": user.name}));
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(Json(UserAnswer::from(User { disabled, ..user })).into_response())
}
