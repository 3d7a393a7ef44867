//! What reports read: sealed values in the order of ids, and what is known of accounts.
//!
//! Invariant: a list has a limit, and a restricted record is read for those who see it alone.

use std::sync::LazyLock;

use super::password_reader::{Seeing, names};
use super::wide::Wide;
use super::{Store, StoreError};
use crate::model::Timestamp;
use crate::model::id::{AccountId, OrganizationId, PasswordRecordId};
use crate::model::password_record::{Accessed, PasswordRecord};
use crate::model::report::AccountFacts;

/// A current value, sealed, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedValue {
    /// Of a record that is no account's, or of an account.
    pub of: Accessed,
    /// The record's name, or `system/account`.
    pub name: String,
    /// The login name.
    pub username: Option<String>,
    /// The record's organization.
    pub organization_id: Option<OrganizationId>,
    /// Which version of its values this is.
    pub version: i64,
    /// The value.
    pub sealed: Vec<u8>,
}

/// That a record `p` may be seen by a user; NULL sees all.
macro_rules! seen {
    ($user:literal) => {
        concat!(
            "(CAST(",
            $user,
            " AS BIGINT) IS NULL OR p.restricted = 0 OR EXISTS (
                SELECT 1 FROM password_readers x WHERE x.record_id = p.id AND ",
            names!($user),
            ")) AND (CAST(",
            $user,
            " AS BIGINT) IS NULL OR p.gate_id IS NULL OR p.gate_id IN (
                SELECT x.folder_id FROM password_readers x WHERE x.folder_id IS NOT NULL AND ",
            names!($user),
            "))"
        )
    };
}

static FACTS: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "id",
        "SELECT a.id, d.name AS system_name, a.name AS login, a.current_version, a.last_change_at,
             a.current_key_version, a.last_key_change_at, a.deleted_at
         FROM r JOIN accounts a ON a.id = r.id
         JOIN system_details d ON d.system_id = a.system_id
         WHERE r.id > 0 ORDER BY a.id",
    )
});

static DOCUMENTS: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        2,
        "id",
        concat!(
            "SELECT p.id FROM r JOIN password_records p ON p.account_id = r.id
             WHERE r.id > 0 AND ",
            seen!("$2"),
            " ORDER BY p.id LIMIT $1"
        ),
    )
});

#[derive(sqlx::FromRow)]
struct FactsRow {
    id: i64,
    system_name: String,
    login: String,
    current_version: Option<i64>,
    last_change_at: Option<i64>,
    current_key_version: Option<i64>,
    last_key_change_at: Option<i64>,
    deleted_at: Option<i64>,
}

impl From<FactsRow> for AccountFacts {
    fn from(row: FactsRow) -> Self {
        Self {
            id: AccountId(row.id),
            system_name: row.system_name,
            login: row.login,
            password: (
                row.current_version.is_some(),
                row.last_change_at.map(Timestamp),
            ),
            key: (
                row.current_key_version.is_some(),
                row.last_key_change_at.map(Timestamp),
            ),
            deleted: row.deleted_at.is_some(),
        }
    }
}

type RecordRow = (i64, String, Option<String>, i64, i64, Vec<u8>);
type AccountRow = (i64, String, String, i64, Vec<u8>);

impl Store {
    /// Current values of records that are no account's, by id, after `after`.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sealed_values_of_records(
        &self,
        seeing: Seeing,
        organization: Option<OrganizationId>,
        (after, limit): (PasswordRecordId, i64),
    ) -> Result<Vec<SealedValue>, StoreError> {
        let rows: Vec<RecordRow> = sqlx::query_as(concat!(
            "SELECT p.id, p.name, p.username, p.organization_id, v.id AS version, v.sealed
             FROM password_records p JOIN password_versions v ON v.id = p.version
             WHERE p.id > $1 AND p.account_id IS NULL
               AND (CAST($2 AS BIGINT) IS NULL OR p.organization_id = $2) AND ",
            seen!("$3"),
            " ORDER BY p.id LIMIT $4"
        ))
        .bind(after.0)
        .bind(organization.map(|id| id.0))
        .bind(seeing.user.map(|id| id.0))
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        let value = |(id, name, username, of, version, sealed): RecordRow| SealedValue {
            of: Accessed::Record(PasswordRecordId(id)),
            name,
            username,
            organization_id: Some(OrganizationId(of)),
            version,
            sealed,
        };
        Ok(rows.into_iter().map(value).collect())
    }

    /// Current passwords of accounts, by id, after `after`; of an organization those that a record
    /// of it documents.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sealed_values_of_accounts(
        &self,
        seeing: Seeing,
        organization: Option<OrganizationId>,
        (after, limit): (AccountId, i64),
    ) -> Result<Vec<SealedValue>, StoreError> {
        let rows: Vec<AccountRow> = sqlx::query_as(concat!(
            "SELECT a.id, d.name AS system_name, a.name, c.version, c.sealed
             FROM accounts a JOIN system_details d ON d.system_id = a.system_id
             JOIN credential_versions c ON c.account_id = a.id AND c.version = a.current_version
             WHERE a.id > $1 AND a.deleted_at IS NULL AND c.part = 'password'
               AND (CAST($2 AS BIGINT) IS NULL OR EXISTS (SELECT 1 FROM password_records p
                   WHERE p.account_id = a.id AND p.organization_id = $2 AND ",
            seen!("$3"),
            ")) ORDER BY a.id LIMIT $4"
        ))
        .bind(after.0)
        .bind(organization.map(|id| id.0))
        .bind(seeing.user.map(|id| id.0))
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        let value = |(id, system, login, version, sealed): AccountRow| SealedValue {
            of: Accessed::Account(AccountId(id)),
            name: format!("{system}/{login}"),
            username: Some(login),
            organization_id: None,
            version,
            sealed,
        };
        Ok(rows.into_iter().map(value).collect())
    }

    /// What is known of accounts, deleted ones included; those that never were are left out.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn account_facts(&self, ids: &[AccountId]) -> Result<Vec<AccountFacts>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for cut in FACTS.cuts(ids) {
            let mut query = sqlx::query_as::<_, FactsRow>(cut.text);
            for (id, _) in cut.rows(|id| id.0) {
                query = query.bind(id);
            }
            let rows = query.fetch_all(&self.read).await?;
            found.extend(rows.into_iter().map(AccountFacts::from));
        }
        Ok(found)
    }

    /// The records that document these accounts, as far as they are seen: at most `limit` of some
    /// accounts at a time.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_records_of_all(
        &self,
        seeing: Seeing,
        accounts: &[AccountId],
        limit: i64,
    ) -> Result<Vec<PasswordRecord>, StoreError> {
        let mut ids = Vec::new();
        for cut in DOCUMENTS.cuts(accounts) {
            let mut query = sqlx::query_as::<_, (i64,)>(cut.text)
                .bind(limit)
                .bind(seeing.user.map(|id| id.0));
            for (id, _) in cut.rows(|id| id.0) {
                query = query.bind(id);
            }
            let rows = query.fetch_all(&self.read).await?;
            ids.extend(rows.into_iter().map(|(id,)| PasswordRecordId(id)));
        }
        self.password_records_by_id(&ids).await
    }
}
