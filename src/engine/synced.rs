//! Subscribers: what their parent's password is, or that the parent has to change first.
//!
//! Invariant: a subscriber's candidate is a password that its parent has been tested with, sealed
//! anew for its own place; it is staged, sent and tested like any other.

use std::time::Duration;

use keywheel_connectors::{Credential, Secret};
use serde_json::json;

use super::{Engine, EngineError, Finished, Work};
use crate::model::audit::Event;
use crate::model::credential::{Part, Parts};
use crate::model::id::AccountId;
use crate::model::job::{Cause, JobKind};
use crate::store::{Claim, Ending, NewJob, SealedSecret, Subscription};
use crate::vault::Place;

/// How long a subscriber's job waits before it looks at its parent again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The same while the parent's own job waits for another attempt.
const LOOK_LATER: Duration = Duration::from_secs(30);

/// The password that a subscriber takes over.
pub(super) struct Copied {
    pub(super) parent: AccountId,
    pub(super) parent_version: i64,
    sealed: Vec<u8>,
}

impl Engine {
    /// Hands subscribers that are about to get a password the one of their parent. Where that is
    /// what they have, the parent is to change first: their jobs come back to wait for it.
    pub(super) async fn follow_parents(
        &self,
        claim: &Claim,
        works: Vec<Work>,
    ) -> Result<(Vec<Work>, Vec<Finished>), EngineError> {
        if works.iter().all(|work| work.account.parent_id.is_none()) {
            return Ok((works, Vec::new()));
        }
        let subscriptions = self.store.subscriptions_of_claim(claim.id).await?;
        let mut go_on = Vec::with_capacity(works.len());
        let mut ended = Vec::new();
        for mut work in works {
            let found = subscriptions.iter().find(|one| one.account == work.id());
            match found.filter(|_| begins_a_password(&mut work)) {
                Some(found) => match self.follow(claim, work, found).await? {
                    Ok(work) => go_on.push(work),
                    Err(finished) => ended.push(finished),
                },
                None => go_on.push(work),
            }
        }
        Ok((go_on, ended))
    }

    async fn follow(
        &self,
        claim: &Claim,
        mut work: Work,
        found: &Subscription,
    ) -> Result<Result<Work, Finished>, EngineError> {
        let repairs = work.job.cause == Cause::Mismatch;
        let Some(version) = found
            .parent_version
            .filter(|_| found.is_behind() || repairs)
        else {
            return Ok(Err(self.wait_for_parent(claim, work, found).await?));
        };
        let sealed = self.store.sealed_version(found.parent, version).await?;
        let Some(SealedSecret::Password(sealed)) = sealed else {
            return Ok(Err(failed(work, "the parent's password is not there")));
        };
        work.copied = Some(Copied {
            parent: found.parent,
            parent_version: version,
            sealed,
        });
        Ok(Ok(work))
    }

    /// Opens what a subscriber takes over; the inner error says why its system cannot have it.
    pub(super) fn take_over(
        &self,
        work: &Work,
        copied: &Copied,
    ) -> Result<Result<Secret, String>, EngineError> {
        let place = Place::credential(copied.parent, copied.parent_version);
        let password = self.vault.open(&place, &copied.sealed)?;
        let candidate = Credential::from(password.clone());
        let admitted = match &work.dialogue {
            Some(dialogue) => dialogue.admit(&work.target, Some(&candidate)),
            None => Ok(()), // the others say so when they get it, before they send it
        };
        Ok(admitted
            .map(|()| password)
            .map_err(|reason| format!("the parent's password: {}", reason.text)))
    }

    /// Has the parent changed, and sends the subscriber's job back until it was.
    async fn wait_for_parent(
        &self,
        claim: &Claim,
        mut work: Work,
        found: &Subscription,
    ) -> Result<Finished, EngineError> {
        let now = self.clock.now();
        let parent = found.parent;
        let mut tx = self.store.begin().await?;
        tx.lock_queue(found.parent_system).await?;
        let (waits_for, later) = match tx.open_job(parent).await? {
            Some(open) if open.kind == JobKind::Rotate => {
                tx.hasten(open.id, found.parent_system, claim.priority, now)
                    .await?;
                (Some(open.id), !open.running && open.attempt > 0)
            }
            Some(_) => (None, false), // a test is short
            None => {
                let waited = found.waited.filter(|(job, _)| *job == work.job.id);
                if let Some((_, before)) = waited {
                    let why = format!(
                        "the parent, account {}, was not changed by its job {}; this account \
                         keeps its password",
                        parent.0, before.0
                    );
                    return Ok(failed(work, why));
                }
                if !found.parent_active {
                    let why = format!("the parent, account {}, is suspended", parent.0);
                    return Ok(failed(work, why));
                }
                let new = NewJob {
                    account: parent,
                    system: found.parent_system,
                    kind: JobKind::Rotate,
                    cause: work.job.cause,
                    actor: work.job.actor.clone(),
                    priority: claim.priority,
                    run_at: now,
                    parts: Parts::ALL_THERE_ARE,
                    version: None,
                    key_version: None,
                };
                let id = tx.enqueue(&new, now).await?;
                let body = json!({"job": id.0, "subscriber": work.account.id});
                let event = Event::by(work.job.actor.clone(), "change.ordered", parent, body);
                tx.audit(&event, now).await?;
                (Some(id), false)
            }
        };
        if let Some(waits_for) = waits_for {
            tx.wait_for_parent(work.id(), work.job.id, waits_for)
                .await?;
            work.log.note(format!(
                "waiting for job {}, which changes the parent, account {}",
                waits_for.0, parent.0
            ));
        }
        tx.commit().await?;
        let wait = if later { LOOK_LATER } else { LOOK_AGAIN };
        let ending = Ending::Retry {
            at: now.plus(wait),
            counts: false,
        };
        Ok(work.log.finish(work.job, ending))
    }
}

/// True if the job is about to give the account a password that nobody has given.
fn begins_a_password(work: &mut Work) -> bool {
    if work.job.kind != JobKind::Rotate || work.driven().first() != Some(&Part::Password) {
        return false;
    }
    work.enter(Part::Password);
    work.given().is_none() && Engine::wants_candidate(work)
}

fn failed(mut work: Work, why: impl Into<String>) -> Finished {
    work.log.class = "parent";
    work.log.note(why);
    work.log.finish(work.job, Ending::Failed)
}
