//! Sealed rows as JSON lines: what an export holds.
//!
//! Invariant: a line holds the row byte for byte, so that its mac can be made again.

use serde::{Deserialize, Serialize};

use super::{Link, Mac, SealedRow};
use crate::model::Timestamp;
use crate::model::audit::AuditRow;
use crate::model::id::AuditId;

/// A line is no sealed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no row of an export")]
pub struct LineFault;

/// One sealed row of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its place in the chain.
    pub seq: i64,
    /// Its id.
    pub id: i64,
    /// When it happened, in milliseconds of Unix time.
    pub at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// What happened.
    pub event: String,
    /// To what.
    pub subject: String,
    /// Details: JSON as text, since the mac is over that text.
    pub body: String,
    /// The mac, as hex digits.
    pub mac: Mac,
    /// The mac before it; on the first line of an export that does not begin at 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Mac>,
}

impl Line {
    /// Reads one line.
    ///
    /// # Errors
    /// [`LineFault`]; it holds nothing of the line.
    pub fn parse(line: &str) -> Result<Self, LineFault> {
        serde_json::from_str(line).map_err(|_| LineFault)
    }

    /// The line, without its end.
    ///
    /// # Errors
    /// [`LineFault`]; none is known.
    pub fn to_text(&self) -> Result<String, LineFault> {
        serde_json::to_string(self).map_err(|_| LineFault)
    }

    /// A row, behind `previous` if nothing else of the export says what came before it.
    pub fn of(sealed: SealedRow, previous: Option<Mac>) -> Self {
        let SealedRow { link, row } = sealed;
        Self {
            seq: link.seq,
            id: row.id.0,
            at: row.at,
            actor: row.actor,
            event: row.event,
            subject: row.subject,
            body: row.body,
            mac: link.mac,
            previous,
        }
    }

    /// The row that it holds.
    pub fn sealed(self) -> SealedRow {
        SealedRow {
            link: Link {
                seq: self.seq,
                mac: self.mac,
            },
            row: AuditRow {
                id: AuditId(self.id),
                at: self.at,
                actor: self.actor,
                event: self.event,
                subject: self.subject,
                body: self.body,
                seq: Some(self.seq),
            },
        }
    }
}
