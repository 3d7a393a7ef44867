//! Acts on workgroups.
//!
//! Invariant: an added workgroup and its audit row commit together.

use serde_json::json;

use super::{Act, sound};
use crate::api::error::ApiError;
use crate::model::audit::Event;
use crate::model::id::WorkgroupId;
use crate::model::workgroup::Workgroup;

/// Adds a workgroup.
///
/// # Errors
/// [`ApiError::Invalid`]; [`ApiError::Store`] with a conflict if the name is taken.
pub async fn add(
    act: Act<'_>,
    name: String,
    organization_id: Option<String>,
) -> Result<Workgroup, ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let id: WorkgroupId = tx.id(WorkgroupId::KIND).await?;
    let organization_id =
        organization_id.unwrap_or_else(|| Workgroup::ORGANIZATION_DEFAULT.to_owned());
    let workgroup = Workgroup {
        id,
        name,
        organization_id,
    };
    sound(workgroup.faults())?;
    tx.insert_workgroup(&workgroup).await?;
    let body = json!({"name": workgroup.name});
    tx.audit(&Event::by(act.actor, "workgroup.added", id, body), now)
        .await?;
    tx.commit().await?;
    Ok(workgroup)
}
