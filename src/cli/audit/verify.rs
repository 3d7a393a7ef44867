//! `keywheel audit verify`: holds the trail against its macs, and against its anchors.
//!
//! Invariant: with an export and a key, neither database nor settings are looked at.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::super::output::{Format, json, print, say};
use super::super::{Exit, Globals, block_on, failed, load};
use super::Ended;
use crate::app;
use crate::config::{Settings, read_secret_file};
use crate::model::audit_chain::{
    Anchor, AnchorFault, AuditorKey, Broken, Flaw, Line, Link, Verifier,
};

/// Longest line of an export or of anchors. A row's body is far below it.
const LINE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Rows of the database that are verified at once.
const CHUNK: i64 = 10_000;

/// Verify the trail; exit with 1 and name the first broken row if it is not sound
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  keywheel audit verify --export audit.jsonl --key audit-key.json --anchors audit-anchors.jsonl"
)]
pub(super) struct Verify {
    /// An export; without it, the database of the settings
    #[arg(long, value_name = "FILE", requires = "key")]
    export: Option<PathBuf>,
    /// The auditor's key, from `keywheel audit key --out`
    #[arg(long, value_name = "FILE", requires = "export")]
    key: Option<PathBuf>,
    /// Anchors; may be given for each node. For the database: those of the settings, if none is given
    #[arg(long, value_name = "FILE")]
    anchors: Vec<PathBuf>,
    /// The place at which an export begins that is not the whole trail
    #[arg(long, value_name = "SEQ", requires = "export", default_value_t = 1,
          value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// The place at which such an export ends; anchors behind it are not looked at
    #[arg(long, value_name = "SEQ", requires = "export",
          value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
}

/// What was found.
#[derive(Serialize)]
struct Found {
    sound: bool,
    /// The last place that was found sound.
    to: i64,
    rows: u64,
    anchors: u64,
    broken: Option<Shown>,
}

/// The first row at which the chain breaks.
#[derive(Serialize)]
struct Shown {
    seq: i64,
    id: Option<i64>,
    flaw: &'static str,
    detail: String,
}

impl Verify {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let mut found = Found {
            sound: false,
            to: 0,
            rows: 0,
            anchors: 0,
            broken: None,
        };
        let result = match (&self.export, &self.key) {
            (Some(export), Some(key)) => self.exported(export, key, &mut found)?,
            _ => self.stored(globals, &mut found)?,
        };
        found.sound = result.is_ok();
        found.broken = result.err().map(|broken| Shown {
            seq: broken.seq,
            id: broken.id.map(|id| id.0),
            flaw: broken.flaw.name(),
            detail: broken.to_string(),
        });
        match (globals.output, &found.broken) {
            (Format::Json, _) => json(&found)?,
            (Format::Table, Some(broken)) => print(&format!("broken: {}", broken.detail))?,
            (Format::Table, None) => print(&format!(
                "sound: {} rows up to seq {}; {} anchors agree",
                found.rows, found.to, found.anchors
            ))?,
        };
        Ok(if found.sound {
            Exit::Done
        } else {
            Exit::Failed
        })
    }

    /// Verifies an export; neither settings nor database are needed.
    fn exported(
        &self,
        export: &Path,
        key: &Path,
        found: &mut Found,
    ) -> Result<Result<(), Broken>, Exit> {
        let text = read_secret_file(key).map_err(|error| told(&error))?;
        let key = AuditorKey::parse(&text)
            .map_err(|error| told(&format!("{}: {error}", key.display())))?;
        let to = self.to.unwrap_or(i64::MAX);
        let mut anchors = anchors(&self.anchors, &key)?;
        anchors.retain(|anchor| anchor.seq <= to);
        let mut lines = Lines::open(export)?;
        let mut next = || -> Result<Option<Line>, Exit> {
            let Some(line) = lines.next()? else {
                return Ok(None);
            };
            let read = Line::parse(&line).map_err(|fault| lines.fault(&fault))?;
            Ok(Some(read))
        };
        let mut line = next()?;
        let mut from = Link::START;
        if self.from > 1
            && let Some(first) = line.as_ref().filter(|line| line.seq == self.from)
            && let Some(previous) = first.previous
        {
            from = Link {
                seq: first.seq - 1,
                mac: previous,
            };
        }
        let mut verifier = match Verifier::new(&key.chain, from).anchored(anchors) {
            Ok(verifier) => verifier,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut result = Ok(());
        while let (Some(one), Ok(())) = (line, &result) {
            if verifier.last().seq >= to {
                break;
            }
            result = verifier.row(&one.sealed());
            line = next()?;
        }
        found.take(&verifier);
        let newest = verifier.last().seq;
        let cut = self.to.filter(|to| newest < *to).map(|seq| Broken {
            seq,
            id: None,
            flaw: Flaw::Truncated { newest },
        });
        Ok(result
            .and_then(|()| verifier.end())
            .and_then(|()| cut.map_or(Ok(()), Err)))
    }

    /// Verifies the database that the settings name.
    fn stored(&self, globals: &Globals, found: &mut Found) -> Result<Result<(), Broken>, Exit> {
        let settings = load(&globals.inputs(Vec::new()))?.settings;
        let mut files = self.anchors.clone();
        if files.is_empty() && settings.anchor_file().exists() {
            files.push(settings.anchor_file());
        }
        if files.is_empty() {
            say("no anchors were found: rows that were cut off at the end are not missed");
        }
        block_on(database(&settings, &files, found))?
    }
}

async fn database(
    settings: &Settings,
    files: &[PathBuf],
    found: &mut Found,
) -> Result<Result<(), Broken>, Exit> {
    let store = app::audit_store(settings).await;
    let store = store.map_err(|error| failed(&error))?;
    let keys = app::audit_keys(settings, &store).await;
    let key = keys.map_err(|error| failed(&error))?.auditor();
    // Anchors first: what is sealed meanwhile is beyond them all.
    let anchors = anchors(files, &key)?;
    let mut verifier = match Verifier::new(&key.chain, Link::START).anchored(anchors) {
        Ok(verifier) => verifier,
        Err(broken) => return Ok(Err(broken)),
    };
    let mut result = Ok(false);
    while let Ok(false) = result {
        let chunk = store.verify_audit(&mut verifier, CHUNK).await;
        result = chunk.map_err(|error| Ended::Store(error).said())?;
    }
    store.close().await;
    found.take(&verifier);
    Ok(result.map(|_| ()))
}

impl Found {
    fn take(&mut self, verifier: &Verifier<'_>) {
        self.to = verifier.last().seq;
        self.rows = verifier.rows();
        self.anchors = verifier.anchors_met();
    }
}

fn told(error: &impl ToString) -> Exit {
    say(&error.to_string());
    Exit::Failed
}

/// The anchors that count. One that somebody has changed is a fault; a line that was cut short says
/// nothing.
fn anchors(files: &[PathBuf], key: &AuditorKey) -> Result<Vec<Link>, Exit> {
    let mut found = Vec::new();
    for file in files {
        let mut lines = Lines::open(file)?;
        while let Some(line) = lines.next()? {
            let checked = Anchor::parse(&line)
                .and_then(|anchor| anchor.check(&key.store, &key.anchors).map(|()| anchor));
            match checked {
                Ok(anchor) => found.push(anchor.link()),
                Err(fault @ AnchorFault::Malformed) => {
                    lines.fault(&fault);
                }
                Err(fault @ (AnchorFault::OtherStore | AnchorFault::Signature)) => {
                    return Err(lines.fault(&fault));
                }
            }
        }
    }
    Ok(found)
}

/// A file's lines, with their numbers.
struct Lines {
    path: PathBuf,
    number: u64,
    reader: BufReader<File>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Exit> {
        let file = File::open(path);
        let file = file.map_err(|error| unreadable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            number: 0,
            reader: BufReader::new(file),
        })
    }

    /// The next line that is not empty.
    fn next(&mut self) -> Result<Option<String>, Exit> {
        loop {
            let mut line = String::new();
            let read = self
                .reader
                .by_ref()
                .take(LINE_MAX_BYTES)
                .read_line(&mut line);
            if read.map_err(|error| unreadable(&self.path, &error))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !line.trim().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Says what is wrong with the line that was read last.
    fn fault(&self, fault: &impl ToString) -> Exit {
        told(&format!(
            "{} line {}: {}",
            self.path.display(),
            self.number,
            fault.to_string()
        ))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Exit {
    told(&format!("{} cannot be read: {error}", path.display()))
}
