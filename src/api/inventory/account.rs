//! Acts on managed accounts.
//!
//! Invariant: whatever changes when an account is due plans it anew in the same transaction.

use secrecy::SecretString;
use serde_json::json;

use super::{Act, platform_of, sound};
use crate::api::error::ApiError;
use crate::model::Timestamp;
use crate::model::account::{Account, AccountSettings, NewAccount};
use crate::model::audit::Event;
use crate::model::id::{AccountId, SystemId};
use crate::store::Tx;
use crate::vault::Place;

const GONE: ApiError = ApiError::NotFound {
    what: "Managed Account",
};
const NO_SYSTEM: ApiError = ApiError::NotFound {
    what: "Managed System",
};

async fn store_password(
    act: Act<'_>,
    tx: &mut Tx,
    id: AccountId,
    version: i64,
    password: &SecretString,
    now: Timestamp,
) -> Result<(), ApiError> {
    let sealed = act
        .api
        .vault
        .seal(&Place::credential(id, version), password, &*act.api.dice)?;
    Ok(tx.add_stored_version(id, version, sealed.0, now).await?)
}

/// Adds an account. A given password becomes its first version, believed but untested.
///
/// # Errors
/// [`ApiError::NotFound`] for its system, [`ApiError::Invalid`]; [`ApiError::Store`] with a
/// conflict if the system has an account with that login.
pub async fn add(
    act: Act<'_>,
    system: SystemId,
    settings: AccountSettings,
    password: Option<SecretString>,
) -> Result<Account, ApiError> {
    sound(settings.faults())?;
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let system = tx.locked_system(system).await?.ok_or(NO_SYSTEM)?;
    let id: AccountId = tx.id(AccountId::KIND).await?;
    let target_id = settings.target_id(platform_of(&system)?);
    let new = NewAccount {
        id,
        system_id: system.id,
        target_id,
        settings,
    };
    tx.insert_account(&new, now).await?;
    if let Some(password) = &password {
        store_password(act, &mut tx, id, 1, password, now).await?;
    }
    tx.replan(id, now).await?;
    let body = json!({
        "name": new.settings.name,
        "system": system.id,
        "auto_management": new.settings.auto_management,
        "password": password.is_some(),
    });
    tx.audit(&Event::by(act.actor, "account.added", id, body), now)
        .await?;
    tx.commit().await?;
    act.api.store.account(id).await?.ok_or(GONE)
}

/// Changes an account; `edit` gets it as it stands. A given password is stored as the current
/// version; the target is not contacted.
///
/// # Errors
/// [`ApiError::NotFound`], [`ApiError::Invalid`]; [`ApiError::Store`] with a conflict if the name is taken or a change under way forbids it.
pub async fn change(
    act: Act<'_>,
    id: AccountId,
    password: Option<SecretString>,
    edit: impl FnOnce(&mut AccountSettings, &Account) -> Result<(), ApiError>,
) -> Result<Account, ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let before = tx.locked_account(id).await?.ok_or(GONE)?;
    let system = tx.locked_system(before.system_id).await?.ok_or(NO_SYSTEM)?;
    let mut settings = before.settings.clone();
    edit(&mut settings, &before)?;
    sound(settings.faults())?;
    let target_id = settings.target_id(platform_of(&system)?);
    tx.update_account(id, before.revision, &target_id, &settings)
        .await?;
    if let Some(password) = &password {
        let version = before.credential.last_version + 1;
        store_password(act, &mut tx, id, version, password, now).await?;
    }
    tx.replan(id, now).await?;
    let body = json!({
        "name": settings.name,
        "changed": settings.differences(&before.settings),
        "password": password.is_some(),
    });
    tx.audit(&Event::by(act.actor, "account.changed", id, body), now)
        .await?;
    tx.commit().await?;
    act.api.store.account(id).await?.ok_or(GONE)
}

/// Removes an account; its versions are kept.
///
/// # Errors
/// [`ApiError::NotFound`]; [`ApiError::Store`] with a conflict while it has an open job.
pub async fn remove(act: Act<'_>, id: AccountId) -> Result<(), ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let account = tx.locked_account(id).await?.ok_or(GONE)?;
    tx.delete_account(id, now).await?;
    let body = json!({"name": account.settings.name, "system": account.system_id});
    tx.audit(&Event::by(act.actor, "account.removed", id, body), now)
        .await?;
    Ok(tx.commit().await?)
}

/// Removes every account of a system.
///
/// # Errors
/// [`ApiError::NotFound`]; [`ApiError::Store`] with a conflict while one has an open job.
pub async fn remove_all(act: Act<'_>, system: SystemId) -> Result<(), ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    tx.locked_system(system).await?.ok_or(NO_SYSTEM)?;
    let count = tx.delete_accounts(system, now).await?;
    let body = json!({"accounts": count});
    tx.audit(
        &Event::by(act.actor, "system.accounts_removed", system, body),
        now,
    )
    .await?;
    Ok(tx.commit().await?)
}
