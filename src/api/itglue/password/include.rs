//! What a call asks to have along with records.
//!
//! Invariant: what is included holds no value, not even of earlier versions.

use serde_json::{Value, json};

use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::itglue::query::Query;
use crate::api::itglue::wire::{Included, Resource, at};
use crate::api::itglue::{category, folder, organization};
use crate::api::record;
use crate::model::password_record::PasswordRecord;

/// Versions that a record is shown with.
const VERSIONS_MAX: i64 = 20;
/// Kinds that Keywheel has none of.
const LACKING: [&str; 7] = [
    "user_resource_accesses",
    "group_resource_accesses",
    "network_glue_networks",
    "attachments",
    "shared_links",
    "active_shared_links",
    "related_items",
];

/// The names that a call asks for, without the unknown.
#[derive(Debug)]
pub(super) struct Includes(Vec<String>);

impl Includes {
    /// What `include` says; some kinds come with a single record alone.
    pub(super) fn of(query: &Query, single: bool) -> Self {
        let mut names = query.includes();
        if !single {
            names.retain(|name| {
                !["recent_versions", "related_items", "authorized_users"].contains(&name.as_str())
            });
        }
        Self(names)
    }

    /// Puts what is asked for into a record's relationships, and what they lead to beside it.
    pub(super) async fn put(
        &self,
        api: &Api,
        record: &PasswordRecord,
        into: &mut Resource,
        included: &mut Included,
    ) -> Result<(), ApiError> {
        for name in &self.0 {
            let data = match name.as_str() {
                "organization" => {
                    let id = record.organization_id;
                    let known = included.linkage("organizations", id.0);
                    match known {
                        Some(known) => known,
                        None => included.led(organization::included(api, id).await?),
                    }
                }
                "password_category" => match record.fields.category_id {
                    Some(id) => {
                        if let Some(known) = included.linkage("password-categories", id.0) {
                            known
                        } else {
                            let found = api.store.password_category(id).await?;
                            included.led(found.as_ref().map(category::resource))
                        }
                    }
                    None => Value::Null,
                },
                "password_folder" => match record.fields.folder_id {
                    Some(id) => {
                        if let Some(known) = included.linkage("password-folders", id.0) {
                            known
                        } else {
                            let found = api.store.password_folder(id).await?;
                            included.led(found.as_ref().map(folder::resource))
                        }
                    }
                    None => Value::Null,
                },
                "updater" => included.led(updater(record)),
                "rotatable_password" => Value::Null,
                "recent_versions" => versions(api, record, included).await?,
                "authorized_users" => readers(api, record, included).await?,
                other if LACKING.contains(&other) => json!([]),
                _ => continue,
            };
            into.relationships
                .insert(name.replace('_', "-"), json!({ "data": data }));
        }
        Ok(())
    }
}

/// Who last changed a record.
fn updater(record: &PasswordRecord) -> Option<Resource> {
    let (id, name) = record.updated_by.as_ref()?;
    Some(Resource::new("users", id.0, json!({"name": name})))
}

async fn versions(
    api: &Api,
    record: &PasswordRecord,
    included: &mut Included,
) -> Result<Value, ApiError> {
    let mut data = Vec::new();
    for version in record::versions(api, record, VERSIONS_MAX).await? {
        let attributes = json!({
            "created-at": at(version.created_at),
            "updated-by": version.created_by.map(|id| id.0),
            "is-live": version.live,
        });
        let version = Resource::new("password-versions", version.id, attributes);
        data.push(included.led(Some(version)));
    }
    Ok(Value::from(data))
}

/// The users who are named on a restricted record.
async fn readers(
    api: &Api,
    record: &PasswordRecord,
    included: &mut Included,
) -> Result<Value, ApiError> {
    let mut data = Vec::new();
    for id in api.store.readers_of_record(record.id).await?.users {
        if let Some(user) = api.store.user(id).await? {
            let attributes = json!({"name": user.name});
            data.push(included.led(Some(Resource::new("users", id.0, attributes))));
        }
    }
    Ok(Value::from(data))
}
