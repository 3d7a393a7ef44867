//! What the service tells Prometheus, and the files that go with it.
//!
//! One [`Metrics`] owns its registry; nothing is global. Counters and durations are reported where
//! they happen; gauges that stand for rows of the database come in one [`DatabaseGauges`].
//! Timestamps are exported, never ages, and 0 means none. A label value outside its set becomes
//! `other`, and [`DEFINITIONS`] says what the sets are; `docs/metrics.md` tells operators.
//!
//! Invariant: reporting never fails and never blocks on anything but a short lock.

mod definition;
mod family;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use prometheus::{Registry, TextEncoder};

pub use definition::{DEFINITIONS, Definition, Kind, Values, value};

use crate::model::Timestamp;
use definition::Families;
use family::{DROPPED, Folds, guard};

/// The alerting rules that are shipped, for `rule_files`.
pub const ALERT_RULES: &str = include_str!("../config/prometheus/keywheel-alerts.yml");
/// The recording rules that the alerts and the dashboard use.
pub const RECORDING_RULES: &str = include_str!("../config/prometheus/keywheel-recording.yml");
/// An example of a scrape configuration.
pub const SCRAPE_EXAMPLE: &str = include_str!("../config/prometheus/scrape.yml");
/// The Grafana dashboard.
pub const DASHBOARD: &str = include_str!("../config/grafana/keywheel.json");

/// The metrics could not be set up; the service must not start without them.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be registered: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// What the database says, read by one node now and then and exported by every node.
///
/// Keys are label values in the order of the metric's labels. What is absent is 0, or gone if the
/// label takes names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseGauges {
    /// Accounts by (platform, state).
    pub accounts: BTreeMap<(String, String), i64>,
    /// Accounts by (policy, status).
    pub accounts_due: BTreeMap<(String, String), i64>,
    /// Accounts by (platform, reason).
    pub accounts_unverified: BTreeMap<(String, String), i64>,
    /// Next change by policy; `None` if there is none.
    pub policy_next_run: BTreeMap<String, Option<Timestamp>>,
    /// Open jobs by (kind, state).
    pub jobs: BTreeMap<(String, String), i64>,
    /// When the oldest runnable job of a lane became so.
    pub oldest_runnable: BTreeMap<String, Timestamp>,
    /// Accounts of open quarantines by state.
    pub quarantine_accounts: BTreeMap<String, i64>,
    /// Systems with an open circuit by connector.
    pub circuits_open: BTreeMap<String, i64>,
    /// True: the database has come back older, and is not recovered.
    pub is_regressed: bool,
    /// Accounts concerned by what was agreed to.
    pub regressed: BTreeMap<String, i64>,
    /// When the next key of a kind ends by itself.
    pub key_expiry: BTreeMap<String, Timestamp>,
    /// When the audit chain was last anchored.
    pub last_anchor: Option<Timestamp>,
    /// Since when the oldest delivery waits that has not ended.
    pub oldest_delivery: Option<Timestamp>,
}

/// Every metric of the service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    folds: Folds,
    /// Held while series are replaced or written out, so that no scrape sees half of it.
    whole: Mutex<()>,
}

impl Metrics {
    /// All metrics at their start: known label sets at 0, `config_last_reload_successful` and
    /// `audit_chain_ok` at 1.
    ///
    /// # Errors
    /// [`MetricsError`] if two metrics share a name or the process cannot be looked at.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let folds = Folds::default();
        let families = Families::register(&registry, &folds)?;
        let version = env!("CARGO_PKG_VERSION");
        // Set by the release build; a build from a plain checkout does not know them.
        let revision = option_env!("KEYWHEEL_REVISION").unwrap_or("unknown");
        let rustc = option_env!("KEYWHEEL_RUSTC").unwrap_or("unknown");
        families.build_info.set(&[version, revision, rustc], 1.0);
        families.config_last_reload_successful.set(&[], 1.0);
        families.audit_chain_ok.set(&[], 1.0);
        for definition in DEFINITIONS {
            if !definition.labels.is_empty() && definition.name != DROPPED {
                families
                    .dropped_label_values_total
                    .add(&[definition.name], 0);
            }
        }
        Ok(Self {
            registry,
            families,
            folds,
            whole: Mutex::new(()),
        })
    }

    /// All series in Prometheus's text format 0.0.4.
    ///
    /// Content type: `text/plain; version=0.0.4; charset=utf-8`.
    pub fn render(&self) -> String {
        for (metric, count) in self.folds.take_dropped() {
            self.families
                .dropped_label_values_total
                .add(&[metric], count);
        }
        let _whole = guard(&self.whole);
        // Fails only for a family without a name or of an unknown type; there is none.
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }

    /// A component's check passed, or did not.
    pub fn ready(&self, component: &'static str, passes: bool) {
        self.families.ready.set(&[component], flag(passes));
    }

    /// A reload of the configuration was tried.
    pub fn config_reloaded(&self, succeeded: bool) {
        self.families
            .config_last_reload_successful
            .set(&[], flag(succeeded));
    }

    /// This node runs a tick that often.
    pub fn tick_configured(&self, tick: &'static str, every: Duration) {
        self.families
            .scheduler_tick_interval_seconds
            .set(&[tick], every.as_secs_f64());
    }

    /// A tick ended; after `success` it counts as the last complete one.
    pub fn tick_ended(
        &self,
        tick: &'static str,
        outcome: &'static str,
        took: Duration,
        now: Timestamp,
    ) {
        self.families.scheduler_ticks_total.add(&[tick, outcome], 1);
        self.families
            .scheduler_tick_duration_seconds
            .observe(&[tick], took);
        if outcome == "success" {
            self.families
                .scheduler_last_success_timestamp_seconds
                .set(&[tick], seconds(now));
        }
    }

    /// Accounts were flagged for a change.
    pub fn flagged(&self, policy: &str, reason: &'static str, accounts: u64) {
        self.families
            .scheduler_flagged_total
            .start(policy, value::FLAG_REASONS);
        self.families
            .scheduler_flagged_total
            .add(&[policy, reason], accounts);
    }

    /// Jobs were accepted.
    pub fn jobs_enqueued(&self, kind: &'static str, trigger: &'static str, jobs: u64) {
        self.families
            .jobs_enqueued_total
            .add(&[kind, trigger], jobs);
    }

    /// Orders were answered by jobs that were already open.
    pub fn jobs_joined(&self, kind: &'static str, orders: u64) {
        self.families.jobs_joined_total.add(&[kind], orders);
    }

    /// A job ended.
    pub fn job_finished(&self, kind: &'static str, connector: &'static str, state: &'static str) {
        self.families
            .jobs_finished_total
            .add(&[kind, connector, state], 1);
    }

    /// An attempt ended.
    pub fn job_attempt(
        &self,
        kind: &'static str,
        connector: &'static str,
        outcome: &'static str,
        took: Duration,
    ) {
        self.families
            .job_attempts_total
            .add(&[kind, connector, outcome], 1);
        self.families
            .job_duration_seconds
            .observe(&[kind, connector], took);
    }

    /// Something went wrong in a phase; `class` is [`keywheel_connectors::Class::name`].
    pub fn job_error(&self, connector: &'static str, phase: &'static str, class: &'static str) {
        self.families
            .job_errors_total
            .add(&[connector, phase, class], 1);
    }

    /// Time spent in a phase of an attempt.
    pub fn phase(&self, connector: &'static str, phase: &'static str, took: Duration) {
        self.families
            .connector_phase_duration_seconds
            .observe(&[connector, phase], took);
    }

    /// Jobs were taken over from a node that died.
    pub fn leases_expired(&self, kind: &'static str, jobs: u64) {
        self.families.lease_expirations_total.add(&[kind], jobs);
    }

    /// Processes that speak with targets through this connector.
    pub fn connector_processes(&self, connector: &'static str, live: usize) {
        let live = u32::try_from(live).unwrap_or(u32::MAX);
        self.families
            .connector_processes
            .set(&[connector], f64::from(live));
    }

    /// One of them ended unmeant.
    pub fn connector_process_ended(&self, connector: &'static str, reason: &'static str) {
        self.families
            .connector_process_exits_total
            .add(&[connector, reason], 1);
    }

    /// One was started in place of another.
    pub fn connector_process_restarted(&self, connector: &'static str) {
        self.families
            .connector_process_restarts_total
            .add(&[connector], 1);
    }

    /// A probe cost a failing login.
    pub fn failed_login_spent(&self, connector: &'static str) {
        self.families.probe_failed_logins_total.add(&[connector], 1);
    }

    /// A job started that long after it could have.
    pub fn job_started(&self, lane: &'static str, waited: Duration) {
        self.families
            .job_queue_wait_seconds
            .observe(&[lane], waited);
    }

    /// Workers at work in a lane, and how many there may be.
    pub fn workers(&self, lane: &'static str, busy: u32, limit: u32) {
        self.families.workers_busy.set(&[lane], f64::from(busy));
        self.families.workers_limit.set(&[lane], f64::from(limit));
    }

    /// A quarantine's last account was settled, that long after the order.
    pub fn quarantine_finished(&self, outcome: &'static str, took: Duration) {
        self.families.quarantines_finished_total.add(&[outcome], 1);
        self.families.quarantine_duration_seconds.observe(&[], took);
    }

    /// A request was answered. `route` is the template (`/api/v1/accounts/{id}`), never the path.
    pub fn http_request(&self, api: &'static str, route: &str, status: u16, took: Duration) {
        let class = match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.families
            .http_requests_total
            .add(&[api, route, class], 1);
        self.families
            .http_request_duration_seconds
            .observe(&[api], took);
    }

    /// Somebody could not prove who they are.
    pub fn auth_failed(&self, method: &'static str, reason: &'static str) {
        self.families.auth_failures_total.add(&[method, reason], 1);
    }

    /// A call was answered 429, since there is nothing left of a budget.
    pub fn rate_limited(&self, budget: &'static str) {
        self.families.rate_limited_total.add(&[budget], 1);
    }

    /// An audit row was written; its category is the noun of the event's name (`noun.verb`).
    pub fn audited(&self, event: &'static str) {
        let noun = event.split_once('.').map_or(event, |(noun, _)| noun);
        self.families.audit_events_total.add(&[noun], 1);
    }

    /// An audit row could not be written, and the act was refused.
    pub fn audit_write_failed(&self) {
        self.families.audit_write_failures_total.add(&[], 1);
    }

    /// Rows of the audit chain were verified, and were sound or not.
    pub fn audit_verified(&self, sound: bool, now: Timestamp) {
        self.families.audit_chain_ok.set(&[], flag(sound));
        self.families
            .audit_last_verify_timestamp_seconds
            .set(&[], seconds(now));
    }

    /// A secret left in the clear.
    pub fn revealed(&self, actor_type: &'static str, purpose: &'static str) {
        self.families.reveals_total.add(&[actor_type, purpose], 1);
    }

    /// An attempt to deliver a notice or an alert ended.
    pub fn delivery(&self, channel: &'static str, outcome: &'static str) {
        self.families
            .outbox_deliveries_total
            .add(&[channel, outcome], 1);
    }

    /// Connections of the database pools.
    pub fn db_pool(&self, idle: u32, used: u32) {
        self.families
            .db_pool_connections
            .set(&["idle"], f64::from(idle));
        self.families
            .db_pool_connections
            .set(&["used"], f64::from(used));
    }

    /// Replaces all gauges that stand for rows of the database.
    pub fn set_database(&self, found: &DatabaseGauges) {
        let _whole = guard(&self.whole);
        let families = &self.families;
        families.accounts.replace(&pairs(&found.accounts), sum);
        families
            .accounts_due
            .replace(&pairs(&found.accounts_due), sum);
        families
            .accounts_unverified
            .replace(&pairs(&found.accounts_unverified), sum);
        families.jobs.replace(&pairs(&found.jobs), sum);
        families
            .quarantine_accounts
            .replace(&singles(&found.quarantine_accounts), sum);
        families
            .connector_circuit_open
            .replace(&singles(&found.circuits_open), sum);
        families.store_regressed.set(&[], flag(found.is_regressed));
        families
            .store_regressed_accounts
            .replace(&singles(&found.regressed), sum);
        families
            .audit_last_anchor_timestamp_seconds
            .set(&[], found.last_anchor.map_or(0.0, seconds));
        families
            .outbox_oldest_pending_timestamp_seconds
            .set(&[], found.oldest_delivery.map_or(0.0, seconds));
        let runs: Vec<(Vec<&str>, f64)> = found
            .policy_next_run
            .iter()
            .map(|(policy, at)| (vec![policy.as_str()], at.map_or(0.0, seconds)))
            .collect();
        families
            .policy_next_run_timestamp_seconds
            .replace(&runs, earlier);
        families
            .queue_oldest_runnable_timestamp_seconds
            .replace(&instants(&found.oldest_runnable), earlier);
        families
            .api_key_expiry_timestamp_seconds
            .replace(&instants(&found.key_expiry), earlier);
    }
}

fn instants(found: &BTreeMap<String, Timestamp>) -> Vec<(Vec<&str>, f64)> {
    found
        .iter()
        .map(|(one, at)| (vec![one.as_str()], seconds(*at)))
        .collect()
}

fn pairs(found: &BTreeMap<(String, String), i64>) -> Vec<(Vec<&str>, f64)> {
    found
        .iter()
        .map(|((one, two), count)| (vec![one.as_str(), two.as_str()], number(*count)))
        .collect()
}

fn singles(found: &BTreeMap<String, i64>) -> Vec<(Vec<&str>, f64)> {
    found
        .iter()
        .map(|(one, count)| (vec![one.as_str()], number(*count)))
        .collect()
}

fn sum(one: f64, two: f64) -> f64 {
    one + two
}

/// The earlier of two instants, where 0 is none.
fn earlier(one: f64, two: f64) -> f64 {
    if one <= 0.0 || (two > 0.0 && two < one) {
        two
    } else {
        one
    }
}

fn flag(set: bool) -> f64 {
    if set { 1.0 } else { 0.0 }
}

fn seconds(at: Timestamp) -> f64 {
    number(at.0) / 1_000.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and instants of our era fit 52 bits"
)]
fn number(value: i64) -> f64 {
    value as f64
}
