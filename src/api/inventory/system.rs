//! Acts on managed systems.
//!
//! Invariant: a system never refers to a platform or functional account that is not there.

use serde_json::json;

use super::identity::{name_system, rename_system};
use super::{Act, sound};
use crate::api::error::ApiError;
use crate::model::audit::Event;
use crate::model::id::SystemId;
use crate::model::platform::Platform;
use crate::model::system::{NewSystem, System, SystemPlace, SystemSettings};

const GONE: ApiError = ApiError::NotFound {
    what: "Managed System",
};

/// The platform of a place.
fn platform_of(act: Act<'_>, place: SystemPlace) -> Result<&Platform, ApiError> {
    let platform = act.api.platforms.find(place.platform_id);
    platform.ok_or_else(|| ApiError::field("platform_id", "is no platform of this service"))
}

/// Refuses settings that refer to what is not there.
async fn refers_well(act: Act<'_>, settings: &SystemSettings) -> Result<(), ApiError> {
    if let Some(id) = settings.functional_account_id
        && act.api.store.functional_account(id).await?.is_none()
    {
        return Err(ApiError::field(
            "functional_account_id",
            "is no functional account",
        ));
    }
    Ok(())
}

/// Adds a system. Its workgroup and asset exist.
///
/// # Errors
/// [`ApiError::Invalid`]; [`ApiError::Duplicate`] if another system answers at its address;
/// [`ApiError::Store`] with a conflict if its asset has a system.
pub async fn add(
    act: Act<'_>,
    place: SystemPlace,
    settings: SystemSettings,
) -> Result<System, ApiError> {
    let platform = platform_of(act, place)?;
    sound(settings.faults(platform))?;
    refers_well(act, &settings).await?;
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let id: SystemId = tx.id(SystemId::KIND).await?;
    let new = NewSystem {
        id,
        place,
        settings,
    };
    tx.insert_system(&new, now).await?;
    name_system(act, &mut tx, id, &new.settings, platform).await?;
    let body = json!({
        "name": new.settings.name,
        "platform": place.platform_id,
        "workgroup": place.workgroup_id,
        "asset": place.asset_id,
        "functional_account": new.settings.functional_account_id,
    });
    tx.audit(&Event::by(act.actor, "system.added", id, body), now)
        .await?;
    tx.commit().await?;
    act.api.store.system(id).await?.ok_or(GONE)
}

/// Changes a system; `edit` gets it as it stands. Not for its policy: its accounts are not
/// planned anew.
///
/// # Errors
/// [`ApiError::NotFound`], [`ApiError::Invalid`]; [`ApiError::Duplicate`] if another system
/// answers at its new address.
pub async fn change(
    act: Act<'_>,
    id: SystemId,
    edit: impl FnOnce(&mut SystemSettings, &System) -> Result<(), ApiError>,
) -> Result<System, ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let before = tx.locked_system(id).await?.ok_or(GONE)?;
    let mut settings = before.settings.clone();
    edit(&mut settings, &before)?;
    let platform = platform_of(act, before.place)?;
    sound(settings.faults(platform))?;
    refers_well(act, &settings).await?;
    tx.update_system(id, before.revision, &settings).await?;
    rename_system(act, &mut tx, &before, &settings, platform).await?;
    let after = System {
        settings,
        revision: before.revision + 1,
        ..before.clone()
    };
    let changed = after.settings.differences(&before.settings);
    let body = json!({"name": after.settings.name, "changed": changed});
    tx.audit(&Event::by(act.actor, "system.changed", id, body), now)
        .await?;
    tx.commit().await?;
    Ok(after)
}

/// Removes a system.
///
/// # Errors
/// [`ApiError::NotFound`]; [`ApiError::Store`] with a conflict while it has accounts.
pub async fn remove(act: Act<'_>, id: SystemId) -> Result<(), ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let system = tx.locked_system(id).await?.ok_or(GONE)?;
    tx.delete_system(id, now).await?;
    let body = json!({"name": system.settings.name});
    tx.audit(&Event::by(act.actor, "system.removed", id, body), now)
        .await?;
    Ok(tx.commit().await?)
}
