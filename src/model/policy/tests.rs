//! Policies as a whole: reading, choosing a run, clock changes, previews.

mod clock;
mod fuzz;
mod preview;
mod property;
mod read;
mod run;

use std::time::Duration;

use chrono::DateTime;
use serde_json::{Value, json};

use super::*;
use crate::model::Timestamp;

const DAY: Duration = Duration::from_hours(24);

fn at(text: &str) -> Timestamp {
    Timestamp::from_utc(DateTime::parse_from_rfc3339(text).unwrap().to_utc())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write the document in place"
)]
fn policy(document: Value) -> Policy {
    Policy::from_json(&document).unwrap()
}

fn window(cron: &str, duration: &str, zone: &str) -> Value {
    json!({ "cron": cron, "duration": duration, "zone": zone })
}

fn one_window(cron: &str, zone: &str) -> Window {
    let policy =
        policy(json!({ "name": "p", "max_age": "30d", "windows": [window(cron, "1h", zone)] }));
    policy.windows()[0].clone()
}

fn faults(document: &Value) -> Vec<(String, String)> {
    Policy::from_json(document)
        .unwrap_err()
        .faults
        .into_iter()
        .map(|fault| (fault.pointer, fault.message))
        .collect()
}
