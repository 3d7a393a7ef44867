//! Refuses what is managed already, under this name or another.
//!
//! Invariant: names are compared and noted in the transaction that stores what they name.

use super::{Act, platform_of};
use crate::api::error::ApiError;
use crate::model::account::AccountSettings;
use crate::model::id::{AccountId, SystemId};
use crate::model::identity::{Endpoint, aliases};
use crate::model::platform::Platform;
use crate::model::system::{System, SystemSettings};
use crate::store::Tx;

/// What to do with an account that is there.
const SAME_ACCOUNT: &str = "the system takes both names for one account. Use that one, or remove \
                            it first";
/// What to do with a system that is there.
const SAME_SYSTEM: &str = "both lead to one port of one host. Add its accounts there, or remove it \
                           first";

/// Somebody else's account.
pub(super) fn same_account(id: AccountId) -> ApiError {
    ApiError::Duplicate {
        what: "Managed Account",
        id: id.0,
        href: format!("/api/v1/accounts/{}", id.0),
        why: SAME_ACCOUNT,
    }
}

/// Notes where a system answers.
///
/// # Errors
/// [`ApiError::Duplicate`] if another system answers there.
pub(crate) async fn name_system(
    act: Act<'_>,
    tx: &mut Tx,
    id: SystemId,
    settings: &SystemSettings,
    platform: &Platform,
) -> Result<(), ApiError> {
    let endpoint = Endpoint::of(settings, platform);
    for other in tx.namesakes(id, &endpoint).await? {
        let Some(system) = act.api.store.system(other).await? else {
            continue;
        };
        // The names are of its platform, whether or not that is offered any more.
        let Ok(platform) = platform_of(act.api, &system) else {
            continue;
        };
        if endpoint.is_one_with(&Endpoint::of(&system.settings, platform)) {
            return Err(ApiError::Duplicate {
                what: "Managed System",
                id: other.0,
                href: format!("/api/v1/systems/{}", other.0),
                why: SAME_SYSTEM,
            });
        }
    }
    Ok(tx.name_system(id, &endpoint).await?)
}

/// The same after an edit. What was there twice before may be edited in other ways.
///
/// # Errors
/// [`ApiError::Duplicate`] if it has moved to where another system answers.
pub(crate) async fn rename_system(
    act: Act<'_>,
    tx: &mut Tx,
    before: &System,
    settings: &SystemSettings,
    platform: &Platform,
) -> Result<(), ApiError> {
    let moved = Endpoint::of(&before.settings, platform) != Endpoint::of(settings, platform);
    if moved || before.settings.host_key != settings.host_key {
        // Whoever says so knows that it is another machine, with accounts of its own.
        tx.forget_identities(before.id).await?;
    }
    if !moved {
        return Ok(());
    }
    name_system(act, tx, before.id, settings, platform).await
}

/// Refuses an account that is there already.
///
/// # Errors
/// [`ApiError::Duplicate`].
pub(super) async fn is_new_account(
    tx: &mut Tx,
    id: AccountId,
    system: &System,
    settings: &AccountSettings,
    platform: &Platform,
) -> Result<(), ApiError> {
    let aliases = aliases(settings, platform, system.settings.base_dn.as_deref());
    let target_id = settings.target_id(platform);
    let known = tx
        .account_known_by(id, system.id, &target_id, &aliases)
        .await?;
    known.map_or(Ok(()), |other| Err(same_account(other)))
}

/// Notes the names of an account that is stored.
///
/// # Errors
/// [`ApiError::Store`].
pub(super) async fn name_account(
    tx: &mut Tx,
    id: AccountId,
    system: &System,
    settings: &AccountSettings,
    platform: &Platform,
) -> Result<(), ApiError> {
    let aliases = aliases(settings, platform, system.settings.base_dn.as_deref());
    Ok(tx.name_account(id, system.id, &aliases).await?)
}
