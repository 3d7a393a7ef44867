//! Feature permissions of user groups.
//!
//! Invariant: nobody gives a group what they lack themselves.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::wire::{LIST_LIMIT, list, part};
use super::{Params, Records, Segments};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::access::{Feature, Group};
use crate::model::audit::Event;
use crate::model::id::GroupId;
use crate::model::principal::{AccessLevel, Permission};

const GONE: ApiError = ApiError::NotFound { what: "User Group" };
/// The numbers and names of levels.
const LEVELS: [(i64, &str, Option<AccessLevel>); 3] = [
    (0, "None", None),
    (1, "Read", Some(AccessLevel::Read)),
    (2, "Read/Write", Some(AccessLevel::ReadWrite)),
];

pub(super) fn routes() -> Routes {
    const OF_GROUP: &str = "/usergroups/{id}/permissions";
    const EITHER: Need = Need::Any(&[Permission::UsersRead, Permission::RolesRead]);
    Routes::new(Dialect::PasswordSafe)
        .get("/permissions", Permission::UsersRead, permissions)
        .get("/accesslevels", EITHER, levels)
        .get("/usergroups", EITHER, groups)
        .get("/usergroups/{id}", EITHER, group)
        .get(OF_GROUP, Permission::UsersRead, of_group)
        .post(OF_GROUP, Permission::UsersWrite, set)
        .delete(OF_GROUP, Permission::UsersWrite, clear)
}

#[derive(Serialize, ToSchema)]
#[schema(as = UserGroup)]
pub(super) struct Shape {
    #[serde(rename = "GroupID")]
    group_id: i64,
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Description")]
    description: String,
    #[serde(rename = "GroupType")]
    group_type: &'static str,
    #[serde(rename = "IsActive")]
    is_active: bool,
}

impl From<Group> for Shape {
    fn from(group: Group) -> Self {
        Self {
            group_id: group.id.0,
            name: group.name,
            description: group.description,
            // Groups of directories are not mirrored.
            group_type: "BeyondInsight",
            is_active: group.active,
        }
    }
}

/// The group that a path names by its ID.
pub(super) async fn existing(api: &Api, segments: &Segments) -> Result<Group, ApiError> {
    let id: GroupId = segments.id("id", "User Group")?;
    api.store.group(id).await?.ok_or(GONE)
}

async fn permissions(State(_): State<Api>, params: Params) -> Result<Response, ApiError> {
    let all = Feature::ALL.into_iter();
    let shown = all.map(|one| json!({"PermissionID": one.number(), "Name": one.name()}));
    Ok(list(part(shown, params.page(LIST_LIMIT)?), None))
}

async fn levels(State(_): State<Api>, params: Params) -> Result<Response, ApiError> {
    let all = LEVELS.into_iter();
    let shown = all.map(|(number, name, _)| json!({"AccessLevelID": number, "Name": name}));
    Ok(list(part(shown, params.page(LIST_LIMIT)?), None))
}

async fn groups(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let found = api.store.groups(params.page(LIST_LIMIT)?.rows()).await?;
    Ok(list(found.into_iter().map(Shape::from).collect(), None))
}

async fn group(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let found = existing(&api, &segments).await?;
    Ok(Json(Shape::from(found)).into_response())
}

async fn of_group(
    State(api): State<Api>,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let group = existing(&api, &segments).await?;
    let number = |level: AccessLevel| {
        let found = LEVELS.into_iter().find(|(_, _, one)| *one == Some(level));
        found.map_or(0, |(number, ..)| number)
    };
    let shown = group.features.into_iter().map(|(feature, level)| {
        json!({"PermissionID": feature.number(), "AccessLevelID": number(level)})
    });
    Ok(list(part(shown, params.page(LIST_LIMIT)?), None))
}

async fn set(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    records: Result<Records, ApiError>,
) -> Result<StatusCode, ApiError> {
    let group = existing(&api, &segments).await?;
    let mut wanted = BTreeMap::new();
    for record in &records?.0 {
        let feature = record.required_int("PermissionID", 1..=7)?;
        let level = record.required_int("AccessLevelID", 0..=2)?;
        let level = LEVELS.into_iter().find(|(number, ..)| *number == level);
        if let (Some(feature), Some((_, _, level))) = (Feature::of(feature), level) {
            wanted.insert(feature, level);
        }
    }
    let given = wanted
        .iter()
        .filter_map(|(feature, level)| Some(feature.permissions((*level)?)));
    if !given.flatten().all(|one| caller.user.may(one)) {
        return Err(ApiError::Forbidden);
    }
    write(&api, &caller, group.id, wanted).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let group = existing(&api, &segments).await?;
    let none = Feature::ALL.into_iter().map(|one| (one, None)).collect();
    write(&api, &caller, group.id, none).await?;
    Ok(StatusCode::OK)
}

async fn write(
    api: &Api,
    caller: &Caller,
    group: GroupId,
    wanted: BTreeMap<Feature, Option<AccessLevel>>,
) -> Result<(), ApiError> {
    let details: BTreeMap<&str, &str> = wanted
        .iter()
        .map(|(feature, level)| {
            let found = LEVELS.into_iter().find(|(_, _, one)| one == level);
            (feature.name(), found.map_or("", |(_, name, _)| name))
        })
        .collect();
    let mut tx = api.store.begin().await?;
    tx.set_features(group, &wanted).await?;
    let event = Event::by(
        caller.actor(),
        "group.permissions_set",
        group,
        json!({"permissions": details}),
    );
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(())
}
