//! Counts the database for the metrics.
//!
//! Invariant: what is counted replaces what was counted before; a count that fails shows nothing
//! new.

use super::Scheduler;
use crate::metrics::DatabaseGauges;
use crate::model::id::PlatformId;
use crate::model::job::Priority;
use crate::model::platform::Platforms;
use crate::store::StoreError;

impl Scheduler {
    pub(super) async fn count(&self) -> Result<(), StoreError> {
        let store = &self.inner.store;
        let platforms = self.inner.options.platforms.as_ref();
        let now = self.inner.clock.now();
        let mut gauges = DatabaseGauges::default();
        for (platform, state, count) in store.count_accounts().await? {
            *gauges
                .accounts
                .entry((platform_label(platforms, platform), state))
                .or_default() += count;
        }
        for (policy, status, count) in store.count_due(now).await? {
            gauges.accounts_due.insert((policy, status), count);
        }
        for (platform, reason, count) in store.count_unverified().await? {
            gauges
                .accounts_unverified
                .insert((platform_label(platforms, platform), reason), count);
        }
        gauges.policy_next_run = store.next_runs().await?.into_iter().collect();
        for (kind, state, count) in store.count_jobs().await? {
            gauges.jobs.insert((kind, state), count);
        }
        for (rank, at) in store.oldest_runnable(now).await? {
            if let Some(priority) = Priority::from_rank(rank) {
                gauges
                    .oldest_runnable
                    .insert(priority.lane().to_owned(), at);
            }
        }
        for (platform, count) in store.count_broken().await? {
            *gauges
                .circuits_open
                .entry(connector_label(platforms, platform))
                .or_default() += count;
        }
        for one in store.open_quarantines().await? {
            let counts = one.counts;
            for (state, count) in [
                ("queued", counts.queued),
                ("running", counts.running),
                ("retrying", counts.retrying),
                ("succeeded", counts.succeeded),
                ("failed", counts.failed),
                ("needs_operator", counts.needs_operator),
            ] {
                *gauges
                    .quarantine_accounts
                    .entry(state.to_owned())
                    .or_default() += count;
            }
        }
        gauges.is_regressed = store.open_regression().await?.is_some();
        gauges.regressed = store.count_regressed().await?.into_iter().collect();
        gauges.key_expiry = store.next_key_expiries(now).await?.into_iter().collect();
        let anchors = store.audit_anchors(1).await?;
        gauges.last_anchor = anchors.first().map(|anchor| anchor.at);
        gauges.oldest_delivery = store.oldest_delivery().await?;
        let (idle, used) = store.connections();
        self.inner.metrics.db_pool(idle, used);
        self.inner.metrics.set_database(&gauges);
        Ok(())
    }
}

fn platform_label(platforms: &Platforms, id: PlatformId) -> String {
    let found = platforms.find(id);
    found.map_or_else(|| id.0.to_string(), |found| found.short_name.to_lowercase())
}

fn connector_label(platforms: &Platforms, id: PlatformId) -> String {
    let found = platforms.find(id);
    found
        .map_or("none", |found| found.connector.as_str())
        .to_owned()
}
