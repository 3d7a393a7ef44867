//! What is done with password records, whichever interface asks for it.
//!
//! Invariant: every change commits with its audit row, and a value leaves by [`show()`] and in the
//! files of [`export`] alone, its one-time codes by [`show_code`].

mod change;
mod create;
pub(super) mod export;
mod folder;
pub(super) mod import;
mod show;
mod value;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::peer::Peer;
use crate::model::audit::Event;
use crate::model::fault::Fault;
use crate::model::id::{JobId, OrganizationId, PasswordFolderId, PasswordRecordId};
use crate::model::password_record::PasswordRecord;
use crate::model::principal::Permission;
use crate::queue::OrderError;
use crate::store::{PasswordFilter, Seeing, StoreError};

pub(crate) use change::{Change, Otp, change, change_all, delete_all, escaped};
pub(crate) use create::{Draft, create_all, purpose_notes};
pub(crate) use folder::{ensured, may_enter};
pub(crate) use show::{Shown, show, show_code, show_why, versions};

/// Who asks, and what they reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    /// Who.
    pub(crate) caller: &'a Caller,
    /// From where.
    pub(crate) from: Peer,
    /// Organizations in reach; `None`: all.
    pub(crate) organizations: Option<&'a BTreeSet<OrganizationId>>,
    /// False: no value is shown, nor taken.
    pub(crate) password_access: bool,
}

impl<'a> Asker<'a> {
    /// Somebody whose key limits nothing.
    pub(crate) fn anywhere(caller: &'a Caller, from: Peer) -> Self {
        Self {
            caller,
            from,
            organizations: None,
            password_access: true,
        }
    }

    /// True if an organization is in reach.
    pub(crate) fn reaches(&self, organization: OrganizationId) -> bool {
        self.organizations
            .is_none_or(|reach| reach.contains(&organization))
    }

    /// Whom restricted records are looked up for.
    pub(crate) fn seeing(&self) -> Seeing {
        let user = &self.caller.user;
        Seeing {
            user: (!user.administrator).then_some(user.id),
        }
    }

    /// What every list of theirs begins with.
    pub(crate) fn filter(&self) -> PasswordFilter {
        PasswordFilter {
            seeing: self.seeing(),
            reach: self.organizations.into_iter().flatten().copied().collect(),
            ..PasswordFilter::default()
        }
    }

    fn event(&self, name: &'static str, of: impl ToString, mut body: Value) -> Event {
        if let Some(details) = body.as_object_mut() {
            let address = self.from.0.map(|from| from.to_string());
            details.insert("address".to_owned(), json!(address));
        }
        Event::by(self.caller.actor(), name, of, body)
    }
}

/// Why something was not done with a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Name an organization that is there.
    #[error("{} does not exist", .0)]
    Organization(OrganizationId),
    /// Name a category that is there.
    #[error("the category does not exist")]
    Category,
    /// Name a folder of the same organization.
    #[error("the folder does not exist in this organization")]
    Folder,
    /// Name a managed account that is there.
    #[error("the managed account does not exist")]
    Account,
    /// Correct the fields.
    #[error("invalid fields")]
    Fields(Vec<Fault>),
    /// What may not be changed of a linked record.
    #[error("{0} of a linked record is its managed account's")]
    Linked(&'static str),
    /// The target did not take the value; nothing was changed.
    #[error("the rotation failed: {log}")]
    RotationFailed {
        /// The attempts, without secrets.
        log: String,
    },
    /// Ask again: the rotation goes on.
    #[error("the rotation is still running as {0}")]
    RotationPending(JobId),
    /// Anything that every interface says in its own way.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl From<StoreError> for RecordError {
    fn from(error: StoreError) -> Self {
        Self::Api(error.into())
    }
}

impl From<OrderError> for RecordError {
    fn from(error: OrderError) -> Self {
        match error {
            // What the account's rules reject is a rotation that cannot succeed.
            OrderError::Refused(log) => Self::RotationFailed { log },
            other => Self::Api(other.into()),
        }
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Organization(_) => {
                Self::field("organization_id", "is no organization that exists")
            }
            RecordError::Category => {
                Self::field("password_category_id", "is no category that exists")
            }
            RecordError::Folder => Self::field(
                "password_folder_id",
                "is no folder that exists in the organization",
            ),
            RecordError::Account => Self::field("account_id", "is no managed account that exists"),
            RecordError::Fields(faults) => Self::Invalid(
                faults
                    .into_iter()
                    .map(|fault| super::error::Fault {
                        field: fault.field.to_owned(),
                        text: fault.problem,
                    })
                    .collect(),
            ),
            RecordError::Linked(field) => Self::field(
                field,
                "is the managed account's: leave it out, or change the account",
            ),
            RecordError::RotationFailed { log } => Self::ChangeFailed {
                log,
                location: String::new(),
            },
            RecordError::RotationPending(job) => Self::StillRunning {
                location: format!("/api/v1/jobs/{}", job.0),
            },
            RecordError::Api(error) => error,
        }
    }
}

/// A record that the asker may see.
///
/// # Errors
/// [`ApiError::NotFound`]; [`ApiError::Forbidden`] if it is out of reach or restricted.
pub(crate) async fn visible(
    api: &Api,
    asker: Asker<'_>,
    id: PasswordRecordId,
) -> Result<PasswordRecord, ApiError> {
    const MISSING: ApiError = ApiError::NotFound { what: "Password" };
    let record = api.store.password_record(id).await?.ok_or(MISSING)?;
    if !asker.reaches(record.organization_id) {
        return Err(ApiError::Forbidden);
    }
    let user = &asker.caller.user;
    if !user.administrator && !api.store.sees_password_record(id, user.id).await? {
        return Err(ApiError::Forbidden);
    }
    Ok(record)
}

/// Refuses whoever may not write records.
fn writer(asker: Asker<'_>, organization: OrganizationId) -> Result<(), ApiError> {
    asker.caller.require(Permission::PasswordsWrite)?;
    if asker.reaches(organization) {
        Ok(())
    } else {
        Err(ApiError::Forbidden)
    }
}

/// What a record names must be there.
async fn referred(
    api: &Api,
    asker: Asker<'_>,
    organization: OrganizationId,
    fields: &crate::model::password_record::PasswordFields,
) -> Result<(), RecordError> {
    let faults = fields.faults();
    if !faults.is_empty() {
        return Err(RecordError::Fields(faults));
    }
    if api.store.organization(organization).await?.is_none() {
        return Err(RecordError::Organization(organization));
    }
    if let Some(category) = fields.category_id
        && api.store.password_category(category).await?.is_none()
    {
        return Err(RecordError::Category);
    }
    if let Some(folder) = fields.folder_id {
        let found = api.store.password_folder(folder).await?;
        if found.is_none_or(|found| found.organization_id != organization) {
            return Err(RecordError::Folder);
        }
        enters(api, asker, folder).await?;
    }
    Ok(())
}

/// Refuses whoever may not enter a folder.
async fn enters(api: &Api, asker: Asker<'_>, folder: PasswordFolderId) -> Result<(), ApiError> {
    let user = &asker.caller.user;
    if user.administrator || api.store.enters_password_folder(folder, user.id).await? {
        Ok(())
    } else {
        Err(ApiError::Forbidden)
    }
}
