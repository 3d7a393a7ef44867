//! Acts on organizations.
//!
//! Invariant: what was written and its audit row commit together.

use serde_json::json;

use super::{Act, sound};
use crate::api::error::ApiError;
use crate::model::audit::Event;
use crate::model::id::OrganizationId;
use crate::model::organization::OrganizationFields;

/// Adds an organization.
///
/// # Errors
/// [`ApiError::Invalid`]; [`ApiError::Store`] with a conflict if the name is taken.
pub(crate) async fn add(
    act: Act<'_>,
    fields: &OrganizationFields,
) -> Result<OrganizationId, ApiError> {
    sound(fields.faults())?;
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let id = tx.insert_organization(fields, now).await?;
    let body = json!({"name": fields.name});
    let event = Event::by(act.actor, "organization.created", id, body);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(id)
}

/// Edits an organization.
///
/// # Errors
/// [`ApiError::Invalid`]; [`ApiError::Store`] with a conflict if the name is taken, or it would
/// become a part of itself.
pub(crate) async fn edit(
    act: Act<'_>,
    id: OrganizationId,
    fields: &OrganizationFields,
) -> Result<(), ApiError> {
    sound(fields.faults())?;
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    tx.update_organization(id, fields, now).await?;
    let body = json!({"name": fields.name, "status": fields.status.name()});
    let event = Event::by(act.actor, "organization.edited", id, body);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(())
}
