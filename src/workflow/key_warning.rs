//! Tells administrators by mail of keys that are about to be revoked for want of use.
//!
//! Each administrator gets a mail of their own, so that an address that is refused keeps nobody else
//! from being told. Without a mail server the log alone says so.
//!
//! Invariant: who was told is written down once the mail server has taken the mail, or has refused it
//! for good; a stop in between has the mail sent again, and none is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::model::audit::Event;
use crate::model::id::{KeyId, NodeId, UserId};
use crate::model::key_warning::{IdleKey, KeyWarning, warning};
use crate::notify::Letter;
use crate::store::StoreError;

/// How often keys are looked for, and after which time a mail is tried again.
const EVERY: Duration = Duration::from_mins(10);
/// Keys that one mail tells of.
const KEYS_MAX: usize = 100;
/// Warnings of one look; what is left waits for the next.
const WARNINGS_MAX: i64 = 1_000;
/// One node of all looks at a time: its turn's row.
const TURN: &str = "key_warning";

/// Warns of keys that lie idle.
#[derive(Debug)]
pub struct KeyWarner {
    parts: Parts,
    node: NodeId,
    /// Keys that the log has told of.
    logged: BTreeSet<KeyId>,
}

impl KeyWarner {
    /// For this node.
    pub fn new(parts: Parts, node: NodeId) -> Self {
        Self {
            parts,
            node,
            logged: BTreeSet::new(),
        }
    }

    /// Looks again and again until `drain`; what is under way is ended first.
    pub async fn run(mut self, drain: CancellationToken) {
        let clock = self.parts.clock.clone();
        while !drain.is_cancelled() {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "warnings of idle keys wait for the database");
            }
            tokio::select! {
                () = clock.sleep(EVERY) => {}
                () = drain.cancelled() => {}
            }
        }
    }

    /// Sends what is due; how many mails were taken.
    ///
    /// # Errors
    /// [`StoreError`]; the next look tries again.
    pub async fn look(&mut self) -> Result<usize, StoreError> {
        let (store, now) = (self.parts.store.clone(), self.parts.clock.now());
        let since = IdleKey::warned_since(now);
        // Most looks find nothing, and write nothing.
        if store.due_key_warnings(since, now, 1).await?.is_empty() || !self.takes_turn().await? {
            return Ok(0);
        }
        let due = store.due_key_warnings(since, now, WARNINGS_MAX).await?;
        let mut taken = 0;
        for one in due.chunk_by(|one, other| one.to == other.to) {
            match one.first().and_then(|first| first.to.as_ref()) {
                Some(to) if self.parts.notifier.has_mail_server() => {
                    match self.told(to, one).await? {
                        Told::Taken => taken += 1,
                        Told::Refused => {}
                        // The next one would wait as long, and in vain.
                        Told::NobodyThere => break,
                    }
                }
                Some(_) => self.log(one, "no mail server is set to tell administrators by"),
                None => self.log(one, "no administrator has a mail address"),
            }
        }
        Ok(taken)
    }

    async fn takes_turn(&self) -> Result<bool, StoreError> {
        let now = self.parts.clock.now();
        let next = now.plus(EVERY.mul_f64(0.9));
        let mut tx = self.parts.store.begin().await?;
        let mine = tx.take_tick(TURN, self.node, next, now).await?;
        tx.commit().await?;
        Ok(mine)
    }

    /// Sends one administrator one mail, and writes down that they were told.
    async fn told(
        &self,
        (user, address): &(UserId, String),
        due: &[KeyWarning],
    ) -> Result<Told, StoreError> {
        let keys: Vec<IdleKey> = due.iter().map(|one| one.key.clone()).collect();
        let keys = keys.get(..KEYS_MAX).unwrap_or(&keys);
        let Some(first) = keys.first() else {
            return Ok(Told::Refused);
        };
        let mail = warning(keys);
        // The same on every attempt that tells of the same.
        let id = format!(
            "keywheel-idle-{}-{}-{}",
            user.0, first.id.0, first.idle_since.0
        );
        let letter = Letter {
            id: &id,
            recipients: std::slice::from_ref(address),
            subject: &mail.subject,
            body: &mail.body,
        };
        let (user_id, count) = (user.0, keys.len());
        let (told, how) = match self.parts.notifier.mail(&letter).await {
            Ok(_) => (Told::Taken, "mailed"),
            Err(untaken) if untaken.again => {
                let why = &untaken.why;
                tracing::warn!(
                    user_id,
                    keys = count,
                    why,
                    "a warning of idle keys is tried again"
                );
                return Ok(if untaken.status.is_some() {
                    Told::Refused
                } else {
                    Told::NobodyThere
                });
            }
            Err(untaken) => {
                let why = &untaken.why;
                tracing::warn!(
                    user_id,
                    keys = count,
                    why,
                    "a warning of idle keys was given up"
                );
                (Told::Refused, "refused")
            }
        };
        let now = self.parts.clock.now();
        let mut tx = self.parts.store.begin().await?;
        for key in keys {
            tx.note_key_warning(*user, (key.id, key.idle_since), now)
                .await?;
            let details = json!({"user": user, "ends_at": key.ends_at(), "mail": how});
            tx.audit(&Event::by_service("key.warned", key.id, details), now)
                .await?;
        }
        tx.commit().await?;
        Ok(told)
    }

    /// Says so in the log, once for each key and start.
    fn log(&mut self, due: &[KeyWarning], why: &str) {
        for KeyWarning { key, .. } in due {
            if self.logged.insert(key.id) {
                let ends_at = key.ends_at().rfc3339();
                tracing::warn!(key = key.id.0, ends_at, why, "a key is about to be revoked");
            }
        }
    }
}

/// What came of a mail.
enum Told {
    /// The server has it.
    Taken,
    /// The server does not want it, now or ever.
    Refused,
    /// No server answered.
    NobodyThere,
}
