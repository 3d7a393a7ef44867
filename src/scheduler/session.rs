//! Ends what nobody uses any more: idle sessions, expired tokens, keys that have lain idle too long,
//! exports that have stood long enough.
//!
//! Invariant: whoever's session, key or export is ended reads it in the audit trail.

use serde_json::json;

use super::Scheduler;
use crate::model::audit::Event;
use crate::model::export::Export;
use crate::model::key::ApiKey;
use crate::model::principal::Session;
use crate::store::StoreError;

/// Keys that one transaction revokes.
const KEYS_MAX: i64 = 1_000;
/// Exports that one transaction ends.
const EXPORTS_MAX: i64 = 1_000;

impl Scheduler {
    /// They are refused already; what is left of them is their rows.
    pub(super) async fn end_sessions(&self) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        let life = self.inner.options.sessions;
        let before = Session::idle_since(life.idle, now);
        let mut tx = self.inner.store.begin().await?;
        let sessions = tx.end_idle_sessions(before).await?;
        let tokens = tx.end_expired_tokens(now).await?;
        for (session, user) in tx.end_old_user_sessions(life.ended_by(now)).await? {
            let event = Event::by_service("session.expired", session, json!({"user": user}));
            tx.audit(&event, now).await?;
        }
        tx.commit().await?;
        if sessions + tokens > 0 {
            tracing::debug!(
                sessions,
                tokens,
                "idle sessions and expired tokens were removed"
            );
        }
        Ok(())
    }

    /// Revokes the keys of the IT Glue dialect that nobody has used for long: its clients expect
    /// that, and a key that lies about forgotten is a danger.
    pub(super) async fn revoke_idle_keys(&self) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        let before = now.minus(ApiKey::IDLE_MAX);
        let mut tx = self.inner.store.begin().await?;
        let revoked = tx.revoke_idle_keys(before, now, KEYS_MAX).await?;
        for key in &revoked {
            let details = json!({
                "kind": key.kind, "user": key.user_id, "name": key.name, "reason": "unused",
            });
            tx.audit(&Event::by_service("key.revoked", key.id, details), now)
                .await?;
        }
        tx.commit().await?;
        if !revoked.is_empty() {
            tracing::warn!(keys = revoked.len(), "keys that nobody used were revoked");
        }
        Ok(())
    }

    /// They are not shown any more already; what is left of them is their rows.
    pub(super) async fn end_exports(&self) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.store.begin().await?;
        let ended = tx.end_exports(Export::ended_by(now), EXPORTS_MAX).await?;
        for id in ended {
            let event = Event::by_service("password.export_ended", id, json!({}));
            tx.audit(&event, now).await?;
        }
        tx.commit().await
    }
}
