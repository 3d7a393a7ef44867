//! Assets: machines in the Password Safe dialect, each in one workgroup, with the systems made from them kept in step.
//!
//! Invariant: a system that was made from an asset carries the asset's name and addresses.

use super::dialect::for_update;
use super::{Page, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::asset::{Asset, AssetSettings};
use crate::model::id::{AssetId, SmartRuleId, WorkgroupId};

/// Which assets are wanted; what is `None` does not matter. Names match in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssetFilter {
    /// Its workgroup.
    pub workgroup_id: Option<WorkgroupId>,
    /// Its name.
    pub name: Option<String>,
    /// Its DNS name.
    pub dns_name: Option<String>,
    /// Its domain.
    pub domain_name: Option<String>,
    /// Its address.
    pub ip_address: Option<String>,
    /// Its hardware address.
    pub mac_address: Option<String>,
    /// Its type.
    pub asset_type: Option<String>,
    /// A smart rule that holds it, a system made from it, or one of their accounts.
    pub rule_id: Option<SmartRuleId>,
}

macro_rules! columns {
    () => {
        "SELECT id, workgroup_id, name, dns_name, domain_name, ip_address, mac_address, asset_type,
            operating_system, description, created_at, updated_at FROM assets"
    };
}

macro_rules! filter {
    () => {
        " WHERE (CAST($1 AS BIGINT) IS NULL OR workgroup_id = $1)
            AND (CAST($2 AS TEXT) IS NULL OR name_key = $2)
            AND (CAST($3 AS TEXT) IS NULL OR lower(dns_name) = $3)
            AND (CAST($4 AS TEXT) IS NULL OR lower(domain_name) = $4)
            AND (CAST($5 AS TEXT) IS NULL OR lower(ip_address) = $5)
            AND (CAST($6 AS TEXT) IS NULL OR lower(mac_address) = $6)
            AND (CAST($7 AS TEXT) IS NULL OR lower(asset_type) = $7)
            AND (CAST($8 AS BIGINT) IS NULL OR EXISTS (SELECT 1 FROM smart_rules r
                WHERE r.id = $8 AND ((r.everything = 1 AND r.kind = 'asset')
                    OR (r.kind = 'asset' AND EXISTS (SELECT 1 FROM smart_rule_members sm
                        WHERE sm.rule_id = r.id AND sm.member_id = assets.id))
                    OR (r.kind <> 'asset' AND EXISTS (SELECT 1 FROM system_details d
                        JOIN accounts a ON a.system_id = d.system_id AND a.deleted_at IS NULL
                        WHERE d.asset_id = assets.id AND d.deleted_at IS NULL
                          AND (r.everything = 1 OR EXISTS (SELECT 1 FROM smart_rule_members sm
                              WHERE sm.rule_id = r.id AND sm.member_id = CASE r.kind
                                  WHEN 'account' THEN a.id ELSE d.system_id END)))))))"
    };
}

macro_rules! bind_filter {
    ($query:expr, $filter:expr) => {
        $query
            .bind($filter.workgroup_id.map(|id| id.0))
            .bind($filter.name.as_ref().map(|text| text.to_lowercase()))
            .bind($filter.dns_name.as_ref().map(|text| text.to_lowercase()))
            .bind($filter.domain_name.as_ref().map(|text| text.to_lowercase()))
            .bind($filter.ip_address.as_ref().map(|text| text.to_lowercase()))
            .bind($filter.mac_address.as_ref().map(|text| text.to_lowercase()))
            .bind($filter.asset_type.as_ref().map(|text| text.to_lowercase()))
            .bind($filter.rule_id.map(|id| id.0))
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    workgroup_id: i64,
    name: String,
    dns_name: String,
    domain_name: String,
    ip_address: String,
    mac_address: String,
    asset_type: String,
    operating_system: String,
    description: String,
    created_at: i64,
    updated_at: i64,
}

impl From<Row> for Asset {
    fn from(row: Row) -> Self {
        Self {
            id: AssetId(row.id),
            workgroup_id: WorkgroupId(row.workgroup_id),
            settings: AssetSettings {
                name: row.name,
                dns_name: row.dns_name,
                domain_name: row.domain_name,
                ip_address: row.ip_address,
                mac_address: row.mac_address,
                asset_type: row.asset_type,
                operating_system: row.operating_system,
                description: row.description,
            },
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
        }
    }
}

impl Store {
    /// One asset.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn asset(&self, id: AssetId) -> Result<Option<Asset>, StoreError> {
        let row: Option<Row> = sqlx::query_as(concat!(columns!(), " WHERE id = $1"))
            .bind(id.0)
            .fetch_optional(&self.read)
            .await?;
        Ok(row.map(Asset::from))
    }

    /// A workgroup's asset of that name, in any case.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn asset_named(
        &self,
        workgroup: WorkgroupId,
        name: &str,
    ) -> Result<Option<Asset>, StoreError> {
        let row: Option<Row> = sqlx::query_as(concat!(
            columns!(),
            " WHERE workgroup_id = $1 AND name_key = $2"
        ))
        .bind(workgroup.0)
        .bind(name.to_lowercase())
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(Asset::from))
    }

    /// Assets by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn assets(&self, filter: &AssetFilter, page: Page) -> Result<Vec<Asset>, StoreError> {
        let query = sqlx::query_as::<_, Row>(concat!(
            columns!(),
            filter!(),
            " ORDER BY id LIMIT $9 OFFSET $10"
        ));
        let rows = bind_filter!(query, filter)
            .bind(page.limit)
            .bind(page.offset)
            .fetch_all(&self.read)
            .await?;
        Ok(rows.into_iter().map(Asset::from).collect())
    }

    /// How many assets there are.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_assets(&self, filter: &AssetFilter) -> Result<i64, StoreError> {
        let query = sqlx::query_as::<_, (i64,)>(concat!("SELECT COUNT(*) FROM assets", filter!()));
        let (count,) = bind_filter!(query, filter).fetch_one(&self.read).await?;
        Ok(count)
    }
}

impl Tx {
    /// Locks an asset and reads it as it then is.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another transaction holds it for too long.
    pub async fn locked_asset(&mut self, id: AssetId) -> Result<Option<Asset>, StoreError> {
        sqlx::query(for_update!(
            self.backend,
            "SELECT id FROM assets WHERE id = $1"
        ))
        .bind(id.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        let row: Option<Row> = sqlx::query_as(concat!(columns!(), " WHERE id = $1"))
            .bind(id.0)
            .fetch_optional(&mut *self.inner)
            .await?;
        Ok(row.map(Asset::from))
    }

    /// Stores an asset.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its workgroup has one of that name.
    pub async fn insert_asset(&mut self, asset: &Asset) -> Result<(), StoreError> {
        let settings = &asset.settings;
        sqlx::query(
            "INSERT INTO assets (id, workgroup_id, name, name_key, dns_name, domain_name,
                ip_address, mac_address, asset_type, operating_system, description, created_at,
                updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(asset.id.0)
        .bind(asset.workgroup_id.0)
        .bind(&settings.name)
        .bind(settings.name.to_lowercase())
        .bind(&settings.dns_name)
        .bind(&settings.domain_name)
        .bind(&settings.ip_address)
        .bind(&settings.mac_address)
        .bind(&settings.asset_type)
        .bind(&settings.operating_system)
        .bind(&settings.description)
        .bind(asset.created_at.0)
        .bind(asset.updated_at.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the asset's name"))?;
        Ok(())
    }

    /// Changes an asset, and the name and addresses of the system that was made from it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its workgroup has another of that name;
    /// [`StoreError::Stale`] if it is gone.
    pub async fn update_asset(
        &mut self,
        id: AssetId,
        settings: &AssetSettings,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE assets SET name = $2, name_key = $3, dns_name = $4, domain_name = $5,
                ip_address = $6, mac_address = $7, asset_type = $8, operating_system = $9,
                description = $10, updated_at = $11
             WHERE id = $1",
        )
        .bind(id.0)
        .bind(&settings.name)
        .bind(settings.name.to_lowercase())
        .bind(&settings.dns_name)
        .bind(&settings.domain_name)
        .bind(&settings.ip_address)
        .bind(&settings.mac_address)
        .bind(&settings.asset_type)
        .bind(&settings.operating_system)
        .bind(&settings.description)
        .bind(at.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the asset's name"))?;
        exactly(1, done.rows_affected(), "the asset")?;
        // None or one: an asset has at most one system.
        sqlx::query(
            "UPDATE system_details SET name = $2, name_key = $3, host_name = $2, dns_name = $4,
                ip_address = $5, revision = revision + 1
             WHERE asset_id = $1",
        )
        .bind(id.0)
        .bind(&settings.name)
        .bind(settings.name.to_lowercase())
        .bind(Some(settings.dns_name.clone()).filter(|name| !name.is_empty()))
        .bind(&settings.ip_address)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Removes an asset.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a system was made from it; [`StoreError::Stale`] if it is gone.
    pub async fn delete_asset(&mut self, id: AssetId) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM assets WHERE id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("an asset with a managed system"))?;
        exactly(1, done.rows_affected(), "the asset")
    }
}
