//! Paths of folders.
//!
//! Invariant: a path is walked and made in one transaction: either all of it is there, or nothing
//! new is.

use serde_json::json;

use super::{Asker, RecordError, enters, writer};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::model::audit::Event;
use crate::model::fault::Fault;
use crate::model::id::{OrganizationId, PasswordFolderId};
use crate::model::password_category::NAME_MAX_CHARS;
use crate::model::password_folder::{DEPTH_MAX, path_names};
use crate::store::{FolderFields, StoreError};

/// How often a path is walked while others make the same folders.
const TRIES: usize = 5;

/// The folder that a path such as `Infrastructure/Domain Controllers` names; what is missing of it
/// is made. An empty path is the top.
///
/// # Errors
/// [`RecordError`].
pub(crate) async fn ensured(
    api: &Api,
    asker: Asker<'_>,
    organization: OrganizationId,
    path: &str,
) -> Result<Option<PasswordFolderId>, RecordError> {
    writer(asker, organization)?;
    if api.store.organization(organization).await?.is_none() {
        return Err(RecordError::Organization(organization));
    }
    let names = checked(path)?;
    for _ in 1..TRIES {
        match walked(api, asker, organization, &names).await {
            // Somebody else has made one of them meanwhile.
            Err(RecordError::Api(ApiError::Store(StoreError::Conflict { .. }))) => {}
            other => return other,
        }
    }
    walked(api, asker, organization, &names).await
}

/// The names of a path.
fn checked(path: &str) -> Result<Vec<&str>, RecordError> {
    let names = path_names(path);
    let too_long =
        |name: &&str| name.chars().count() > NAME_MAX_CHARS || name.chars().any(char::is_control);
    if names.len() > DEPTH_MAX || names.iter().any(too_long) {
        let problem = format!(
            "must have at most {DEPTH_MAX} names of at most {NAME_MAX_CHARS} printable characters"
        );
        return Err(RecordError::Fields(vec![Fault::new(
            "folder_path",
            problem,
        )]));
    }
    Ok(names)
}

/// Refuses a path that is none, or that leads through a folder that the asker may not enter; makes
/// nothing.
///
/// # Errors
/// [`RecordError`].
pub(crate) async fn may_enter(
    api: &Api,
    asker: Asker<'_>,
    organization: OrganizationId,
    path: &str,
) -> Result<(), RecordError> {
    let names = checked(path)?;
    let folders = api.store.password_folders(Some(organization)).await?;
    let mut at: Option<PasswordFolderId> = None;
    for name in names {
        let here = folders.iter().find(|folder| {
            folder.parent_id == at && folder.name.to_lowercase() == name.to_lowercase()
        });
        let Some(folder) = here else { break };
        enters(api, asker, folder.id).await?;
        at = Some(folder.id);
    }
    Ok(())
}

async fn walked(
    api: &Api,
    asker: Asker<'_>,
    organization: OrganizationId,
    names: &[&str],
) -> Result<Option<PasswordFolderId>, RecordError> {
    let folders = api.store.password_folders(Some(organization)).await?;
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    let mut at: Option<PasswordFolderId> = None;
    let mut made = false;
    for name in names {
        let here = folders.iter().find(|folder| {
            folder.parent_id == at && folder.name.to_lowercase() == name.to_lowercase()
        });
        if let Some(folder) = here.filter(|_| !made) {
            enters(api, asker, folder.id).await?;
            at = Some(folder.id);
            continue;
        }
        made = true;
        let fields = FolderFields {
            name: (*name).to_owned(),
            parent_id: at,
            restricted: false,
        };
        let id = tx
            .insert_password_folder(organization, &fields, now)
            .await?;
        let body = json!({"name": name, "organization": organization.0});
        let event = Event::by(asker.caller.actor(), "password_folder.created", id, body);
        tx.audit(&event, now).await?;
        at = Some(id);
    }
    tx.commit().await?;
    Ok(at)
}
