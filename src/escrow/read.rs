//! Reads a journal with the identity that it was written for.
//!
//! Invariant: a line that cannot be used is counted and named by its number, never taken for
//! another and never a reason to leave out the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{BufRead, Read as _};

use age::x25519::{Identity, Recipient};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::line::{Line, Note, Owner, Print};
use crate::model::Timestamp;

/// A line longer than this is none of ours, and is read in pieces.
const LINE_MAX_BYTES: u64 = 1 << 20;

/// A value of the journal.
#[derive(Clone, Debug)]
pub struct Opened {
    /// When it was written, RFC 3339.
    pub at: String,
    /// What tells it from others.
    pub print: Option<Print>,
    /// Which of its owner's secrets: the column's name in the database.
    pub part: String,
    /// Its version; 0 where a value has none.
    pub version: i64,
    /// The secret.
    pub value: SecretString,
}

impl Opened {
    /// When it was written.
    pub fn moment(&self) -> Option<Timestamp> {
        moment(&self.at)
    }
}

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Recovered {
    /// How owners were last called.
    pub names: BTreeMap<Owner, Value>,
    /// Their values, in the order in which they were written.
    pub values: BTreeMap<Owner, Vec<Opened>>,
    /// Versions, by account, that a target may have heard of.
    pub sent: BTreeSet<(i64, i64)>,
    /// Numbers of lines that are none, from 1: a crash cut them short, and nothing was ever done by
    /// what they would have held.
    pub torn: Vec<usize>,
    /// Numbers of whole lines that do not open: edited, or for another identity.
    pub foreign: Vec<usize>,
}

/// Values that a journal has, by their prints.
pub type Known = HashSet<Print>;

/// Hands over each line and its number, from 1; empty ones follow those that were cut short.
fn lines(mut from: impl BufRead, mut take: impl FnMut(usize, &[u8])) -> std::io::Result<()> {
    let mut raw = Vec::new();
    for number in 1.. {
        raw.clear();
        let read = from
            .by_ref()
            .take(LINE_MAX_BYTES)
            .read_until(b'\n', &mut raw)?;
        if read == 0 {
            break;
        }
        if !raw.trim_ascii().is_empty() {
            take(number, &raw);
        }
    }
    Ok(())
}

/// What a journal's lines say, without opening any.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Whose journal it is: the database that it was last begun for.
    pub store: Option<String>,
    /// Values that it has for the recipient.
    pub known: Known,
    /// Values of accounts that the database has committed.
    pub committed: Known,
    /// Which value of each secret of a functional account the database has committed last: its line.
    functional: BTreeMap<(i64, String), usize>,
    /// The latest version of each account that a target may have heard of, and when.
    pub sent: BTreeMap<i64, (i64, Timestamp)>,
    /// Values of accounts of which nobody has said yet that they were committed.
    queued: Known,
    /// Values of functional accounts, and the line of each.
    logins: HashMap<Print, (i64, String, usize)>,
}

impl Held {
    /// Takes values for committed of which nobody has said so: the last notes before a crash may not
    /// have come to the disk.
    pub fn suppose_committed(&mut self) {
        self.committed.extend(self.queued.drain());
    }

    /// True if the database is on record as having committed this value.
    pub fn is_committed(&self, owner: Owner, part: &str, print: Print) -> bool {
        match owner {
            Owner::Account(_) => self.committed.contains(&print),
            Owner::FunctionalAccount(_) => self
                .committed_after(part, print)
                .is_some_and(|(line, last)| last >= line),
            // Nobody asks: nothing is changed by a record.
            Owner::PasswordRecord(_) => true,
        }
    }

    /// True if the database has committed a later value of the same secret of a functional account.
    pub fn is_outdated(&self, part: &str, print: Print) -> bool {
        let found = self.committed_after(part, print);
        found.is_some_and(|(line, last)| last > line)
    }

    /// The line of a functional account's value, and of the one that was committed last.
    fn committed_after(&self, part: &str, print: Print) -> Option<(usize, usize)> {
        let (id, _, line) = self.logins.get(&print)?;
        let last = self.functional.get(&(*id, part.to_owned()))?;
        Some((*line, *last))
    }

    fn value(&mut self, line: &Line, recipient: &str, number: usize) {
        let Some(print) = line.print.as_deref().and_then(Print::parse) else {
            return;
        };
        if line.to == recipient {
            self.known.insert(print);
        }
        match (line.owner(), &line.part) {
            (Some(Owner::Account(_)), _) if !self.committed.contains(&print) => {
                self.queued.insert(print);
            }
            (Some(Owner::FunctionalAccount(id)), Some(part)) => {
                self.logins.insert(print, (id, part.clone(), number));
            }
            _ => {}
        }
    }

    fn note(&mut self, note: Note) {
        if let Some(store) = note.store {
            if self.store.as_ref().is_some_and(|before| *before != store) {
                // What another database committed says nothing of this one.
                let known = std::mem::take(&mut self.known);
                *self = Self {
                    known,
                    ..Self::default()
                };
            }
            self.store = Some(store);
        }
        for print in note.committed.iter().filter_map(|raw| Print::parse(raw)) {
            if self.queued.remove(&print) {
                self.committed.insert(print);
            } else if let Some((id, part, line)) = self.logins.get(&print) {
                let last = self.functional.entry((*id, part.clone())).or_default();
                *last = (*last).max(*line);
            }
        }
        let Some(at) = moment(&note.at) else { return };
        for (account, version) in note.sent {
            self.sent.insert(account, (version, at));
        }
    }
}

/// A line's time.
fn moment(raw: &str) -> Option<Timestamp> {
    let at = chrono::DateTime::parse_from_rfc3339(raw).ok()?;
    Some(Timestamp::from_utc(at.to_utc()))
}

/// What a journal holds, as its lines say.
pub(super) fn held(from: impl BufRead, recipient: &Recipient) -> std::io::Result<Held> {
    let recipient = recipient.to_string();
    let mut held = Held::default();
    lines(from, |number, raw| {
        if let Ok(line) = serde_json::from_slice::<Line>(raw) {
            held.value(&line, &recipient, number);
        } else if let Ok(note) = serde_json::from_slice::<Note>(raw) {
            held.note(note);
        }
    })?;
    Ok(held)
}

/// Where a value of an account belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belongs {
    /// Whose it is.
    pub account: i64,
    /// Its version.
    pub version: i64,
    /// When the journal got it.
    pub at: Timestamp,
    /// Which value.
    pub print: Print,
}

/// Where these values of accounts belong, as the lines say.
pub(super) fn places(from: impl BufRead, values: &Known) -> std::io::Result<Vec<Belongs>> {
    let mut found = Vec::new();
    let mut seen = Known::new();
    lines(from, |_, raw| {
        let Ok(line) = serde_json::from_slice::<Line>(raw) else {
            return;
        };
        let print = line.print.as_deref().and_then(Print::parse);
        if let (Some(print), Some(Owner::Account(account)), Some(version), Some(at)) =
            (print, line.owner(), line.version, moment(&line.at))
            && values.contains(&print)
            && seen.insert(print)
        {
            found.push(Belongs {
                account,
                version,
                at,
                print,
            });
        }
    })?;
    Ok(found)
}

/// Reads every line.
///
/// # Errors
/// What the reader says.
pub fn recover(from: impl BufRead, identity: &Identity) -> std::io::Result<Recovered> {
    let mut recovered = Recovered::default();
    lines(from, |number, raw| {
        match serde_json::from_slice::<Line>(raw) {
            Err(_) => match serde_json::from_slice::<Note>(raw) {
                Ok(note) => recovered.note(note),
                Err(_) => recovered.torn.push(number),
            },
            Ok(line) if recovered.take(&line, identity).is_none() => {
                recovered.foreign.push(number);
            }
            Ok(_) => {}
        }
    })?;
    Ok(recovered)
}

impl Recovered {
    fn note(&mut self, note: Note) {
        self.sent.extend(note.sent);
    }

    /// Everything as one JSON document, for a file of its owner alone: of each owner the newest value
    /// first.
    pub fn document(&self) -> SecretString {
        let owner = |(owner, values): (&Owner, &Vec<Opened>)| {
            let (kind, id) = owner.word();
            let value = |one: &Opened| {
                #[expect(clippy::disallowed_methods, reason = "a recovery was asked for")]
                let value = one.value.expose_secret();
                json!({"part": one.part, "version": one.version, "at": one.at, "value": value})
            };
            let values: Vec<Value> = values.iter().rev().map(value).collect();
            json!({"kind": kind, "id": id, "is": self.names.get(owner), "values": values})
        };
        let owners: Vec<Value> = self.values.iter().map(owner).collect();
        format!("{:#}\n", Value::from(owners)).into()
    }

    /// Takes a line over. `None`: it cannot be used.
    fn take(&mut self, line: &Line, identity: &Identity) -> Option<()> {
        let owner = line.owner()?;
        let value = line.open(identity)?;
        match (&line.part, line.version) {
            (Some(part), Some(version)) => {
                let Value::String(value) = value else {
                    return None;
                };
                let opened = Opened {
                    at: line.at.clone(),
                    print: line.print.as_deref().and_then(Print::parse),
                    part: part.clone(),
                    version,
                    value: value.into(),
                };
                self.values.entry(owner).or_default().push(opened);
            }
            (None, None) => {
                self.names.insert(owner, value);
            }
            _ => return None,
        }
        Some(())
    }
}
