//! Exports of the sealed audit trail, page by page.
//!
//! Invariant: an export under way holds one page of rows, however long the trail is, and ends at
//! the head that it found when it began.

use super::{Store, StoreError};
use crate::model::audit_chain::{Line, Link, Mac};

/// Rows that are read at once.
const PAGE: i64 = 1_000;

/// An export under way.
#[derive(Debug)]
pub struct AuditExport {
    store: Store,
    after: i64,
    to: i64,
    /// The mac before the first line, where the export does not begin at 1.
    previous: Option<Mac>,
}

impl Store {
    /// Begins an export of the rows from one place of the chain to another, both included; at most
    /// to the head as it is now. What is sealed meanwhile is for the next export.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn export_audit(
        &self,
        from: i64,
        to: Option<i64>,
    ) -> Result<AuditExport, StoreError> {
        let head = self.audit_head().await?;
        let previous = match self.audit_link(from - 1).await? {
            Some(link) if link != Link::START => Some(link.mac),
            _ => None,
        };
        Ok(AuditExport {
            store: self.clone(),
            after: from - 1,
            to: to.map_or(head.seq, |to| to.min(head.seq)),
            previous,
        })
    }
}

impl AuditExport {
    /// The next lines, each with its end, and how many; `None` behind the last row.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn page(&mut self) -> Result<Option<(String, u64)>, StoreError> {
        if self.after >= self.to {
            return Ok(None);
        }
        let page = self.store.sealed_audit(self.after, PAGE).await?;
        let (mut lines, mut rows) = (String::new(), 0);
        for sealed in page {
            if sealed.link.seq > self.to {
                break;
            }
            self.after = sealed.link.seq;
            let id = sealed.row.id.0;
            let line = Line::of(sealed, self.previous.take()).to_text();
            lines.push_str(&line.map_err(|_| StoreError::Corrupt {
                table: "audit",
                row: id,
                problem: "it cannot be written as JSON",
            })?);
            lines.push('\n');
            rows += 1;
        }
        if rows == 0 {
            // Rows up to the head are gone: whoever verifies the export is told so.
            self.after = self.to;
            return Ok(None);
        }
        Ok(Some((lines, rows)))
    }
}
