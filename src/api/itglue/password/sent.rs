//! Reads what clients say of a record: a new one, or an edit.
//!
//! Invariant: a record that is sent back as it was read says no change.

use secrecy::SecretString;

use crate::api::Api;
use crate::api::error::{ApiError, Refusal};
use crate::api::itglue::ask::{Ask, named, renamed};
use crate::api::itglue::body::{Item, Sent};
use crate::api::record::{self, Change, Draft, Otp, RecordError};
use crate::model::id::{AccountId, OrganizationId, PasswordCategoryId, PasswordFolderId};
use crate::model::password_record::{Embedded, PasswordFields, PasswordRecord, ResourceKind};
use crate::vault::otp_secret;

/// Longest name, login name and category's name.
const LINE_MAX_CHARS: usize = 255;
/// Longest URL.
const URL_MAX_CHARS: usize = 2_000;
/// Longest notes and selectors.
const PROSE_MAX_CHARS: usize = 65_536;
/// Longest value.
const VALUE_MAX_CHARS: usize = 65_536;
/// Longest reason, purpose and path.
const REASON_MAX_CHARS: usize = 4_000;
const INVALID_RESOURCE: &str = "Invalid resource";

/// A record to be made, with what its folders' path and its account's value ask for beside it.
pub(super) struct New {
    pub(super) draft: Draft,
    /// Folders to walk, and make where they are missing.
    pub(super) path: Option<String>,
    /// The value of a linked record: its account's, or a rotation.
    pub(super) linked_value: Option<SecretString>,
}

/// Reads a new record.
///
/// # Errors
/// [`ApiError`] with the dialect's titles.
pub(super) async fn new(
    api: &Api,
    ask: &Ask,
    within: Option<OrganizationId>,
    item: &Item,
) -> Result<New, ApiError> {
    let name = named(item, LINE_MAX_CHARS)?;
    let organization_id = ask.organization_of(api, within, item).await?;
    let mut fields = PasswordFields::named(name);
    written(item, &mut fields)?;
    fields.category_id = category(api, item, true).await?.value();
    let account_id = resource(item, &mut fields)?;
    if let Some(purpose) = item.text("purpose", REASON_MAX_CHARS)?.value() {
        let before = fields.notes.take().unwrap_or_default();
        fields.notes = Some(before + &record::purpose_notes(api, &purpose));
    }
    let value = item.secret("password", VALUE_MAX_CHARS)?.value();
    let (value, linked_value) = match account_id {
        Some(_) => (None, value),
        None => (value, None),
    };
    let draft = Draft {
        organization_id,
        fields,
        value,
        otp: otp(item)?.value(),
        account_id,
        said_changed_at: item.moment("password_updated_at")?.value(),
        action: "created",
    };
    Ok(New {
        draft,
        path: item.text("folder_path", REASON_MAX_CHARS)?.value(),
        linked_value,
    })
}

/// Reads an edit.
///
/// # Errors
/// [`ApiError`] with the dialect's titles.
pub(super) async fn change(
    api: &Api,
    ask: &Ask,
    record: PasswordRecord,
    item: &Item,
) -> Result<Change, ApiError> {
    let mut change = Change::of(record);
    if let Some(name) = renamed(item, LINE_MAX_CHARS)? {
        change.fields.name = name;
    }
    if let Some(id) = item.id_of("organization_id")?.value() {
        let id = OrganizationId(id);
        if id != change.organization_id {
            // What is another organization's cannot hold it.
            change.organization_id = ask.organization_of(api, None, item).await?;
            change.fields.folder_id = None;
        }
    }
    written(item, &mut change.fields)?;
    same_resource(item, &change.record)?;
    match category(api, item, false).await? {
        Sent::Absent => {}
        Sent::Null => change.fields.category_id = None,
        Sent::Value(id) => change.fields.category_id = Some(id),
    }
    if let Some(path) = item.text("folder_path", REASON_MAX_CHARS)?.value() {
        let found = record::ensured(api, ask.asker(), change.organization_id, &path).await;
        change.fields.folder_id = found.map_err(|error| refused(error, item))?;
    }
    change.value = item.secret("password", VALUE_MAX_CHARS)?.value();
    change.otp = match otp(item)? {
        Sent::Absent => Otp::Stays,
        Sent::Null => Otp::Removed,
        Sent::Value(secret) => Otp::Set(secret),
    };
    change.said_changed_at = item.moment("password_updated_at")?.value();
    change.reason = item.text("rotation_reason", REASON_MAX_CHARS)?.value();
    Ok(change)
}

/// Takes over what an item says, beside name, category and resource.
fn written(item: &Item, fields: &mut PasswordFields) -> Result<(), ApiError> {
    let texts: [(&str, usize, &mut Option<String>); 4] = [
        ("username", LINE_MAX_CHARS, &mut fields.username),
        ("url", URL_MAX_CHARS, &mut fields.url),
        ("notes", PROSE_MAX_CHARS, &mut fields.notes),
        (
            "autofill_selectors",
            PROSE_MAX_CHARS,
            &mut fields.autofill_selectors,
        ),
    ];
    for (name, chars_max, into) in texts {
        match item.text(name, chars_max)? {
            Sent::Absent => {}
            Sent::Null => *into = None,
            Sent::Value(text) => *into = Some(text),
        }
    }
    for (name, into) in [
        ("restricted", &mut fields.restricted),
        ("archived", &mut fields.archived),
        ("shareable", &mut fields.shareable),
    ] {
        if let Some(flag) = item.flag(name)?.value() {
            *into = flag;
        }
    }
    match item.id_of("password_folder_id")? {
        Sent::Absent => {}
        Sent::Null => fields.folder_id = None,
        Sent::Value(id) => fields.folder_id = Some(PasswordFolderId(id)),
    }
    Ok(())
}

/// The category by its id, else by its name; an unknown name is ignored.
async fn category(
    api: &Api,
    item: &Item,
    related: bool,
) -> Result<Sent<PasswordCategoryId>, ApiError> {
    let given = item.text("password_category_name", LINE_MAX_CHARS)?.value();
    match item.id_of("password_category_id")? {
        Sent::Absent => {}
        Sent::Null => return Ok(Sent::Null),
        Sent::Value(id) => return Ok(Sent::Value(PasswordCategoryId(id))),
    }
    let name = match given {
        None if related => {
            if let Some(id) = item.related_id("password_category") {
                return Ok(Sent::Value(PasswordCategoryId(id)));
            }
            item.related_name("password_category").map(str::to_owned)
        }
        given => given,
    };
    let found = match name {
        Some(name) => api.store.password_category_named(&name).await?,
        None => None,
    };
    Ok(found.map_or(Sent::Absent, Sent::Value))
}

fn unfit(item: &Item, name: &str, text: &str) -> ApiError {
    let refusal = Refusal::unprocessable(INVALID_RESOURCE, text);
    refusal.at(&item.pointer(name)).into()
}

/// What a new record is embedded in, or the account that it shows.
fn resource(item: &Item, fields: &mut PasswordFields) -> Result<Option<AccountId>, ApiError> {
    let kind = item.text("resource_type", LINE_MAX_CHARS)?.value();
    let id = item.id_of("resource_id")?.value();
    let name = item.text("cached_resource_name", LINE_MAX_CHARS)?.value();
    let (kind, id) = match (kind, id) {
        (None, None) => return Ok(None),
        (Some(kind), Some(id)) => (kind, id),
        (Some(_), None) => return Err(unfit(item, "resource_id", "is needed with resource_type")),
        (None, Some(_)) => {
            return Err(unfit(item, "resource_type", "is needed with resource_id"));
        }
    };
    if ResourceKind::is_spelled(ResourceKind::MANAGED_ACCOUNT, &kind) {
        return Ok(Some(AccountId(id)));
    }
    let kind = ResourceKind::parse(&kind);
    let text = "is no kind that is known: Configuration, Contact, Document, Domain, Location, \
                SSL Certificate, Flexible Asset, Ticket or Managed Account";
    let kind = kind.ok_or_else(|| unfit(item, "resource_type", text))?;
    fields.embedded = Some(Embedded { kind, id, name });
    Ok(None)
}

/// An edit may repeat what a record is embedded in, and not change it.
fn same_resource(item: &Item, record: &PasswordRecord) -> Result<(), ApiError> {
    let (own_id, own_kind) = match (&record.account, &record.fields.embedded) {
        (Some(account), _) => (Some(account.id.0), Some(ResourceKind::MANAGED_ACCOUNT)),
        (None, Some(embedded)) => (Some(embedded.id), Some(embedded.kind.as_str())),
        (None, None) => (None, None),
    };
    let text = "is chosen when the record is made, and stays";
    match item.id_of("resource_id")? {
        Sent::Value(id) if own_id != Some(id) => return Err(unfit(item, "resource_id", text)),
        _ => {}
    }
    match item.text("resource_type", LINE_MAX_CHARS)? {
        Sent::Value(kind) if !own_kind.is_some_and(|own| ResourceKind::is_spelled(own, &kind)) => {
            Err(unfit(item, "resource_type", text))
        }
        _ => Ok(()),
    }
}

/// The secret of one-time codes.
fn otp(item: &Item) -> Result<Sent<SecretString>, ApiError> {
    let given = match item.secret("otp_secret", VALUE_MAX_CHARS)? {
        Sent::Absent => return Ok(Sent::Absent),
        Sent::Null => return Ok(Sent::Null),
        Sent::Value(given) => given,
    };
    let secret = otp_secret(&given).ok_or_else(|| {
        let text = "must be base 32, of 10 to 128 bytes";
        let refusal = Refusal::unprocessable("Invalid otp_secret", text);
        ApiError::from(refusal.at(&item.pointer("otp_secret")))
    })?;
    Ok(Sent::Value(secret))
}

/// What stood in a record's way, with the dialect's titles.
pub(super) fn refusal(error: RecordError, item: &Item) -> Result<Refusal, ApiError> {
    let at = |title, name: &str, text: String| {
        Refusal::unprocessable(title, text).at(&item.pointer(name))
    };
    Ok(match error {
        RecordError::Organization(id) => at(
            "Valid organization_id is required",
            "organization_id",
            format!("organization_id {} does not exist", id.0),
        ),
        RecordError::Category => {
            let text = "there is no such category".to_owned();
            at("Invalid category", "password_category_id", text)
        }
        RecordError::Folder => {
            let text = "there is no such folder in the organization".to_owned();
            at("Invalid folder", "password_folder_id", text)
        }
        RecordError::Account => {
            let text = "there is no such managed account".to_owned();
            at(INVALID_RESOURCE, "resource_id", text)
        }
        RecordError::Linked(field) => {
            let text = "is the managed account's: leave it out, or change the account".to_owned();
            at(INVALID_RESOURCE, field, text)
        }
        RecordError::RotationFailed { log } => at("Rotation failed", "password", log),
        RecordError::RotationPending(job) => Refusal {
            location: Some(format!("/api/v1/jobs/{}", job.0)),
            ..at(
                "Rotation pending",
                "password",
                "the rotation goes on; repeat the call to join it".to_owned(),
            )
        },
        RecordError::Fields(faults) => {
            let faults = faults.into_iter().map(|fault| crate::api::error::Fault {
                field: item.pointer(fault.field),
                text: fault.problem,
            });
            return Err(ApiError::Invalid(faults.collect()));
        }
        RecordError::Api(error) => return Err(error),
    })
}

/// The same, as the answer.
pub(super) fn refused(error: RecordError, item: &Item) -> ApiError {
    refusal(error, item).map_or_else(|error| error, ApiError::from)
}
