//! One line of the journal: what is open about it, and what is sealed.
//!
//! Invariant: the sealed part names what it belongs to, so that a line which was moved or edited
//! does not pass for another.

use age::x25519::{Identity, Recipient};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::EscrowError;
use crate::model::Timestamp;

/// Whose a value is: the table and the row of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A managed account.
    Account(i64),
    /// A functional account.
    FunctionalAccount(i64),
    /// A password record.
    PasswordRecord(i64),
}

impl Owner {
    /// The kind's word, and the id.
    pub const fn word(self) -> (&'static str, i64) {
        match self {
            Self::Account(id) => ("account", id),
            Self::FunctionalAccount(id) => ("functional_account", id),
            Self::PasswordRecord(id) => ("password_record", id),
        }
    }

    fn parse(word: &str, id: i64) -> Option<Self> {
        match word {
            "account" => Some(Self::Account(id)),
            "functional_account" => Some(Self::FunctionalAccount(id)),
            "password_record" => Some(Self::PasswordRecord(id)),
            _ => None,
        }
    }
}

/// A value's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose it is.
    pub owner: Owner,
    /// Which of its secrets: the column's name in the database.
    pub part: &'static str,
    /// Its version; 0 where a value has none.
    pub version: i64,
    /// Tells this value in the database from every other one: a digest of how it is sealed there.
    pub print: Print,
}

/// Tells how a value is sealed in the database from every other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Print([u8; 8]);

impl Print {
    /// Of a sealed value.
    pub fn of(sealed: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, sealed);
        let mut print = [0; 8];
        for (to, from) in print.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(print)
    }

    /// As text.
    pub fn text(self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads it back.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// A line as it stands in the file.
#[derive(Serialize, Deserialize)]
pub(super) struct Line {
    /// When it was written, RFC 3339.
    pub(super) at: String,
    /// The kind of its owner.
    pub(super) kind: String,
    /// The owner's id.
    pub(super) id: i64,
    /// Which secret; absent: how its owner is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<String>,
    /// The value's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<i64>,
    /// The value's print.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) print: Option<String>,
    /// For which recipient.
    pub(super) to: String,
    /// An age file, in base64.
    pub(super) sealed: String,
}

/// A line that holds no value: what the database has said of values.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Note {
    /// When it was written, RFC 3339.
    pub(super) at: String,
    /// From here on the journal is this database's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) store: Option<String>,
    /// Prints of values that the database has committed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) committed: Vec<String>,
    /// Versions, by account, of which the database has committed that a target may hear of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sent: Vec<(i64, i64)>,
}

impl Note {
    /// As it stands in the file.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// What is sealed in it.
#[derive(Serialize, Deserialize)]
struct Inner {
    kind: String,
    id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    /// The secret, or the owner's names.
    value: Value,
}

fn written(
    recipient: &Recipient,
    owner: Owner,
    kept: Option<Kept>,
    value: Value,
    now: Timestamp,
) -> Result<Vec<u8>, EscrowError> {
    let (kind, id) = owner.word();
    let inner = Inner {
        kind: kind.to_owned(),
        id,
        part: kept.map(|kept| kept.part.to_owned()),
        version: kept.map(|kept| kept.version),
        value,
    };
    let plain = serde_json::to_vec(&inner).map_err(|_| EscrowError::Seal)?;
    let plain = Zeroizing::new(plain);
    let sealed = age::encrypt(recipient, &plain).map_err(|_| EscrowError::Seal)?;
    let line = Line {
        at: now.to_string(),
        kind: inner.kind,
        id,
        part: inner.part,
        version: inner.version,
        print: kept.map(|kept| kept.print.text()),
        to: recipient.to_string(),
        sealed: STANDARD.encode(sealed),
    };
    let mut line = serde_json::to_vec(&line).map_err(|_| EscrowError::Seal)?;
    line.push(b'\n');
    Ok(line)
}

/// The line of a value.
pub(super) fn value(
    recipient: &Recipient,
    kept: Kept,
    value: &str,
    now: Timestamp,
) -> Result<Vec<u8>, EscrowError> {
    written(recipient, kept.owner, Some(kept), Value::from(value), now)
}

/// The line that says how an owner is called.
pub(super) fn name(
    recipient: &Recipient,
    owner: Owner,
    name: &Value,
    now: Timestamp,
) -> Result<Vec<u8>, EscrowError> {
    written(recipient, owner, None, name.clone(), now)
}

impl Line {
    /// Whose it is; `None`: of a kind that this program does not know.
    pub(super) fn owner(&self) -> Option<Owner> {
        Owner::parse(&self.kind, self.id)
    }

    /// Opens what is sealed in it. `None`: it is not for this identity, or is not what the line
    /// says it is.
    pub(super) fn open(&self, identity: &Identity) -> Option<Value> {
        let sealed = STANDARD.decode(&self.sealed).ok()?;
        let plain = Zeroizing::new(age::decrypt(identity, &sealed).ok()?);
        let inner: Inner = serde_json::from_slice(&plain).ok()?;
        let same = (&inner.kind, inner.id, &inner.part, inner.version)
            == (&self.kind, self.id, &self.part, self.version);
        same.then_some(inner.value)
    }
}
