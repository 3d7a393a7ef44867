//! The audit trail's chain: each sealed row carries a mac over itself and the mac before it.
//!
//! `mac = HMAC-SHA-256(k_audit, prev_mac | seq | id | at | actor | event | subject | body)`, every
//! part behind its length as 8 bytes, big-endian, and numbers as 8 bytes, big-endian. The chain is
//! ordered by `seq`, which starts at 1 and has no gaps; ids may have committed in another order.
//!
//! Invariant: two different rows, or one row in two places, never feed the mac the same bytes.

mod anchor;
mod key;
mod line;
mod verify;

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::audit::AuditRow;

pub use anchor::{Anchor, AnchorFault};
pub use key::{
    AnchorKey, AuditKeys, AuditorKey, ChainKey, KeyFault, PublicKey, key_bytes, key_text,
};
pub use line::{Line, LineFault};
pub use verify::{Broken, Flaw, Verifier};

/// Bytes of a mac, and of each key.
pub const MAC_LEN: usize = 32;

/// What seals a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; MAC_LEN]);

impl Mac {
    /// Before the first row.
    pub const NONE: Self = Self([0; MAC_LEN]);

    /// As a database keeps it; `None` for another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// True if both are the same; takes the same time wherever they differ.
    fn fits(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("64 hex digits are wanted"))
    }
}

/// A place in the chain, and the mac there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// From 1; 0 before the first row.
    pub seq: i64,
    /// The mac of the row there.
    pub mac: Mac,
}

impl Link {
    /// Before the first row.
    pub const START: Self = Self {
        seq: 0,
        mac: Mac::NONE,
    };
}

/// A row that has its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRow {
    /// Where, and with which mac.
    pub link: Link,
    /// The row.
    pub row: AuditRow,
}

/// Each part behind its length: what moves from one part to its neighbour changes the bytes.
fn lengthened(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

/// What a row's mac is made over.
fn encoded(previous: &Mac, seq: i64, row: &AuditRow) -> Vec<u8> {
    lengthened(&[
        &previous.0,
        &seq.to_be_bytes(),
        &row.id.0.to_be_bytes(),
        &row.at.0.to_be_bytes(),
        row.actor.as_bytes(),
        row.event.as_bytes(),
        row.subject.as_bytes(),
        row.body.as_bytes(),
    ])
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    // Room for all of it: a text that grows would leave a key's digits behind.
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// The bytes that hex digits stand for; `None` unless there are exactly twice as many digits.
fn unhex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    if text.len() != 2 * LEN {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in pair {
            let value = u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
            *byte = (*byte << 4) | value;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
