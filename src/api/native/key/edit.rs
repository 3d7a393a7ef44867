//! `GET` and `PATCH /api/v1/keys/{id}`: what a key may be used for, after it was made.
//!
//! Invariant: an edit holds from the next call on, for sessions and tokens of the key too.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::field::{self, may_demand, may_reach, name, networks};
use super::{KeyAnswer, MISSING, may_act_for, reachable};
use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::native::input::{At, Body, IfMatch, Patch};
use crate::api::native::output::revised;
use crate::api::native::problem::Problem;
use crate::api::passwordsafe::Segments;
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::key::{ApiKey, KeyEdit};

/// An edit of a key: absent fields stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api::native) struct KeyPatch {
    /// What people read, 1 to 128 characters.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Patch<String>,
    /// Networks (`10.0.0.0/8`) or addresses that it may be used from, at most 64; none: anywhere.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    addresses: Patch<Vec<String>>,
    /// When it ends by itself; null: never. Not of a key that has a successor.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Patch<At>,
    /// Of kind `passwordsafe`: signs in with its user's password alone. Once this is demanded,
    /// the key's sessions end.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    password_required: Patch<bool>,
    /// Of kind `itglue`: values of password records are shown and taken.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    password_access: Patch<bool>,
    /// Of kind `itglue`: the organizations in reach, at most 1000; none: all.
    #[serde(default)]
    #[schema(value_type = Option<Vec<i64>>)]
    organizations: Patch<Vec<i64>>,
}

/// One key: any with `keys.write`, else the caller's own.
#[utoipa::path(
    get, path = "/api/v1/keys/{id}", tag = "keys",
    params(("id" = i64, Path, description = "The key")),
    responses(
        (status = 200, body = KeyAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(in crate::api::native) async fn one(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let key = reachable(&api, &caller, &segments).await?;
    Ok(answer(key))
}

fn answer(key: ApiKey) -> Response {
    let revision = key.revision;
    revised(StatusCode::OK, revision, &KeyAnswer::from(key))
}

/// Edits a key.
#[utoipa::path(
    patch, path = "/api/v1/keys/{id}", tag = "keys",
    params(
        ("id" = i64, Path, description = "The key"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    request_body = KeyPatch,
    responses(
        (status = 200, body = KeyAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(in crate::api::native) async fn edit(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
    body: Result<Body<KeyPatch>, ApiError>,
) -> Result<Response, ApiError> {
    let key = reachable(&api, &caller, &segments).await?;
    caller.require_fresh(api.clock.now())?;
    if key.user_id != caller.user.id {
        // What binds the key of somebody who may do more is not the caller's to loosen.
        let user = api.store.user(key.user_id).await?.ok_or(MISSING)?;
        may_act_for(&caller, &user)?;
    }
    let revision = if_match?.revision(key.revision, "the key")?;
    let Body(patch) = body?;
    let now = api.clock.now();
    let edit = patch.applied(&key, now)?;
    if key.revoked_at.is_some() {
        return Err(ApiError::conflict("The key was revoked; make a new one"));
    }
    let mut tx = api.store.begin().await?;
    tx.edit_key(key.id, &edit, revision).await?;
    let ended = if edit.password_required && !key.password_required {
        // They were opened without it.
        tx.end_key_sessions(key.id).await?
    } else {
        0
    };
    let details = json!({
        "name": edit.name, "addresses": edit.addresses,
        "expires_at": edit.expires_at.map(Timestamp::rfc3339),
        "password_required": edit.password_required, "sessions_ended": ended,
        "password_access": edit.reach.password_access, "organizations": edit.reach.written(),
    });
    let event = Event::by(caller.actor(), "key.edited", key.id, details);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(answer(ApiKey {
        name: edit.name,
        addresses: edit.addresses,
        expires_at: edit.expires_at,
        password_required: edit.password_required,
        reach: edit.reach,
        revision: revision + 1,
        ..key
    }))
}

impl KeyPatch {
    fn applied(self, key: &ApiKey, now: Timestamp) -> Result<KeyEdit, ApiError> {
        let mut edit = KeyEdit {
            name: key.name.clone(),
            addresses: key.addresses.clone(),
            expires_at: key.expires_at,
            password_required: key.password_required,
            reach: key.reach.clone(),
        };
        let is_renamed = self.name != Patch::Keep;
        self.name.edit_value("name", &mut edit.name)?;
        if is_renamed {
            edit.name = name(&edit.name)?;
        }
        match self.addresses {
            Patch::Keep => {}
            Patch::Clear => return Err(ApiError::field("addresses", "must not be null")),
            Patch::Set(raw) => edit.addresses = networks(&raw)?,
        }
        let expiry = self.expires_at;
        if expiry != Patch::Keep && key.successor_id.is_some() {
            let text = "The key has a successor; its end is what its rotation said";
            return Err(ApiError::conflict(text));
        }
        match expiry {
            Patch::Keep => {}
            Patch::Clear => edit.expires_at = None,
            Patch::Set(At(at)) if at <= now => {
                return Err(ApiError::field("expires_at", "must lie in the future"));
            }
            Patch::Set(At(at)) => edit.expires_at = Some(at),
        }
        self.password_required
            .edit_value("password_required", &mut edit.password_required)?;
        may_demand(key.kind, edit.password_required)?;
        self.password_access
            .edit_value("password_access", &mut edit.reach.password_access)?;
        match self.organizations {
            Patch::Keep => {}
            Patch::Clear => return Err(ApiError::field("organizations", "must not be null")),
            Patch::Set(raw) => edit.reach.organizations = field::organizations(&raw)?,
        }
        may_reach(key.kind, &edit.reach)?;
        Ok(edit)
    }
}
