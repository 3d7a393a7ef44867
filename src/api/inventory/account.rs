//! Acts on managed accounts.
//!
//! Invariant: whatever changes when an account is due plans it anew in the same transaction.

use secrecy::SecretString;
use serde_json::json;

use super::identity::{is_new_account, name_account};
use super::{Act, platform_of, sound};
use crate::api::error::ApiError;
use crate::model::Timestamp;
use crate::model::account::{Account, AccountSettings, NewAccount};
use crate::model::audit::Event;
use crate::model::id::{AccountId, RuleId, SystemId};
use crate::model::platform::Platform;
use crate::queue::NewKey;
use crate::store::{SealedSecret, StoreError, Tx};
use crate::vault::Place;

const GONE: ApiError = ApiError::NotFound {
    what: "Managed Account",
};
const NO_SYSTEM: ApiError = ApiError::NotFound {
    what: "Managed System",
};

/// Secrets that somebody says work; believed, but untested.
#[derive(Debug, Default)]
pub struct Secrets {
    /// A password.
    pub password: Option<SecretString>,
    /// A key pair.
    pub key: Option<NewKey>,
}

impl Secrets {
    /// True if nothing is given.
    pub fn are_none(&self) -> bool {
        self.password.is_none() && self.key.is_none()
    }
}

/// Refuses what accounts of that platform cannot have.
fn fits(
    platform: &Platform,
    settings: &AccountSettings,
    secrets: &Secrets,
) -> Result<(), ApiError> {
    let refused = |field| Err(ApiError::field(field, "is not available on this platform"));
    if !platform.ssh_keys && secrets.key.is_some() {
        return refused("PrivateKey");
    }
    if !platform.ssh_keys && settings.dss_auto_management {
        return refused("dss_auto_management_flag");
    }
    if settings.use_own_credentials && !platform.changes_own() {
        return refused("use_own_credentials");
    }
    Ok(())
}

/// Stores what is given as the account's next versions.
async fn store(
    act: Act<'_>,
    tx: &mut Tx,
    id: AccountId,
    mut last: i64,
    secrets: &Secrets,
    now: Timestamp,
) -> Result<(), ApiError> {
    if let Some(password) = &secrets.password {
        last += 1;
        let place = Place::credential(id, last);
        let sealed = act.api.vault.seal(&place, password, &*act.api.dice)?;
        let secret = SealedSecret::Password(sealed.0);
        tx.add_stored_version(id, last, secret, now).await?;
    }
    if let Some(key) = &secrets.key {
        if tx.key_was_used(id, &key.opened.public).await? {
            let why = "was the account's before and has been superseded; give another one";
            return Err(ApiError::field("PrivateKey", why));
        }
        let secret = act.api.orders.seal_key(id, last + 1, key)?;
        tx.add_stored_version(id, last + 1, secret, now).await?;
    }
    Ok(())
}

/// Adds an account. What is given becomes its first versions, believed but untested.
///
/// # Errors
/// [`ApiError::NotFound`] for its system, [`ApiError::Invalid`]; [`ApiError::Duplicate`] if the
/// system has an account with that login.
pub async fn add(
    act: Act<'_>,
    system: SystemId,
    settings: AccountSettings,
    secrets: Secrets,
) -> Result<Account, ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let id = add_in(act, &mut tx, system, settings, &secrets, now).await?;
    tx.commit().await?;
    act.api.store.account(id).await?.ok_or(GONE)
}

/// The same within the caller's transaction.
///
/// # Errors
/// As [`add`].
pub(super) async fn add_in(
    act: Act<'_>,
    tx: &mut Tx,
    system: SystemId,
    mut settings: AccountSettings,
    secrets: &Secrets,
    now: Timestamp,
) -> Result<AccountId, ApiError> {
    sound(settings.faults())?;
    let system = tx.locked_system(system).await?.ok_or(NO_SYSTEM)?;
    let id: AccountId = tx.id(AccountId::KIND).await?;
    let platform = platform_of(act.api, &system)?;
    fits(platform, &settings, secrets)?;
    is_new_account(tx, id, &system, &settings, platform).await?;
    let target_id = settings.target_id(platform);
    if let Some(rule) = system.settings.extras.dss_key_rule_id {
        settings.key_rule_id = RuleId(rule);
    }
    let new = NewAccount {
        id,
        system_id: system.id,
        target_id,
        settings,
    };
    tx.insert_account(&new, now).await?;
    name_account(tx, id, &system, &new.settings, platform).await?;
    store(act, tx, id, 0, secrets, now).await?;
    tx.replan(id, now).await?;
    let body = json!({
        "name": new.settings.name,
        "system": system.id,
        "auto_management": new.settings.auto_management,
        "password": secrets.password.is_some(),
        "key": secrets.key.is_some(),
    });
    tx.audit(&Event::by(act.actor, "account.added", id, body), now)
        .await?;
    Ok(id)
}

/// Changes an account; `edit` gets it as it stands. What is given is stored as the current
/// versions; the target is not contacted.
///
/// # Errors
/// [`ApiError::NotFound`], [`ApiError::Invalid`]; [`ApiError::Duplicate`] if another account is that
/// login; [`ApiError::Store`] with a conflict if a change under way forbids it.
pub async fn change(
    act: Act<'_>,
    id: AccountId,
    secrets: Secrets,
    edit: impl FnOnce(&mut AccountSettings, &Account) -> Result<(), ApiError>,
) -> Result<Account, ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let before = tx.locked_account(id).await?.ok_or(GONE)?;
    let system = tx.locked_system(before.system_id).await?.ok_or(NO_SYSTEM)?;
    let mut settings = before.settings.clone();
    edit(&mut settings, &before)?;
    sound(settings.faults())?;
    let platform = platform_of(act.api, &system)?;
    fits(platform, &settings, &secrets)?;
    let named = [
        "name",
        "domain_name",
        "distinguished_name",
        "user_principal_name",
        "sam_account_name",
        "extras",
    ];
    let renamed = settings
        .differences(&before.settings)
        .iter()
        .any(|field| named.contains(field));
    if renamed {
        is_new_account(&mut tx, id, &system, &settings, platform).await?;
    }
    let target_id = settings.target_id(platform);
    tx.update_account(id, before.revision, &target_id, &settings)
        .await?;
    if renamed {
        name_account(&mut tx, id, &system, &settings, platform).await?;
    }
    if secrets.password.is_some() {
        let shared = "is shared with other accounts; PUT ManagedAccounts/{id}/Credentials with \
                      UpdateSystem false stores it for all of them";
        match tx.not_synced(id).await {
            Err(StoreError::Conflict { .. }) => return Err(ApiError::field("Password", shared)),
            done => done?,
        }
    }
    let last = before.credential.last_version;
    store(act, &mut tx, id, last, &secrets, now).await?;
    tx.replan(id, now).await?;
    let body = json!({
        "name": settings.name,
        "changed": settings.differences(&before.settings),
        "password": secrets.password.is_some(),
        "key": secrets.key.is_some(),
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
