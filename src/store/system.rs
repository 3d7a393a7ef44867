//! Managed systems: `systems`, the queue's hot row, and `system_details`, what people set.
//!
//! Invariant: whoever changes what hangs on a system holds its `systems` row first; that row is
//! the mutex of its queue.

mod row;

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

use self::row::{Row, columns};
use super::wide::Wide;
use super::{Page, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::functional_account::elevation_word;
use crate::model::id::{AssetId, FunctionalAccountId, SmartRuleId, SystemId, WorkgroupId};
use crate::model::schedule::vendor_words;
use crate::model::system::{EntityType, NewSystem, System, SystemSettings};

/// Which systems are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemFilter {
    /// Its workgroup.
    pub workgroup_id: Option<WorkgroupId>,
    /// Its asset.
    pub asset_id: Option<AssetId>,
    /// Its functional account.
    pub functional_account_id: Option<FunctionalAccountId>,
    /// Machine or directory.
    pub entity_type: Option<EntityType>,
    /// Its name, in any case.
    pub name: Option<String>,
    /// A smart rule that holds it, or references one of its accounts.
    pub rule_id: Option<SmartRuleId>,
}

static BY_ID: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "asked",
        concat!(
            columns!(),
            " WHERE s.id IN (SELECT asked FROM r) AND d.deleted_at IS NULL"
        ),
    )
});

macro_rules! filter {
    () => {
        " WHERE d.deleted_at IS NULL
            AND (CAST($1 AS BIGINT) IS NULL OR d.workgroup_id = $1)
            AND (CAST($2 AS BIGINT) IS NULL OR d.asset_id = $2)
            AND (CAST($3 AS BIGINT) IS NULL OR d.functional_account_id = $3)
            AND (CAST($4 AS BIGINT) IS NULL OR d.entity_type = $4)
            AND (CAST($5 AS TEXT) IS NULL OR d.name_key = $5)
            AND (CAST($6 AS BIGINT) IS NULL OR EXISTS (SELECT 1 FROM smart_rules r
                WHERE r.id = $6 AND (
                    (r.everything = 1 AND (r.kind = 'account' OR d.asset_id IS NOT NULL))
                    OR EXISTS (SELECT 1 FROM smart_rule_members sm WHERE sm.rule_id = r.id
                        AND sm.member_id = CASE r.kind WHEN 'system' THEN d.system_id
                            WHEN 'asset' THEN d.asset_id ELSE 0 END)
                    OR (r.kind = 'account' AND EXISTS (SELECT 1 FROM smart_rule_members sm
                        JOIN accounts a ON a.id = sm.member_id AND a.deleted_at IS NULL
                        WHERE sm.rule_id = r.id AND a.system_id = d.system_id)))))"
    };
}

macro_rules! bind_filter {
    ($query:expr, $filter:expr) => {
        $query
            .bind($filter.workgroup_id.map(|id| id.0))
            .bind($filter.asset_id.map(|id| id.0))
            .bind($filter.functional_account_id.map(|id| id.0))
            .bind($filter.entity_type.map(EntityType::number))
            .bind($filter.name.as_ref().map(|name| name.to_lowercase()))
            .bind($filter.rule_id.map(|id| id.0))
    };
}

impl Store {
    /// One system; `None` if there is none or it was deleted.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn system(&self, id: SystemId) -> Result<Option<System>, StoreError> {
        let alike = &self.systems_asked;
        alike.ask(id, |ids| self.systems_by_id(ids)).await
    }

    async fn systems_by_id(&self, ids: Vec<SystemId>) -> Result<Vec<Option<System>>, StoreError> {
        let mut found = HashMap::new();
        for cut in BY_ID.cuts(&ids) {
            let mut query = sqlx::query_as(cut.text);
            for (id, _) in cut.rows(|id| id.0) {
                query = query.bind(id);
            }
            let rows: Vec<Row> = query.fetch_all(&self.read).await?;
            for row in rows {
                let system = System::try_from(row)?;
                found.insert(system.id, system);
            }
        }
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    /// Systems that were not deleted, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn systems(
        &self,
        filter: &SystemFilter,
        page: Page,
    ) -> Result<Vec<System>, StoreError> {
        let query = sqlx::query_as::<_, Row>(concat!(
            columns!(),
            filter!(),
            " ORDER BY s.id LIMIT $7 OFFSET $8"
        ));
        let rows = bind_filter!(query, filter)
            .bind(page.limit)
            .bind(page.offset)
            .fetch_all(&self.read)
            .await?;
        rows.into_iter().map(System::try_from).collect()
    }

    /// How many systems there are that were not deleted.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_systems(&self, filter: &SystemFilter) -> Result<i64, StoreError> {
        let query = sqlx::query_as::<_, (i64,)>(concat!(
            "SELECT COUNT(*) FROM system_details d",
            filter!()
        ));
        let (count,) = bind_filter!(query, filter).fetch_one(&self.read).await?;
        Ok(count)
    }
}

impl Tx {
    /// Takes a system's queue and reads the system as it then is; `None` if there is none or it
    /// was deleted.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another transaction holds it for too long.
    pub async fn locked_system(&mut self, id: SystemId) -> Result<Option<System>, StoreError> {
        self.lock_queue(id).await?;
        // A later statement: the locking one may have looked before the row's last change.
        let row: Option<Row> = sqlx::query_as(concat!(
            columns!(),
            " WHERE s.id = $1 AND d.deleted_at IS NULL"
        ))
        .bind(id.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        row.map(System::try_from).transpose()
    }

    /// Stores a system.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its asset has a system already, if something that it refers to
    /// is gone, or if its functional account is linked to an account of another host.
    pub async fn insert_system(
        &mut self,
        system: &NewSystem,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO systems (id, max_sessions, max_batch, running, head0, head1, head2,
                paused_until, trips)
             VALUES ($1, $2, $3, 0, NULL, NULL, NULL, 0, 0)",
        )
        .bind(system.id.0)
        .bind(system.settings.max_sessions)
        .bind(system.settings.max_batch)
        .execute(&mut *self.inner)
        .await?;
        let query = sqlx::query(
            "INSERT INTO system_details (system_id, name, name_key, host_name, dns_name,
                ip_address, port, timeout_s, description, auto_management, functional_account_id,
                elevation, host_key_mode, host_key, tls_ca, tls_server_name, starttls, base_dn,
                in_flight, lockout_threshold, policy_id, password_rule_id, change_frequency_type,
                change_frequency_days, change_time, extras, flavour, key_attribute, entity_type,
                asset_id, workgroup_id, platform_id, revision, created_at, deleted_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, 1, $33,
                NULL)",
        );
        bind_settings(query, system.id, &system.settings)?
            .bind(system.place.entity_type.number())
            .bind(system.place.asset_id.map(|id| id.0))
            .bind(system.place.workgroup_id.0)
            .bind(system.place.platform_id.0)
            .bind(at.0)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("the asset's managed system"))?;
        self.guard(system.id).await
    }

    /// Changes what people set on a system, if nobody has since `revision`.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it was edited meanwhile or is gone; [`StoreError::Conflict`] if
    /// something that it refers to is gone, or if its functional account is linked to an account
    /// of another host.
    pub async fn update_system(
        &mut self,
        id: SystemId,
        revision: i64,
        settings: &SystemSettings,
    ) -> Result<(), StoreError> {
        // This takes the lock of the system's queue.
        let done =
            sqlx::query("UPDATE systems SET max_sessions = $2, max_batch = $3 WHERE id = $1")
                .bind(id.0)
                .bind(settings.max_sessions)
                .bind(settings.max_batch)
                .execute(&mut *self.inner)
                .await?;
        exactly(1, done.rows_affected(), "the managed system")?;
        let query = sqlx::query(
            "UPDATE system_details SET name = $2, name_key = $3, host_name = $4, dns_name = $5,
                ip_address = $6, port = $7, timeout_s = $8, description = $9,
                auto_management = $10, functional_account_id = $11, elevation = $12,
                host_key_mode = $13, host_key = $14, tls_ca = $15, tls_server_name = $16,
                starttls = $17, base_dn = $18, in_flight = $19, lockout_threshold = $20,
                policy_id = $21, password_rule_id = $22, change_frequency_type = $23,
                change_frequency_days = $24, change_time = $25, extras = $26,
                flavour = $27, key_attribute = $28, revision = revision + 1
             WHERE system_id = $1 AND revision = $29 AND deleted_at IS NULL",
        );
        let done = bind_settings(query, id, settings)?
            .bind(revision)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("what the system refers to"))?;
        exactly(1, done.rows_affected(), "the managed system")?;
        self.guard(id).await
    }

    /// Marks a system as deleted and lets go of its asset, functional account and policy.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while it has accounts; [`StoreError::Stale`] if it is gone.
    pub async fn delete_system(&mut self, id: SystemId, at: Timestamp) -> Result<(), StoreError> {
        const GONE: StoreError = StoreError::Stale {
            what: "the managed system",
        };
        self.locked_system(id).await?.ok_or(GONE)?;
        let account: Option<(i64,)> = sqlx::query_as(
            "SELECT id FROM accounts WHERE system_id = $1 AND deleted_at IS NULL LIMIT 1",
        )
        .bind(id.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        if account.is_some() {
            return Err(StoreError::Conflict {
                what: "a managed system with accounts",
            });
        }
        let done = sqlx::query(
            "UPDATE system_details SET deleted_at = $2, asset_id = NULL,
                functional_account_id = NULL, policy_id = NULL, revision = revision + 1
             WHERE system_id = $1 AND deleted_at IS NULL",
        )
        .bind(id.0)
        .bind(at.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the managed system")?;
        self.unname_system(id).await?;
        self.guard(id).await
    }
}

/// Binds `$1`, the id, to `$28`, the attribute of keys.
fn bind_settings<'q>(
    query: Query<'q, Any, AnyArguments>,
    id: SystemId,
    settings: &SystemSettings,
) -> Result<Query<'q, Any, AnyArguments>, StoreError> {
    let (frequency, days, time) = vendor_words(&settings.schedule);
    let extras = serde_json::to_string(&settings.extras).map_err(|_| StoreError::Corrupt {
        table: "system_details",
        row: id.0,
        problem: "the extras are no JSON",
    })?;
    Ok(query
        .bind(id.0)
        .bind(settings.name.clone())
        .bind(settings.name.to_lowercase())
        .bind(settings.host_name.clone())
        .bind(settings.dns_name.clone())
        .bind(settings.ip_address.clone())
        .bind(settings.port.map(i64::from))
        .bind(settings.timeout_s)
        .bind(settings.description.clone())
        .bind(i64::from(settings.auto_management))
        .bind(settings.functional_account_id.map(|id| id.0))
        .bind(elevation_word(settings.elevation))
        .bind(settings.host_key_mode.number())
        .bind(settings.host_key.clone())
        .bind(settings.tls_ca.clone())
        .bind(settings.tls_server_name.clone())
        .bind(i64::from(settings.starttls))
        .bind(settings.base_dn.clone())
        .bind(settings.in_flight)
        .bind(settings.lockout_threshold)
        .bind(settings.policy_id.map(|id| id.0))
        .bind(settings.password_rule_id.0)
        .bind(frequency)
        .bind(days)
        .bind(time)
        .bind(extras)
        .bind(settings.flavour.clone())
        .bind(settings.key_attribute.clone()))
}
