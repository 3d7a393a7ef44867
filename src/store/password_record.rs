//! Password records.
//!
//! Invariant: a record's folder is of its organization, and a value that was set is never
//! overwritten: a new one is a new version.

mod list;
mod row;
mod text;

use super::dialect::for_update;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{
    AccountId, OrganizationId, PasswordFolderId, PasswordRecordId, PasswordVersionId, UserId,
};
use crate::model::password_record::{PasswordFields, PasswordRecord};

pub use list::{PasswordFilter, PasswordOrder, PasswordSort};

/// A record to be made.
#[derive(Clone, Debug)]
pub struct NewPasswordRecord {
    /// Its id, drawn before: values are sealed for it.
    pub id: PasswordRecordId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What people write.
    pub fields: PasswordFields,
    /// The managed account whose credential it shows.
    pub account_id: Option<AccountId>,
    /// When its value changed, as its maker says.
    pub said_changed_at: Option<Timestamp>,
    /// Who makes it.
    pub by: Option<UserId>,
}

impl Store {
    /// A record, whoever may see it.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_record(
        &self,
        id: PasswordRecordId,
    ) -> Result<Option<PasswordRecord>, StoreError> {
        Ok(self.password_records_by_id(&[id]).await?.pop())
    }

    /// The records that document an account, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_records_of(
        &self,
        account: AccountId,
    ) -> Result<Vec<PasswordRecord>, StoreError> {
        let rows: Vec<(i64,)> =
            sqlx::query_as("SELECT id FROM password_records WHERE account_id = $1 ORDER BY id")
                .bind(account.0)
                .fetch_all(&self.read)
                .await?;
        let ids: Vec<_> = rows.into_iter().map(|(id,)| PasswordRecordId(id)).collect();
        self.password_records_by_id(&ids).await
    }

    /// A record's secret of one-time codes, sealed.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_otp(&self, id: PasswordRecordId) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Option<Vec<u8>>,)> =
            sqlx::query_as("SELECT otp FROM password_texts WHERE record_id = $1")
                .bind(id.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.and_then(|(otp,)| otp))
    }
}

impl Tx {
    /// The id of a record that is about to be made.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_record_id(&mut self) -> Result<PasswordRecordId, StoreError> {
        self.id(PasswordRecordId::KIND).await
    }

    /// Makes a record, without a value.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its organization, category, folder or account is not there, or
    /// the folder is another organization's.
    pub async fn insert_password_record(
        &mut self,
        new: &NewPasswordRecord,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let fields = &new.fields;
        let gate = self
            .gate_within(new.organization_id, fields.folder_id)
            .await?;
        let embedded = fields.embedded.as_ref();
        let done = sqlx::query(
            "INSERT INTO password_records (id, organization_id, category_id, folder_id, gate_id,
                 account_id, restricted, archived, shareable, otp_enabled, resource_id, rule_id,
                 said_changed_at, updated_by, created_at, updated_at, revision, resource_type, name,
                 name_key, username, username_key, url, url_key, resource_name, resource_name_key)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12, $13, $14, $14, 1, $15,
                 $16, $17, $18, $19, $20, $21, $22, $23)",
        )
        .bind(new.id.0)
        .bind(new.organization_id.0)
        .bind(fields.category_id.map(|id| id.0))
        .bind(fields.folder_id.map(|id| id.0))
        .bind(gate)
        .bind(new.account_id.map(|id| id.0))
        .bind(i64::from(fields.restricted))
        .bind(i64::from(fields.archived))
        .bind(i64::from(fields.shareable))
        .bind(embedded.map(|embedded| embedded.id))
        .bind(fields.rule_id.0)
        .bind(new.said_changed_at.map(|at| at.0))
        .bind(new.by.map(|id| id.0))
        .bind(now.0)
        .bind(embedded.map(|embedded| embedded.kind.as_str()))
        .bind(&fields.name)
        .bind(fields.name.to_lowercase())
        .bind(&fields.username)
        .bind(lower(fields.username.as_deref()))
        .bind(&fields.url)
        .bind(lower(fields.url.as_deref()))
        .bind(embedded.and_then(|embedded| embedded.name.as_deref()))
        .bind(lower(
            embedded.and_then(|embedded| embedded.name.as_deref()),
        ))
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("what the password record refers to"))?;
        exactly(1, done.rows_affected(), "the password record")?;
        let done = sqlx::query(
            "INSERT INTO password_texts (record_id, notes, search_key, autofill_selectors)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(new.id.0)
        .bind(&fields.notes)
        .bind(searched(fields))
        .bind(&fields.autofill_selectors)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the password record")
    }

    /// Edits what people write of a record.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if somebody else edited it first; [`StoreError::Conflict`] as for a new
    /// one.
    pub async fn update_password_record(
        &mut self,
        (id, revision): (PasswordRecordId, i64),
        (organization, fields): (OrganizationId, &PasswordFields),
        (by, now): (Option<UserId>, Timestamp),
    ) -> Result<(), StoreError> {
        let gate = self.gate_within(organization, fields.folder_id).await?;
        let embedded = fields.embedded.as_ref();
        let done = sqlx::query(
            "UPDATE password_records SET organization_id = $3, category_id = $4, folder_id = $5,
                 gate_id = $6, restricted = $7, archived = $8, shareable = $9, resource_id = $10,
                 rule_id = $11, updated_by = $12, updated_at = $13, revision = revision + 1,
                 resource_type = $14, name = $15, name_key = $16, username = $17,
                 username_key = $18, url = $19, url_key = $20, resource_name = $21,
                 resource_name_key = $22
             WHERE id = $1 AND revision = $2",
        )
        .bind(id.0)
        .bind(revision)
        .bind(organization.0)
        .bind(fields.category_id.map(|id| id.0))
        .bind(fields.folder_id.map(|id| id.0))
        .bind(gate)
        .bind(i64::from(fields.restricted))
        .bind(i64::from(fields.archived))
        .bind(i64::from(fields.shareable))
        .bind(embedded.map(|embedded| embedded.id))
        .bind(fields.rule_id.0)
        .bind(by.map(|id| id.0))
        .bind(now.0)
        .bind(embedded.map(|embedded| embedded.kind.as_str()))
        .bind(&fields.name)
        .bind(fields.name.to_lowercase())
        .bind(&fields.username)
        .bind(lower(fields.username.as_deref()))
        .bind(&fields.url)
        .bind(lower(fields.url.as_deref()))
        .bind(embedded.and_then(|embedded| embedded.name.as_deref()))
        .bind(lower(
            embedded.and_then(|embedded| embedded.name.as_deref()),
        ))
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("what the password record refers to"))?;
        exactly(1, done.rows_affected(), "the password record")?;
        let done = sqlx::query(
            "UPDATE password_texts SET notes = $2, search_key = $3, autofill_selectors = $4
             WHERE record_id = $1",
        )
        .bind(id.0)
        .bind(&fields.notes)
        .bind(searched(fields))
        .bind(&fields.autofill_selectors)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the password record")
    }

    /// The gate of a folder, which stays as it is until the end. Fails where the folder is another
    /// organization's.
    async fn gate_within(
        &mut self,
        organization: OrganizationId,
        folder: Option<PasswordFolderId>,
    ) -> Result<Option<i64>, StoreError> {
        let Some(folder) = folder else {
            return Ok(None);
        };
        let lock = for_update!(
            self.backend,
            "SELECT gate_id FROM password_folders WHERE id = $1 AND organization_id = $2"
        );
        let row: Option<(Option<i64>,)> = sqlx::query_as(lock)
            .bind(folder.0)
            .bind(organization.0)
            .fetch_optional(&mut *self.inner)
            .await?;
        row.map(|(gate,)| gate).ok_or(StoreError::Conflict {
            what: "the password record's folder",
        })
    }

    /// Gives a record a value; what it had before is kept.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the record is gone.
    pub async fn set_password_value(
        &mut self,
        (record, version): (PasswordRecordId, PasswordVersionId),
        sealed: &[u8],
        (by, now): (Option<UserId>, Timestamp),
    ) -> Result<(), StoreError> {
        self.holds(sealed);
        let done = sqlx::query(
            "INSERT INTO password_versions (id, record_id, sealed, created_at, created_by)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(version.0)
        .bind(record.0)
        .bind(sealed)
        .bind(now.0)
        .bind(by.map(|id| id.0))
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the password record"))?;
        exactly(1, done.rows_affected(), "the password version")?;
        // What its maker said of an earlier value is not true of this one.
        let done = sqlx::query(
            "UPDATE password_records SET version = $2, said_changed_at =
                 CASE WHEN version IS NULL THEN said_changed_at ELSE NULL END, value_changed_at = $3
             WHERE id = $1",
        )
        .bind(record.0)
        .bind(version.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the password record")
    }

    /// The id of a value that is about to be sealed.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_version_id(&mut self) -> Result<PasswordVersionId, StoreError> {
        self.id(PasswordVersionId::KIND).await
    }

    /// Keeps or removes a record's secret of one-time codes.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the record is gone.
    pub async fn set_password_otp(
        &mut self,
        record: PasswordRecordId,
        sealed: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        if let Some(sealed) = sealed {
            self.holds(sealed);
        }
        let done = sqlx::query("UPDATE password_texts SET otp = $2 WHERE record_id = $1")
            .bind(record.0)
            .bind(sealed.map(<[u8]>::to_vec))
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the password record")?;
        let done = sqlx::query("UPDATE password_records SET otp_enabled = $2 WHERE id = $1")
            .bind(record.0)
            .bind(i64::from(sealed.is_some()))
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the password record")
    }

    /// Deletes a record with its values; a managed account that it documents stays.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is gone.
    pub async fn delete_password_record(&mut self, id: PasswordRecordId) -> Result<(), StoreError> {
        for text in [
            "DELETE FROM password_readers WHERE record_id = $1",
            "DELETE FROM password_versions WHERE record_id = $1",
            "DELETE FROM password_texts WHERE record_id = $1",
            "DELETE FROM last_accesses WHERE kind = 'record' AND subject_id = $1",
        ] {
            sqlx::query(text)
                .bind(id.0)
                .execute(&mut *self.inner)
                .await?;
        }
        let done = sqlx::query("DELETE FROM password_records WHERE id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the password record")
    }
}

/// What a part of a text is looked for in: name, URL and notes, a line each and in lower case.
fn searched(fields: &PasswordFields) -> String {
    let parts = [
        Some(&fields.name),
        fields.url.as_ref(),
        fields.notes.as_ref(),
    ];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    parts.join("\n").to_lowercase()
}

fn lower(text: Option<&str>) -> Option<String> {
    text.map(str::to_lowercase)
}
