//! Whatever is sent as a policy.

use proptest::prelude::*;

use super::*;
use crate::fuzz::{check, mutant_texts, mutants, share};

const TOKENS: &[&str] = &[
    "\"max_age\":",
    "\"windows\":[",
    "\"blackouts\":[",
    "\"cron\":",
    "* * * * *",
    "\"0 0 31 2 *\"",
    "\"zone\":",
    "Europe/Berlin",
    "\"jitter\":",
    "0.9",
    "\"from\":",
    "\"until\":",
    "\"2026-06-01T00:00:00Z\"",
    "[[[[",
    "1e999",
];

#[test]
fn a_policy_is_read_back_as_it_is_written_or_every_fault_has_its_place() {
    let seeds = [
        r#"{"name": "p", "max_age": "90d", "jitter": 0.1, "mode": "auto", "priority": 3}"#,
        r#"{"name": "p", "max_age": 30, "windows": [{"cron": "0 2 * * SUN", "duration": "4h", "zone": "Europe/Berlin"}],
            "retry": {"attempts": 3, "first": "1m", "factor": 2, "up_to": "1h", "spread": 0.5}}"#,
        r#"{"name": "p", "max_age": "1w", "blackouts": [{"from": "2026-06-01T00:00:00Z", "until": "2026-06-02T00:00:00+02:00"},
            {"cron": "*/20 1-3 L * MON-FRI", "duration": "30m", "zone": "UTC"}], "check_every": "12h",
            "risk_analysis": {"reference": "r", "owner": "o", "review_date": "2027-01-31"}}"#,
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec()).into();
    share("policy::from_json", 32, &mutants(seeds, TOKENS), |body| {
        let Ok(document) = serde_json::from_slice::<Value>(&body) else {
            return Ok(());
        };
        match Policy::from_json(&document) {
            Ok(policy) => {
                let written = policy.to_json();
                let again = Policy::from_json(&written)
                    .map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(again.to_json(), written);
            }
            Err(error) => {
                prop_assert!(!error.faults.is_empty());
                for fault in &error.faults {
                    prop_assert!(fault.pointer.is_empty() || fault.pointer.starts_with('/'));
                    prop_assert!(fault.message.len() < 500, "{}", fault.message);
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_pattern_that_is_taken_opens_again_and_again() {
    let seeds = [
        "*/15 2 * * *",
        "0 0 29 2 *",
        "0-30/5 1,3 L * MON-FRI",
        "59 23 1-7 * +SUN",
        "0 0 * JAN#1 5#2",
    ];
    let tokens = &[
        "*", "/", "-", ",", "L", "W", "#", "?", "+", "@daily", "MON", "99", "/0", "60",
    ];
    share(
        "policy::parse_pattern",
        64,
        &mutant_texts(&seeds, tokens),
        |pattern| {
            let parsed = super::super::window::parse_pattern(&pattern);
            if let Err(error) = &parsed {
                prop_assert!(error.to_string().len() < 400, "{}", error);
                return Ok(());
            }
            prop_assert_eq!(pattern.split_whitespace().count(), 5);
            let document = json!({"name": "p", "max_age": "90d", "windows": [
            {"cron": pattern.trim(), "duration": "30m", "zone": "Europe/Berlin"}]});
            let Ok(policy) = Policy::from_json(&document) else {
                return Ok(());
            };
            let window = &policy.windows()[0];
            let now = Timestamp(1_750_000_000_000);
            if let Some(first) = window.next_start(now) {
                prop_assert!(first >= now);
                prop_assert_eq!(window.last_start(first), Some(first));
                prop_assert!(window.open_since(first).is_some());
            }
            Ok(())
        },
    );
}

#[test]
fn a_policy_of_any_json_is_refused_or_read() {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9*/ :.-]{0,12}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "name",
        "max_age",
        "windows",
        "blackouts",
        "cron",
        "zone",
        "retry",
        "jitter",
        "from",
        "x/~",
    ]);
    let any_json = leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    check("policy::from_json of any JSON", &any_json, |document| {
        if let Err(error) = Policy::from_json(&document) {
            prop_assert!(!error.faults.is_empty());
        }
        Ok(())
    });
}
