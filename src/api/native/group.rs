//! `/api/v1/groups`: users who may do the same.
//!
//! Feature permissions of the Password Safe dialect and roles on smart rules are given there;
//! here is who belongs to a group, and what it permits beyond them.
//!
//! Invariant: nobody gives a group, or by a group somebody, what they lack themselves.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::input::{At, Body, ListQuery};
use super::output::{Listed, counted, made};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::{ApiError, Fault};
use crate::api::inventory::sound;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::access::{Group, NewGroup};
use crate::model::audit::Event;
use crate::model::id::{GroupId, UserId};
use crate::model::principal::{AccessLevel, Permission};

const MISSING: ApiError = ApiError::NotFound { what: "Group" };
const USER: ApiError = ApiError::NotFound { what: "User" };

pub(super) fn routes() -> Routes {
    const MEMBER: &str = "/api/v1/groups/{id}/members/{user}";
    Routes::new(Dialect::Native)
        .get("/api/v1/groups", Permission::UsersRead, list)
        .post("/api/v1/groups", Permission::UsersWrite, create)
        .get("/api/v1/groups/{id}", Permission::UsersRead, one)
        .delete("/api/v1/groups/{id}", Permission::UsersWrite, delete)
        .post(
            "/api/v1/groups/{id}/disable",
            Permission::UsersWrite,
            disable,
        )
        .post("/api/v1/groups/{id}/enable", Permission::UsersWrite, enable)
        .put(MEMBER, Permission::UsersWrite, add_member)
        .delete(MEMBER, Permission::UsersWrite, remove_member)
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupAnswer {
    id: i64,
    name: String,
    description: String,
    /// False: it grants nothing.
    active: bool,
    /// What its members may do, for example `accounts.write`, beyond its feature permissions.
    permissions: Vec<&'static str>,
    /// Feature permissions of the Password Safe dialect: `read` or `write`.
    features: Vec<FeatureAnswer>,
    created_at: At,
}

/// A feature permission.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FeatureAnswer {
    name: &'static str,
    /// `read` or `write`.
    level: &'static str,
}

impl From<Group> for GroupAnswer {
    fn from(group: Group) -> Self {
        let features = group.features.into_iter();
        let features = features.map(|(feature, level)| FeatureAnswer {
            name: feature.name(),
            level: match level {
                AccessLevel::Read => "read",
                AccessLevel::ReadWrite => "write",
            },
        });
        Self {
            id: group.id.0,
            name: group.name,
            description: group.description,
            active: group.active,
            permissions: group
                .permissions
                .into_iter()
                .map(Permission::as_str)
                .collect(),
            features: features.collect(),
            created_at: At(group.created_at),
        }
    }
}

/// A group with who is in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupDetail {
    #[serde(flatten)]
    about: GroupAnswer,
    /// Users, by id.
    members: Vec<i64>,
}

/// A group to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupOrder {
    /// 1 to 128 characters, unique in any case.
    name: String,
    #[serde(default)]
    description: Option<String>,
    /// For example `audit.read`; only what the caller may do itself.
    #[serde(default)]
    permissions: Vec<String>,
}

/// Groups, by id.
#[utoipa::path(
    get, path = "/api/v1/groups", tag = "groups",
    params(
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<GroupAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let found = api.store.groups(query.rows()).await?;
    Ok(counted::<GroupAnswer, _>(&query, found))
}

/// One group, and who is in it.
#[utoipa::path(
    get, path = "/api/v1/groups/{id}", tag = "groups",
    params(("id" = i64, Path, description = "The group")),
    responses((status = 200, body = GroupDetail), (status = "4XX", body = Problem)),
)]
pub(super) async fn one(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let group = existing(&api, &segments).await?;
    let members = api.store.group_members(group.id).await?;
    let detail = GroupDetail {
        about: group.into(),
        members: members.into_iter().map(|user| user.0).collect(),
    };
    Ok(Json(detail).into_response())
}

async fn existing(api: &Api, segments: &Segments) -> Result<Group, ApiError> {
    let id: GroupId = segments.id("id", "Group")?;
    api.store.group(id).await?.ok_or(MISSING)
}

/// Makes a group.
#[utoipa::path(
    post, path = "/api/v1/groups", tag = "groups",
    request_body = GroupOrder,
    responses(
        (status = 201, body = GroupAnswer, headers(("Location" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(order): Body<GroupOrder>,
) -> Result<Response, ApiError> {
    let new = NewGroup {
        name: order.name.trim().to_owned(),
        description: order.description.unwrap_or_default(),
        permissions: permissions(&order.permissions)?,
    };
    sound(new.faults())?;
    if !new.permissions.iter().all(|one| caller.user.may(*one)) {
        return Err(ApiError::Forbidden);
    }
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    let id = tx.insert_group(&new, now).await?;
    let details = json!({"name": new.name, "permissions": new.permissions});
    tx.audit(
        &Event::by(caller.actor(), "group.created", id, details),
        now,
    )
    .await?;
    tx.commit().await?;
    let made_group = api.store.group(id).await?.ok_or(MISSING)?;
    let location = format!("/api/v1/groups/{}", id.0);
    let answer = GroupAnswer::from(made_group);
    Ok(made(StatusCode::CREATED, location, &answer))
}

/// Reads names of permissions.
pub(super) fn permissions(words: &[String]) -> Result<BTreeSet<Permission>, ApiError> {
    let mut granted = BTreeSet::new();
    let mut faults = Vec::new();
    for (place, word) in words.iter().enumerate() {
        match Permission::parse(word) {
            Some(permission) => {
                granted.insert(permission);
            }
            None => faults.push(Fault {
                field: format!("/permissions/{place}"),
                text: "is no permission; see the API's description".to_owned(),
            }),
        }
    }
    if faults.is_empty() {
        Ok(granted)
    } else {
        Err(ApiError::Invalid(faults))
    }
}

/// Deletes a group; its members stay. One that has a role on a smart rule stays, too.
#[utoipa::path(
    delete, path = "/api/v1/groups/{id}", tag = "groups",
    params(("id" = i64, Path, description = "The group")),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let group = existing(&api, &segments).await?;
    let mut tx = api.store.begin().await?;
    tx.delete_group(group.id).await?;
    let details = json!({"name": group.name});
    let event = Event::by(caller.actor(), "group.deleted", group.id, details);
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a group grant nothing; its members and what it holds stay.
#[utoipa::path(
    post, path = "/api/v1/groups/{id}/disable", tag = "groups",
    params(("id" = i64, Path, description = "The group")),
    responses((status = 200, body = GroupAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn disable(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let group = existing(&api, &segments).await?;
    switch(&api, &caller, group, false).await
}

/// Lets a group grant what it holds; only one that permits no more than the caller may do itself.
#[utoipa::path(
    post, path = "/api/v1/groups/{id}/enable", tag = "groups",
    params(("id" = i64, Path, description = "The group")),
    responses((status = 200, body = GroupAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn enable(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let group = existing(&api, &segments).await?;
    may_hand_out(&api, &caller, &group).await?;
    switch(&api, &caller, group, true).await
}

async fn switch(
    api: &Api,
    caller: &Caller,
    group: Group,
    active: bool,
) -> Result<Response, ApiError> {
    let name = if active {
        "group.enabled"
    } else {
        "group.disabled"
    };
    let mut tx = api.store.begin().await?;
    tx.set_group_active(group.id, active).await?;
    let event = Event::by(caller.actor(), name, group.id, json!({"name": group.name}));
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(Json(GroupAnswer::from(Group { active, ..group })).into_response())
}

/// Puts a user into a group.
#[utoipa::path(
    put, path = "/api/v1/groups/{id}/members/{user}", tag = "groups",
    params(
        ("id" = i64, Path, description = "The group"),
        ("user" = i64, Path, description = "The user"),
    ),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn add_member(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let group = existing(&api, &segments).await?;
    may_hand_out(&api, &caller, &group).await?;
    let user: UserId = segments.id("user", "User")?;
    let user = api.store.user(user).await?.ok_or(USER)?.id;
    let mut tx = api.store.begin().await?;
    if tx.add_member(group.id, user).await? {
        note(&mut tx, &api, &caller, "group.member_added", group.id, user).await?;
        tx.commit().await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a user out of a group.
#[utoipa::path(
    delete, path = "/api/v1/groups/{id}/members/{user}", tag = "groups",
    params(
        ("id" = i64, Path, description = "The group"),
        ("user" = i64, Path, description = "The user"),
    ),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn remove_member(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let group = existing(&api, &segments).await?.id;
    let user: UserId = segments.id("user", "User")?;
    let mut tx = api.store.begin().await?;
    if !tx.remove_member(group, user).await? {
        return Err(USER);
    }
    note(&mut tx, &api, &caller, "group.member_removed", group, user).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn note(
    tx: &mut crate::store::Tx,
    api: &Api,
    caller: &Caller,
    event: &'static str,
    group: GroupId,
    user: UserId,
) -> Result<(), ApiError> {
    let event = Event::by(caller.actor(), event, group, json!({"user": user}));
    Ok(tx.audit(&event, api.clock.now()).await?)
}

/// Refuses to make somebody a member of a group that may do more than the caller.
pub(super) async fn may_hand_out(
    api: &Api,
    caller: &Caller,
    group: &Group,
) -> Result<(), ApiError> {
    let features = group.features.iter();
    let permitted = features
        .flat_map(|(feature, level)| feature.permissions(*level))
        .chain(group.permissions.iter().copied())
        .all(|permission| caller.user.may(permission));
    let roles =
        caller.user.may(Permission::RolesWrite) || !api.store.group_has_roles(group.id).await?;
    if permitted && roles {
        Ok(())
    } else {
        Err(ApiError::Forbidden)
    }
}
