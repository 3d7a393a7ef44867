//! `/api/v1/passwords/{id}/readers`: who sees a restricted record.
//!
//! Invariant: whoever does not see a record learns not who does.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::input::Body;
use super::password_record::found;
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::peer::Peer;
use crate::api::record::Asker;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::audit::Event;
use crate::model::id::{GroupId, UserId};
use crate::model::password_record::Readers;
use crate::model::principal::Permission;
use crate::store::StoreError;

pub(super) fn routes() -> Routes {
    const PATH: &str = "/api/v1/passwords/{id}/readers";
    Routes::new(Dialect::Native)
        .get(PATH, Permission::PasswordsRead, readers)
        .put(PATH, Permission::PasswordsWrite, set_readers)
}

/// Who sees a restricted record.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadersBody {
    /// Ids of users.
    user_ids: BTreeSet<i64>,
    /// Ids of groups.
    group_ids: BTreeSet<i64>,
}

impl From<Readers> for ReadersBody {
    fn from(readers: Readers) -> Self {
        Self {
            user_ids: readers.users.iter().map(|id| id.0).collect(),
            group_ids: readers.groups.iter().map(|id| id.0).collect(),
        }
    }
}

/// Who is named on a record; it matters while the record is restricted.
#[utoipa::path(
    get, path = "/api/v1/passwords/{id}/readers", tag = "passwords",
    params(("id" = i64, Path, description = "The record")),
    responses((status = 200, body = ReadersBody), (status = "4XX", body = Problem)),
)]
pub(super) async fn readers(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
) -> Result<Json<ReadersBody>, ApiError> {
    let record = found(&api, Asker::anywhere(&caller, from), &segments).await?;
    let readers = api.store.readers_of_record(record.id).await?;
    Ok(Json(readers.into()))
}

/// Replaces who is named on a record.
#[utoipa::path(
    put, path = "/api/v1/passwords/{id}/readers", tag = "passwords",
    params(("id" = i64, Path, description = "The record")),
    request_body = ReadersBody,
    responses((status = 200, body = ReadersBody), (status = "4XX", body = Problem)),
)]
pub(super) async fn set_readers(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
    body: Result<Body<ReadersBody>, ApiError>,
) -> Result<Response, ApiError> {
    let record = found(&api, Asker::anywhere(&caller, from), &segments).await?;
    let Body(named) = body?;
    let readers = Readers {
        users: named.user_ids.iter().copied().map(UserId).collect(),
        groups: named.group_ids.iter().copied().map(GroupId).collect(),
    };
    let now = api.clock.now();
    let details = json!({"users": named.user_ids, "groups": named.group_ids});
    let event = Event::by(caller.actor(), "password.readers_set", record.id, details);
    let mut tx = api.store.begin().await?;
    let set = tx.set_readers_of_record(record.id, &readers).await;
    set.map_err(|error| match error {
        StoreError::Conflict { .. } => ApiError::bad("names a user or a group that does not exist"),
        other => other.into(),
    })?;
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(Json(ReadersBody::from(readers)).into_response())
}
