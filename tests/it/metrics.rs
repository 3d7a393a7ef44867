//! Metrics against what is written about them: documentation, rules, dashboard, runbooks.
//!
//! Invariant: no rule and no panel asks for a metric or a label that does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use keywheel::metrics::{
    ALERT_RULES, DASHBOARD, DEFINITIONS, DatabaseGauges, Definition, Kind, Metrics,
    RECORDING_RULES, Values, value,
};
use keywheel::model::Timestamp;
use serde_json::Value;

const RUNBOOKS: &str = "https://github.com/keywheel/keywheel/blob/main/";
const SECOND: Duration = Duration::from_secs(1);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// Runs promtool in `folder`.
#[expect(clippy::disallowed_methods, reason = "a fixed tool with paths only")]
fn promtool(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(file)
        .output()
        .expect("promtool does not start: install the Debian package `prometheus`")
}

fn accepted(output: &Output) {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
}

/// One series of a rendered page: name, labels, value.
fn series(page: &str) -> BTreeMap<String, f64> {
    page.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Each of these is there, without the common prefix, with this value.
fn assert_series(page: &str, expected: &[(&str, f64)]) {
    let found = series(page);
    for (name, value) in expected {
        let real = found.get(&format!("keywheel_{name}"));
        assert!(
            real.is_some_and(|real| (real - value).abs() < 1e-6),
            "{name}: {real:?}"
        );
    }
}

// What the service exports.

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let written: BTreeSet<String> = read("docs/metrics.md")
        .lines()
        .filter(|line| line.starts_with("| `keywheel_"))
        .map(str::to_owned)
        .collect();
    let real: BTreeSet<String> = DEFINITIONS
        .iter()
        .map(|definition| {
            let labels: Vec<&str> = definition.labels.iter().map(|(label, _)| *label).collect();
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            let Definition {
                name, kind, help, ..
            } = definition;
            format!("| `{name}{labels}` | {} | {help} |", kind.as_str())
        })
        .collect();
    assert_eq!(written, real);
    assert_eq!(real.len(), DEFINITIONS.len(), "a name is used twice");
}

#[test]
fn every_word_a_label_may_take_is_documented() {
    let document = read("docs/metrics.md");
    for definition in DEFINITIONS {
        for (label, values) in definition.labels {
            let Values::Known(words) = values else {
                continue;
            };
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            let row = format!("| {} |", words.join(", "));
            assert!(
                document
                    .lines()
                    .any(|line| line.starts_with(&format!("| `{label}` |")) && line.ends_with(&row)),
                "{}: {label}: {row}",
                definition.name
            );
        }
    }
}

#[test]
fn the_error_classes_are_those_of_the_connectors() {
    let classes: Vec<&str> = keywheel_connectors::Class::ALL
        .into_iter()
        .map(keywheel_connectors::Class::name)
        .collect();
    assert_eq!(value::CLASSES[..classes.len()], classes);
}

#[test]
fn no_label_names_a_person_an_account_or_a_system() {
    for definition in DEFINITIONS {
        for (label, _) in definition.labels {
            assert!(
                ![
                    "account", "system", "user", "host", "name", "error", "address", "id"
                ]
                .contains(label),
                "{}",
                definition.name
            );
        }
        assert!(definition.kind != Kind::Histogram || !definition.buckets.is_empty());
        assert!(
            definition.kind != Kind::Histogram
                || definition.labels.iter().all(|(label, _)| *label != "route"),
            "a histogram of routes is too large"
        );
        assert_eq!(
            definition.kind == Kind::Counter,
            definition.name.ends_with("_total")
        );
    }
}

#[test]
fn known_label_values_start_at_zero() {
    let found = series(&Metrics::new().unwrap().render());
    for (name, value) in &found {
        if name.starts_with("keywheel_") && !name.starts_with("keywheel_build_info{") {
            let one = [
                "keywheel_config_last_reload_successful",
                "keywheel_audit_chain_ok",
            ];
            let start = f64::from(u8::from(one.contains(&name.as_str())));
            assert!((value - start).abs() < f64::EPSILON, "{name} {value}");
        }
    }
    for name in [
        r#"keywheel_jobs{kind="rotate",state="retrying"}"#,
        r#"keywheel_job_errors_total{class="locked",connector="ldap",phase="auth"}"#,
        r#"keywheel_job_duration_seconds_count{connector="ssh",kind="test"}"#,
        r#"keywheel_ready{component="db"}"#,
        r#"keywheel_dropped_label_values_total{metric="keywheel_jobs"}"#,
        "keywheel_audit_write_failures_total",
        "keywheel_quarantine_duration_seconds_count",
        "process_start_time_seconds",
    ] {
        assert!(found.contains_key(name), "{name}");
    }
}

/// What [`report_everything`] leaves behind.
const REPORTED: &[(&str, f64)] = &[
    (r#"ready{component="db"}"#, 1.0),
    (r#"ready{component="queue"}"#, 0.0),
    ("config_last_reload_successful", 0.0),
    (
        r#"scheduler_tick_interval_seconds{tick="stale_scan"}"#,
        10.0,
    ),
    (
        r#"scheduler_last_success_timestamp_seconds{tick="stale_scan"}"#,
        1_800_000_000.5,
    ),
    (
        r#"scheduler_last_success_timestamp_seconds{tick="lease_reaper"}"#,
        0.0,
    ),
    (
        r#"scheduler_ticks_total{outcome="failure",tick="lease_reaper"}"#,
        1.0,
    ),
    (
        r#"scheduler_tick_duration_seconds_sum{tick="stale_scan"}"#,
        0.5,
    ),
    (
        r#"scheduler_flagged_total{policy="monthly",reason="age"}"#,
        3.0,
    ),
    (
        r#"scheduler_flagged_total{policy="monthly",reason="release"}"#,
        0.0,
    ),
    (
        r#"jobs_enqueued_total{kind="rotate",trigger="quarantine"}"#,
        7.0,
    ),
    (r#"jobs_joined_total{kind="rotate"}"#, 2.0),
    (
        r#"jobs_finished_total{connector="ssh",kind="rotate",state="succeeded"}"#,
        1.0,
    ),
    (
        r#"job_attempts_total{connector="ssh",kind="rotate",outcome="success"}"#,
        1.0,
    ),
    (
        r#"job_duration_seconds_bucket{connector="ssh",kind="rotate",le="2.5"}"#,
        0.0,
    ),
    (
        r#"job_duration_seconds_bucket{connector="ssh",kind="rotate",le="5"}"#,
        1.0,
    ),
    (
        r#"job_errors_total{class="denied",connector="ldap",phase="auth"}"#,
        1.0,
    ),
    (
        r#"connector_phase_duration_seconds_count{connector="ssh",phase="connect"}"#,
        1.0,
    ),
    (r#"connector_processes{connector="ssh"}"#, 2.0),
    (
        r#"connector_process_exits_total{connector="ssh",reason="hung"}"#,
        1.0,
    ),
    (r#"connector_process_restarts_total{connector="ldap"}"#, 1.0),
    (r#"lease_expirations_total{kind="test"}"#, 4.0),
    (r#"probe_failed_logins_total{connector="ssh"}"#, 1.0),
    (r#"job_queue_wait_seconds_sum{lane="interactive"}"#, 1.0),
    (r#"workers_busy{lane="scheduled"}"#, 3.0),
    (r#"workers_limit{lane="scheduled"}"#, 8.0),
    (r#"quarantines_finished_total{outcome="partial"}"#, 1.0),
    ("quarantine_duration_seconds_sum", 90.0),
    (
        r#"http_requests_total{api="native",route="/api/v1/jobs/{id}",status_class="4xx"}"#,
        1.0,
    ),
    (r#"http_request_duration_seconds_count{api="native"}"#, 1.0),
    (
        r#"auth_failures_total{method="oauth",reason="expired"}"#,
        1.0,
    ),
    (r#"rate_limited_total{budget="reveals"}"#, 1.0),
    (r#"audit_events_total{category="quarantine"}"#, 1.0),
    ("audit_write_failures_total", 1.0),
    ("audit_chain_ok", 0.0),
    ("audit_last_verify_timestamp_seconds", 1_800_000_000.5),
    (r#"reveals_total{actor_type="user",purpose="reveal"}"#, 1.0),
    (r#"db_pool_connections{state="idle"}"#, 5.0),
    (r#"db_pool_connections{state="used"}"#, 2.0),
];

fn report_everything(metrics: &Metrics) {
    let now = Timestamp(1_800_000_000_500);
    metrics.ready("db", true);
    metrics.config_reloaded(false);
    metrics.tick_configured("stale_scan", 10 * SECOND);
    metrics.tick_ended("stale_scan", "success", SECOND / 2, now);
    metrics.tick_ended("lease_reaper", "failure", SECOND, now);
    metrics.flagged("monthly", "age", 3);
    metrics.jobs_enqueued("rotate", "quarantine", 7);
    metrics.jobs_joined("rotate", 2);
    metrics.job_finished("rotate", "ssh", "succeeded");
    metrics.job_attempt("rotate", "ssh", "success", 3 * SECOND);
    metrics.job_error("ldap", "auth", "denied");
    metrics.phase("ssh", "connect", SECOND);
    metrics.connector_processes("ssh", 2);
    metrics.connector_process_ended("ssh", "hung");
    metrics.connector_process_restarted("ldap");
    metrics.leases_expired("test", 4);
    metrics.failed_login_spent("ssh");
    metrics.job_started("interactive", SECOND);
    metrics.workers("scheduled", 3, 8);
    metrics.quarantine_finished("partial", 90 * SECOND);
    metrics.http_request("native", "/api/v1/jobs/{id}", 404, SECOND / 100);
    metrics.auth_failed("oauth", "expired");
    metrics.rate_limited("reveals");
    metrics.audited("quarantine.ordered");
    metrics.audit_write_failed();
    metrics.audit_verified(false, now);
    metrics.revealed("user", "reveal");
    metrics.delivery("webhook", "sent");
    metrics.db_pool(5, 2);
}

#[test]
fn what_is_reported_is_what_is_exported() {
    let metrics = Metrics::new().unwrap();
    report_everything(&metrics);
    let page = metrics.render();
    assert_series(&page, REPORTED);
    let found = series(&page);
    for Definition { name, kind, .. } in DEFINITIONS {
        let counted: f64 = found
            .iter()
            .filter(|(series, _)| {
                series.split(['{', ' ']).next().is_some_and(|series| {
                    series == *name || series.strip_suffix("_count") == Some(name)
                })
            })
            .map(|(_, value)| value)
            .sum();
        let gauge = *kind == Kind::Gauge || *name == "keywheel_dropped_label_values_total";
        assert!(gauge || counted > 0.0, "nothing ever reports {name}");
    }
    assert!(
        found
            .iter()
            .all(|(name, value)| !name.contains(r#""other""#)
                && (!name.contains("dropped_label") || *value == 0.0)),
        "a known word was folded"
    );
}

#[test]
fn what_the_database_says_replaces_what_it_said_before() {
    let metrics = Metrics::new().unwrap();
    let pair = |one: &str, two: &str| (one.to_owned(), two.to_owned());
    metrics.set_database(&DatabaseGauges {
        accounts: [(pair("linux", "managed"), 12)].into(),
        accounts_due: [(pair("monthly", "overdue"), 2), (pair("weekly", "ok"), 1)].into(),
        accounts_unverified: [(pair("linux", "out_of_sync"), 1)].into(),
        policy_next_run: [
            ("monthly".to_owned(), Some(Timestamp(1_800_000_000_000))),
            ("weekly".to_owned(), None),
        ]
        .into(),
        jobs: [(pair("rotate", "queued"), 4)].into(),
        oldest_runnable: [("scheduled".to_owned(), Timestamp(1_700_000_000_000))].into(),
        quarantine_accounts: [("failed".to_owned(), 3)].into(),
        circuits_open: [("ssh".to_owned(), 1)].into(),
        key_expiry: [("oauth".to_owned(), Timestamp(1_760_000_000_000))].into(),
        last_anchor: Some(Timestamp(1_750_000_000_000)),
        oldest_delivery: Some(Timestamp(1_740_000_000_000)),
        is_regressed: true,
        regressed: [("reset".to_owned(), 6)].into(),
    });
    let expected = [
        ("store_regressed", 1.0),
        (r#"store_regressed_accounts{consent="reset"}"#, 6.0),
        (r#"store_regressed_accounts{consent="none"}"#, 0.0),
        (r#"accounts{platform="linux",state="managed"}"#, 12.0),
        (r#"accounts{platform="linux",state="needs_operator"}"#, 0.0),
        (r#"accounts_due{policy="monthly",status="overdue"}"#, 2.0),
        (r#"accounts_due{policy="weekly",status="overdue"}"#, 0.0),
        (
            r#"accounts_unverified{platform="linux",reason="out_of_sync"}"#,
            1.0,
        ),
        (
            r#"policy_next_run_timestamp_seconds{policy="monthly"}"#,
            1_800_000_000.0,
        ),
        (r#"policy_next_run_timestamp_seconds{policy="weekly"}"#, 0.0),
        (r#"jobs{kind="rotate",state="queued"}"#, 4.0),
        (
            r#"queue_oldest_runnable_timestamp_seconds{lane="scheduled"}"#,
            1_700_000_000.0,
        ),
        (
            r#"queue_oldest_runnable_timestamp_seconds{lane="test"}"#,
            0.0,
        ),
        (r#"quarantine_accounts{state="failed"}"#, 3.0),
        (r#"connector_circuit_open{connector="ssh"}"#, 1.0),
        (
            r#"api_key_expiry_timestamp_seconds{kind="oauth"}"#,
            1_760_000_000.0,
        ),
        (r#"api_key_expiry_timestamp_seconds{kind="native"}"#, 0.0),
        ("audit_last_anchor_timestamp_seconds", 1_750_000_000.0),
        ("outbox_oldest_pending_timestamp_seconds", 1_740_000_000.0),
    ];
    assert_series(&metrics.render(), &expected);
    metrics.set_database(&DatabaseGauges::default());
    let found = series(&metrics.render());
    assert!(
        !found
            .keys()
            .any(|name| name.contains("monthly") || name.contains("linux"))
    );
    assert!(found[r#"keywheel_jobs{kind="rotate",state="queued"}"#] == 0.0);
}

#[test]
fn names_beyond_the_fortieth_share_one_series_and_are_counted() {
    let metrics = Metrics::new().unwrap();
    let due = |count: i64| DatabaseGauges {
        accounts_due: (0..count)
            .map(|policy| ((format!("policy {policy:03}"), "due".to_owned()), 1))
            .collect(),
        ..DatabaseGauges::default()
    };
    metrics.set_database(&due(40));
    assert!(!metrics.render().contains(r#""other""#));
    metrics.set_database(&due(60));
    assert_series(
        &metrics.render(),
        &[
            (r#"accounts_due{policy="other",status="due"}"#, 20.0),
            (r#"accounts_due{policy="policy 039",status="due"}"#, 1.0),
            (
                r#"dropped_label_values_total{metric="keywheel_accounts_due"}"#,
                20.0,
            ),
        ],
    );
    // The same forty everywhere, and a word that is in no set.
    metrics.flagged("policy 050", "age", 2);
    metrics.flagged("policy 001", "age", 1);
    metrics.job_error("telnet", "auth", "denied");
    assert_series(
        &metrics.render(),
        &[
            (
                r#"scheduler_flagged_total{policy="other",reason="age"}"#,
                2.0,
            ),
            (
                r#"scheduler_flagged_total{policy="policy 001",reason="age"}"#,
                1.0,
            ),
            (
                r#"job_errors_total{class="denied",connector="other",phase="auth"}"#,
                1.0,
            ),
        ],
    );
}

#[test]
fn a_full_house_stays_under_2500_series() {
    let metrics = Metrics::new().unwrap();
    let mut gauges = DatabaseGauges::default();
    for number in 0..10_000_i64 {
        let (policy, platform) = (
            format!("policy {}", number % 100),
            format!("p {}", number % 70),
        );
        for state in value::DUE_STATES {
            gauges
                .accounts_due
                .insert((policy.clone(), (*state).to_owned()), number);
        }
        for state in value::ACCOUNT_STATES {
            gauges
                .accounts
                .insert((platform.clone(), (*state).to_owned()), number);
        }
        for reason in value::UNVERIFIED_REASONS {
            gauges
                .accounts_unverified
                .insert((platform.clone(), (*reason).to_owned()), number);
        }
        for reason in value::FLAG_REASONS {
            metrics.flagged(&policy, reason, 1);
        }
        gauges
            .policy_next_run
            .insert(policy, Some(Timestamp(number)));
    }
    metrics.set_database(&gauges);
    for route in 0..120 {
        for status in [200, 404, 500] {
            metrics.http_request(
                "native",
                &format!("/api/v1/r{route}/{{id}}"),
                status,
                SECOND,
            );
        }
    }
    let count = series(&metrics.render()).len();
    assert!(count < 2_500, "{count} series");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_page() {
    let metrics = Metrics::new().unwrap();
    metrics.flagged("a \"quoted\\ policy\n", "age", 1);
    metrics.http_request("native", "/healthz", 200, SECOND);
    metrics.set_database(&DatabaseGauges {
        accounts: [(("linux".to_owned(), "managed".to_owned()), 12)].into(),
        policy_next_run: [("monthly".to_owned(), Some(Timestamp(1)))].into(),
        ..DatabaseGauges::default()
    });
    let output = promtool(root(), &["check", "metrics"], &metrics.render());
    accepted(&output);
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

// Rules.

#[derive(Debug, Default)]
struct Rule {
    name: String,
    alert: bool,
    fields: BTreeMap<String, String>,
}

/// Reads rules that keep to one line a field, as ours do.
fn rules(text: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        let line = line.trim_start();
        let (alert, rest) = (line.starts_with("- alert:"), line.strip_prefix("- "));
        let Some((field, value)) = rest.unwrap_or(line).split_once(':') else {
            continue;
        };
        let value = value.trim().trim_matches('\'').to_owned();
        if field == "alert" || field == "record" {
            rules.push(Rule {
                name: value,
                alert,
                fields: BTreeMap::new(),
            });
        } else if let Some(rule) = rules.last_mut() {
            rule.fields.insert(field.to_owned(), value);
        }
    }
    rules
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let folder = root().join("config/prometheus");
    let files = ["keywheel-recording.yml", "keywheel-alerts.yml"];
    accepted(&promtool(
        &folder,
        &["check", "rules", files[0], files[1]],
        "",
    ));
    accepted(&promtool(
        &folder,
        &["test", "rules", "keywheel-alerts.test.yml"],
        "",
    ));
    accepted(&promtool(&folder, &["check", "config", "scrape.yml"], ""));
}

#[test]
fn every_alert_says_what_it_is_and_has_a_runbook_and_a_test() {
    let tests = read("config/prometheus/keywheel-alerts.test.yml");
    let alerts = rules(ALERT_RULES);
    assert!(alerts.len() > 10 && alerts.iter().all(|rule| rule.alert));
    let mut runbooks = BTreeSet::new();
    for Rule { name, fields, .. } in &alerts {
        assert!(name.starts_with("Keywheel"), "{name}");
        for field in ["expr", "for", "summary", "description"] {
            assert!(
                fields.get(field).is_some_and(|text| text.len() > 1),
                "{name}: {field}"
            );
        }
        assert!(
            ["critical", "warning", "info"].contains(&fields["severity"].as_str()),
            "{name}"
        );
        let path = format!("docs/runbooks/{}.md", kebab(name));
        assert_eq!(fields["runbook_url"], format!("{RUNBOOKS}{path}"));
        let runbook = read(&path);
        assert!(runbook.starts_with(&format!("# {name}\n")), "{path}");
        for heading in ["## What it means", "## What to look at", "## What to do"] {
            assert!(runbook.contains(heading), "{path}: {heading}");
        }
        assert!(
            runbook.contains(&format!("Severity: {}\n", fields["severity"])),
            "{path}"
        );
        runbooks.insert(root().join(path));
        let tested = |expected: &str| {
            tests.split("- eval_time:").any(|part| {
                part.contains(&format!("alertname: {name}\n")) && part.contains(expected)
            })
        };
        assert!(tested("exp_labels:"), "{name} is never seen to fire");
        assert!(tested("exp_alerts: []"), "{name} is never seen not to fire");
    }
    let there: BTreeSet<PathBuf> = std::fs::read_dir(root().join("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(there, runbooks, "a runbook without an alert");
}

// Expressions.

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text,
    Sign(char),
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut letters = expression.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '"' {
            while letters.next().is_some_and(|inside| inside != '"') {}
            found.push(Token::Text);
        } else if letter.is_ascii_alphanumeric() || "_:$.".contains(letter) {
            let mut word = letter.to_string();
            while let Some(next) =
                letters.next_if(|next| next.is_ascii_alphanumeric() || "_:.".contains(*next))
            {
                word.push(next);
            }
            // Numbers and durations are no names.
            if !letter.is_ascii_digit() {
                found.push(Token::Word(word));
            }
        } else if !letter.is_whitespace() {
            found.push(Token::Sign(letter));
        }
    }
    found
}

const FUNCTIONS: &[&str] = &[
    "absent",
    "avg",
    "clamp_min",
    "count",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "rate",
    "sum",
    "time",
    "topk",
    "vector",
];
const PROCESS: &[&str] = &["process_resident_memory_bytes", "process_open_fds"];
const SCRAPED: &[&str] = &["instance", "job"];

/// The labels of a series, or `None` if there is none of that name.
fn labels_of(name: &str) -> Option<BTreeSet<String>> {
    let own = |labels: &[&str]| -> BTreeSet<String> {
        labels
            .iter()
            .chain(SCRAPED)
            .map(|label| (*label).to_owned())
            .collect()
    };
    if PROCESS.contains(&name) {
        return Some(own(&[]));
    }
    if let Some(rule) = rules(RECORDING_RULES)
        .into_iter()
        .find(|rule| rule.name == name)
    {
        let by = rule.name.split(':').next().unwrap().to_owned();
        return Some([by].into());
    }
    DEFINITIONS.iter().find_map(|definition| {
        let labels: Vec<&str> = definition.labels.iter().map(|(label, _)| *label).collect();
        let rest = name.strip_prefix(definition.name)?;
        match (definition.kind, rest) {
            (Kind::Counter | Kind::Gauge, "") | (Kind::Histogram, "_sum" | "_count") => {
                Some(own(&labels))
            }
            (Kind::Histogram, "_bucket") => Some(own(&[&labels[..], &["le"]].concat())),
            _ => None,
        }
    })
}

/// Everything that an expression names and that does not exist.
fn unknown_in(expression: &str) -> Vec<String> {
    let tokens = tokens(expression);
    let mut faults = Vec::new();
    let mut every: BTreeSet<String> = BTreeSet::new();
    let mut grouped: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let Token::Word(word) = token else { continue };
        match word.as_str() {
            "by" | "without" | "on" | "ignoring" => {
                while let Some(token) = tokens.get(at).filter(|token| **token != Token::Sign(')')) {
                    if let Token::Word(label) = token {
                        grouped.push(label.clone());
                    }
                    at += 1;
                }
            }
            "and" | "or" | "unless" => {}
            name if FUNCTIONS.contains(&name) => {}
            // Grafana's variables stand only for ranges outside of texts.
            name if name.starts_with("$__") => {}
            name => {
                let Some(labels) = labels_of(name) else {
                    faults.push(format!("metric {name}"));
                    continue;
                };
                if tokens.get(at) == Some(&Token::Sign('{')) {
                    while let Some(token) = tokens.get(at).filter(|t| **t != Token::Sign('}')) {
                        if let Token::Word(label) = token
                            && !labels.contains(label)
                        {
                            faults.push(format!("label {label} of {name}"));
                        }
                        at += 1;
                    }
                }
                every.extend(labels);
            }
        }
    }
    faults.extend(
        grouped
            .into_iter()
            .filter(|label| !every.contains(label))
            .map(|label| format!("grouping by {label}")),
    );
    faults
}

#[test]
fn the_reader_of_expressions_sees_what_does_not_exist() {
    for (expression, fault) in [
        ("keywheel_job", "metric keywheel_job"),
        ("sum by (policy) (keywheel_jobs)", "grouping by policy"),
        (
            r#"rate(keywheel_jobs{lane="test"}[5m])"#,
            "label lane of keywheel_jobs",
        ),
        (
            "keywheel_job_duration_seconds",
            "metric keywheel_job_duration_seconds",
        ),
        ("keywheel_jobs_bucket > 0", "metric keywheel_jobs_bucket"),
        ("deriv(keywheel_jobs[5m])", "metric deriv"),
        ("up == 0", "metric up"),
        (
            r#"lane:keywheel_job_queue_wait_seconds:p95_rate1h{kind="test"}"#,
            "label kind of lane:keywheel_job_queue_wait_seconds:p95_rate1h",
        ),
    ] {
        assert_eq!(unknown_in(expression), [fault], "{expression}");
    }
    let good = r#"histogram_quantile(0.95, sum by (lane, le) (rate(keywheel_job_queue_wait_seconds_bucket{lane=~"a}b"}[1h]))) > 900"#;
    assert_eq!(unknown_in(good), Vec::<String>::new());
}

#[test]
fn every_rule_asks_for_metrics_and_labels_that_exist() {
    for text in [RECORDING_RULES, ALERT_RULES] {
        let rules = rules(text);
        assert_eq!(rules.len(), text.matches(" expr: ").count());
        for Rule { name, fields, .. } in rules {
            assert_eq!(unknown_in(&fields["expr"]), Vec::<String>::new(), "{name}");
            // What a text fills in must be there to be filled in.
            for text in [fields.get("summary"), fields.get("description")]
                .into_iter()
                .flatten()
            {
                for part in text.split("$labels.").skip(1) {
                    let label: String = part
                        .chars()
                        .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                        .collect();
                    let known = DEFINITIONS.iter().any(|definition| {
                        definition.labels.iter().any(|(known, _)| *known == label)
                    });
                    assert!(
                        known || SCRAPED.contains(&label.as_str()),
                        "{name}: {label}"
                    );
                }
            }
        }
    }
}

fn expressions(panel: &Value) -> Vec<(String, String)> {
    let title = panel["title"].as_str().unwrap().to_owned();
    let of = |field: &str| panel[field].as_array().cloned().unwrap_or_default();
    let mut found: Vec<(String, String)> = of("targets")
        .iter()
        .map(|target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
        .collect();
    found.extend(of("panels").iter().flat_map(expressions));
    found
}

#[test]
fn every_panel_asks_for_metrics_and_labels_that_exist() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "instance", "policy", "connector"]);
    for variable in dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .skip(1)
    {
        let query = variable["definition"].as_str().unwrap();
        let inner = query
            .strip_prefix("label_values(")
            .unwrap()
            .strip_suffix(')')
            .unwrap();
        let (metric, label) = inner.split_once(", ").unwrap();
        assert!(labels_of(metric).unwrap().contains(label), "{query}");
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels
        .iter()
        .map(|panel| panel["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len());
    let found: Vec<(String, String)> = panels.iter().flat_map(expressions).collect();
    assert!(found.len() > 20);
    let mut checked = Vec::new();
    for (number, (title, expression)) in found.iter().enumerate() {
        assert_eq!(unknown_in(expression), Vec::<String>::new(), "{title}");
        for variable in expression.split('$').skip(1) {
            let name: String = variable
                .chars()
                .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                .collect();
            assert!(
                variables.contains(&name.as_str()) || name == "__rate_interval",
                "{title}"
            );
        }
        checked.push(serde_json::json!({
            "record": format!("panel:{number}:check"),
            "expr": expression.replace("$__rate_interval", "5m"),
        }));
    }
    // JSON is YAML, so promtool can be asked about all of them at once.
    let folder = tempfile::tempdir().unwrap();
    let file = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": checked }] });
    std::fs::write(folder.path().join("panels.yml"), file.to_string()).unwrap();
    accepted(&promtool(
        folder.path(),
        &["check", "rules", "panels.yml"],
        "",
    ));
}
