//! Opens current values to measure them for a report.
//!
//! Invariant: a value goes to the measure and nowhere else, a chunk at a time; no transaction is open
//! meanwhile, and there is no answer without the audit row that says that values were read.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::Api;
use super::error::ApiError;
use crate::model::audit::Event;
use crate::model::id::{AccountId, OrganizationId, PasswordRecordId};
use crate::model::password_record::Accessed;
use crate::store::{SealedValue, Seeing};
use crate::vault::Place;

/// Values that are held, and measured, at once.
pub(super) const CHUNK: i64 = 250;
/// Where the positions of accounts begin: behind every record's.
const ACCOUNTS: i64 = 1 << 32;

/// Which values are meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Who asks.
    pub(super) seeing: Seeing,
    /// Of one organization; an account is its if a record of it documents the account.
    pub(super) organization: Option<OrganizationId>,
}

/// Where a value stands in the order of all: records by id, then accounts by id. Above 0.
pub(super) const fn position(of: Accessed) -> i64 {
    match of {
        Accessed::Record(id) => id.0,
        Accessed::Account(id) => ACCOUNTS + id.0,
    }
}

/// The next values behind a position, at most `limit`; fewer at the end alone.
///
/// # Errors
/// [`ApiError::Store`].
pub(super) async fn next(
    api: &Api,
    scope: Scope,
    after: i64,
    limit: i64,
) -> Result<Vec<SealedValue>, ApiError> {
    let Scope {
        seeing,
        organization,
    } = scope;
    let store = &api.store;
    let mut found = Vec::new();
    if after < ACCOUNTS {
        let from = (PasswordRecordId(after), limit);
        found = store
            .sealed_values_of_records(seeing, organization, from)
            .await?;
    }
    let left = limit.saturating_sub(i64::try_from(found.len()).unwrap_or(limit));
    if left > 0 {
        let from = (AccountId((after - ACCOUNTS).max(0)), left);
        let accounts = store.sealed_values_of_accounts(seeing, organization, from);
        found.extend(accounts.await?);
    }
    Ok(found)
}

/// Measures values, on a thread that may block.
///
/// # Errors
/// [`ApiError::Vault`] if a value does not open, or what the measure says.
pub(super) async fn measured<T: Send + 'static>(
    api: &Api,
    values: Vec<SealedValue>,
    measure: impl Fn(&SecretString, &SealedValue) -> Result<T, ApiError> + Send + 'static,
) -> Result<Vec<(SealedValue, T)>, ApiError> {
    let vault = Arc::clone(&api.vault);
    let work = move || {
        let one = |value: SealedValue| {
            let place = match value.of {
                Accessed::Record(id) => Place::password(id, value.version.into()),
                Accessed::Account(id) => Place::credential(id, value.version),
            };
            let opened = vault.open(&place, &value.sealed)?;
            let measure = measure(&opened, &value)?;
            Ok((value, measure))
        };
        values.into_iter().map(one).collect()
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::Internal("a value's measure panicked"))?
}

/// Puts on record that values were read for a report.
///
/// # Errors
/// [`ApiError::Store`]; then there is no answer.
pub(super) async fn noted(
    api: &Api,
    actor: &str,
    report: &'static str,
    mut details: Value,
    values: usize,
) -> Result<(), ApiError> {
    if let Some(details) = details.as_object_mut() {
        details.insert("values".to_owned(), json!(values));
    }
    let subject = format!("report {report}");
    let event = Event::by(actor, "report.made", subject, details);
    let mut tx = api.store.begin().await?;
    tx.audit(&event, api.clock.now()).await?;
    Ok(tx.commit().await?)
}
