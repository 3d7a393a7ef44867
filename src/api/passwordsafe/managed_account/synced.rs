//! Synced accounts: which accounts share the password of one.
//!
//! Invariant: members are shown as they are shown everywhere.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::wire::{LIST_LIMIT, created, list};
use super::super::{Params, Segments};
use super::shape::Full;
use super::{GONE, existing};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::{Act, synced_account};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::AccountId;
use crate::model::principal::Permission::{AccountsRead, AccountsWrite};

pub(super) fn routes() -> Routes {
    const OF: &str = "/managedaccounts/{id}/syncedaccounts";
    const ONE: &str = "/managedaccounts/{id}/syncedaccounts/{synced}";
    Routes::new(Dialect::PasswordSafe)
        .get(OF, AccountsRead, find)
        .delete(OF, AccountsWrite, unsync_all)
        .post(ONE, AccountsWrite, sync)
        .delete(ONE, AccountsWrite, unsync)
}

async fn find(
    State(api): State<Api>,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let parent = existing(&api, &segments).await?.id;
    let page = params.page(LIST_LIMIT)?;
    let now = api.clock.now();
    let mut shown = Vec::new();
    for one in api.store.subscribers(parent, page.rows()).await? {
        let account = api.store.account(one.account).await?;
        shown.extend(account.map(|account| Full::of(account, now)));
    }
    Ok(list(shown, None))
}

async fn sync(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let parent = existing(&api, &segments).await?.id;
    let id = other(&api, &segments).await?;
    let is_new = synced_account::sync(Act::of(&api, &caller), parent, id).await?;
    let account = api.store.account(id).await?.ok_or(GONE)?;
    let shown = Full::of(account, api.clock.now());
    Ok(if is_new {
        created(shown)
    } else {
        Json(shown).into_response()
    })
}

async fn unsync(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let parent = existing(&api, &segments).await?.id;
    let id: AccountId = segments.id("synced", "Synced Account")?;
    if synced_account::unsync(Act::of(&api, &caller), parent, id).await? {
        Ok(StatusCode::OK)
    } else {
        Err(ApiError::NotFound {
            what: "Synced Account",
        })
    }
}

async fn unsync_all(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let parent = existing(&api, &segments).await?.id;
    synced_account::unsync_all(Act::of(&api, &caller), parent).await?;
    Ok(StatusCode::OK)
}

/// The second account that a path names.
async fn other(api: &Api, segments: &Segments) -> Result<AccountId, ApiError> {
    let id: AccountId = segments.id("synced", "Managed Account")?;
    match api.store.account(id).await? {
        Some(_) => Ok(id),
        None => Err(GONE),
    }
}
