//! Acts on synced accounts.
//!
//! Invariant: to sync changes nothing on a target; the next password of the parent does.

use serde_json::json;

use super::Act;
use crate::api::error::ApiError;
use crate::model::audit::Event;
use crate::model::id::AccountId;
use crate::store::{Page, StoreError};

/// Subscribers that one call parts from their parent.
const PARTED_MAX: i64 = 10_000;

/// Makes an account take over the passwords of another; `false`: it does already.
///
/// # Errors
/// [`ApiError::Invalid`] for an account and itself; [`ApiError::Store`] with a conflict if one of
/// them is synced otherwise, or linked to a functional account.
pub async fn sync(act: Act<'_>, parent: AccountId, account: AccountId) -> Result<bool, ApiError> {
    if parent == account {
        return Err(ApiError::bad("An account cannot be synced with itself"));
    }
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    tx.lock_both(parent, account).await?;
    if !tx.subscribe(account, parent, now).await? {
        tx.rollback().await?;
        return Ok(false);
    }
    tx.replan(account, now).await?;
    let body = json!({"parent": parent});
    let event = Event::by(act.actor, "account.synced", account, body);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(true)
}

/// Lets an account go its own way again; `false`: it does not take over that one's passwords.
///
/// # Errors
/// [`ApiError::Store`].
pub async fn unsync(act: Act<'_>, parent: AccountId, account: AccountId) -> Result<bool, ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    match tx.lock_both(parent, account).await {
        Ok(()) => {}
        // An account that is gone is nobody's subscriber.
        Err(StoreError::Stale { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    if !tx.unsubscribe(account, parent).await? {
        tx.rollback().await?;
        return Ok(false);
    }
    tx.replan(account, now).await?;
    let body = json!({"parent": parent});
    let event = Event::by(act.actor, "account.unsynced", account, body);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(true)
}

/// The same for all subscribers of an account, each by itself.
///
/// # Errors
/// [`ApiError::Store`]; those before the one at fault are parted.
pub async fn unsync_all(act: Act<'_>, parent: AccountId) -> Result<(), ApiError> {
    let all = Page::first(PARTED_MAX);
    for one in act.api.store.subscribers(parent, all).await? {
        unsync(act, parent, one.account).await?;
    }
    Ok(())
}
