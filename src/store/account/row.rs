//! An account as the database returns it.
//!
//! Invariant: a row that this program could not have written is reported, never guessed at.

use crate::model::Timestamp;
use crate::model::account::{
    Account, AccountSettings, CredentialState, DueState, LastTest, OpenWork,
};
use crate::model::id::{AccountId, JobId, PolicyId, RuleId, SystemId};
use crate::model::job::JobKind;
use crate::model::policy::VendorSchedule;
use crate::store::StoreError;

/// All columns that a [`Row`] needs, of `accounts a`, `schedule s`, the subscription `y` and the
/// open job `j`.
macro_rules! columns {
    () => {
        "a.id, a.system_id, a.name, a.active, a.epoch, a.current_version, a.last_version,
            a.last_change_at, a.last_test_at, a.last_test, a.in_doubt, a.domain_name,
            a.distinguished_name, a.user_principal_name, a.sam_account_name, a.description,
            a.password_rule_id, a.api_enabled, a.auto_management, a.check_password,
            a.reset_on_mismatch, a.change_frequency_type, a.change_frequency_days, a.change_time,
            a.policy_id, a.next_override_at, a.extras, a.current_key_version, a.last_key_change_at,
            a.key_in_doubt, a.key_rule_id, a.dss_auto_management, a.use_own_credentials, a.revision,
            a.created_at, a.deleted_at, s.next_change_at, s.next_test_at, s.flag_at, s.stale_at,
            y.parent_id, j.id AS job_id, j.kind AS job_kind, j.state AS job_state, j.run_at AS job_run_at"
    };
}

/// Where the columns come from.
macro_rules! tables {
    () => {
        " FROM accounts a JOIN schedule s ON s.account_id = a.id
          LEFT JOIN subscriptions y ON y.account_id = a.id
          LEFT JOIN jobs j ON j.account_id = a.id AND j.state IN ('queued','running')"
    };
}
pub(super) use {columns, tables};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: i64,
    system_id: i64,
    name: String,
    active: i64,
    epoch: i64,
    current_version: Option<i64>,
    last_version: i64,
    last_change_at: Option<i64>,
    last_test_at: Option<i64>,
    last_test: String,
    in_doubt: i64,
    current_key_version: Option<i64>,
    last_key_change_at: Option<i64>,
    key_in_doubt: i64,
    key_rule_id: i64,
    dss_auto_management: i64,
    use_own_credentials: i64,
    domain_name: Option<String>,
    distinguished_name: Option<String>,
    user_principal_name: Option<String>,
    sam_account_name: Option<String>,
    description: Option<String>,
    password_rule_id: i64,
    api_enabled: i64,
    auto_management: i64,
    check_password: i64,
    reset_on_mismatch: i64,
    change_frequency_type: String,
    change_frequency_days: Option<i64>,
    change_time: String,
    policy_id: Option<i64>,
    next_override_at: Option<i64>,
    extras: String,
    revision: i64,
    created_at: i64,
    deleted_at: Option<i64>,
    next_change_at: Option<i64>,
    next_test_at: Option<i64>,
    flag_at: Option<i64>,
    stale_at: Option<i64>,
    parent_id: Option<i64>,
    job_id: Option<i64>,
    job_kind: Option<String>,
    job_state: Option<String>,
    job_run_at: Option<i64>,
}

impl Row {
    fn corrupt(&self, problem: &'static str) -> StoreError {
        StoreError::Corrupt {
            table: "accounts",
            row: self.id,
            problem,
        }
    }

    fn work(&self) -> Result<Option<OpenWork>, StoreError> {
        let (Some(job), Some(kind), Some(state), Some(run_at)) = (
            self.job_id,
            &self.job_kind,
            &self.job_state,
            self.job_run_at,
        ) else {
            return Ok(None);
        };
        let kind = JobKind::parse(kind).ok_or_else(|| self.corrupt("its job's kind is none"))?;
        let running = state == "running";
        Ok(Some(OpenWork {
            job: JobId(job),
            kind,
            running,
            run_at: Timestamp(run_at),
        }))
    }
}

impl TryFrom<Row> for Account {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let schedule = VendorSchedule::parse(
            &row.change_frequency_type,
            row.change_frequency_days,
            &row.change_time,
        )
        .map_err(|_| row.corrupt("the schedule is none"))?;
        let last_test = LastTest::parse(&row.last_test)
            .ok_or_else(|| row.corrupt("the last test's verdict is none"))?;
        let extras = serde_json::from_str(&row.extras)
            .map_err(|_| row.corrupt("the extras are not the JSON that was written"))?;
        let work = row.work()?;
        Ok(Self {
            id: AccountId(row.id),
            system_id: SystemId(row.system_id),
            settings: AccountSettings {
                name: row.name,
                domain_name: row.domain_name,
                distinguished_name: row.distinguished_name,
                user_principal_name: row.user_principal_name,
                sam_account_name: row.sam_account_name,
                description: row.description,
                password_rule_id: RuleId(row.password_rule_id),
                api_enabled: row.api_enabled != 0,
                auto_management: row.auto_management != 0,
                check_password: row.check_password != 0,
                reset_on_mismatch: row.reset_on_mismatch != 0,
                schedule,
                key_rule_id: RuleId(row.key_rule_id),
                dss_auto_management: row.dss_auto_management != 0,
                use_own_credentials: row.use_own_credentials != 0,
                policy_id: row.policy_id.map(PolicyId),
                next_override_at: row.next_override_at.map(Timestamp),
                extras,
            },
            active: row.active != 0,
            credential: CredentialState {
                epoch: row.epoch,
                current_version: row.current_version,
                last_version: row.last_version,
                changed_at: row.last_change_at.map(Timestamp),
                tested_at: row.last_test_at.map(Timestamp),
                last_test,
                in_doubt: row.in_doubt != 0,
                current_key_version: row.current_key_version,
                key_changed_at: row.last_key_change_at.map(Timestamp),
                key_in_doubt: row.key_in_doubt != 0,
            },
            due: DueState {
                next_change_at: row.next_change_at.map(Timestamp),
                next_test_at: row.next_test_at.map(Timestamp),
                flag_at: row.flag_at.map(Timestamp),
                stale_at: row.stale_at.map(Timestamp),
            },
            parent_id: row.parent_id.map(AccountId),
            work,
            revision: row.revision,
            created_at: Timestamp(row.created_at),
            deleted_at: row.deleted_at.map(Timestamp),
        })
    }
}
