//! `/api/v1/keys`: API keys. Everybody has their own; those of others need `keys.write`.
//!
//! Invariant: a key is shown in the answer that makes it and never again, and nobody gets a key
//! for a user who may do more than they.

pub(super) mod edit;
mod field;

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::SecretString;
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
use crate::generate::{
    itglue_key, native_key, oauth_client_id, oauth_client_secret, password_safe_key,
};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::{KeyId, UserId};
use crate::model::key::{ApiKey, KeyHash, KeyKind, NewKey, Reach};
use crate::model::principal::{Permission, User};
use crate::store::Tx;

const MISSING: ApiError = ApiError::NotFound { what: "Key" };

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/keys", Need::SignedIn, list)
        .post("/api/v1/keys", Need::SignedIn, create)
        .get("/api/v1/keys/{id}", Need::SignedIn, edit::one)
        .patch("/api/v1/keys/{id}", Need::SignedIn, edit::edit)
        .post("/api/v1/keys/{id}/revoke", Need::SignedIn, revoke)
        .post("/api/v1/keys/{id}/rotate", Need::SignedIn, rotate)
}

/// An API key, without the key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    id: i64,
    /// `native`, `passwordsafe`, `oauth` or `itglue`.
    kind: &'static str,
    user_id: i64,
    name: String,
    /// Its first characters; of an `oauth` registration the client id.
    prefix: String,
    /// Of an `oauth` registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Networks that it may be used from; empty: from anywhere.
    addresses: Vec<String>,
    created_at: At,
    expires_at: Option<At>,
    revoked_at: Option<At>,
    /// Last use, at a minute's grain.
    last_used_at: Option<At>,
    /// The key that takes its place, once it was rotated.
    successor_id: Option<i64>,
    /// Signs in with its user's password alone.
    password_required: bool,
    /// Of kind `itglue`: values of password records are shown and taken.
    password_access: bool,
    /// Of kind `itglue`: the organizations in reach; empty: all.
    organizations: Vec<i64>,
}

impl From<ApiKey> for KeyAnswer {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.0,
            kind: key.kind.as_str(),
            user_id: key.user_id.0,
            client_id: key.client_id().map(str::to_owned),
            name: key.name,
            prefix: key.prefix,
            addresses: key
                .addresses
                .networks()
                .iter()
                .map(ToString::to_string)
                .collect(),
            created_at: At(key.created_at),
            expires_at: key.expires_at.map(At),
            revoked_at: key.revoked_at.map(At),
            last_used_at: key.last_used_at.map(At),
            successor_id: key.successor_id.map(|id| id.0),
            password_required: key.password_required,
            password_access: key.reach.password_access,
            organizations: key.reach.organizations.iter().map(|id| id.0).collect(),
        }
    }
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyOrder {
    /// `native`, `passwordsafe`, `oauth` or `itglue`.
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
    /// Networks (`10.0.0.0/8`) or addresses that it may be used from, at most 64. Default: anywhere.
    #[serde(default)]
    addresses: Vec<String>,
    /// Of kind `passwordsafe`: signs in with its user's password alone (`pwd=[…]`).
    #[serde(default)]
    password_required: bool,
    /// Of kind `itglue`: values of password records are shown and taken. Default: they are not.
    #[serde(default)]
    password_access: bool,
    /// Of kind `itglue`: the organizations in reach, at most 1000. Default: all.
    #[serde(default)]
    organizations: Vec<i64>,
}

/// How a key is rotated.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRotation {
    /// Seconds for which the old key lives on, 0 to 2592000 (30 days). Default 86400, a day.
    #[serde(default)]
    overlap_s: Option<i64>,
}

/// A new key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewKeyAnswer {
    #[serde(flatten)]
    about: KeyAnswer,
    /// The key: keep it, it is shown this once. Absent from an `oauth` registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key: Option<Value>,
    /// The secret of an `oauth` registration: likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    client_secret: Option<Value>,
}

/// A key before it is recorded.
struct Drawn {
    secret: SecretString,
    new: NewKey,
}

impl Drawn {
    /// Draws a key; an `oauth` registration that is rotated keeps its client id.
    fn of(mut new: NewKey, client_id: Option<&str>, api: &Api) -> Self {
        let secret = match new.kind {
            KeyKind::Native => native_key(&*api.dice),
            KeyKind::PasswordSafe => password_safe_key(&*api.dice),
            KeyKind::OAuth => oauth_client_secret(&*api.dice),
            KeyKind::ItGlue => itglue_key(&*api.dice),
        };
        new.hash = KeyHash::of(&secret);
        new.prefix = match (new.kind, client_id) {
            (KeyKind::OAuth, Some(id)) => id.to_owned(),
            (KeyKind::OAuth, None) => oauth_client_id(&*api.dice).to_string(),
            (KeyKind::Native | KeyKind::PasswordSafe | KeyKind::ItGlue, _) => {
                KeyHash::prefix(&secret)
            }
        };
        Self { secret, new }
    }

    /// Records the key and its making.
    async fn record(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<KeyId, ApiError> {
        let new = &self.new;
        let id = tx.insert_key(new, now).await?;
        let details = json!({
            "kind": new.kind, "user": new.user_id, "name": new.name,
            "expires_at": new.expires_at.map(Timestamp::rfc3339),
            "addresses": new.addresses, "password_required": new.password_required,
            "password_access": new.reach.password_access,
            "organizations": new.reach.written(),
        });
        tx.audit(&Event::by(caller.actor(), "key.created", id, details), now)
            .await?;
        Ok(id)
    }

    /// The answer that shows the key.
    fn shown(self, id: KeyId, now: Timestamp) -> Response {
        let Self { secret, new } = self;
        let secret = Some(clear::handed_over(&secret));
        let (key, client_secret) = match new.kind {
            KeyKind::Native | KeyKind::PasswordSafe | KeyKind::ItGlue => (secret, None),
            KeyKind::OAuth => (None, secret),
        };
        let about = KeyAnswer::from(ApiKey {
            id,
            kind: new.kind,
            user_id: new.user_id,
            name: new.name,
            prefix: new.prefix,
            addresses: new.addresses,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
            successor_id: None,
            password_required: new.password_required,
            reach: new.reach,
            revision: 1,
        });
        let body = NewKeyAnswer {
            about,
            key,
            client_secret,
        };
        made(StatusCode::CREATED, format!("/api/v1/keys/{}", id.0), &body)
    }
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
    // A key outlives the session that it is made in.
    caller.require_fresh(api.clock.now())?;
    let owner = order.user_id.map_or(caller.user.id, UserId);
    if owner != caller.user.id {
        caller.require(Permission::KeysWrite)?;
        let user = api.store.user(owner).await?;
        let user = user.ok_or_else(|| ApiError::field("user_id", "is no user that exists"))?;
        may_act_for(&caller, &user)?;
    }
    let now = api.clock.now();
    let drawn = order.checked(owner, now, &api)?;
    let mut tx = api.store.begin().await?;
    let id = drawn.record(&mut tx, &caller, now).await?;
    tx.commit().await?;
    Ok(drawn.shown(id, now))
}

/// Nobody acts for a user who may do more than they.
pub(super) fn may_act_for(caller: &Caller, user: &User) -> Result<(), ApiError> {
    if caller.user.covers(user) {
        Ok(())
    } else {
        Err(ApiError::Forbidden)
    }
}

impl KeyOrder {
    fn checked(self, user_id: UserId, now: Timestamp, api: &Api) -> Result<Drawn, ApiError> {
        let kind = KeyKind::parse(&self.kind).ok_or_else(|| {
            ApiError::field("kind", "must be native, passwordsafe, oauth or itglue")
        })?;
        let name = field::name(&self.name)?;
        let expires_at = self.expires_at.map(|At(at)| at);
        if expires_at.is_some_and(|at| at <= now) {
            return Err(ApiError::field("expires_at", "must lie in the future"));
        }
        field::may_demand(kind, self.password_required)?;
        let reach = Reach {
            password_access: self.password_access,
            organizations: field::organizations(&self.organizations)?,
        };
        field::may_reach(kind, &reach)?;
        let new = NewKey {
            kind,
            user_id,
            name,
            hash: KeyHash::of(&SecretString::default()),
            prefix: String::new(),
            addresses: field::networks(&self.addresses)?,
            expires_at,
            password_required: self.password_required,
            reach,
        };
        Ok(Drawn::of(new, None, api))
    }
}

/// A key that the caller may see and end: their own, or any with `keys.write`.
async fn reachable(api: &Api, caller: &Caller, segments: &Segments) -> Result<ApiKey, ApiError> {
    let may_all = caller.user.may(Permission::KeysWrite);
    let found = match segments.id::<KeyId>("id", "Key") {
        Ok(id) => api.store.key(id).await?,
        Err(_) => None,
    };
    match found {
        Some(key) if may_all || key.user_id == caller.user.id => Ok(key),
        None if may_all => Err(MISSING),
        Some(_) | None => Err(ApiError::Forbidden),
    }
}

/// Makes a key that takes another one's place, and shows it this once. The old one lives on for
/// the overlap, unless it ends earlier by itself. An `oauth` registration keeps its client id.
#[utoipa::path(
    post, path = "/api/v1/keys/{id}/rotate", tag = "keys",
    params(("id" = i64, Path, description = "The key")),
    request_body = KeyRotation,
    responses((status = 201, body = NewKeyAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    body: Result<Body<KeyRotation>, ApiError>,
) -> Result<Response, ApiError> {
    let old = reachable(&api, &caller, &segments).await?;
    caller.require_fresh(api.clock.now())?;
    if old.user_id != caller.user.id {
        // Whoever rotates a key gets to see its successor.
        let user = api.store.user(old.user_id).await?.ok_or(MISSING)?;
        may_act_for(&caller, &user)?;
    }
    let Body(order) = body?;
    let overlap = order.overlap()?;
    let now = api.clock.now();
    if !old.is_live(now) {
        return Err(ApiError::conflict("The key has ended; make a new one"));
    }
    if old.successor_id.is_some() {
        let text = "The key has been rotated before; rotate its successor";
        return Err(ApiError::conflict(text));
    }
    let new = NewKey {
        kind: old.kind,
        user_id: old.user_id,
        name: old.name.clone(),
        hash: KeyHash::of(&SecretString::default()),
        prefix: String::new(),
        addresses: old.addresses.clone(),
        expires_at: old.renewed_until(now),
        password_required: old.password_required,
        reach: old.reach.clone(),
    };
    let drawn = Drawn::of(new, old.client_id(), &api);
    let end = now.plus(overlap);
    let end = old.expires_at.map_or(end, |own| own.min(end));
    let mut tx = api.store.begin().await?;
    let id = drawn.record(&mut tx, &caller, now).await?;
    tx.succeed_key(old.id, id, end).await?;
    let details = json!({
        "kind": old.kind, "user": old.user_id, "name": old.name,
        "successor": id, "expires_at": end.rfc3339(),
    });
    let event = Event::by(caller.actor(), "key.rotated", old.id, details);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(drawn.shown(id, now))
}

impl KeyRotation {
    fn overlap(&self) -> Result<Duration, ApiError> {
        let Some(seconds) = self.overlap_s else {
            return Ok(ApiKey::OVERLAP_DEFAULT);
        };
        let overlap = u64::try_from(seconds).map(Duration::from_secs);
        let overlap = overlap.ok().filter(|span| *span <= ApiKey::OVERLAP_MAX);
        overlap.ok_or_else(|| ApiError::field("overlap_s", "must be 0 to 2592000 seconds"))
    }
}

/// Ends a key, its tokens and every session that was opened with it.
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
    let key = reachable(&api, &caller, &segments).await?;
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
