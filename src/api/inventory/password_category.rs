//! Acts on categories of password records.
//!
//! Invariant: what was written and its audit row commit together.

use serde_json::json;

use super::Act;
use crate::api::error::ApiError;
use crate::model::audit::Event;
use crate::model::id::PasswordCategoryId;

/// Adds a category.
///
/// # Errors
/// [`ApiError::Store`] with a conflict if the name is taken.
pub(crate) async fn add(act: Act<'_>, name: &str) -> Result<PasswordCategoryId, ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let id = tx.insert_password_category(name, now).await?;
    let body = json!({"name": name});
    let event = Event::by(act.actor, "password_category.created", id, body);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(id)
}

/// Renames a category.
///
/// # Errors
/// [`ApiError::Store`] with a conflict if the name is taken.
pub(crate) async fn rename(
    act: Act<'_>,
    id: PasswordCategoryId,
    name: &str,
) -> Result<(), ApiError> {
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    tx.rename_password_category(id, name, now).await?;
    let body = json!({"name": name});
    let event = Event::by(act.actor, "password_category.renamed", id, body);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(())
}
