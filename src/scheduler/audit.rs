//! Seals the audit trail, anchors it, and verifies it.
//!
//! Invariant: what this node has verified once is held against the chain for as long as it runs.

use std::sync::Arc;
use std::time::Duration;

use super::{AnchorSink, Scheduler, SinkError, TickError};
use crate::model::audit_chain::{Anchor, AuditKeys, Broken, Flaw, Link, Verifier};
use crate::store::{AUDIT_HEAD, StoreError};

/// Rows that one transaction seals: a few milliseconds, in which orders wait on SQLite.
const SEAL_CHUNK: i64 = 512;
/// Transactions of one tick; what is left waits for the next.
const SEAL_CHUNKS_MAX: usize = 40;
/// Rows that one tick verifies of those sealed since the last.
const VERIFY_MAX: i64 = 20_000;
/// Rows that one tick verifies once more, from the oldest on: a million in nine hours.
const SWEEP_MAX: i64 = 2_000;
/// Age of the last anchor at which the same place is anchored again: the chain stood still, which
/// is worth to know, but not each minute.
const ANCHOR_QUIET_MAX: Duration = Duration::from_hours(1);
/// How long the database keeps anchors; the sinks keep them for good.
const ANCHORS_KEPT: Duration = Duration::from_hours(30 * 24);

/// What seals and anchors the audit trail.
#[derive(Clone, Debug)]
pub struct Auditing {
    /// The trail's keys.
    pub keys: Arc<AuditKeys>,
    /// Where anchors go.
    pub sink: AnchorSink,
}

/// What one node has found sound.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// The newest link; `None` until the first look.
    newest: Option<Link>,
    /// How far the sweep of the older rows has come.
    swept: Option<Link>,
}

impl Scheduler {
    pub(super) async fn seal(&self) -> Result<(), StoreError> {
        let Some(audit) = &self.inner.options.audit else {
            return Ok(());
        };
        for _ in 0..SEAL_CHUNKS_MAX {
            let mut tx = self.inner.store.begin().await?;
            let sealed = match tx.seal_audit(&audit.keys.chain, SEAL_CHUNK).await {
                Ok(0) => return Ok(()),
                // Another node seals: so it is done.
                Err(StoreError::Stale { what }) if what == AUDIT_HEAD => return Ok(()),
                sealed => sealed?,
            };
            tx.commit().await?;
            if sealed < SEAL_CHUNK.unsigned_abs() {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) async fn anchor(&self) -> Result<(), TickError> {
        let Some(audit) = &self.inner.options.audit else {
            return Ok(());
        };
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let head = store.audit_head().await?;
        let last = store.audit_anchors(1).await?.pop();
        let told =
            last.is_some_and(|last| last.link() == head && now.since(last.at) < ANCHOR_QUIET_MAX);
        if told || head == Link::START {
            return Ok(());
        }
        let keys = &audit.keys;
        let anchor = Anchor::sign(&keys.anchor, &keys.store, head, now);
        if let Ok(line) = anchor.to_line() {
            let sink = audit.sink.clone();
            let written = tokio::task::spawn_blocking(move || sink.write(&line));
            // A panic there is a defect of ours: the anchor is not written, so not recorded.
            written.await.map_err(SinkError::panicked)??;
        }
        let mut tx = store.begin().await?;
        tx.record_audit_anchor(&anchor, now.minus(ANCHORS_KEPT))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Verifies what is new, then some of what is old.
    pub(super) async fn verify(&self) -> Result<(), StoreError> {
        let Some(audit) = &self.inner.options.audit else {
            return Ok(());
        };
        let mut verified = self.inner.verified.lock().await;
        let found = self.verify_newest(audit, &mut verified).await?;
        let found = match found {
            Ok(()) => self.sweep(audit, &mut verified).await?,
            broken => broken,
        };
        if let Err(broken) = &found {
            tracing::error!(%broken, "the audit chain is broken; `keywheel audit verify` tells more");
        }
        self.inner
            .metrics
            .audit_verified(found.is_ok(), self.inner.clock.now());
        Ok(())
    }

    async fn verify_newest(
        &self,
        audit: &Auditing,
        known: &mut Verified,
    ) -> Result<Result<(), Broken>, StoreError> {
        let store = &self.inner.store;
        let from = if let Some(link) = known.newest {
            // Whatever became of the row since, it must still be the one that was verified.
            if store.audit_link(link.seq).await? != Some(link) {
                return Ok(Err(Broken {
                    seq: link.seq,
                    id: None,
                    flaw: Flaw::Mac,
                }));
            }
            link
        } else {
            // The sweep comes to the older ones.
            let first = (store.audit_head().await?.seq - VERIFY_MAX).max(0);
            store.audit_link(first).await?.unwrap_or(Link::START)
        };
        let mut verifier = Verifier::new(&audit.keys.chain, from);
        let found = store.verify_audit(&mut verifier, VERIFY_MAX).await?;
        if found.is_ok() {
            known.newest = Some(verifier.last());
        }
        Ok(found.map(|_| ()))
    }

    async fn sweep(
        &self,
        audit: &Auditing,
        known: &mut Verified,
    ) -> Result<Result<(), Broken>, StoreError> {
        let from = known.swept.unwrap_or(Link::START);
        let mut verifier = Verifier::new(&audit.keys.chain, from);
        let found = self
            .inner
            .store
            .verify_audit(&mut verifier, SWEEP_MAX)
            .await?;
        if let Ok(at_the_end) = found {
            known.swept = (!at_the_end).then(|| verifier.last());
        }
        Ok(found.map(|_| ()))
    }
}
