//! What commands print.
//!
//! Invariant: a reader that has gone away (a closed pipe) is no failure of the command.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use serde_json::Value;

use super::Exit;

/// Form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// One JSON document
    Json,
}

/// Prints to stdout.
pub(super) fn print(text: &str) -> Result<Exit, Exit> {
    line(text.trim_end())
}

/// Prints to stdout, as it stands.
pub(super) fn line(text: &str) -> Result<Exit, Exit> {
    let mut out = io::stdout().lock();
    let printed = writeln!(out, "{text}").and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            say(&format!("nothing could be printed: {error}"));
            Err(Exit::Failed)
        }
        _ => Ok(Exit::Done),
    }
}

/// Prints to stderr; if even that fails there is nobody to tell.
pub(super) fn say(text: &str) {
    writeln!(io::stderr(), "{text}").unwrap_or_default();
}

/// A text without what a terminal obeys.
pub(super) fn plain(text: &str) -> String {
    let plain = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(plain).collect()
}

/// A field of an answer, as tables show it.
pub(super) fn cell(answer: &Value, field: &str) -> String {
    match answer.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        // Other people's words: none of them moves the cursor.
        Some(Value::String(text)) => plain(text),
        Some(other) => plain(&other.to_string()),
    }
}

/// Prints rows: as a table with these heads, or as JSON.
pub(super) fn rows<T: Serialize>(
    format: Format,
    heads: &[&str],
    rows: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> Result<Exit, Exit> {
    match format {
        Format::Json => json(&rows),
        Format::Table => {
            let mut table = Table::new();
            table
                .load_preset(NOTHING)
                .set_header(heads.iter().map(|head| head.to_uppercase()))
                .add_rows(rows.iter().map(cells));
            print(&table.to_string())
        }
    }
}

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<Exit, Exit> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&text),
        Err(error) => {
            say(&format!("the result is no JSON: {error}"));
            Err(Exit::Failed)
        }
    }
}
