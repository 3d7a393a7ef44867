//! Builds everything from the settings, and owns the service's tasks.
//!
//! [`serve`] is the service from start to drained end; [`prepare`] is its first half, which
//! `init` shares: folder, key, database, key ring, first administrator.
//!
//! Invariant: nothing runs on a database whose schema, key ring or probe is in doubt, and no key
//! is ever made in place of one that is gone.

mod audit;
mod database;
mod doctor;
mod drain;
mod error;
mod escrow;
mod files;
mod first_run;
mod health;
mod key_ring;
mod listener;
mod log;
mod migrate;
mod notify;
mod options;
mod platforms;
mod recover;
mod regression;
mod reload;
mod service;
mod signal;
mod tls;
mod user;
mod wall;

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::SharedClock;
use crate::config::Settings;
use crate::generate::Dice;
use crate::model::audit_chain::AuditKeys;
use crate::store::Store;
use crate::vault::Vault;

pub use audit::{audit_keys, audit_store};
pub use doctor::{Check, Verdict, examine};
pub use error::AppError;
pub use files::{FileError, data_folder, write_new};
pub use first_run::CREDENTIALS_FILE;
pub use log::Log;
pub use migrate::{Migration, migrate, migration};
pub use platforms::platforms;
pub use recover::{PutBack, put_back};
pub use regression::{Accepted, accept_store};
pub use service::serve;
pub use tls::TlsError;
pub use user::{ADMINISTRATOR, ResetError, reset_administrator};

/// What the service stands on.
#[derive(Debug)]
pub struct Base {
    /// The database, with the schema of this program.
    pub store: Store,
    /// The key ring, which has opened the store's probe.
    pub vault: Arc<Vault>,
    /// The keys of the audit trail.
    pub audit: Arc<AuditKeys>,
    /// Where the first administrator's keys were written, if this was the first start.
    pub credentials: Option<PathBuf>,
    _locks: Vec<files::Lock>,
}

/// Makes or opens folder, key, database and key ring. `url` is where the service will answer.
///
/// # Errors
/// [`AppError`], a sentence that says what to do.
pub async fn prepare(
    settings: &Settings,
    url: &str,
    clock: &SharedClock,
    dice: &dyn Dice,
) -> Result<Base, AppError> {
    files::data_folder(&settings.data.dir)?;
    let locks = database::lock(settings)?;
    let store = database::open(settings, clock).await?;
    let opened = async {
        let ring = keys(settings, &store, url, clock, dice).await?;
        let audit = audit::open_or_make(settings, &store, &ring.0, dice, clock.now()).await?;
        Ok((ring, audit))
    };
    let opened: Result<_, AppError> = opened.await;
    if opened.is_err() {
        // Or the refused start would leave the database's side files behind.
        store.close().await;
    }
    let ((vault, credentials), audit) = opened?;
    Ok(Base {
        store,
        vault: Arc::new(vault),
        audit: Arc::new(audit),
        credentials,
        _locks: locks,
    })
}

/// The key ring, and where the first administrator's keys are if this is the first start.
async fn keys(
    settings: &Settings,
    store: &Store,
    url: &str,
    clock: &SharedClock,
    dice: &dyn Dice,
) -> Result<(Vault, Option<PathBuf>), AppError> {
    let now = clock.now();
    if let Some(ring) = key_ring::find(settings, store).await? {
        let ring = ring.renew(settings, store, dice, now).await?;
        return Ok((ring.open()?, None));
    }
    let (vault, credentials) = first_run::make(settings, store, url, dice, now).await?;
    Ok((vault, Some(credentials)))
}
