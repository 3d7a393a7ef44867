//! What is missing before accounts can be changed.
//!
//! Invariant: each finding names rows by id and name, at most a few of them.

use super::Check;
use crate::model::platform::{ConnectorKind, Platform};
use crate::model::system::{HostKeyMode, System};
use crate::store::{Page, Store, StoreError, SystemFilter};

/// Rows that one query reads.
const PAGE: i64 = 1_000;
/// Rows that a finding names.
const NAMED_MAX: usize = 5;

/// Functional accounts without a password, systems whose identity cannot be proved.
pub(super) async fn gaps(store: &Store) -> Result<Vec<Check>, StoreError> {
    let mut checks = vec![functional_accounts(store).await?];
    let (mut keyless, mut trustless) = (Vec::new(), Vec::new());
    let mut page = Page::first(PAGE);
    loop {
        let systems = store.systems(&SystemFilter::default(), page).await?;
        for system in &systems {
            match Platform::find(system.place.platform_id).map(|platform| platform.connector) {
                Some(ConnectorKind::Ssh) if lacks_host_key(system) => keyless.push(named(system)),
                Some(ConnectorKind::Ldap) if lacks_authority(system) => {
                    trustless.push(named(system));
                }
                _ => {}
            }
        }
        if systems.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            break;
        }
        page.offset += PAGE;
    }
    checks.push(listed(
        "host keys",
        "every SSH system has a pinned host key",
        &keyless,
        "pin the system's host key, or set its enforcement to accept the first: without one \
         nothing is sent",
    ));
    checks.push(listed(
        "certificates",
        "every directory has a trusted authority",
        &trustless,
        "set the directory's tls_ca: without one its certificate proves nothing",
    ));
    Ok(checks)
}

async fn functional_accounts(store: &Store) -> Result<Check, StoreError> {
    let mut missing = Vec::new();
    let mut page = Page::first(PAGE);
    loop {
        let accounts = store.functional_accounts(page).await?;
        missing.extend(
            accounts
                .iter()
                .filter(|account| !account.has_password)
                .map(|account| format!("{} ({})", account.settings.account_name, account.id.0)),
        );
        if accounts.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            break;
        }
        page.offset += PAGE;
    }
    Ok(listed(
        "functional accounts",
        "every functional account has a password",
        &missing,
        "set the functional account's password: without one its systems cannot be changed",
    ))
}

fn lacks_host_key(system: &System) -> bool {
    system.settings.host_key.is_none() && system.settings.host_key_mode != HostKeyMode::AcceptFirst
}

fn lacks_authority(system: &System) -> bool {
    system
        .settings
        .tls_ca
        .as_deref()
        .is_none_or(|pem| pem.trim().is_empty())
}

fn named(system: &System) -> String {
    format!("{} ({})", system.settings.name, system.id.0)
}

fn listed(name: &'static str, fine: &str, missing: &[String], fix: &str) -> Check {
    if missing.is_empty() {
        return Check::fine(name, fine);
    }
    let mut shown = missing
        .iter()
        .take(NAMED_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if missing.len() > NAMED_MAX {
        shown.push_str(", …");
    }
    Check::warning(name, format!("missing for {}: {shown}", missing.len()), fix)
}
