//! Values of records in the clear.
//!
//! Invariant: a value that is handed out was put on record before, and whoever may not see it gets
//! none.

use secrecy::SecretString;
use serde_json::json;

use super::value::opened;
use super::{Asker, RecordError};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::reveal::{Seeing, on_record};
use crate::model::audit::Event;
use crate::model::credential::Part;
use crate::model::id::AccountId;
use crate::model::password_record::{PasswordRecord, PasswordVersion};
use crate::model::principal::Permission;
use crate::model::request::RequestState;
use crate::model::reveal::AccessMethod;
use crate::store::{Page, RequestFilter};
use crate::vault::{Place, code_at};

/// How far back an account's earlier passwords are shown.
const ACCOUNT_VERSIONS_MAX: i64 = 1_000;

/// What somebody who asks for a value gets.
#[derive(Debug)]
pub(crate) enum Shown {
    /// The value.
    Value(SecretString),
    /// The record has none.
    Empty,
    /// The asker's key or user opens no values; the record itself may be read.
    Hidden,
}

/// Shows a record's current value, or an earlier one.
///
/// # Errors
/// [`ApiError::Forbidden`] if the record is a managed account's whose credential the asker may not
/// see; [`ApiError::NotFound`] if there is no such version.
pub(crate) async fn show(
    api: &Api,
    asker: Asker<'_>,
    method: AccessMethod,
    record: &PasswordRecord,
    version: Option<i64>,
) -> Result<Shown, ApiError> {
    show_why(api, asker, method, record, version, None).await
}

/// The same, with the reason that was given.
///
/// # Errors
/// As [`show`].
pub(crate) async fn show_why(
    api: &Api,
    asker: Asker<'_>,
    method: AccessMethod,
    record: &PasswordRecord,
    version: Option<i64>,
    reason: Option<&str>,
) -> Result<Shown, ApiError> {
    const NO_VERSION: ApiError = ApiError::NotFound { what: "Version" };
    if !opens(api, asker, record).await? {
        return Ok(Shown::Hidden);
    }
    if let (Some(version), Some(_)) = (version, &record.account) {
        let known = versions(api, record, ACCOUNT_VERSIONS_MAX).await?;
        if known.iter().all(|one| one.id != version) {
            return Err(NO_VERSION);
        }
    }
    let value = match opened(api, record, version).await? {
        Some(value) => value,
        None if version.is_some() => return Err(NO_VERSION),
        None => return Ok(Shown::Empty),
    };
    let seen = vec![record.subject()];
    let mut event = event(asker, method, record, version);
    if let Some(details) = event.body.as_object_mut() {
        details.insert("reason".to_owned(), json!(reason));
    }
    let mut tx = api.store.begin().await?;
    let seeing = seeing(asker, method);
    on_record(api, &mut tx, seeing, (version, seen, false), &[&event]).await?;
    tx.commit().await?;
    Ok(Shown::Value(value))
}

/// Shows the current values of many records at once, for a file: one reveal, and one notice. Records
/// whose values the asker may not see come without. `order` goes on record with it.
///
/// # Errors
/// [`ApiError`] of the database or the vault; then nothing is shown.
pub(super) async fn show_all(
    api: &Api,
    asker: Asker<'_>,
    method: AccessMethod,
    records: &[PasswordRecord],
    order: Option<Event>,
) -> Result<Vec<Option<SecretString>>, ApiError> {
    let mut values = Vec::with_capacity(records.len());
    let (mut events, mut seen) = (Vec::from_iter(order), Vec::new());
    for record in records {
        let open = match opens(api, asker, record).await {
            Ok(open) => open,
            Err(ApiError::Forbidden) => false,
            Err(other) => return Err(other),
        };
        let value = if open {
            opened(api, record, None).await?
        } else {
            None
        };
        if value.is_some() {
            events.push(event(asker, method, record, None));
            seen.push(record.subject());
        }
        values.push(value);
    }
    let events: Vec<&Event> = events.iter().collect();
    let mut tx = api.store.begin().await?;
    let seeing = seeing(asker, method);
    on_record(api, &mut tx, seeing, (None, seen, true), &events).await?;
    tx.commit().await?;
    Ok(values)
}

fn seeing(asker: Asker<'_>, method: AccessMethod) -> Seeing<'_> {
    Seeing {
        caller: asker.caller,
        from: asker.from,
        method,
    }
}

fn event(
    asker: Asker<'_>,
    method: AccessMethod,
    record: &PasswordRecord,
    version: Option<i64>,
) -> Event {
    let body = json!({
        "name": record.fields.name,
        "organization": record.organization_id.0,
        "method": method.as_str(),
        "version": version,
        "account": record.account.as_ref().map(|account| account.id.0),
    });
    asker.event("password.viewed", record.id, body)
}

/// True if the asker may see the values of such records.
///
/// # Errors
/// [`ApiError::Forbidden`] if the record is an account's, and that account's credential is not for
/// the asker: by permission, or by a request that is open now.
pub(super) async fn opens(
    api: &Api,
    asker: Asker<'_>,
    record: &PasswordRecord,
) -> Result<bool, ApiError> {
    if !asker.password_access {
        return Ok(false);
    }
    let Some(account) = &record.account else {
        return Ok(asker.caller.user.may(Permission::PasswordsReveal));
    };
    if asker.caller.user.may(Permission::CredentialsReveal)
        || has_checked_out(api, asker, account.id).await?
    {
        return Ok(true);
    }
    Err(ApiError::Forbidden)
}

async fn has_checked_out(
    api: &Api,
    asker: Asker<'_>,
    account: AccountId,
) -> Result<bool, ApiError> {
    let filter = RequestFilter {
        user_id: Some(asker.caller.user.id),
        account_id: Some(account),
        state: Some(RequestState::Active),
        live: true,
        ..RequestFilter::default()
    };
    let now = api.clock.now();
    let found = api.store.requests(filter, Page::first(50)).await?;
    Ok(found.iter().any(|request| now < request.expires_at))
}

/// The newest values that a record has or had, newest first; an account's versions that were once
/// its current password.
///
/// # Errors
/// [`ApiError`] of the database.
pub(crate) async fn versions(
    api: &Api,
    record: &PasswordRecord,
    limit: i64,
) -> Result<Vec<PasswordVersion>, ApiError> {
    let Some(account) = &record.account else {
        return Ok(api.store.password_versions(record.id, limit).await?);
    };
    let mut all = api
        .store
        .versions_of_part(account.id, Part::Password, limit)
        .await?;
    // Candidates that no target took were nobody's password.
    all.retain(|row| {
        row.accepted_at.is_some() || row.origin == "stored" || account.version == Some(row.version)
    });
    let shown = all.into_iter().map(|row| PasswordVersion {
        id: row.version,
        created_at: row.accepted_at.unwrap_or(row.staged_at),
        created_by: None,
        live: account.version == Some(row.version),
    });
    Ok(shown.collect())
}

impl From<Shown> for Option<SecretString> {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Value(value) => Some(value),
            Shown::Empty | Shown::Hidden => None,
        }
    }
}

/// A one-time code of a record, and for how many more seconds it is the present one. `None`: the
/// record has no secret of such codes.
///
/// # Errors
/// [`ApiError::Forbidden`] if the asker may not see its value either.
pub(crate) async fn show_code(
    api: &Api,
    asker: Asker<'_>,
    record: &PasswordRecord,
) -> Result<Option<(SecretString, u64)>, ApiError> {
    if !opens(api, asker, record).await? {
        return Err(ApiError::Forbidden);
    }
    let Some(sealed) = api.store.password_otp(record.id).await? else {
        return Ok(None);
    };
    let secret = api.vault.open(&Place::password_otp(record.id), &sealed)?;
    let code = code_at(&secret, api.clock.now());
    let code = code.ok_or(ApiError::Internal("a secret of codes is no base 32"))?;
    let method = AccessMethod::Otp;
    let event = event(asker, method, record, None);
    let seen = (None, vec![record.subject()], false);
    let mut tx = api.store.begin().await?;
    on_record(api, &mut tx, seeing(asker, method), seen, &[&event]).await?;
    tx.commit().await?;
    Ok(Some(code))
}

/// Whose value somebody gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// The store's own.
    Own,
    /// A managed account's, which was given.
    Account,
    /// A managed account's, which is drawn.
    Drawn,
}

/// Passes whoever may give a record a value.
///
/// # Errors
/// [`ApiError::Forbidden`].
pub(super) fn sets(asker: Asker<'_>, what: Gives) -> Result<(), RecordError> {
    if !asker.password_access {
        return Err(ApiError::Forbidden.into());
    }
    if what != Gives::Own {
        asker.caller.require(Permission::CredentialsRotate)?;
    }
    if what == Gives::Account {
        asker.caller.require(Permission::CredentialsSet)?;
    }
    Ok(())
}
