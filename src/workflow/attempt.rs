//! One attempt to deliver.
//!
//! Invariant: an attempt always ends with a settlement, and within the notifier's limits.

use std::time::Duration;

use super::Parts;
use crate::generate::jittered;
use crate::model::id::WorkflowActionId;
use crate::model::workflow::{Attempt, Channel, next_wait};
use crate::notify::{Hook, Letter, Post, Taken, Untaken};
use crate::store::{ClaimedDelivery, Outcome, Settlement};
use crate::vault::Place;

impl Parts {
    /// Sends a delivery once.
    pub(super) async fn attempt(&self, claimed: &ClaimedDelivery) -> Settlement {
        let (at, began) = (self.clock.now(), self.clock.monotonic());
        let ended = self.deliver(claimed).await;
        let took = self.clock.monotonic().saturating_sub(began);
        let (status, error, outcome) = match ended {
            Ok(taken) => (taken.status, String::new(), Outcome::Sent),
            Err(untaken) => {
                let wait = untaken
                    .again
                    .then(|| self.wait(claimed.tries + 1, untaken.retry_after));
                let outcome = wait.flatten().map_or(Outcome::Failed, |wait| {
                    Outcome::Again(self.clock.now().plus(wait))
                });
                (untaken.status, untaken.why, outcome)
            }
        };
        Settlement {
            lane: claimed.lane,
            node: claimed.node,
            attempt: Attempt {
                delivery: claimed.id,
                number: claimed.attempts + 1,
                at,
                took_ms: i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
                status: status.map(i64::from),
                error,
            },
            outcome,
        }
    }

    /// The wait before the next attempt, spread, so that a receiver that comes back is not met by
    /// all at once.
    pub(super) fn wait(&self, tries: i64, retry_after: Option<Duration>) -> Option<Duration> {
        next_wait(tries, retry_after, |wait| {
            jittered(wait, self.dice.as_ref())
        })
    }

    async fn deliver(&self, claimed: &ClaimedDelivery) -> Result<Taken, Untaken> {
        let id = claimed.id.0.to_string();
        match claimed.lane.channel {
            Channel::Email => {
                let id = format!("keywheel-{id}");
                let letter = Letter {
                    id: &id,
                    recipients: &claimed.recipients,
                    subject: &claimed.subject,
                    body: &claimed.body,
                };
                self.notifier.mail(&letter).await
            }
            Channel::Webhook => {
                let action = claimed.lane.action;
                let secret = claimed
                    .signing_secret
                    .as_deref()
                    .map(|sealed| self.opened(&Place::signing_secret(action), sealed))
                    .transpose()?;
                let hook = Hook::Webhook {
                    id: &id,
                    secret: secret.as_ref(),
                };
                self.post(action, claimed, hook).await
            }
            Channel::Slack => self.post(claimed.lane.action, claimed, Hook::Slack).await,
        }
    }

    async fn post(
        &self,
        action: WorkflowActionId,
        claimed: &ClaimedDelivery,
        hook: Hook<'_>,
    ) -> Result<Taken, Untaken> {
        let sealed = claimed
            .url
            .as_deref()
            .ok_or_else(|| Untaken::ever("the action has no URL"))?;
        let url = self.opened(&Place::workflow_url(action), sealed)?;
        let post = Post {
            url: &url,
            body: &claimed.body,
            hook,
        };
        self.notifier.post(&post).await
    }

    fn opened(&self, place: &Place, sealed: &[u8]) -> Result<secrecy::SecretString, Untaken> {
        self.vault.open(place, sealed).map_err(|error| {
            tracing::error!(%error, "a part of a workflow's action does not open");
            Untaken::now("the action's sealed parts do not open: the log says more")
        })
    }
}
