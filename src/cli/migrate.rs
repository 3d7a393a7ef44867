//! `keywheel migrate`: the database's schema.
//!
//! Invariant: only `up` changes anything.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Format, json, rows};
use super::{Exit, Globals, block_on, failed, load};
use crate::app;
use crate::clock::SystemClock;
use crate::store::SchemaState;

/// Look at the database's schema, or bring it up to date
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel migrate status")]
pub(super) struct Migrate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print where the schema stands
    #[command(after_help = "Example:\n  keywheel migrate status --output json")]
    Status,
    /// Bring the schema up to date; a SQLite file is copied beside itself first
    #[command(after_help = "Example:\n  keywheel migrate up")]
    Up,
    /// Print where the schema stands; exit with 4 if migrations are pending
    #[command(after_help = "Example:\n  keywheel migrate check")]
    Check,
}

#[derive(Serialize)]
struct Shown {
    database: String,
    exists: bool,
    found: i64,
    known: Option<i64>,
    pending: bool,
}

impl Migrate {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let inputs = globals.inputs(Vec::new());
        let settings = load(&inputs)?.settings;
        let up = matches!(self.what, What::Up);
        let stands = block_on(async {
            if up {
                app::migrate(&settings, &SystemClock::shared()).await
            } else {
                app::migration(&settings).await
            }
        })?
        .map_err(|error| failed(&error))?;
        let shown = Shown {
            database: stands.place,
            exists: stands.schema.is_some(),
            found: stands.schema.map_or(0, |schema| schema.found),
            known: stands.schema.map(|schema| schema.known),
            pending: stands.schema.is_none_or(SchemaState::is_older),
        };
        match globals.output {
            Format::Json => json(&shown)?,
            Format::Table => rows(
                Format::Table,
                &["database", "schema", "needed", "pending"],
                std::slice::from_ref(&shown),
                |one| {
                    let needed = one.known.map_or_else(|| "-".to_owned(), |n| n.to_string());
                    let pending = if one.pending { "yes" } else { "no" };
                    vec![
                        one.database.clone(),
                        one.found.to_string(),
                        needed,
                        pending.to_owned(),
                    ]
                },
            )?,
        };
        Ok(match self.what {
            What::Check if shown.pending => Exit::Pending,
            What::Check | What::Status | What::Up => Exit::Done,
        })
    }
}
