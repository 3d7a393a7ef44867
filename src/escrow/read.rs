//! Reads a journal with the identity that it was written for.
//!
//! Invariant: a line that cannot be used is counted and named by its number, never taken for
//! another and never a reason to leave out the rest.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, Read as _};

use age::x25519::{Identity, Recipient};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::line::{Line, Owner, Print};

/// A line longer than this is none of ours, and is read in pieces.
const LINE_MAX_BYTES: u64 = 1 << 20;

/// A value of the journal.
#[derive(Clone, Debug)]
pub struct Opened {
    /// When it was written, RFC 3339.
    pub at: String,
    /// Which of its owner's secrets: the column's name in the database.
    pub part: String,
    /// Its version; 0 where a value has none.
    pub version: i64,
    /// The secret.
    pub value: SecretString,
}

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Recovered {
    /// How owners were last called.
    pub names: BTreeMap<Owner, Value>,
    /// Their values, in the order in which they were written.
    pub values: BTreeMap<Owner, Vec<Opened>>,
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

/// Which values a journal has for a recipient, as its lines say.
pub(super) fn known(from: impl BufRead, recipient: &Recipient) -> std::io::Result<Known> {
    let recipient = recipient.to_string();
    let mut known = Known::new();
    lines(from, |_, raw| {
        if let Ok(line) = serde_json::from_slice::<Line>(raw)
            && line.to == recipient
            && let Some(print) = line.print.as_deref().and_then(Print::parse)
        {
            known.insert(print);
        }
    })?;
    Ok(known)
}

/// Reads every line.
///
/// # Errors
/// What the reader says.
pub fn recover(from: impl BufRead, identity: &Identity) -> std::io::Result<Recovered> {
    let mut recovered = Recovered::default();
    lines(from, |number, raw| {
        match serde_json::from_slice::<Line>(raw) {
            Err(_) => recovered.torn.push(number),
            Ok(line) if recovered.take(&line, identity).is_none() => {
                recovered.foreign.push(number);
            }
            Ok(_) => {}
        }
    })?;
    Ok(recovered)
}

impl Recovered {
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
