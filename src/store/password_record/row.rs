//! A password record as the database returns it.
//!
//! Invariant: a row that this program could not have written is reported, never guessed at.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::model::Timestamp;
use crate::model::id::{
    AccountId, OrganizationId, PasswordCategoryId, PasswordFolderId, PasswordRecordId,
    PasswordVersionId, RuleId, SystemId, UserId,
};
use crate::model::organization::OrganizationStatus;
use crate::model::password_record::{
    Embedded, LinkedAccount, PasswordFields, PasswordRecord, ResourceKind,
};
use crate::store::wide::Wide;
use crate::store::{Store, StoreError};

static BY_ID: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "id",
        "SELECT p.id, p.organization_id, o.name AS organization_name,
             o.status AS organization_status, p.category_id,
             c.name AS category_name, p.folder_id, p.account_id, a.name AS login, a.system_id,
             d.name AS system_name, a.current_version, a.last_change_at,
             a.deleted_at AS account_deleted_at, CAST(p.restricted AS BIGINT) AS restricted,
             CAST(p.archived AS BIGINT) AS archived, CAST(p.shareable AS BIGINT) AS shareable,
             CAST(p.otp_enabled AS BIGINT) AS otp_enabled, p.resource_id, p.resource_type,
             p.resource_name, p.rule_id, p.version, p.value_changed_at, p.said_changed_at,
             p.updated_by, u.name AS updated_by_name, p.created_at, p.updated_at, p.revision,
             p.name, p.username, p.url, t.notes, t.autofill_selectors
         FROM r JOIN password_records p ON p.id = r.id
         JOIN organizations o ON o.id = p.organization_id
         JOIN password_texts t ON t.record_id = p.id
         LEFT JOIN password_categories c ON c.id = p.category_id
         LEFT JOIN accounts a ON a.id = p.account_id
         LEFT JOIN system_details d ON d.system_id = a.system_id
         LEFT JOIN users u ON u.id = p.updated_by
         WHERE r.id > 0",
    )
});

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    organization_id: i64,
    organization_name: String,
    organization_status: i64,
    category_id: Option<i64>,
    category_name: Option<String>,
    folder_id: Option<i64>,
    account_id: Option<i64>,
    login: Option<String>,
    system_id: Option<i64>,
    system_name: Option<String>,
    current_version: Option<i64>,
    last_change_at: Option<i64>,
    account_deleted_at: Option<i64>,
    restricted: i64,
    archived: i64,
    shareable: i64,
    otp_enabled: i64,
    resource_id: Option<i64>,
    resource_type: Option<String>,
    resource_name: Option<String>,
    rule_id: i64,
    version: Option<i64>,
    value_changed_at: Option<i64>,
    said_changed_at: Option<i64>,
    updated_by: Option<i64>,
    updated_by_name: Option<String>,
    created_at: i64,
    updated_at: i64,
    revision: i64,
    name: String,
    username: Option<String>,
    url: Option<String>,
    notes: Option<String>,
    autofill_selectors: Option<String>,
}

impl Row {
    fn account(&self) -> Option<LinkedAccount> {
        Some(LinkedAccount {
            id: AccountId(self.account_id?),
            system_id: SystemId(self.system_id?),
            system_name: self.system_name.clone()?,
            login: self.login.clone()?,
            version: self.current_version,
            changed_at: self.last_change_at.map(Timestamp),
            deleted: self.account_deleted_at.is_some(),
        })
    }

    fn embedded(&self) -> Result<Option<Embedded>, StoreError> {
        let (Some(id), Some(kind)) = (self.resource_id, &self.resource_type) else {
            return Ok(None);
        };
        let kind = ResourceKind::parse(kind).ok_or(StoreError::Corrupt {
            table: "password_records",
            row: self.id,
            problem: "what it is embedded in is none",
        })?;
        Ok(Some(Embedded {
            kind,
            id,
            name: self.resource_name.clone(),
        }))
    }
}

impl TryFrom<Row> for PasswordRecord {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let account = row.account();
        let embedded = row.embedded()?;
        let status = OrganizationStatus::of(row.organization_status);
        let status = status.ok_or(StoreError::Corrupt {
            table: "organizations",
            row: row.organization_id,
            problem: "its status is none",
        })?;
        Ok(Self {
            id: PasswordRecordId(row.id),
            organization_id: OrganizationId(row.organization_id),
            organization_name: row.organization_name,
            organization_status: status,
            fields: PasswordFields {
                name: row.name,
                username: row.username,
                url: row.url,
                notes: row.notes,
                autofill_selectors: row.autofill_selectors,
                category_id: row.category_id.map(PasswordCategoryId),
                folder_id: row.folder_id.map(PasswordFolderId),
                restricted: row.restricted == 1,
                archived: row.archived == 1,
                shareable: row.shareable == 1,
                embedded,
                rule_id: RuleId(row.rule_id),
            },
            category_name: row.category_name,
            account,
            version: row.version.map(PasswordVersionId),
            value_changed_at: row.value_changed_at.map(Timestamp),
            said_changed_at: row.said_changed_at.map(Timestamp),
            otp_enabled: row.otp_enabled == 1,
            updated_by: row.updated_by.map(UserId).zip(row.updated_by_name),
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
            revision: row.revision,
        })
    }
}

impl Store {
    /// Records in the order of their ids in `ids`; those that are gone are left out.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_records_by_id(
        &self,
        ids: &[PasswordRecordId],
    ) -> Result<Vec<PasswordRecord>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        for cut in BY_ID.cuts(ids) {
            let mut query = sqlx::query_as::<_, Row>(cut.text);
            for (id, _) in cut.rows(|id| id.0) {
                query = query.bind(id);
            }
            for row in query.fetch_all(&self.read).await? {
                found.insert(row.id, PasswordRecord::try_from(row)?);
            }
        }
        Ok(ids.iter().filter_map(|id| found.remove(&id.0)).collect())
    }
}
