//! What an operator of the machine can do for an administrator who is locked out.
//!
//! Invariant: whoever can do this owns the database already; what was done is on record.

use secrecy::SecretString;
use serde_json::json;

use super::database::{self, place};
use super::error::AppError;
use super::{audit_store, first_run};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::generate::Dice;
use crate::model::audit::Event;
use crate::store::{Store, StoreError};
use crate::vault::{PasswordError, Passwords, password_fault};

/// Who it is, where nobody says: the administrator of the first start.
pub const ADMINISTRATOR: &str = first_run::ADMINISTRATOR;

/// Why an administrator's password was not set.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// Name another.
    #[error("{name} is no administrator of this database; name one with --name")]
    NotThere {
        /// Who was named.
        name: String,
    },
    /// Choose another.
    #[error("the password {0}; nothing was changed")]
    Fault(&'static str),
    /// Free some memory.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// As it says.
    #[error(transparent)]
    App(#[from] AppError),
}

/// Sets an administrator's password, forgets their second factor, lets them sign in again and ends
/// their sessions. On SQLite no service may be running.
///
/// # Errors
/// [`ResetError`]; nothing was changed.
pub async fn reset_administrator(
    settings: &Settings,
    (name, password): (&str, &SecretString),
    clock: &SharedClock,
    dice: &dyn Dice,
) -> Result<(), ResetError> {
    if let Some(fault) = password_fault(password, name) {
        return Err(ResetError::Fault(fault));
    }
    let _locks = match database::file(settings) {
        Some(file) if !file.is_file() => {
            return Err(AppError::NoDatabase { path: file }.into());
        }
        Some(_) => database::lock(settings).map_err(AppError::from)?,
        // A server has room for another writer.
        None => Vec::new(),
    };
    let store = audit_store(settings).await?;
    let done = reset(settings, &store, (name, password), clock, dice).await;
    store.close().await;
    done
}

async fn reset(
    settings: &Settings,
    store: &Store,
    (name, password): (&str, &SecretString),
    clock: &SharedClock,
    dice: &dyn Dice,
) -> Result<(), ResetError> {
    let place = place(settings);
    let said = |error: StoreError| AppError::store(&place)(error);
    let user = store.user_by_name(name).await.map_err(said)?;
    let user = user.filter(|user| user.administrator);
    let user = user.ok_or_else(|| ResetError::NotThere {
        name: name.to_owned(),
    })?;
    let hash = Passwords::default().hash(password, dice).await?;
    let now = clock.now();
    let written = async {
        let mut tx = store.begin().await?;
        tx.set_user_disabled(user.id, false).await?;
        tx.set_password(user.id, &hash, now).await?;
        let had_factor = tx.remove_totp(user.id).await?;
        let ended = tx.end_password_sessions(user.id).await?;
        let details = json!({
            "name": user.name, "was_disabled": user.disabled,
            "second_factor_removed": had_factor, "sessions_ended": ended,
        });
        let event = Event::by_service("user.password_reset", user.id, details);
        tx.audit(&event, now).await?;
        tx.commit().await
    };
    Ok(written.await.map_err(said)?)
}
