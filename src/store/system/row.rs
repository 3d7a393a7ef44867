//! A system as the database returns it.
//!
//! Invariant: a row that this program could not have written is reported, never guessed at.

use crate::model::Timestamp;
use crate::model::functional_account::elevation_of;
use crate::model::id::{
    AssetId, FunctionalAccountId, PlatformId, PolicyId, RuleId, SystemId, WorkgroupId,
};
use crate::model::policy::VendorSchedule;
use crate::model::system::{EntityType, HostKeyMode, System, SystemPlace, SystemSettings};
use crate::store::StoreError;

/// All columns that a [`Row`] needs, from `systems s` and `system_details d`.
macro_rules! columns {
    () => {
        "SELECT s.id, s.max_sessions, s.max_batch, d.entity_type, d.asset_id, d.workgroup_id,
            d.platform_id, d.name, d.host_name, d.dns_name, d.ip_address, d.port, d.timeout_s,
            d.description, d.auto_management, d.functional_account_id, d.elevation,
            d.host_key_mode, d.host_key, d.tls_ca, d.tls_server_name, d.starttls, d.base_dn,
            d.flavour, d.key_attribute, d.in_flight, d.lockout_threshold, d.policy_id, d.password_rule_id,
            d.change_frequency_type, d.change_frequency_days, d.change_time, d.extras, d.revision,
            d.created_at, d.deleted_at
         FROM systems s JOIN system_details d ON d.system_id = s.id"
    };
}
pub(super) use columns;

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: i64,
    max_sessions: i64,
    max_batch: i64,
    entity_type: i64,
    asset_id: Option<i64>,
    workgroup_id: i64,
    platform_id: i64,
    name: String,
    host_name: String,
    dns_name: Option<String>,
    ip_address: Option<String>,
    port: Option<i64>,
    timeout_s: i64,
    description: Option<String>,
    auto_management: i64,
    functional_account_id: Option<i64>,
    elevation: Option<String>,
    host_key_mode: i64,
    host_key: Option<String>,
    tls_ca: Option<String>,
    tls_server_name: Option<String>,
    starttls: i64,
    base_dn: Option<String>,
    flavour: Option<String>,
    key_attribute: Option<String>,
    in_flight: Option<i64>,
    lockout_threshold: Option<i64>,
    policy_id: Option<i64>,
    password_rule_id: i64,
    change_frequency_type: String,
    change_frequency_days: Option<i64>,
    change_time: String,
    extras: String,
    revision: i64,
    created_at: i64,
    deleted_at: Option<i64>,
}

impl TryFrom<Row> for System {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let id = row.id;
        let corrupt = |problem| StoreError::Corrupt {
            table: "system_details",
            row: id,
            problem,
        };
        let place = SystemPlace {
            entity_type: EntityType::from_number(row.entity_type)
                .ok_or(corrupt("the entity type is none that is known"))?,
            asset_id: row.asset_id.map(AssetId),
            workgroup_id: WorkgroupId(row.workgroup_id),
            platform_id: PlatformId(row.platform_id),
        };
        let schedule = VendorSchedule::parse(
            &row.change_frequency_type,
            row.change_frequency_days,
            &row.change_time,
        )
        .map_err(|_| corrupt("the schedule is none"))?;
        let port = row.port.map(u16::try_from).transpose();
        let settings = SystemSettings {
            name: row.name,
            host_name: row.host_name,
            dns_name: row.dns_name,
            ip_address: row.ip_address,
            port: port.map_err(|_| corrupt("the port is none"))?,
            timeout_s: row.timeout_s,
            description: row.description,
            auto_management: row.auto_management != 0,
            functional_account_id: row.functional_account_id.map(FunctionalAccountId),
            elevation: elevation_of(row.elevation.as_deref())
                .ok_or(corrupt("the elevation is none that is known"))?,
            host_key_mode: HostKeyMode::from_number(row.host_key_mode)
                .ok_or(corrupt("the host key mode is none that is known"))?,
            host_key: row.host_key,
            tls_ca: row.tls_ca,
            tls_server_name: row.tls_server_name,
            starttls: row.starttls != 0,
            base_dn: row.base_dn,
            flavour: row.flavour,
            key_attribute: row.key_attribute,
            in_flight: row.in_flight,
            lockout_threshold: row.lockout_threshold,
            policy_id: row.policy_id.map(PolicyId),
            password_rule_id: RuleId(row.password_rule_id),
            schedule,
            max_sessions: row.max_sessions,
            max_batch: row.max_batch,
            extras: serde_json::from_str(&row.extras)
                .map_err(|_| corrupt("the extras are not the JSON that was written"))?,
        };
        Ok(Self {
            id: SystemId(id),
            place,
            settings,
            revision: row.revision,
            created_at: Timestamp(row.created_at),
            deleted_at: row.deleted_at.map(Timestamp),
        })
    }
}
