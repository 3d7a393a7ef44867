//! Acts on folders of password records, each within a transaction of the caller's, since they come
//! in sets.
//!
//! Invariant: what was written and its audit row commit together; whoever makes a folder that is
//! open to the named alone is named.

use serde_json::json;

use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::{OrganizationId, PasswordFolderId};
use crate::model::password_folder::PasswordFolder;
use crate::model::password_record::Readers;
use crate::store::{FolderFields, Tx};

/// Passes whoever may enter a folder: administrators, and who is named where it is restricted.
///
/// # Errors
/// [`ApiError::Forbidden`].
pub(crate) async fn enter(
    api: &Api,
    caller: &Caller,
    folder: PasswordFolderId,
) -> Result<(), ApiError> {
    let user = &caller.user;
    if user.administrator || api.store.enters_password_folder(folder, user.id).await? {
        Ok(())
    } else {
        Err(ApiError::Forbidden)
    }
}

/// Adds a folder.
///
/// # Errors
/// [`ApiError::Store`] with a conflict if the name is taken there, or the parent does not fit.
pub(crate) async fn add(
    tx: &mut Tx,
    caller: &Caller,
    (organization, fields): (OrganizationId, &FolderFields),
    now: Timestamp,
) -> Result<PasswordFolderId, ApiError> {
    let id = tx.insert_password_folder(organization, fields, now).await?;
    if fields.restricted {
        tx.set_readers_of_folder(id, &named(caller)).await?;
    }
    let body = json!({
        "name": fields.name, "organization": organization, "parent": fields.parent_id,
        "restricted": fields.restricted,
    });
    let event = Event::by(caller.actor(), "password_folder.created", id, body);
    tx.audit(&event, now).await?;
    Ok(id)
}

/// Edits or moves a folder.
///
/// # Errors
/// As [`add`].
pub(crate) async fn edit(
    tx: &mut Tx,
    caller: &Caller,
    (folder, fields, readers): (&PasswordFolder, &FolderFields, &Readers),
    now: Timestamp,
) -> Result<(), ApiError> {
    tx.update_password_folder(folder, fields, now).await?;
    let nobody = readers.users.is_empty() && readers.groups.is_empty();
    if fields.restricted && !folder.restricted && nobody {
        tx.set_readers_of_folder(folder.id, &named(caller)).await?;
    }
    let body = json!({
        "name": fields.name, "parent": fields.parent_id, "restricted": fields.restricted,
    });
    let event = Event::by(caller.actor(), "password_folder.edited", folder.id, body);
    tx.audit(&event, now).await?;
    Ok(())
}

/// Deletes an empty folder.
///
/// # Errors
/// [`ApiError::Store`] with a conflict if something is in it.
pub(crate) async fn delete(
    tx: &mut Tx,
    caller: &Caller,
    folder: &PasswordFolder,
    now: Timestamp,
) -> Result<(), ApiError> {
    tx.delete_password_folder(folder.id).await?;
    let body = json!({"name": folder.name, "organization": folder.organization_id});
    let event = Event::by(caller.actor(), "password_folder.deleted", folder.id, body);
    tx.audit(&event, now).await?;
    Ok(())
}

fn named(caller: &Caller) -> Readers {
    Readers {
        users: [caller.user.id].into(),
        ..Readers::default()
    }
}
