//! Makes records.
//!
//! Invariant: what is made together is checked whole before the first row is written, and commits
//! in one transaction.

use secrecy::SecretString;
use serde_json::json;

use super::show::{Gives, sets};
use super::{Asker, RecordError, escaped, referred, value, writer};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::model::Timestamp;
use crate::model::id::{AccountId, OrganizationId, PasswordRecordId};
use crate::model::password_record::{Accessed, PasswordFields, PasswordRecord, Readers};
use crate::store::NewPasswordRecord;

/// A record to be made.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Whose it is.
    pub(crate) organization_id: OrganizationId,
    /// What people write.
    pub(crate) fields: PasswordFields,
    /// Its value.
    pub(crate) value: Option<SecretString>,
    /// The secret of its one-time codes, as [`crate::vault::otp_secret`] has read it.
    pub(crate) otp: Option<SecretString>,
    /// The managed account whose credential it shows. A value that is not that one's current is a
    /// rotation, which the caller orders once the record is there.
    pub(crate) account_id: Option<AccountId>,
    /// When its value changed, as its maker says.
    pub(crate) said_changed_at: Option<Timestamp>,
    /// How the access is noted: `created` or `imported`.
    pub(crate) action: &'static str,
}

/// Notes that say when a record was made, and what for.
pub(crate) fn purpose_notes(api: &Api, purpose: &str) -> String {
    let date = api.clock.now().rfc3339();
    let date = date.get(..10).unwrap_or_default();
    let purpose = escaped(purpose);
    format!("<p>Created: {date}</p><p>Purpose: {purpose}</p>")
}

/// Makes records; of those that have an account without their values.
///
/// # Errors
/// Which draft, and [`RecordError`]; then none is made.
pub(crate) async fn create_all(
    api: &Api,
    asker: Asker<'_>,
    drafts: &[Draft],
) -> Result<Vec<PasswordRecord>, (usize, RecordError)> {
    for (nth, draft) in drafts.iter().enumerate() {
        check(api, asker, draft)
            .await
            .map_err(|error| (nth, error))?;
    }
    let whole = |error: RecordError| (0, error);
    let mut tx = api
        .store
        .begin()
        .await
        .map_err(|error| whole(error.into()))?;
    let mut ids = Vec::with_capacity(drafts.len());
    for (nth, draft) in drafts.iter().enumerate() {
        let made = insert(api, asker, &mut tx, draft).await;
        ids.push(made.map_err(|error| (nth, error))?);
    }
    tx.commit().await.map_err(|error| whole(error.into()))?;
    let made = api.store.password_records_by_id(&ids).await;
    made.map_err(|error| whole(error.into()))
}

async fn check(api: &Api, asker: Asker<'_>, draft: &Draft) -> Result<(), RecordError> {
    writer(asker, draft.organization_id)?;
    referred(api, asker, draft.organization_id, &draft.fields).await?;
    if draft.value.is_some() || draft.otp.is_some() {
        sets(asker, Gives::Own)?;
    }
    if let Some(account) = draft.account_id {
        let sees = crate::model::principal::Permission::AccountsRead;
        asker.caller.require(sees)?;
        let found = api.store.account(account).await?;
        if found.is_none_or(|found| found.deleted_at.is_some()) {
            return Err(RecordError::Account);
        }
    }
    Ok(())
}

async fn insert(
    api: &Api,
    asker: Asker<'_>,
    tx: &mut crate::store::Tx,
    draft: &Draft,
) -> Result<PasswordRecordId, RecordError> {
    let now = api.clock.now();
    let by = asker.caller.user.id;
    let id = tx.password_record_id().await?;
    let new = NewPasswordRecord {
        id,
        organization_id: draft.organization_id,
        fields: PasswordFields {
            username: match draft.account_id {
                Some(_) => None,
                None => draft.fields.username.clone(),
            },
            ..draft.fields.clone()
        },
        account_id: draft.account_id,
        said_changed_at: draft.said_changed_at.filter(|said| *said <= now),
        by: Some(by),
    };
    tx.insert_password_record(&new, now).await?;
    if draft.fields.restricted {
        // Whoever restricts a record still sees it.
        let named = Readers {
            users: [by].into(),
            ..Readers::default()
        };
        tx.set_readers_of_record(id, &named).await?;
    }
    let own = draft.value.as_ref().filter(|_| draft.account_id.is_none());
    if let Some(given) = own {
        value::set(api, tx, id, given, (by, now)).await?;
        let how = (draft.action, now);
        tx.note_access(by, Accessed::Record(id), how).await?;
    }
    if let Some(secret) = &draft.otp {
        value::set_otp(api, tx, id, Some(secret)).await?;
    }
    let body = json!({
        "name": draft.fields.name,
        "organization": draft.organization_id.0,
        "account": draft.account_id.map(|id| id.0),
        "value": own.is_some(),
        "otp": draft.otp.is_some(),
        "how": draft.action,
    });
    let event = asker.event("password.created", id, body);
    tx.audit(&event, now).await.map_err(ApiError::from)?;
    Ok(id)
}
