//! A current credential, in the clear, for somebody who may see it.
//!
//! Invariant: the reveal is on record before its answer is made; without the audit row there is
//! no answer.

use secrecy::SecretString;
use serde_json::{Value, json};

use super::Api;
use super::error::ApiError;
use crate::model::audit::Event;
use crate::model::credential::Part;
use crate::model::id::AccountId;
use crate::store::SealedSecret;
use crate::vault::Place;

/// Which secret of an account is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Secret {
    /// The current password.
    #[default]
    Password,
    /// The current private key, as it was given or drawn; perhaps under its passphrase.
    Key,
    /// The current private key's passphrase.
    Passphrase,
}

impl Secret {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Key => "key",
            Self::Passphrase => "passphrase",
        }
    }

    const fn part(self) -> Part {
        match self {
            Self::Password => Part::Password,
            Self::Key | Self::Passphrase => Part::Key,
        }
    }
}

/// A credential in the clear.
pub(super) struct Revealed {
    /// Which version this is.
    pub(super) version: i64,
    /// True if it may have been replaced on the target.
    pub(super) in_doubt: bool,
    /// The secret.
    pub(super) value: SecretString,
}

/// Opens the current credential, and records who saw it and why.
///
/// # Errors
/// [`ApiError::NotFound`] if there is no such account, or it has no such secret.
pub(super) async fn reveal(
    api: &Api,
    actor: &str,
    (account, secret): (AccountId, Secret),
    mut why: Value,
) -> Result<Revealed, ApiError> {
    const MISSING: ApiError = ApiError::NotFound {
        what: "Managed Account",
    };
    const EMPTY: ApiError = ApiError::NotFound { what: "Credential" };
    let row = api.store.account_row(account).await?.ok_or(MISSING)?;
    let version = row.current(secret.part()).ok_or(EMPTY)?;
    let kept = api.store.sealed_version(account, version).await?;
    let (place, sealed) = match (secret, kept.ok_or(EMPTY)?) {
        (Secret::Password, SealedSecret::Password(sealed))
        | (
            Secret::Key,
            SealedSecret::Key {
                private: sealed, ..
            },
        ) => (Place::credential(account, version), sealed),
        (Secret::Passphrase, SealedSecret::Key { passphrase, .. }) => (
            Place::passphrase(account, version),
            passphrase.ok_or(EMPTY)?,
        ),
        _ => return Err(EMPTY),
    };
    let value = api.vault.open(&place, &sealed)?;
    if let Some(details) = why.as_object_mut() {
        details.insert("kind".to_owned(), json!(secret.as_str()));
        details.insert("version".to_owned(), json!(version));
    }
    let mut tx = api.store.begin().await?;
    let event = Event::by(actor, "credential.revealed", account, why);
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(Revealed {
        version,
        in_doubt: row.in_doubt(secret.part()),
        value,
    })
}
