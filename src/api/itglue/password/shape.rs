//! A record as the dialect shows it.
//!
//! Invariant: nothing here has the value, or the secret of one-time codes.

use serde_json::{Value, json};

use super::TYPE;
use crate::api::itglue::wire::{Resource, at, maybe_at};
use crate::model::password_record::{PasswordRecord, ResourceKind};

/// What a record is embedded in or shows, as the dialect names it: id, kind and name.
fn embedded(record: &PasswordRecord) -> (Value, Value, Value) {
    if let Some(account) = &record.account {
        return (
            json!(account.id.0),
            json!(ResourceKind::MANAGED_ACCOUNT),
            json!(account.name()),
        );
    }
    match &record.fields.embedded {
        Some(embedded) => (
            json!(embedded.id),
            json!(embedded.kind.as_str()),
            json!(embedded.name),
        ),
        None => (Value::Null, Value::Null, Value::Null),
    }
}

/// A record without its value; `origin` is where people come to it.
pub(super) fn resource(record: &PasswordRecord, origin: &str) -> Resource {
    let fields = &record.fields;
    let (id, organization) = (record.id.0, record.organization_id.0);
    let (resource_id, resource_type, resource_name) = embedded(record);
    let has_value = record.version.is_some() || record.account.is_some();
    let changed_at = record.shown_changed_at().filter(|_| has_value);
    let updated_by = record.updated_by.as_ref().map(|(id, _)| id.0);
    let attributes = json!({
        "organization-id": organization,
        "organization-name": record.organization_name,
        "resource-url": format!("{origin}/{organization}/passwords/{id}"),
        "restricted": fields.restricted,
        "my-glue": false,
        "name": fields.name,
        "autofill-selectors": fields.autofill_selectors,
        "username": record.username(),
        "url": fields.url,
        "notes": fields.notes,
        "password-updated-at": maybe_at(changed_at),
        "updated-by": updated_by,
        "updated-by-type": updated_by.map(|_| "User"),
        "resource-id": resource_id,
        "resource-type": resource_type,
        "cached-resource-type-name": resource_type,
        "cached-resource-name": resource_name,
        "password-category-id": fields.category_id.map(|id| id.0),
        "password-category-name": record.category_name,
        "created-at": at(record.created_at),
        "updated-at": at(record.updated_at),
        "otp-enabled": record.otp_enabled,
        "password-folder-id": fields.folder_id.map(|id| id.0),
        "parent-url": Value::Null,
        "vault-id": Value::Null,
        "archived": record.is_archived(),
        "personal": false,
        "shareable": fields.shareable,
        "rotation-permitted": record.account.is_some(),
        "is-live": true,
    });
    Resource::new(TYPE, id, attributes)
}
