//! Lists of accounts.
//!
//! Invariant: a name, or a system, is looked up by an index; no list reads all accounts to find
//! one.

use super::row::{Row, columns, tables};
use crate::model::account::Account;
use crate::model::id::{AccountId, PlatformId, SmartRuleId, SystemId, UserId, WorkgroupId};
use crate::store::smart_rule::{references, rules_of_user};
use crate::store::{Page, Store, StoreError};

/// Which accounts are wanted; what is `None` does not matter. Names match in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFilter {
    /// Its system.
    pub system_id: Option<SystemId>,
    /// Its system's name.
    pub system_name: Option<String>,
    /// Its name, its user principal name, or `domain\name`.
    pub account_name: Option<String>,
    /// Its system's workgroup.
    pub workgroup_name: Option<String>,
    /// Its system's address.
    pub ip_address: Option<String>,
    /// Its system's kind, by the vendor's number.
    pub entity_type: Option<i64>,
    /// Only those that can be requested.
    pub api_enabled: bool,
    /// A smart rule that references it.
    pub rule_id: Option<SmartRuleId>,
    /// Who may ask for it, or see it without asking, by a role.
    pub requestor: Option<UserId>,
}

/// An account in a list, with what its system is called.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedAccount {
    /// The account.
    pub account: Account,
    /// Its system's name.
    pub system_name: String,
    /// Its system's platform.
    pub platform_id: PlatformId,
    /// Its system's workgroup.
    pub workgroup_id: WorkgroupId,
}

#[derive(sqlx::FromRow)]
struct ListedRow {
    #[sqlx(flatten)]
    account: Row,
    system_name: String,
    platform_id: i64,
    workgroup_id: i64,
}

macro_rules! select {
    ($driver:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", d.name AS system_name, d.platform_id, d.workgroup_id",
            tables!(),
            " JOIN system_details d ON d.system_id = a.system_id
              JOIN workgroups w ON w.id = d.workgroup_id
              WHERE a.deleted_at IS NULL
                AND (CAST($3 AS BIGINT) IS NULL OR a.system_id = $3)
                AND (CAST($4 AS TEXT) IS NULL OR d.name_key = $4)
                AND (CAST($5 AS TEXT) IS NULL OR w.name_key = $5)
                AND (CAST($6 AS TEXT) IS NULL OR lower(d.ip_address) = $6)
                AND (CAST($7 AS BIGINT) IS NULL OR d.entity_type = $7)
                AND a.api_enabled >= $8
                AND (CAST($9 AS TEXT) IS NULL OR lower(a.domain_name) = $9)
                AND (CAST($10 AS BIGINT) IS NULL OR EXISTS (
                    SELECT 1 FROM smart_rules r WHERE r.id = $10 AND ",
            references!(),
            ")) AND (CAST($11 AS BIGINT) IS NULL OR EXISTS (SELECT 1 FROM ",
            rules_of_user!("$11"),
            " WHERE rr.role IN (1, 3, 4) AND ",
            references!(),
            "))",
            $driver,
            " ORDER BY a.id LIMIT $1 OFFSET $2"
        )
    };
}

/// Which condition the database should start from.
enum Driver {
    /// None; by id.
    All,
    /// The system.
    System,
    /// The account's name on a system.
    NameOn(String),
    /// The account's name, perhaps in a domain.
    Name {
        domain: Option<String>,
        name: String,
    },
    /// The user principal name.
    Principal(String),
}

impl Store {
    /// Accounts that were not deleted, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn accounts(
        &self,
        filter: &AccountFilter,
        page: Page,
    ) -> Result<Vec<ListedAccount>, StoreError> {
        let Some(name) = filter.account_name.as_ref().map(|name| name.to_lowercase()) else {
            let driver = match filter.system_id {
                Some(_) => Driver::System,
                None => Driver::All,
            };
            return self.listed(filter, page, driver).await;
        };
        // Many systems have a `root`: where the system's name is one system's, start from there.
        let narrowed = AccountFilter {
            system_id: self.only_system(filter).await?,
            ..filter.clone()
        };
        let filter = &narrowed;
        // A login name may itself hold `\` or `@`: as it stands goes first.
        let plain = match filter.system_id {
            Some(_) => Driver::NameOn(name.clone()),
            None => Driver::Name {
                domain: None,
                name: name.clone(),
            },
        };
        let found = self.listed(filter, page, plain).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        if let Some((domain, name)) = name.split_once('\\') {
            let driver = Driver::Name {
                domain: Some(domain.to_owned()),
                name: name.to_owned(),
            };
            return self.listed(filter, page, driver).await;
        }
        if name.contains('@') {
            return self.listed(filter, page, Driver::Principal(name)).await;
        }
        Ok(found)
    }

    /// Accounts whose current credential may have been replaced on the target, by us or by somebody
    /// else; by id, after `after`.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn unsure_accounts(
        &self,
        after: AccountId,
        limit: i64,
    ) -> Result<Vec<Account>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            tables!(),
            " WHERE a.deleted_at IS NULL
               AND (a.in_doubt <> 0 OR a.key_in_doubt <> 0 OR a.last_test = 'out_of_sync')
               AND a.id > $1 ORDER BY a.id LIMIT $2"
        ))
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(Account::try_from).collect()
    }

    /// The system that a filter names: by its id, or by a name that no other has.
    async fn only_system(&self, filter: &AccountFilter) -> Result<Option<SystemId>, StoreError> {
        let (None, Some(name)) = (filter.system_id, &filter.system_name) else {
            return Ok(filter.system_id);
        };
        let found: Vec<(i64,)> = sqlx::query_as(
            "SELECT system_id FROM system_details WHERE name_key = $1 AND deleted_at IS NULL
             LIMIT 2",
        )
        .bind(name.to_lowercase())
        .fetch_all(&self.read)
        .await?;
        Ok(match found.as_slice() {
            [(only,)] => Some(SystemId(*only)),
            _ => None,
        })
    }

    async fn listed(
        &self,
        filter: &AccountFilter,
        page: Page,
        driver: Driver,
    ) -> Result<Vec<ListedAccount>, StoreError> {
        let (text, domain, last) = match driver {
            Driver::All => (select!(""), None, None),
            Driver::System => (select!(" AND a.system_id = $3"), None, None),
            Driver::NameOn(name) => (
                select!(" AND a.system_id = $3 AND a.name_key = $12"),
                None,
                Some(name),
            ),
            Driver::Name { domain, name } => (select!(" AND a.name_key = $12"), domain, Some(name)),
            Driver::Principal(name) => (
                select!(" AND lower(a.user_principal_name) = $12"),
                None,
                Some(name),
            ),
        };
        let mut query = sqlx::query_as::<_, ListedRow>(text)
            .bind(page.limit)
            .bind(page.offset)
            .bind(filter.system_id.map(|id| id.0))
            .bind(filter.system_name.as_ref().map(|name| name.to_lowercase()))
            .bind(
                filter
                    .workgroup_name
                    .as_ref()
                    .map(|name| name.to_lowercase()),
            )
            .bind(
                filter
                    .ip_address
                    .as_ref()
                    .map(|address| address.to_lowercase()),
            )
            .bind(filter.entity_type)
            .bind(i64::from(filter.api_enabled))
            .bind(domain)
            .bind(filter.rule_id.map(|id| id.0))
            .bind(filter.requestor.map(|id| id.0));
        if let Some(last) = last {
            query = query.bind(last);
        }
        let rows = query.fetch_all(&self.read).await?;
        rows.into_iter()
            .map(|row| {
                Ok(ListedAccount {
                    account: row.account.try_into()?,
                    system_name: row.system_name,
                    platform_id: PlatformId(row.platform_id),
                    workgroup_id: WorkgroupId(row.workgroup_id),
                })
            })
            .collect()
    }
}
