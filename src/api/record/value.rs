//! Values of records: sealed for their places, and compared.
//!
//! Invariant: what is opened here is compared or handed to `show`, and goes nowhere else.

use secrecy::SecretString;

use super::RecordError;
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::reveal::{Secret, opened as opened_account};
use crate::model::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::{PasswordRecordId, PasswordVersionId, UserId};
use crate::model::password_record::PasswordRecord;
use crate::store::Tx;
use crate::vault::{PLAIN_MAX_BYTES, Place, VaultError, same_secret};

/// How many of a record's earlier values a sent one is compared with.
const ECHO_DEPTH: i64 = 50;

/// One value of a record: the current one, or that version. `None`: it has none, or no such one.
///
/// # Errors
/// [`ApiError`] of the database or the vault.
pub(super) async fn opened(
    api: &Api,
    record: &PasswordRecord,
    version: Option<i64>,
) -> Result<Option<SecretString>, ApiError> {
    if let Some(account) = &record.account {
        if account.deleted {
            return Ok(None);
        }
        let Some(version) = version.or(account.version) else {
            return Ok(None);
        };
        return opened_account(api, account.id, version, Secret::Password).await;
    }
    let version = version.map(PasswordVersionId).or(record.version);
    let Some(version) = version else {
        return Ok(None);
    };
    let Some(sealed) = api.store.sealed_password(record.id, version).await? else {
        return Ok(None);
    };
    let place = Place::password(record.id, version);
    Ok(Some(api.vault.open(&place, &sealed)?))
}

/// True if a value is the record's current one.
pub(super) async fn is_current(
    api: &Api,
    record: &PasswordRecord,
    value: &SecretString,
) -> Result<bool, ApiError> {
    let current = opened(api, record, None).await?;
    Ok(current.is_some_and(|current| same_secret(&current, value)))
}

/// True if a value was the record's before, and came with a date older than its last change: whoever
/// sends it has read the record back then, and means no change.
pub(super) async fn is_echo(
    api: &Api,
    record: &PasswordRecord,
    value: &SecretString,
    said: Option<Timestamp>,
) -> Result<bool, ApiError> {
    let older = said
        .zip(record.shown_changed_at())
        .is_some_and(|(said, now)| said < now);
    if !older {
        return Ok(false);
    }
    for earlier in super::show::versions(api, record, ECHO_DEPTH).await? {
        let earlier = opened(api, record, Some(earlier.id)).await?;
        if earlier.is_some_and(|earlier| same_secret(&earlier, value)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Seals a value and makes it the record's current one.
pub(super) async fn set(
    api: &Api,
    tx: &mut Tx,
    record: PasswordRecordId,
    value: &SecretString,
    (by, now): (UserId, Timestamp),
) -> Result<PasswordVersionId, RecordError> {
    let version = tx.password_version_id().await?;
    let place = Place::password(record, version);
    let sealed = api.vault.seal(&place, value, api.dice.as_ref());
    let sealed = sealed.map_err(|error| match error {
        VaultError::TooLong { .. } => {
            let problem = format!("must have at most {PLAIN_MAX_BYTES} bytes");
            RecordError::Fields(vec![Fault::new("password", problem)])
        }
        other => RecordError::Api(other.into()),
    })?;
    tx.set_password_value((record, version), &sealed.0, (Some(by), now))
        .await?;
    Ok(version)
}

/// Seals the secret of a record's one-time codes, or removes it.
pub(super) async fn set_otp(
    api: &Api,
    tx: &mut Tx,
    record: PasswordRecordId,
    secret: Option<&SecretString>,
) -> Result<(), RecordError> {
    let place = Place::password_otp(record);
    let seal = |secret| api.vault.seal(&place, secret, api.dice.as_ref());
    let sealed = secret.map(seal).transpose().map_err(ApiError::from)?;
    let sealed = sealed.as_ref().map(|sealed| sealed.0.as_slice());
    Ok(tx.set_password_otp(record, sealed).await?)
}
