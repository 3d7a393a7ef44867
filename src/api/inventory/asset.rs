//! Acts on assets.
//!
//! Invariant: a change of an asset and of the system that was made from it commit together.

use serde_json::json;

use super::{Act, sound};
use crate::api::error::ApiError;
use crate::model::asset::{Asset, AssetSettings};
use crate::model::audit::Event;
use crate::model::id::{AssetId, WorkgroupId};

const GONE: ApiError = ApiError::NotFound { what: "Asset" };

/// Adds an asset. The workgroup exists.
///
/// # Errors
/// [`ApiError::Invalid`]; [`ApiError::Store`] with a conflict if the name is taken.
pub async fn add(
    act: Act<'_>,
    workgroup_id: WorkgroupId,
    mut settings: AssetSettings,
) -> Result<Asset, ApiError> {
    settings.name_it();
    sound(settings.faults())?;
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let id: AssetId = tx.id(AssetId::KIND).await?;
    let asset = Asset {
        id,
        workgroup_id,
        settings,
        created_at: now,
        updated_at: now,
    };
    tx.insert_asset(&asset).await?;
    let body = json!({"name": asset.settings.name, "workgroup": workgroup_id});
    tx.audit(&Event::by(act.actor, "asset.added", id, body), now)
        .await?;
    tx.commit().await?;
    Ok(asset)
}

/// Changes an asset; `edit` gets it as it stands.
///
/// # Errors
/// [`ApiError::NotFound`], [`ApiError::Invalid`]; [`ApiError::Store`] with a conflict if the
/// name is taken.
pub async fn change(
    act: Act<'_>,
    id: AssetId,
    edit: impl FnOnce(&mut AssetSettings) -> Result<(), ApiError>,
) -> Result<Asset, ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let mut asset = tx.locked_asset(id).await?.ok_or(GONE)?;
    edit(&mut asset.settings)?;
    asset.settings.name_it();
    sound(asset.settings.faults())?;
    tx.update_asset(id, &asset.settings, now).await?;
    let body = json!({"name": asset.settings.name});
    tx.audit(&Event::by(act.actor, "asset.changed", id, body), now)
        .await?;
    tx.commit().await?;
    asset.updated_at = now;
    Ok(asset)
}

/// Removes an asset.
///
/// # Errors
/// [`ApiError::NotFound`]; [`ApiError::Store`] with a conflict while it has a managed system.
pub async fn remove(act: Act<'_>, id: AssetId) -> Result<(), ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let asset = tx.locked_asset(id).await?.ok_or(GONE)?;
    tx.delete_asset(id).await?;
    let body = json!({"name": asset.settings.name});
    tx.audit(&Event::by(act.actor, "asset.removed", id, body), now)
        .await?;
    Ok(tx.commit().await?)
}
