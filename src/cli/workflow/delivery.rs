//! `keywheel workflow deliveries` and `redeliver`: what became of notices, and sending them again.
//!
//! Invariant: what a receiver answered is shown in the service's words, never in its own.

use clap::Args;
use serde_json::{Value, json};

use super::super::output::{Format, cell, json as print_json, rows};
use super::super::remote::Remote;
use super::super::{Exit, Globals, block_on};

/// Columns of a table, and the fields that they show.
const COLUMNS: [(&str, &str); 8] = [
    ("id", "id"),
    ("event", "event_at"),
    ("kind", "kind"),
    ("channel", "channel"),
    ("action", "action"),
    ("about", "about"),
    ("status", "status"),
    ("error", "error"),
];

/// Show a workflow's newest deliveries with their attempts
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel workflow deliveries 3 --last 50")]
pub(super) struct Deliveries {
    /// The workflow's id; it may be deleted
    id: i64,
    /// How many, 1 to 200
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 20,
        value_parser = clap::value_parser!(u8).range(1..=200)
    )]
    last: u8,
    #[command(flatten)]
    remote: Remote,
}

/// Send a delivery again that was sent or has failed
///
/// It goes under its old id, with as many attempts as a new one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel workflow redeliver 1205")]
pub(super) struct Redeliver {
    /// The delivery's id
    id: i64,
    #[command(flatten)]
    remote: Remote,
}

impl Deliveries {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let path = format!("/api/v1/workflows/{}/deliveries", self.id);
        let last = self.last.to_string();
        let found = block_on(service.page(&path, &[("limit", last.as_str())]))??;
        printed(globals.output, &found)
    }
}

impl Redeliver {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let path = format!("/api/v1/deliveries/{}/redeliver", self.id);
        let queued: Value = block_on(service.post(&path, &json!({})))??;
        match globals.output {
            Format::Json => print_json(&queued),
            Format::Table => printed(Format::Table, &[queued]),
        }
    }
}

fn printed(format: Format, deliveries: &[Value]) -> Result<Exit, Exit> {
    let mut heads = COLUMNS.map(|(head, _)| head).to_vec();
    heads.insert(heads.len() - 1, "attempts");
    rows(format, &heads, deliveries, |one| {
        let mut cells = COLUMNS.map(|(_, field)| cell(one, field)).to_vec();
        let attempts = one.get("attempts").and_then(Value::as_array);
        let attempts = attempts.map_or(0, Vec::len).to_string();
        cells.insert(cells.len() - 1, attempts);
        cells
    })
}
