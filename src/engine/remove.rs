//! Removes superseded keys from the target, once the one that follows them is current.
//!
//! Only lines of our own versions are removed; the connector leaves all others as they are.
//! Removal can be repeated: what is not known to be gone is removed again by the next change.
//!
//! Invariant: no key is removed before the current one has logged in, in this attempt, and has
//! been promoted durably; and never one that is current itself.

use keywheel_connectors::{Changed, Checked, Credential, KeyPair, Reason, Secret};
use serde_json::json;

use super::commit::Write;
use super::conclude::OLD_KEY_STANDS;
use super::{Batch, Engine, EngineError, Work, marker};
use crate::model::audit::Event;
use crate::model::credential::Part;
use crate::store::{Ending, SealedSecret};

/// Superseded keys that one attempt removes.
const REMOVALS_MAX: i64 = 20;

impl Engine {
    /// Removes what stands of superseded keys, then tests the current one again.
    ///
    /// `promoted`: the current key has logged in a moment ago. It is tested first otherwise: if
    /// somebody else has removed it, an old one may be the last that works.
    pub(super) async fn remove_old_keys(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        promoted: bool,
    ) -> Result<Ending, EngineError> {
        work.enter(Part::Key);
        let old = self.store.standing_keys(work.id(), REMOVALS_MAX).await?;
        if promoted && old.is_empty() {
            return Ok(Ending::Succeeded);
        }
        if batch.stops() {
            return Ok(Ending::GivenBack);
        }
        // The promotion has moved it.
        let account = self.store.account_row(work.id()).await?;
        work.account = account.ok_or(EngineError::LeaseLost)?;
        let Some(version) = work.current() else {
            return Ok(Ending::Succeeded);
        };
        if let Some(secret) = self.store.sealed_version(work.id(), version).await? {
            work.versions.insert(version, secret);
        }
        let current = self.open_version(work, version).await?;
        if !promoted {
            let checked = self.check_current(batch, work, &current).await?;
            if let Some(ended) = self.untested(work, checked.as_ref()) {
                return Ok(ended);
            }
        }
        if old.is_empty() {
            return Ok(Ending::Succeeded);
        }
        self.announce(batch, work, &old).await?;
        let mut stands = false;
        for (version, secret) in old {
            stands |= !self.remove(batch, work, version, &secret).await?;
        }
        let checked = self.check_current(batch, work, &current).await?;
        if let Some(ended) = self.untested(work, checked.as_ref()) {
            return Ok(ended);
        }
        Ok(if stands {
            self.removal_again(work)
        } else {
            Ending::Succeeded
        })
    }

    /// What becomes of the removal where the current key has not logged in.
    fn untested(&self, work: &mut Work, checked: Option<&Checked>) -> Option<Ending> {
        match checked {
            Some(Checked::Accepted) => None,
            Some(Checked::Rejected(_)) => {
                work.log
                    .note("the current key does not log in: no key is removed any more");
                Some(Ending::Failed)
            }
            Some(Checked::NotNow(_)) | None => Some(self.removal_again(work)),
        }
    }

    /// Another attempt removes what stands, unless this was the last.
    fn removal_again(&self, work: &mut Work) -> Ending {
        let counts = !work.log.system_fault;
        let used_up = work.job.attempt >= self.limits.attempts_max;
        work.log.note(OLD_KEY_STANDS);
        if (counts && used_up) || self.expired(&work.job) {
            return Ending::Failed;
        }
        let mut at = self.retry_at(work.job.attempt);
        if work.log.waits_for_window {
            at = at.max(self.clock.now().plus(self.limits.lockout_window));
        }
        Ending::Retry { at, counts }
    }

    /// Puts on record what is to be removed, before anything is sent.
    async fn announce(
        &self,
        batch: &Batch<'_>,
        work: &Work,
        old: &[(i64, SealedSecret)],
    ) -> Result<(), EngineError> {
        let versions: Vec<i64> = old.iter().map(|(version, _)| *version).collect();
        let event = Event::by_service("key.removing", work.id(), json!({"versions": versions}));
        let write = Write {
            events: vec![event],
            ..Write::default()
        };
        batch.committer.commit(write).await?;
        Ok(())
    }

    /// Removes one key. `false`: it may still stand.
    async fn remove(
        &self,
        batch: &Batch<'_>,
        work: &mut Work,
        version: i64,
        secret: &SealedSecret,
    ) -> Result<bool, EngineError> {
        let SealedSecret::Key { public, .. } = secret else {
            return Ok(true);
        };
        // Who changes itself logs in once more with the key that goes; that login may fail.
        let logs_in = work.target.uses_own;
        let old = if logs_in {
            if !self.spend_login(batch, work, batch.budget.max(1)).await? {
                work.log
                    .budget_spent("removal of an old key: by its own login");
                return Ok(false);
            }
            work.versions.insert(version, secret.clone());
            self.open_version(work, version).await?
        } else {
            // Its public half says which line is meant; the private one stays sealed.
            Credential::Key(KeyPair {
                private: Secret::from(String::new()),
                public: public.clone(),
                marker: marker(work.id(), version),
            })
        };
        work.log.phase = "change";
        let retire = batch.session.retire(&work.target, &old);
        let removed = self
            .within(batch.timeout, retire)
            .await
            .unwrap_or_else(|| Changed::Unknown(super::drive::silent()));
        if logs_in && removed == Changed::Done {
            self.refund(batch, work).await?;
        }
        let failed = |work: &mut Work, step: &str, reason: &Reason| work.log.reason(step, reason);
        let (gone, result) = match &removed {
            Changed::Done => {
                work.log.answered = true;
                (true, "done")
            }
            Changed::Refused(reason) => {
                work.log.answered = true;
                failed(work, "removal of an old key refused", reason);
                (false, "refused")
            }
            Changed::NotNow(reason) => {
                failed(work, "removal of an old key not possible now", reason);
                (false, "not_now")
            }
            Changed::Unknown(reason) => {
                failed(work, "removal of an old key without an answer", reason);
                (false, "unknown")
            }
        };
        let body = json!({"version": version, "result": result});
        let write = Write {
            removed: gone.then_some((work.id(), version)),
            events: vec![Event::by_service(
                if gone {
                    "key.removed"
                } else {
                    "key.not_removed"
                },
                work.id(),
                body,
            )],
            ..Write::default()
        };
        let granted = batch.committer.commit(write).await?;
        if gone {
            work.log.note(if granted.gone {
                "removal: an old key is gone"
            } else {
                "removal: an old key is gone; an order to add it may still land, so it is removed \
                 again with the next change"
            });
        }
        Ok(gone)
    }
}
