//! `keywheel recover`: opens an escrow journal, without service, settings or database.
//!
//! Invariant: a value goes to the file that was named and nowhere else.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use age::x25519::Identity;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::output::{plain, rows, say};
use super::password::Out;
use super::{Exit, Globals};
use crate::escrow::{Opened, Owner, Recovered, recover};

/// An identity file is a few lines.
const IDENTITY_MAX_BYTES: u64 = 64 << 10;

/// Open an escrow journal: every credential that it holds, whatever became of the database
///
/// Without --out it lists whose credentials the journal holds, and no value.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  keywheel recover /mnt/escrow/node1.journal --identity escrow.key --out recovered.json"
)]
pub(super) struct Recover {
    /// The journal
    journal: PathBuf,
    /// The file with the identity that age-keygen made for the recipient of the settings
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// Write all values to a new file, mode 0600, as JSON; of each owner the newest first
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What the list shows of an owner.
#[derive(Debug, Serialize)]
struct Item {
    kind: &'static str,
    id: i64,
    /// How it was last called.
    name: Option<Value>,
    versions: usize,
    newest_at: Option<String>,
}

impl Recover {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let identity = identity(&self.identity)?;
        let out = self.out.as_deref().map(Out::new).transpose()?;
        let failed = |error: std::io::Error| {
            say(&format!(
                "{} cannot be read: {error}",
                self.journal.display()
            ));
            Exit::Failed
        };
        let file = File::open(&self.journal).map_err(failed)?;
        let found = recover(BufReader::new(file), &identity).map_err(failed)?;
        let usable = self.tell(&found);
        if let (Some(out), Some(path)) = (out, &self.out) {
            out.fill(&found.document())?;
            let values: usize = found.values.values().map(Vec::len).sum();
            say(&format!("{values} values are in {}", path.display()));
        } else {
            list(&found, globals)?;
        }
        if usable {
            Ok(Exit::Done)
        } else {
            Err(Exit::Failed)
        }
    }

    /// Names lines that could not be used. `false`: some of them are whole.
    fn tell(&self, found: &Recovered) -> bool {
        let journal = self.journal.display();
        for number in &found.torn {
            say(&format!(
                "{journal}, line {number}: cut short by a crash; what it would have held was never used"
            ));
        }
        if found.values.is_empty() && !found.foreign.is_empty() {
            say(&format!(
                "{journal}: no line opens with this identity; it is another recipient's"
            ));
            return false;
        }
        for number in &found.foreign {
            say(&format!(
                "{journal}, line {number}: edited, or sealed for another recipient; left out"
            ));
        }
        found.foreign.is_empty()
    }
}

/// Reads the identity; lines that begin with # are comments.
fn identity(path: &Path) -> Result<Identity, Exit> {
    let mut text = Zeroizing::new(String::new());
    let read =
        File::open(path).and_then(|file| file.take(IDENTITY_MAX_BYTES).read_to_string(&mut text));
    if let Err(error) = read {
        say(&format!("{} cannot be read: {error}", path.display()));
        return Err(Exit::Failed);
    }
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    line.and_then(|line| line.parse().ok()).ok_or_else(|| {
        say(&format!(
            "{} holds no identity of age; one begins with AGE-SECRET-KEY-1",
            path.display()
        ));
        Exit::Usage
    })
}

fn list(found: &Recovered, globals: &Globals) -> Result<Exit, Exit> {
    let item = |(owner, values): (&Owner, &Vec<Opened>)| {
        let (kind, id) = owner.word();
        Item {
            kind,
            id,
            name: found.names.get(owner).cloned(),
            versions: values.len(),
            newest_at: values.last().map(|newest| newest.at.clone()),
        }
    };
    let items: Vec<_> = found.values.iter().map(item).collect();
    let heads = ["kind", "id", "name", "values", "newest"];
    rows(globals.output, &heads, &items, |one| {
        let name = one.name.as_ref();
        let name = name.and_then(|name| name["name"].as_str());
        vec![
            one.kind.to_owned(),
            one.id.to_string(),
            plain(name.unwrap_or("-")),
            one.versions.to_string(),
            plain(one.newest_at.as_deref().unwrap_or("-")),
        ]
    })
}
