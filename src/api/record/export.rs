//! Records with their values as files: at once, or as somebody ordered them.
//!
//! An order keeps no value: its file is made of what whoever fetches it may see then.
//!
//! Invariant: a file is one reveal of all that is in it, on record before its first byte leaves; a
//! file that was ordered under a password is never handed out without.

use secrecy::SecretString;
use serde_json::json;
use zeroize::Zeroizing;

use super::Asker;
use super::show::show_all;
use crate::api::Api;
use crate::api::clear;
use crate::api::error::ApiError;
use crate::model::audit::Event;
use crate::model::export::{Export, NewExport, ORDERS_MAX};
use crate::model::id::{ExportId, OrganizationId};
use crate::model::password_record::PasswordRecord;
use crate::model::principal::Permission;
use crate::model::report::spreadsheet_text;
use crate::model::reveal::AccessMethod;
use crate::store::{Page, PasswordFilter, PasswordOrder, StoreError};
use crate::vault::{Entry, Place, VaultError, packed};

/// Most records of one file: all of its values are before somebody at once.
pub(crate) const RECORDS_MAX: i64 = 10_000;
/// Records that are read at once.
const PAGE: i64 = 1_000;
/// Most rows of the audit trail in one file: each record has its newest, as many as all may have.
const LOG_ROWS_MAX: i64 = 100_000;
const BY_ID: [(PasswordOrder, bool); 1] = [(PasswordOrder::Id, false)];
const COLUMNS: [&str; 9] = [
    "id",
    "organization",
    "name",
    "username",
    "password",
    "url",
    "notes",
    "password_category",
    "archived",
];
const LOG_COLUMNS: [&str; 6] = ["at", "actor", "event", "password_id", "password", "details"];
const MISSING: ApiError = ApiError::NotFound { what: "Export" };

/// Why there is no file, or no order for one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// Ask for less.
    #[error("{0} records are more than the {RECORDS_MAX} of one file")]
    TooMany(i64),
    /// Delete one first, or wait until one ends.
    #[error("{ORDERS_MAX} exports of this user stand already")]
    Orders,
    /// Anything that every interface says in its own way.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> Self {
        Self::Api(error.into())
    }
}

impl From<VaultError> for ExportError {
    fn from(error: VaultError) -> Self {
        Self::Api(error.into())
    }
}

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::TooMany(_) => Self::conflict(format!(
                "{error}; export one organization, or leave out what is archived"
            )),
            ExportError::Orders => Self::conflict(format!("{error}; delete one first")),
            ExportError::Api(error) => error,
        }
    }
}

/// What somebody orders.
#[derive(Debug)]
pub(crate) struct Order {
    /// Of which organization; `None`: of all.
    pub(crate) organization: Option<OrganizationId>,
    /// With what the audit trail says of its records.
    pub(crate) include_logs: bool,
    /// What the file is encrypted under; `None`: it is not.
    pub(crate) zip_password: Option<SecretString>,
}

/// The records of a file, by id.
///
/// # Errors
/// [`ExportError::TooMany`].
pub(crate) async fn found(
    api: &Api,
    filter: &PasswordFilter,
) -> Result<Vec<PasswordRecord>, ExportError> {
    let mut all = Vec::new();
    loop {
        let page = Page {
            limit: PAGE,
            offset: i64::try_from(all.len()).unwrap_or(i64::MAX),
        };
        let (found, total) = api.store.password_records(filter, &BY_ID, page).await?;
        if total > RECORDS_MAX {
            return Err(ExportError::TooMany(total));
        }
        if found.is_empty() {
            return Ok(all);
        }
        all.extend(found);
    }
}

/// Records with the values that the asker may see, as CSV in UTF-8: one reveal, on record when this
/// returns. `order`: what goes on record with it.
///
/// # Errors
/// [`ApiError`]; then nothing may be shown.
pub(crate) async fn with_values(
    api: &Api,
    asker: Asker<'_>,
    method: AccessMethod,
    records: &[PasswordRecord],
    order: Option<Event>,
) -> Result<Vec<u8>, ApiError> {
    let values = show_all(api, asker, method, records, order).await?;
    let cells = records.iter().map(cells).zip(&values);
    let (heads, values_at) = (COLUMNS.map(str::to_owned), 4);
    clear::as_csv(&heads, values_at, cells)
}

/// A record's texts in the order of the columns; the value has its place and is not here.
fn cells(record: &PasswordRecord) -> Vec<String> {
    let text = |text: Option<&str>| spreadsheet_text(text.unwrap_or_default()).into_owned();
    let fields = &record.fields;
    vec![
        record.id.0.to_string(),
        text(Some(&record.organization_name)),
        text(Some(&fields.name)),
        text(record.username()),
        String::new(),
        text(fields.url.as_deref()),
        text(fields.notes.as_deref()),
        text(record.category_name.as_deref()),
        record.is_archived().to_string(),
    ]
}

/// The exports that the asker may see: their own, an administrator every one; by id.
///
/// # Errors
/// [`ApiError`] of the database.
pub(crate) async fn all_seen(api: &Api, asker: Asker<'_>) -> Result<Vec<Export>, ApiError> {
    let user = &asker.caller.user;
    let of = (!user.administrator).then_some(user.id);
    let ended = Export::ended_by(api.clock.now());
    let mut all = api.store.exports(of, ended).await?;
    all.retain(|export| is_seen(asker, export));
    Ok(all)
}

/// One of them.
///
/// # Errors
/// [`ApiError::NotFound`]; [`ApiError::Forbidden`] if it is somebody else's, or out of reach.
pub(crate) async fn seen(api: &Api, asker: Asker<'_>, id: ExportId) -> Result<Export, ApiError> {
    let ended = Export::ended_by(api.clock.now());
    let found = api.store.export(id, ended).await?.ok_or(MISSING)?;
    if is_seen(asker, &found) {
        Ok(found)
    } else {
        Err(ApiError::Forbidden)
    }
}

fn is_seen(asker: Asker<'_>, export: &Export) -> bool {
    let user = &asker.caller.user;
    let of = export.organization.as_ref();
    (user.administrator || export.user_id == user.id) && of.is_none_or(|(id, _)| asker.reaches(*id))
}

/// Refuses whoever may not fetch such a file.
fn permitted(asker: Asker<'_>, include_logs: bool) -> Result<(), ApiError> {
    if !asker.password_access {
        return Err(ApiError::Forbidden);
    }
    if include_logs {
        asker.caller.require(Permission::AuditRead)?;
    }
    Ok(())
}

fn filter(asker: Asker<'_>, organization: Option<OrganizationId>) -> PasswordFilter {
    PasswordFilter {
        organizations: organization.into_iter().collect(),
        ..asker.filter()
    }
}

/// Takes an order.
///
/// # Errors
/// [`ExportError`]; [`ApiError::Forbidden`] for whoever could not fetch the file either.
pub(crate) async fn order(
    api: &Api,
    asker: Asker<'_>,
    wanted: &Order,
) -> Result<ExportId, ExportError> {
    permitted(asker, wanted.include_logs)?;
    let (user, now) = (&asker.caller.user, api.clock.now());
    let own = api
        .store
        .exports(Some(user.id), Export::ended_by(now))
        .await?;
    if own.len() >= ORDERS_MAX {
        return Err(ExportError::Orders);
    }
    let filter = filter(asker, wanted.organization);
    let (_, total) = api
        .store
        .password_records(&filter, &BY_ID, Page::first(1))
        .await?;
    if total > RECORDS_MAX {
        return Err(ExportError::TooMany(total));
    }
    let mut tx = api.store.begin().await?;
    let id = tx.export_id().await?;
    let place = Place::zip_password(id);
    let seal = |password| api.vault.seal(&place, password, api.dice.as_ref());
    let sealed = wanted.zip_password.as_ref().map(seal).transpose()?;
    let new = NewExport {
        id,
        user_id: user.id,
        organization_id: wanted.organization,
        include_logs: wanted.include_logs,
        zip_password: sealed.map(|sealed| sealed.0),
    };
    tx.insert_export(&new, now).await?;
    let details = json!({
        "organization": wanted.organization, "logs": wanted.include_logs,
        "encrypted": new.zip_password.is_some(),
    });
    let event = asker.event("password.export_ordered", id, details);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(id)
}

/// Takes an order back.
///
/// # Errors
/// [`ApiError`] of the database.
pub(crate) async fn withdraw(api: &Api, asker: Asker<'_>, export: &Export) -> Result<(), ApiError> {
    let event = asker.event("password.export_deleted", export.id, json!({}));
    let mut tx = api.store.begin().await?;
    tx.delete_export(export.id).await?;
    tx.audit(&event, api.clock.now()).await?;
    Ok(tx.commit().await?)
}

/// Makes the file that was ordered: a ZIP of what the asker may see now.
///
/// # Errors
/// [`ExportError`]; [`ApiError::Forbidden`] for whoever opens no values; then nothing is shown.
pub(crate) async fn fetch(
    api: &Api,
    asker: Asker<'_>,
    export: &Export,
) -> Result<Vec<u8>, ExportError> {
    permitted(asker, export.include_logs)?;
    let organization = export.organization.as_ref().map(|(id, _)| *id);
    let method = match organization {
        Some(_) => AccessMethod::OrganizationExport,
        None => AccessMethod::AccountExport,
    };
    let records = found(api, &filter(asker, organization)).await?;
    // What can fail comes first: a reveal goes on record when packing alone is left.
    let password = zip_password(api, export).await?;
    let mut entries = Vec::new();
    if export.include_logs {
        entries.push(Entry {
            name: "logs.csv",
            bytes: Zeroizing::new(logs(api, &records).await?),
        });
    }
    let details = json!({
        "organization": organization, "records": records.len(), "logs": export.include_logs,
        "encrypted": export.encrypted, "method": method.as_str(),
    });
    let event = asker.event("password.exported", export.id, details);
    let values = with_values(api, asker, method, &records, Some(event)).await?;
    let values = Entry {
        name: "passwords.csv",
        bytes: Zeroizing::new(values),
    };
    entries.insert(0, values);
    let (dice, now) = (api.dice.clone(), api.clock.now());
    let work = move || packed(&entries, password.as_ref(), (dice.as_ref(), now));
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| ApiError::Internal("packing an export panicked"))?;
    let bytes = done.map_err(|_| ApiError::Internal("an export could not be packed"))?;
    api.metrics.revealed(asker.caller.actor_type(), "export");
    Ok(bytes)
}

/// What the file is encrypted under.
async fn zip_password(api: &Api, export: &Export) -> Result<Option<SecretString>, ApiError> {
    if !export.encrypted {
        return Ok(None);
    }
    // None: the order was taken back meanwhile.
    let sealed = api.store.sealed_zip_password(export.id).await?;
    let sealed = sealed.ok_or(MISSING)?;
    let place = Place::zip_password(export.id);
    Ok(Some(api.vault.open(&place, &sealed)?))
}

/// What the audit trail says of records, each record's newest first.
async fn logs(api: &Api, records: &[PasswordRecord]) -> Result<Vec<u8>, ApiError> {
    const BROKEN: ApiError = ApiError::Internal("the logs of an export could not be written");
    let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
    let each = LOG_ROWS_MAX / count.max(1);
    let mut file = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    file.write_record(LOG_COLUMNS).map_err(|_| BROKEN)?;
    for record in records {
        let rows = api.store.audit_of(&record.id.to_string(), each).await?;
        for row in rows {
            let (at, id) = (row.at.rfc3339_millis(), record.id.0.to_string());
            let cells = [
                &at,
                &row.actor,
                &row.event,
                &id,
                &record.fields.name,
                &row.body,
            ];
            let cells = cells.map(|cell| spreadsheet_text(cell).into_owned());
            file.write_record(&cells).map_err(|_| BROKEN)?;
        }
    }
    file.into_inner().map_err(|_| BROKEN)
}
