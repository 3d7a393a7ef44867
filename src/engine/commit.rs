//! Group commit: steps of several accounts share a transaction.
//!
//! Invariant: whoever asked for a commit is answered only after it is durable; one account's
//! stale step undoes no other's.

use std::collections::{BTreeMap, HashSet};

use tokio::sync::{mpsc, oneshot};

use super::{Engine, EngineError};
use crate::model::audit::Event;
use crate::model::credential::Part;
use crate::model::id::AccountId;
use crate::model::rotation::{Phase, Rotation};
use crate::store::{Claim, NewRotation, RotationRow, Step, StoreError};

/// Requests that one transaction takes at most.
const GROUP_MAX: usize = 64;

/// What is to be written together for one account.
#[derive(Debug, Default)]
pub(super) struct Write {
    pub(super) step: Option<Step>,
    pub(super) events: Vec<Event>,
    /// A login that may fail is counted before it is sent: (whose, budget).
    pub(super) spend: Option<(AccountId, i64)>,
    /// A counted login has succeeded.
    pub(super) refund: Option<AccountId>,
    /// A test's verdict: (whose, part, version, verdict).
    pub(super) verdict: Option<(AccountId, Part, i64, &'static str)>,
    /// A version that may be live is to be found out about.
    pub(super) adopt: Option<NewRotation>,
    /// A superseded key's line is gone: (whose, version).
    pub(super) removed: Option<(AccountId, i64)>,
}

impl Write {
    /// One step with its event.
    pub(super) fn step(row: &RotationRow, to: Rotation, why: &str) -> Self {
        Self {
            events: vec![event(row, row.state, to, why)],
            step: Some(Step {
                rotation: row.id,
                account: row.account,
                part: row.part,
                epoch: row.epoch,
                version: row.version,
                from: row.state,
                to,
                why: why.to_owned(),
            }),
            ..Self::default()
        }
    }

    /// Goes one step further in the same commit: on record are both, stored is the last.
    pub(super) fn and_on(mut self, row: &RotationRow, to: Rotation) -> Self {
        if let Some(step) = &mut self.step {
            self.events.push(event(row, step.to, to, &step.why));
            step.to = to;
        }
        self
    }
}

fn event(row: &RotationRow, from: Rotation, to: Rotation, why: &str) -> Event {
    let body = serde_json::json!({
        "rotation": row.id.0,
        "part": row.part.as_str(),
        "version": row.version,
        "from": from.phase.as_str(),
        "doubt": to.doubt,
        "why": why,
    });
    Event::by_service(event_name(to.phase), row.account, body)
}

/// What a commit granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// False: the lockout budget is spent, no login may be sent.
    pub(super) login: bool,
    /// False: a key's line may come back, it is not recorded as gone.
    pub(super) gone: bool,
}

struct Request {
    write: Write,
    reply: oneshot::Sender<Result<Granted, EngineError>>,
}

/// Where accounts hand in what is to be written.
pub(super) struct Committer {
    requests: std::sync::Mutex<Option<mpsc::UnboundedSender<Request>>>,
}

pub(super) struct Requests(mpsc::UnboundedReceiver<Request>);

impl Committer {
    pub(super) fn new() -> (Self, Requests) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (
            Self {
                requests: std::sync::Mutex::new(Some(sender)),
            },
            Requests(receiver),
        )
    }

    /// Ends the loop once every request is answered.
    pub(super) fn close(&self) {
        self.requests
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
    }

    /// Writes, and answers once it is durable.
    pub(super) async fn commit(&self, write: Write) -> Result<Granted, EngineError> {
        let (reply, answer) = oneshot::channel();
        let sender = self
            .requests
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
            .ok_or(EngineError::LeaseLost)?;
        sender
            .send(Request { write, reply })
            .map_err(|_| EngineError::LeaseLost)?;
        drop(sender);
        answer.await.map_err(|_| EngineError::LeaseLost)?
    }
}

impl Engine {
    /// Commits what comes, as much at once as has gathered meanwhile.
    pub(super) async fn commit_loop(
        &self,
        claim: &Claim,
        Requests(mut requests): Requests,
    ) -> Result<(), EngineError> {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while requests.recv_many(&mut group, GROUP_MAX).await > 0 {
            let writes: Vec<&Write> = group.iter().map(|request| &request.write).collect();
            match self.write_group(claim, &writes).await {
                Ok(granted) => {
                    for (request, granted) in group.drain(..).zip(granted) {
                        answer(request.reply, Ok(granted));
                    }
                }
                Err(EngineError::LeaseLost) => return Err(EngineError::LeaseLost),
                Err(EngineError::Store(StoreError::CommitUnknown(cause))) => {
                    // It may have happened: to write again would count twice. Each account stops,
                    // and the next attempt reads back what is there.
                    tracing::error!(claim = claim.id.0, %cause, "a commit's result is unknown");
                    for request in group.drain(..) {
                        answer(request.reply, Err(EngineError::Unacknowledged));
                    }
                }
                Err(_) if group.len() > 1 => {
                    // One stale step failed them all: each for itself.
                    for request in group.drain(..) {
                        let alone = self.write_group(claim, &[&request.write]).await;
                        let alone = alone.and_then(|granted| {
                            granted.first().copied().ok_or(EngineError::LeaseLost)
                        });
                        answer(request.reply, alone);
                    }
                }
                Err(error) => {
                    if let Some(request) = group.pop() {
                        answer(request.reply, Err(error));
                    }
                }
            }
        }
        Ok(())
    }

    async fn write_group(
        &self,
        claim: &Claim,
        writes: &[&Write],
    ) -> Result<Vec<Granted>, EngineError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        tx.hold(claim.id, claim.node).await?;
        let adopted: Vec<_> = writes.iter().filter_map(|w| w.adopt.as_ref()).collect();
        tx.open_rotations(&adopted, now).await?;
        let steps: Vec<_> = writes.iter().filter_map(|w| w.step.as_ref()).collect();
        tx.advance_all(&steps, now).await?;
        let mut gone = Vec::with_capacity(writes.len());
        for write in writes {
            if let Some((account, part, version, verdict)) = write.verdict {
                tx.record_test(account, part, version, verdict, now).await?;
            }
            gone.push(match write.removed {
                Some((account, version)) => tx.record_removed(account, version, now).await?,
                None => true,
            });
        }
        // One system's accounts have one budget, but a probe may spend less of it than a test.
        let mut spending: BTreeMap<i64, Vec<AccountId>> = BTreeMap::new();
        for (account, budget) in writes.iter().filter_map(|write| write.spend) {
            spending.entry(budget).or_default().push(account);
        }
        let window = self.lockout_window_ms();
        let mut may_log_in = HashSet::new();
        for (budget, accounts) in spending {
            may_log_in.extend(tx.spend_logins(&accounts, budget, window, now).await?);
        }
        let succeeded: Vec<_> = writes.iter().filter_map(|write| write.refund).collect();
        tx.refund_logins(&succeeded).await?;
        let events: Vec<_> = writes.iter().flat_map(|write| &write.events).collect();
        tx.audit_all(&events, now).await?;
        tx.commit().await?;
        let granted = writes.iter().zip(gone).map(|(write, gone)| Granted {
            login: write
                .spend
                .is_none_or(|(account, _)| may_log_in.contains(&account)),
            gone,
        });
        Ok(granted.collect())
    }
}

fn answer(
    reply: oneshot::Sender<Result<Granted, EngineError>>,
    result: Result<Granted, EngineError>,
) {
    if reply.send(result).is_err() {
        tracing::debug!("an account went away before its commit was answered");
    }
}

/// The audit trail's name of a step.
const fn event_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Ready => "rotation.opened",
        Phase::Staged => "rotation.staged",
        Phase::Applying => "rotation.intended",
        Phase::Applied => "rotation.applied",
        Phase::Verified => "rotation.verified",
        Phase::Committed => "rotation.committed",
        Phase::Abandoned => "rotation.abandoned",
        Phase::NeedsOperator => "rotation.needs_operator",
    }
}
