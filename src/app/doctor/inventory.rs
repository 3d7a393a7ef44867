//! What is missing before accounts can be changed.
//!
//! Invariant: each finding names rows by id and name, at most a few of them.

use super::Check;
use crate::model::platform::{ConnectorKind, Platforms};
use crate::model::system::{HostKeyMode, System};
use crate::store::{Page, Store, StoreError, SystemFilter};

/// Rows that one query reads.
const PAGE: i64 = 1_000;
/// Rows that a finding names.
const NAMED_MAX: usize = 5;

/// Functional accounts without a password or key, systems whose platform is not offered or whose
/// identity cannot be proved.
pub(super) async fn gaps(store: &Store, platforms: &Platforms) -> Result<Vec<Check>, StoreError> {
    let mut checks = vec![functional_accounts(store).await?];
    let (mut keyless, mut trustless, mut homeless) = (Vec::new(), Vec::new(), Vec::new());
    let mut page = Page::first(PAGE);
    loop {
        let systems = store.systems(&SystemFilter::default(), page).await?;
        for system in &systems {
            let platform = platforms.find(system.place.platform_id);
            match platform.map(|platform| platform.connector) {
                Some(kind) if kind.has_host_keys() && lacks_host_key(system) => {
                    keyless.push(named(system));
                }
                Some(ConnectorKind::Ldap) if lacks_authority(system) => {
                    trustless.push(named(system));
                }
                None => homeless.push(named(system)),
                Some(_) => {}
            }
        }
        if systems.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            break;
        }
        page.offset += PAGE;
    }
    checks.push(listed(
        "systems",
        "every system's platform is offered",
        &homeless,
        "put the definition of the system's platform back into connectors.platforms_dir: without \
         it the system's accounts cannot be changed",
    ));
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
                .filter(|account| !account.has_password && account.public_key.is_none())
                .map(|account| format!("{} ({})", account.settings.account_name, account.id.0)),
        );
        if accounts.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            break;
        }
        page.offset += PAGE;
    }
    Ok(listed(
        "functional accounts",
        "every functional account has a password or a key",
        &missing,
        "set the functional account's password or private key: without one its systems cannot be \
         changed",
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
