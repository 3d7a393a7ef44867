//! Every metric: its name, its help, its labels, and the values these may take.
//!
//! Invariant: a label holds a word from a fixed set or one of a bounded number of names; no label
//! holds an account, a system, a user, free text or what a target sent.

use keywheel_connectors::Class;
use prometheus::Registry;

use super::family::{Counter, Folds, Gauge, Histogram};

/// Policies and platforms that keep their own series; the rest shares `other`.
const NAMES_MAX: usize = 40;
/// Route templates that keep their own series: more than the service has.
const ROUTES_MAX: usize = 250;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts durations in buckets.
    Histogram,
}

impl Kind {
    /// As the text format calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The values of a label.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These words; each has its series from the start.
    Known(&'static [&'static str]),
    /// Names that come up as the service runs, so many at most for all metrics together.
    Named(usize),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Its name, prefix included.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels in order, with their values.
    pub labels: &'static [(&'static str, Values)],
    /// Upper bounds of a histogram's buckets in seconds; empty for the others.
    pub buckets: &'static [f64],
    /// What it tells.
    pub help: &'static str,
}

/// Values that the metrics share with the rest of the service.
pub mod value {
    use super::Class;

    /// What operators have agreed to for accounts of which the database may have forgotten a credential.
    pub const CONSENTS: &[&str] = &["none", "test", "reset"];
    /// Parts of the service that must work.
    pub const COMPONENTS: &[&str] = &["db", "keyring", "queue", "scheduler", "connectors"];
    /// What an account is.
    pub const ACCOUNT_STATES: &[&str] = &["managed", "unmanaged", "suspended", "needs_operator"];
    /// How near its change is.
    pub const DUE_STATES: &[&str] = &["ok", "due_soon", "due", "overdue"];
    /// Why the stored credential is not known to work.
    pub const UNVERIFIED_REASONS: &[&str] =
        &["out_of_sync", "in_doubt", "unreachable", "never_tested"];
    /// What the scheduler does again and again.
    pub const TICKS: &[&str] = &[
        "stale_scan",
        "beat",
        "lease_reaper",
        "head_repair",
        "session_reaper",
        "request_expiry",
        "account_sync",
        "generation",
        "recovery",
        "gauges",
        "audit_seal",
        "audit_anchor",
        "audit_verify",
    ];
    /// How a tick ended; `skipped` where another node had it.
    pub const TICK_OUTCOMES: &[&str] = &["success", "failure", "skipped"];
    /// Why an account was flagged.
    pub const FLAG_REASONS: &[&str] = &["age", "release", "mismatch", "manual"];
    /// What a job does.
    pub const JOB_KINDS: &[&str] = &["rotate", "test", "reconcile"];
    /// Where an open job stands.
    pub const OPEN_STATES: &[&str] = &["queued", "running", "retrying"];
    /// How a job ended.
    pub const END_STATES: &[&str] = &["succeeded", "failed", "needs_operator"];
    /// Why a job was ordered.
    pub const TRIGGERS: &[&str] = &[
        "schedule",
        "order",
        "quarantine",
        "mismatch",
        "release",
        "sync",
        "operator",
    ];
    /// How an attempt ended.
    pub const ATTEMPT_OUTCOMES: &[&str] = &["success", "refused", "retryable", "unknown"];
    /// What reaches targets.
    pub const CONNECTORS: &[&str] = &["ssh", "ldap", "dialogue"];
    /// Why a connector process ended unmeant: by itself, by a signal of others, silent, breaking the
    /// format, before it could serve.
    pub const PROCESS_ENDS: &[&str] = &["exited", "killed", "hung", "malformed", "not_started"];
    /// Parts of an attempt.
    pub const PHASES: &[&str] = &["connect", "auth", "change", "verify", "store"];
    /// The connectors' error classes, and the service's own: an order withdrawn, a fault of ours.
    pub const CLASSES: &[&str] = &[
        Class::Unreachable.name(),
        Class::Incompatible.name(),
        Class::IdentityMismatch.name(),
        Class::Denied.name(),
        Class::Locked.name(),
        Class::Expired.name(),
        Class::Privilege.name(),
        Class::Refused.name(),
        Class::Busy.name(),
        Class::NoAccount.name(),
        Class::Unknown.name(),
        "cancelled",
        "internal",
    ];
    /// Kinds of work that share workers.
    pub const LANES: &[&str] = &["interactive", "quarantine", "scheduled", "test"];
    /// Where an account of an open quarantine stands.
    pub const QUARANTINE_STATES: &[&str] = &[
        "queued",
        "running",
        "retrying",
        "succeeded",
        "failed",
        "needs_operator",
    ];
    /// How a quarantine ended; `partial` where some accounts kept their old credential.
    pub const QUARANTINE_OUTCOMES: &[&str] = &["succeeded", "partial", "failed", "cancelled"];
    /// Faces of the service.
    pub const APIS: &[&str] = &["passwordsafe", "itglue", "native", "console"];
    /// HTTP status by its first digit.
    pub const STATUS_CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx"];
    /// How somebody tried to prove who they are.
    pub const AUTH_METHODS: &[&str] = &[
        "native",
        "passwordsafe",
        "oauth",
        "itglue",
        "session",
        "password",
    ];
    /// Why that failed.
    pub const AUTH_REASONS: &[&str] = &[
        "missing",
        "malformed",
        "unknown",
        "wrong",
        "expired",
        "revoked",
        "disabled",
        "address",
        "throttled",
    ];
    /// Which interface takes a key.
    pub const KEY_KINDS: &[&str] = &["native", "passwordsafe", "oauth", "itglue"];
    /// Of what there is only so much.
    pub const BUDGETS: &[&str] = &["requests", "itglue", "reveals", "quarantines", "sign_ins"];
    /// Who saw a secret: a person, a key of each kind, the service itself.
    pub const ACTOR_TYPES: &[&str] = &[
        "user",
        "native",
        "passwordsafe",
        "oauth",
        "itglue",
        "service",
    ];
    /// What for: a native reveal, a checked-out request, a dialect's read, an export.
    pub const PURPOSES: &[&str] = &["reveal", "release", "read", "export"];
    /// The noun of an audited event.
    pub const AUDIT_CATEGORIES: &[&str] = &[
        "account",
        "asset",
        "audit",
        "credential",
        "functional_account",
        "job",
        "key",
        "keyring",
        "organization",
        "password",
        "password_category",
        "password_folder",
        "platform",
        "policy",
        "quarantine",
        "rotation",
        "rule",
        "service",
        "session",
        "store",
        "system",
        "user",
        "workflow",
        "workgroup",
    ];
    /// By which way a notice goes.
    pub const CHANNELS: &[&str] = &["email", "webhook", "slack"];
    /// What came of an attempt to deliver one.
    pub const DELIVERY_OUTCOMES: &[&str] = &["sent", "retried", "failed"];
    /// What a database connection does.
    pub const POOL_STATES: &[&str] = &["idle", "used"];
}

use Values::{Known, Named};
use value as v;

const POLICY: Values = Named(NAMES_MAX);
const PLATFORM: Values = Named(NAMES_MAX);
const ROUTE: Values = Named(ROUTES_MAX);
/// Names of metrics: bounded by this file.
const METRIC: Values = Named(ROUTES_MAX);
/// Words of the build: one of each.
const BUILD: Values = Named(NAMES_MAX);

const JOB_SECONDS: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
const WAIT_SECONDS: &[f64] = &[
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0,
];
const HTTP_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const QUARANTINE_SECONDS: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0];

macro_rules! or_none {
    () => {
        &[]
    };
    ($buckets:expr) => {
        $buckets
    };
}

macro_rules! families {
    ($($kind:ident $(($buckets:expr))? $field:ident [$($label:ident: $values:expr),*] $help:literal;)+) => {
        /// Every metric, in the order of the documentation.
        pub const DEFINITIONS: &[Definition] = &[$(Definition {
            name: concat!("keywheel_", stringify!($field)),
            kind: Kind::$kind,
            labels: &[$((stringify!($label), $values)),*],
            buckets: or_none!($($buckets)?),
            help: $help,
        }),+];

        /// A handle for each metric.
        #[derive(Debug)]
        pub(super) struct Families {
            $(pub(super) $field: $kind,)+
        }

        impl Families {
            /// Makes every metric known to `registry`.
            pub(super) fn register(
                registry: &Registry,
                folds: &Folds,
            ) -> Result<Self, prometheus::Error> {
                Ok(Self {
                    $($field: {
                        const DEFINITION: Definition = Definition {
                            name: concat!("keywheel_", stringify!($field)),
                            kind: Kind::$kind,
                            labels: &[$((stringify!($label), $values)),*],
                            buckets: or_none!($($buckets)?),
                            help: $help,
                        };
                        $kind::register(registry, DEFINITION, folds)?
                    },)+
                })
            }
        }
    };
}

families! {
    Gauge build_info [version: BUILD, revision: BUILD, rustc: BUILD] "Always 1; the labels name the build.";
    Gauge ready [component: Known(v::COMPONENTS)] "1 if the component's check passes.";
    Gauge config_last_reload_successful [] "1 unless the last reload of the configuration failed.";
    Gauge accounts [platform: PLATFORM, state: Known(v::ACCOUNT_STATES)] "Managed accounts by state.";
    Gauge accounts_due [policy: POLICY, status: Known(v::DUE_STATES)] "Accounts by how near their next change is.";
    Gauge accounts_unverified [platform: PLATFORM, reason: Known(v::UNVERIFIED_REASONS)] "Accounts whose stored credential is not known to work.";
    Gauge store_regressed [] "1 while the database has come back older than it was, and its accounts are not all recovered.";
    Gauge store_regressed_accounts [consent: Known(v::CONSENTS)] "Accounts of which the database may have forgotten a credential, by what was agreed to.";
    Gauge policy_next_run_timestamp_seconds [policy: POLICY] "Next change under the policy, Unix time; 0 if none.";
    Gauge scheduler_last_success_timestamp_seconds [tick: Known(v::TICKS)] "Last complete tick, Unix time; 0 if none.";
    Gauge scheduler_tick_interval_seconds [tick: Known(v::TICKS)] "Configured interval; 0 where this node runs no such tick.";
    Counter scheduler_ticks_total [tick: Known(v::TICKS), outcome: Known(v::TICK_OUTCOMES)] "Ticks run.";
    Counter scheduler_flagged_total [policy: POLICY, reason: Known(v::FLAG_REASONS)] "Accounts flagged for a change.";
    Histogram(HTTP_SECONDS) scheduler_tick_duration_seconds [tick: Known(v::TICKS)] "Duration of a tick.";
    Gauge jobs [kind: Known(v::JOB_KINDS), state: Known(v::OPEN_STATES)] "Open jobs.";
    Counter jobs_enqueued_total [kind: Known(v::JOB_KINDS), trigger: Known(v::TRIGGERS)] "Jobs accepted.";
    Counter jobs_joined_total [kind: Known(v::JOB_KINDS)] "Orders answered by a job that was already open.";
    Counter jobs_finished_total [kind: Known(v::JOB_KINDS), connector: Known(v::CONNECTORS), state: Known(v::END_STATES)] "Jobs ended.";
    Counter job_attempts_total [kind: Known(v::JOB_KINDS), connector: Known(v::CONNECTORS), outcome: Known(v::ATTEMPT_OUTCOMES)] "Attempts ended.";
    Counter job_errors_total [connector: Known(v::CONNECTORS), phase: Known(v::PHASES), class: Known(v::CLASSES)] "Errors by phase and class.";
    Counter lease_expirations_total [kind: Known(v::JOB_KINDS)] "Jobs taken over from a node that died.";
    Counter probe_failed_logins_total [connector: Known(v::CONNECTORS)] "Failing logins spent on probes.";
    Histogram(JOB_SECONDS) job_duration_seconds [kind: Known(v::JOB_KINDS), connector: Known(v::CONNECTORS)] "Duration of one attempt.";
    Histogram(WAIT_SECONDS) job_queue_wait_seconds [lane: Known(v::LANES)] "Time from runnable to started.";
    Gauge queue_oldest_runnable_timestamp_seconds [lane: Known(v::LANES)] "Since when the oldest runnable job waits, Unix time; 0 if none does.";
    Gauge workers_busy [lane: Known(v::LANES)] "Workers at work.";
    Gauge workers_limit [lane: Known(v::LANES)] "Workers there may be.";
    Gauge quarantine_accounts [state: Known(v::QUARANTINE_STATES)] "Accounts in open quarantines.";
    Counter quarantines_finished_total [outcome: Known(v::QUARANTINE_OUTCOMES)] "Quarantines ended.";
    Histogram(QUARANTINE_SECONDS) quarantine_duration_seconds [] "Time from the order to the last account settled.";
    Gauge connector_circuit_open [connector: Known(v::CONNECTORS)] "Systems left alone after repeated faults.";
    Gauge connector_processes [connector: Known(v::CONNECTORS)] "Processes that speak with targets.";
    Counter connector_process_exits_total [connector: Known(v::CONNECTORS), reason: Known(v::PROCESS_ENDS)] "Such processes that ended unmeant.";
    Counter connector_process_restarts_total [connector: Known(v::CONNECTORS)] "Such processes started in place of one that ended.";
    Histogram(JOB_SECONDS) connector_phase_duration_seconds [connector: Known(v::CONNECTORS), phase: Known(v::PHASES)] "Time spent in a phase.";
    Counter http_requests_total [api: Known(v::APIS), route: ROUTE, status_class: Known(v::STATUS_CLASSES)] "Requests by route template.";
    Histogram(HTTP_SECONDS) http_request_duration_seconds [api: Known(v::APIS)] "Time to answer a request.";
    Counter auth_failures_total [method: Known(v::AUTH_METHODS), reason: Known(v::AUTH_REASONS)] "Failed authentications.";
    Counter rate_limited_total [budget: Known(v::BUDGETS)] "Calls answered 429.";
    Counter audit_events_total [category: Known(v::AUDIT_CATEGORIES)] "Audit rows written.";
    Counter audit_write_failures_total [] "Audit rows that could not be written; the act was refused.";
    Gauge audit_chain_ok [] "1 unless the last verification of the audit chain failed.";
    Gauge audit_last_verify_timestamp_seconds [] "Last verification of the audit chain, Unix time; 0 if none.";
    Gauge audit_last_anchor_timestamp_seconds [] "Last anchor of the audit chain, Unix time; 0 if none.";
    Gauge api_key_expiry_timestamp_seconds [kind: Known(v::KEY_KINDS)] "Earliest expiry of an active key, Unix time; 0 if none.";
    Counter reveals_total [actor_type: Known(v::ACTOR_TYPES), purpose: Known(v::PURPOSES)] "Secrets that left in the clear.";
    Counter dropped_label_values_total [metric: METRIC] "Label values folded into other.";
    Gauge outbox_oldest_pending_timestamp_seconds [] "Since when the oldest notice waits that was neither sent nor given up, Unix time; 0 if none does.";
    Counter outbox_deliveries_total [channel: Known(v::CHANNELS), outcome: Known(v::DELIVERY_OUTCOMES)] "Attempts to deliver a notice or an alert, by what came of them.";
    Gauge db_pool_connections [state: Known(v::POOL_STATES)] "Database connections.";
}
