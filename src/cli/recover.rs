//! `keywheel recover`: opens an escrow journal, without service, settings or database; with
//! `--into-store` it puts back what the database has lost.
//!
//! Invariant: a value goes to the file that was named, or sealed into the database, and nowhere else.

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
use super::{Exit, Globals, block_on, failed, load};
use crate::app;
use crate::clock::SystemClock;
use crate::escrow::{Opened, Owner, Recovered, recover};
use crate::generate::{Dice, SystemDice};

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
    /// Put what the database of the settings lacks of managed accounts back into it, as kept versions;
    /// the service must be stopped if that is a file
    #[arg(long, conflicts_with = "out")]
    into_store: bool,
    /// Only say what would be put back
    #[arg(long, requires = "into_store")]
    dry_run: bool,
}

/// What a list shows of an account that got something back.
#[derive(Debug, Serialize)]
struct Back {
    account_id: i64,
    name: String,
    /// As the journal numbers them, and as the database does.
    versions: Vec<(i64, i64)>,
    unreadable: Vec<i64>,
    missing: bool,
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
        if self.into_store {
            self.put_back(&found, globals)?;
        } else if let (Some(out), Some(path)) = (out, &self.out) {
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

    fn put_back(&self, found: &Recovered, globals: &Globals) -> Result<Exit, Exit> {
        let settings = load(&globals.inputs(Vec::new()))?.settings;
        let clock = SystemClock::shared();
        let means = (&clock, &SystemDice as &dyn Dice);
        let done = block_on(app::put_back(&settings, found, self.dry_run, means))?;
        let done = done.map_err(|error| failed(&error))?;
        let items: Vec<Back> = done
            .into_iter()
            .map(|(account, one)| Back {
                account_id: account.0,
                name: one.name,
                versions: one.versions,
                unreadable: one.unreadable,
                missing: one.is_missing,
            })
            .collect();
        let others = found.values.keys();
        let others = others.filter(|owner| !matches!(owner, Owner::Account(_)));
        let (count, would) = (others.count(), if self.dry_run { "would be " } else { "" });
        let versions: usize = items.iter().map(|one| one.versions.len()).sum();
        say(&format!(
            "{versions} versions {would}put back; next: `keywheel regression test --all`. Functional \
             accounts and password records ({count} in the journal) are not put back: --out writes \
             their values"
        ));
        let heads = ["account", "name", "versions", "what else"];
        rows(globals.output, &heads, &items, |one| {
            let versions = one.versions.iter().map(|(theirs, ours)| {
                if theirs == ours {
                    ours.to_string()
                } else {
                    format!("{theirs} as {ours}")
                }
            });
            let more = if one.missing {
                "the database has no such account".to_owned()
            } else if one.unreadable.is_empty() {
                "-".to_owned()
            } else {
                format!("versions {:?} cannot be read", one.unreadable)
            };
            vec![
                one.account_id.to_string(),
                plain(&one.name),
                versions.collect::<Vec<_>>().join(", "),
                more,
            ]
        })
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
