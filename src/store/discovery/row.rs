//! Discoveries and what they found, as the database returns them.
//!
//! Invariant: a row that this program could not have written is reported, never guessed at.

use crate::model::Timestamp;
use crate::model::discovery::{DiscoveredAccount, DiscoveryState, DiscoveryView, lock};
use crate::model::id::{AccountId, DiscoveryId, SystemId};
use crate::store::StoreError;

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: i64,
    system_id: i64,
    query: String,
    actor: String,
    state: String,
    class: String,
    why: String,
    found: i64,
    unreadable: i64,
    truncated: i64,
    queued_at: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}

impl Row {
    pub(super) fn view(self) -> Result<DiscoveryView, StoreError> {
        let state = DiscoveryState::parse(&self.state).ok_or(StoreError::Corrupt {
            table: "discoveries",
            row: self.id,
            problem: "unknown state",
        })?;
        Ok(DiscoveryView {
            id: DiscoveryId(self.id),
            system_id: SystemId(self.system_id),
            query: self.query,
            actor: self.actor,
            state,
            class: self.class,
            why: self.why,
            found: self.found,
            unreadable: self.unreadable,
            truncated: self.truncated == 1,
            queued_at: Timestamp(self.queued_at),
            started_at: self.started_at.map(Timestamp),
            ended_at: self.ended_at.map(Timestamp),
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct FoundRow {
    row_number: i64,
    discovery_id: i64,
    name: String,
    importable: i64,
    distinguished_name: Option<String>,
    stable_id: Option<String>,
    shell: Option<String>,
    lock_state: String,
    last_change_at: Option<i64>,
    expired: Option<i64>,
    account_id: Option<i64>,
}

impl FoundRow {
    pub(super) fn account(self) -> Result<DiscoveredAccount, StoreError> {
        let lock = lock(&self.lock_state).ok_or(StoreError::Corrupt {
            table: "discovered_accounts",
            row: self.row_number,
            problem: "unknown lock state",
        })?;
        Ok(DiscoveredAccount {
            row: self.row_number,
            discovery_id: DiscoveryId(self.discovery_id),
            name: self.name,
            importable: self.importable == 1,
            distinguished_name: self.distinguished_name,
            stable_id: self.stable_id,
            shell: self.shell,
            lock,
            last_change_at: self.last_change_at.map(Timestamp),
            expired: self.expired.map(|flag| flag == 1),
            account_id: self.account_id.map(AccountId),
        })
    }
}
