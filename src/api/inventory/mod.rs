//! What the interfaces do to the inventory: workgroups, assets, functional accounts, systems and
//! accounts. Each act is one transaction that holds the change, its audit row and new due times.
//!
//! Invariant: nothing is stored that its noun's own validation has not passed, and a given
//! secret is sealed for its place before a statement sees it.

pub mod account;
pub mod asset;
pub mod functional_account;
pub(crate) mod identity;
pub mod import;
pub(crate) mod organization;
pub(crate) mod password_category;
pub(crate) mod password_folder;
pub mod synced_account;
pub mod system;
pub mod workgroup;

use super::Api;
use super::caller::Caller;
use super::error::{ApiError, Fault};
use crate::model;
use crate::model::platform::Platform;
use crate::model::system::System;

/// Somebody who acts on the inventory.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// What to act with.
    pub api: &'a Api,
    /// Who acts; stands in the audit rows.
    pub actor: &'a str,
}

impl<'a> Act<'a> {
    /// The caller's act.
    pub fn of(api: &'a Api, caller: &'a Caller) -> Self {
        Self {
            api,
            actor: caller.actor(),
        }
    }
}

/// A stored system's platform.
pub(super) fn platform_of<'a>(api: &'a Api, system: &System) -> Result<&'a Platform, ApiError> {
    let platform = api.platforms.find(system.place.platform_id);
    platform.ok_or_else(|| {
        ApiError::conflict(
            "the system's platform is not offered any more: put its definition back into \
             connectors.platforms_dir, and start the service again",
        )
    })
}

/// Refuses what its noun has found faults in. Fields have the model's names.
pub(super) fn sound(faults: Vec<model::fault::Fault>) -> Result<(), ApiError> {
    if faults.is_empty() {
        return Ok(());
    }
    let faults = faults
        .into_iter()
        .map(|fault| Fault {
            field: fault.field.to_owned(),
            text: fault.problem,
        })
        .collect();
    Err(ApiError::Invalid(faults))
}
