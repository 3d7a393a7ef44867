//! Seals audit rows into their chain, reads them back, and keeps the newest anchors.
//!
//! The head moves by compare-and-swap before a row gets its place: of two sealers that read the
//! same head one writes, and the other writes nothing.
//!
//! Invariant: places are given once, in order and without gaps; a sealed row is never written to.

use std::sync::LazyLock;

use super::wide::Wide;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::audit::AuditRow;
use crate::model::audit_chain::{Anchor, Broken, ChainKey, Flaw, Link, Mac, SealedRow, Verifier};
use crate::model::id::AuditId;

/// Rows that are read at once.
const PAGE: i64 = 1_000;
/// What a sealer has lost that another one was faster than.
pub const AUDIT_HEAD: &str = "the head of the audit chain";

static SEAL: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "row_id, place, code",
        "UPDATE audit SET seq = r.place, mac = r.code FROM r
         WHERE audit.id = r.row_id AND audit.seq IS NULL",
    )
});

type Unsealed = (i64, i64, String, String, String, String);
type Sealed = (i64, i64, String, String, String, String, i64, Vec<u8>);
type AnchorRow = (i64, String, i64, Vec<u8>, String);

fn unsealed((id, at, actor, event, subject, body): Unsealed) -> AuditRow {
    AuditRow {
        id: AuditId(id),
        at: Timestamp(at),
        actor,
        event,
        subject,
        body,
        seq: None,
    }
}

/// A mac of another length fits nothing, and is named where the row is verified.
fn mac(bytes: &[u8]) -> Mac {
    Mac::from_bytes(bytes).unwrap_or(Mac::NONE)
}

fn sealed((id, at, actor, event, subject, body, seq, code): Sealed) -> SealedRow {
    let row = unsealed((id, at, actor, event, subject, body));
    SealedRow {
        link: Link {
            seq,
            mac: mac(&code),
        },
        row: AuditRow {
            seq: Some(seq),
            ..row
        },
    }
}

impl Tx {
    /// Gives the oldest unsealed rows, `most` at most, their places in the chain: how many.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if another sealer was first: nothing was written.
    pub async fn seal_audit(&mut self, key: &ChainKey, most: i64) -> Result<u64, StoreError> {
        let head: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT seq, mac FROM audit_head WHERE one = 1")
                .fetch_optional(&mut *self.inner)
                .await?;
        let rows: Vec<Unsealed> = sqlx::query_as(
            "SELECT id, at, actor, event, subject, body FROM audit
             WHERE seq IS NULL ORDER BY id LIMIT $1",
        )
        .bind(most)
        .fetch_all(&mut *self.inner)
        .await?;
        let old = head.as_ref().map(|(seq, _)| *seq);
        let mut last = head.map_or(Link::START, |(seq, code)| Link {
            seq,
            mac: mac(&code),
        });
        let mut places = Vec::with_capacity(rows.len());
        for row in rows.into_iter().map(unsealed) {
            let seq = last.seq + 1;
            last = Link {
                seq,
                mac: key.mac(&last.mac, seq, &row),
            };
            places.push((row.id.0, last));
        }
        if places.is_empty() {
            return Ok(0);
        }
        self.move_audit_head(old, last).await?;
        for cut in SEAL.cuts(&places) {
            let mut query = sqlx::query(cut.text);
            for (id, (_, link)) in cut.rows(|(id, _)| *id) {
                query = query.bind(id).bind(link.seq).bind(link.mac.0.to_vec());
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "an audit row")?;
        }
        Ok(places.len() as u64)
    }

    async fn move_audit_head(&mut self, old: Option<i64>, to: Link) -> Result<(), StoreError> {
        let moved = match old {
            Some(old) => {
                sqlx::query("UPDATE audit_head SET seq = $2, mac = $3 WHERE one = 1 AND seq = $1")
                    .bind(old)
                    .bind(to.seq)
                    .bind(to.mac.0.to_vec())
                    .execute(&mut *self.inner)
                    .await?
            }
            None => {
                sqlx::query(
                    "INSERT INTO audit_head (one, seq, mac) VALUES (1, $1, $2)
                     ON CONFLICT (one) DO NOTHING",
                )
                .bind(to.seq)
                .bind(to.mac.0.to_vec())
                .execute(&mut *self.inner)
                .await?
            }
        };
        exactly(1, moved.rows_affected(), AUDIT_HEAD)
    }

    /// Keeps an anchor for who asks, and forgets those before `forget`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is one of that time.
    pub async fn record_audit_anchor(
        &mut self,
        anchor: &Anchor,
        forget: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO audit_anchors (at, store, seq, mac, signature) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(anchor.at.0)
        .bind(&anchor.store)
        .bind(anchor.seq)
        .bind(anchor.mac.0.to_vec())
        .bind(&anchor.signature)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the anchor"))?;
        exactly(1, done.rows_affected(), "the anchor")?;
        sqlx::query("DELETE FROM audit_anchors WHERE at < $1")
            .bind(forget.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

impl Store {
    /// True if rows wait for their place in the chain.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn has_unsealed_audit(&self) -> Result<bool, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT id FROM audit WHERE seq IS NULL ORDER BY id LIMIT 1")
                .fetch_optional(&self.read)
                .await?;
        Ok(row.is_some())
    }

    /// The newest link of the chain; [`Link::START`] before the first row was sealed.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn audit_head(&self) -> Result<Link, StoreError> {
        let row: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT seq, mac FROM audit_head WHERE one = 1")
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map_or(Link::START, |(seq, code)| Link {
            seq,
            mac: mac(&code),
        }))
    }

    /// Sealed rows behind a place, in the order of the chain, `most` at most.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sealed_audit(&self, after: i64, most: i64) -> Result<Vec<SealedRow>, StoreError> {
        let rows: Vec<Sealed> = sqlx::query_as(
            "SELECT id, at, actor, event, subject, body, seq, mac FROM audit
             WHERE seq > $1 AND mac IS NOT NULL ORDER BY seq LIMIT $2",
        )
        .bind(after)
        .bind(most)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(sealed).collect())
    }

    /// The link at a place as the database has it, unverified; `None` if no row is there.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn audit_link(&self, seq: i64) -> Result<Option<Link>, StoreError> {
        if seq == 0 {
            return Ok(Some(Link::START));
        }
        let found = self.sealed_audit(seq - 1, 1).await?;
        let link = found.into_iter().map(|row| row.link).next();
        Ok(link.filter(|link| link.seq == seq))
    }

    /// Feeds a verifier the rows behind its last, `most` at most: true once it has seen them all.
    ///
    /// # Errors
    /// [`StoreError`] of the database. Inside: the first row at which the chain breaks.
    pub async fn verify_audit(
        &self,
        verifier: &mut Verifier<'_>,
        most: i64,
    ) -> Result<Result<bool, Broken>, StoreError> {
        // The newest row before the head: a sealer moves both forward, in one commit.
        let (newest,): (Option<i64>,) =
            sqlx::query_as("SELECT MAX(seq) FROM audit WHERE seq IS NOT NULL")
                .fetch_one(&self.read)
                .await?;
        let head = self.audit_head().await?;
        let newest = newest.unwrap_or(0);
        let known = verifier.last().seq;
        let broken = |seq, flaw| Broken {
            seq,
            id: None,
            flaw,
        };
        if head.seq < newest {
            return Ok(Err(broken(head.seq, Flaw::Head { newest })));
        }
        if head.seq < known {
            return Ok(Err(broken(known, Flaw::Truncated { newest })));
        }
        let mut left = most;
        let mut at = known;
        while left > 0 && at < head.seq {
            let page = self.sealed_audit(at, PAGE.min(left)).await?;
            let Some(last) = page.last() else { break };
            at = last.link.seq;
            left = left.saturating_sub(i64::try_from(page.len()).unwrap_or(i64::MAX));
            for row in page.iter().take_while(|row| row.link.seq <= head.seq) {
                if let Err(broken) = verifier.row(row) {
                    return Ok(Err(broken));
                }
            }
        }
        if left > 0 || at >= head.seq {
            return Ok(verifier.end_at(head).map(|()| true));
        }
        Ok(Ok(false))
    }

    /// The newest anchors, newest first, `most` at most.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn audit_anchors(&self, most: i64) -> Result<Vec<Anchor>, StoreError> {
        let rows: Vec<AnchorRow> = sqlx::query_as(
            "SELECT at, store, seq, mac, signature FROM audit_anchors ORDER BY at DESC LIMIT $1",
        )
        .bind(most)
        .fetch_all(&self.read)
        .await?;
        let anchor = |(at, store, seq, code, signature): AnchorRow| Anchor {
            store,
            seq,
            mac: mac(&code),
            at: Timestamp(at),
            signature,
        };
        Ok(rows.into_iter().map(anchor).collect())
    }
}
