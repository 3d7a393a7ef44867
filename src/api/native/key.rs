//! `/api/v1/keys`: API keys. Everybody has their own; those of others need `keys.write`.
//!
//! Invariant: a key is shown in the answer that makes it and never again, and nobody gets a key
//! for a user who may do more than they.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::input::{At, Body, ListQuery};
use super::output::{Listed, made, page};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::generate::{native_key, password_safe_key};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::{KeyId, UserId};
use crate::model::principal::{ApiKey, KeyHash, KeyKind, NewKey, Permission, User};

const MISSING: ApiError = ApiError::NotFound { what: "Key" };

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/keys", Need::SignedIn, list)
        .post("/api/v1/keys", Need::SignedIn, create)
        .post("/api/v1/keys/{id}/revoke", Need::SignedIn, revoke)
}

/// An API key, without the key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    id: i64,
    /// `native` or `passwordsafe`.
    kind: &'static str,
    user_id: i64,
    name: String,
    /// Its first characters.
    prefix: String,
    created_at: At,
    expires_at: Option<At>,
    revoked_at: Option<At>,
}

impl From<ApiKey> for KeyAnswer {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.0,
            kind: key.kind.as_str(),
            user_id: key.user_id.0,
            name: key.name,
            prefix: key.prefix,
            created_at: At(key.created_at),
            expires_at: key.expires_at.map(At),
            revoked_at: key.revoked_at.map(At),
        }
    }
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyOrder {
    /// `native` or `passwordsafe`.
    kind: String,
    /// Whose; default the caller's.
    #[serde(default)]
    user_id: Option<i64>,
    /// What people read, 1 to 128 characters.
    name: String,
    /// When it ends by itself.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<At>,
}

/// A new key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewKeyAnswer {
    #[serde(flatten)]
    about: KeyAnswer,
    /// The key: keep it, it is shown this once.
    #[schema(value_type = String)]
    key: Value,
}

/// Keys, by id: all with `keys.write`, else the caller's own.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "keys",
    params(
        ("user_id" = Option<i64>, Query, description = "Of this user alone"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<KeyAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let wanted = query.filters.int("user_id", 1..=i64::MAX)?.map(UserId);
    let of = if caller.user.may(Permission::KeysWrite) {
        wanted
    } else if wanted.is_none_or(|id| id == caller.user.id) {
        Some(caller.user.id)
    } else {
        return Err(ApiError::Forbidden);
    };
    let after = KeyId(query.cursor.unwrap_or(0));
    let found = api.store.keys(of, after, query.limit).await?;
    Ok(page::<KeyAnswer, _>(&query, found, |key| key.id.0))
}

/// Makes a key and shows it this once.
#[utoipa::path(
    post, path = "/api/v1/keys", tag = "keys",
    request_body = KeyOrder,
    responses((status = 201, body = NewKeyAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(order): Body<KeyOrder>,
) -> Result<Response, ApiError> {
    let owner = order.user_id.map_or(caller.user.id, UserId);
    if owner != caller.user.id {
        caller.require(Permission::KeysWrite)?;
        let user = api.store.user(owner).await?;
        let user = user.ok_or_else(|| ApiError::field("user_id", "is no user that exists"))?;
        may_act_for(&caller, &user)?;
    }
    let now = api.clock.now();
    let (key, new) = order.checked(owner, now, &api)?;
    let mut tx = api.store.begin().await?;
    let id = tx.insert_key(&new, now).await?;
    let details = json!({
        "kind": new.kind, "user": owner, "name": new.name,
        "expires_at": new.expires_at.map(Timestamp::rfc3339),
    });
    tx.audit(&Event::by(caller.actor(), "key.created", id, details), now)
        .await?;
    tx.commit().await?;
    let about = KeyAnswer {
        id: id.0,
        kind: new.kind.as_str(),
        user_id: owner.0,
        name: new.name,
        prefix: new.prefix,
        created_at: At(now),
        expires_at: new.expires_at.map(At),
        revoked_at: None,
    };
    let body = NewKeyAnswer {
        about,
        key: clear::handed_over(&key),
    };
    Ok(made(
        StatusCode::CREATED,
        format!("/api/v1/keys/{}", id.0),
        &body,
    ))
}

/// Nobody acts for a user who may do more than they.
fn may_act_for(caller: &Caller, user: &User) -> Result<(), ApiError> {
    if caller.user.covers(user) {
        Ok(())
    } else {
        Err(ApiError::Forbidden)
    }
}

impl KeyOrder {
    fn checked(
        self,
        user_id: UserId,
        now: Timestamp,
        api: &Api,
    ) -> Result<(secrecy::SecretString, NewKey), ApiError> {
        let kind = KeyKind::parse(&self.kind)
            .ok_or_else(|| ApiError::field("kind", "must be native or passwordsafe"))?;
        let name = self.name.trim().to_owned();
        if name.is_empty() || name.chars().count() > 128 || name.chars().any(char::is_control) {
            let text = "must have 1 to 128 characters, without control characters";
            return Err(ApiError::field("name", text));
        }
        let expires_at = self.expires_at.map(|At(at)| at);
        if expires_at.is_some_and(|at| at <= now) {
            return Err(ApiError::field("expires_at", "must lie in the future"));
        }
        let key = match kind {
            KeyKind::Native => native_key(&*api.dice),
            KeyKind::PasswordSafe => password_safe_key(&*api.dice),
        };
        let (hash, prefix) = (KeyHash::of(&key), KeyHash::prefix(&key));
        Ok((
            key,
            NewKey {
                kind,
                user_id,
                name,
                hash,
                prefix,
                expires_at,
            },
        ))
    }
}

/// Ends a key and every session that was opened with it.
#[utoipa::path(
    post, path = "/api/v1/keys/{id}/revoke", tag = "keys",
    params(("id" = i64, Path, description = "The key")),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let may_all = caller.user.may(Permission::KeysWrite);
    let found = match segments.id::<KeyId>("id", "Key") {
        Ok(id) => api.store.key(id).await?,
        Err(_) => None,
    };
    let key = match found {
        Some(key) if may_all || key.user_id == caller.user.id => key,
        Some(_) => return Err(ApiError::Forbidden),
        None => {
            return Err(if may_all {
                MISSING
            } else {
                ApiError::Forbidden
            });
        }
    };
    if key.revoked_at.is_some() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    tx.revoke_key(key.id, now).await?;
    let details = json!({"kind": key.kind, "user": key.user_id, "name": key.name});
    tx.audit(
        &Event::by(caller.actor(), "key.revoked", key.id, details),
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
