//! `keywheel audit`: the audit trail, for those who verify it.
//!
//! Invariant: nothing here changes the trail, and what an auditor needs to verify opens no secret.

mod tail;
mod verify;

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Format, json, print, say};
use super::{Exit, Globals, block_on, failed, load};
use crate::app::{self, AppError};
use crate::store::{Store, StoreError};
use tail::Tail;
use verify::Verify;

/// Export and verify the audit trail
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel audit verify")]
pub(super) struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write every sealed row as a JSON line
    #[command(after_help = "Example:\n  keywheel audit export --out audit.jsonl")]
    Export {
        /// A file that is not there yet; without it, to stdout
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The first row, by its place in the chain
        #[arg(long, value_name = "SEQ", default_value_t = 1,
              value_parser = clap::value_parser!(i64).range(1..))]
        from: i64,
        /// The last row; without it, the newest
        #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
        to: Option<i64>,
    },
    Tail(Tail),
    Verify(Verify),
    /// Print the newest anchor
    #[command(after_help = "Example:\n  keywheel audit anchor")]
    Anchor,
    /// Write the key that an auditor needs, or print its public half
    #[command(after_help = "Example:\n  keywheel audit key --out audit-key.json")]
    Key {
        /// A file that is not there yet; who has it can verify the trail, and open nothing
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// The public half of an auditor's key.
#[derive(Serialize)]
struct Public {
    store: String,
    anchor_key: String,
}

impl Audit {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        match self.what {
            What::Export { out, from, to } => export(globals, out.as_deref(), (from, to)),
            What::Tail(tail) => tail.run(globals),
            What::Verify(verify) => verify.run(globals),
            What::Anchor => anchor(globals),
            What::Key { out } => key(globals, out.as_deref()),
        }
    }
}

/// Why a command about the trail came to no end.
enum Ended {
    App(AppError),
    Store(StoreError),
    File(PathBuf, io::Error),
}

impl From<AppError> for Ended {
    fn from(error: AppError) -> Self {
        Self::App(error)
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Ended {
    fn said(self) -> Exit {
        match self {
            Self::App(error) => failed(&error),
            Self::Store(error) => {
                say(&format!("the audit trail could not be read: {error}"));
                Exit::Failed
            }
            Self::File(path, error) if error.kind() == io::ErrorKind::BrokenPipe => {
                drop(path);
                Exit::Done
            }
            Self::File(path, error) => {
                say(&format!("{} cannot be written: {error}", path.display()));
                Exit::Failed
            }
        }
    }
}

fn export(globals: &Globals, out: Option<&Path>, part: (i64, Option<i64>)) -> Result<Exit, Exit> {
    let settings = load(&globals.inputs(Vec::new()))?.settings;
    let written = block_on(async {
        let store = app::audit_store(&settings).await?;
        let written = write_rows(&store, out, part).await;
        store.close().await;
        written
    })?;
    let rows = written.map_err(Ended::said)?;
    if let Some(path) = out {
        say(&format!("{rows} rows are in {}", path.display()));
    }
    Ok(Exit::Done)
}

async fn write_rows(
    store: &Store,
    out: Option<&Path>,
    (from, to): (i64, Option<i64>),
) -> Result<u64, Ended> {
    let path = out.unwrap_or(Path::new("stdout"));
    let of_file = |error| Ended::File(path.to_owned(), error);
    let target: Box<dyn Write> = match out {
        None => Box::new(io::stdout()),
        Some(path) => {
            let mut options = OpenOptions::new();
            // Rows hold names and reasons: they are for whoever exports them.
            let file = options.write(true).create_new(true).mode(0o600).open(path);
            Box::new(file.map_err(of_file)?)
        }
    };
    let mut target = BufWriter::new(target);
    let mut export = store.export_audit(from, to).await?;
    let mut written = 0;
    while let Some((lines, rows)) = export.page().await? {
        target.write_all(lines.as_bytes()).map_err(of_file)?;
        written += rows;
    }
    target.flush().map_err(of_file)?;
    Ok(written)
}

fn anchor(globals: &Globals) -> Result<Exit, Exit> {
    let settings = load(&globals.inputs(Vec::new()))?.settings;
    let newest = block_on(async {
        let store = app::audit_store(&settings).await?;
        let newest = store.audit_anchors(1).await;
        store.close().await;
        Ok(newest?.pop())
    })?
    .map_err(Ended::said)?;
    let Some(newest) = newest else {
        say("there is no anchor yet: the service writes the first within a minute");
        return Err(Exit::Failed);
    };
    match globals.output {
        Format::Json => json(&newest),
        Format::Table => print(&newest.to_line().unwrap_or_default()),
    }
}

fn key(globals: &Globals, out: Option<&Path>) -> Result<Exit, Exit> {
    let settings = load(&globals.inputs(Vec::new()))?.settings;
    let keys = block_on(async {
        let store = app::audit_store(&settings).await?;
        let keys = app::audit_keys(&settings, &store).await;
        store.close().await;
        keys
    })?;
    let auditor = keys.map_err(|error| failed(&error))?.auditor();
    let Some(path) = out else {
        return json(&Public {
            store: auditor.store.clone(),
            anchor_key: auditor.anchors.to_string(),
        });
    };
    let text = auditor.to_text().map_err(|fault| {
        say(&fault.to_string());
        Exit::Failed
    })?;
    app::write_new(path, text.as_bytes()).map_err(|error| failed(&error.into()))?;
    print(&format!("made {}", path.display()))
}
