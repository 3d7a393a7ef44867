//! Group commit: steps of several accounts share a transaction.
//!
//! Invariant: whoever asked for a commit is answered only after it is durable; one account's
//! stale step undoes no other's.

use tokio::sync::{mpsc, oneshot};

use super::{Engine, EngineError};
use crate::model::audit::Event;
use crate::model::credential::Part;
use crate::model::id::AccountId;
use crate::model::rotation::{Phase, Rotation};
use crate::store::{Claim, RotationRow, Step, StoreError};

/// Requests that one transaction takes at most.
const GROUP_MAX: usize = 64;

/// What is to be written together for one account.
#[derive(Debug, Default)]
pub(super) struct Write {
    pub(super) steps: Vec<Step>,
    pub(super) events: Vec<Event>,
    /// A login that may fail is counted before it is sent: (whose, budget).
    pub(super) spend: Option<(AccountId, i64)>,
    /// A counted login has succeeded.
    pub(super) refund: Option<AccountId>,
    /// A test's verdict: (whose, part, version, verdict).
    pub(super) verdict: Option<(AccountId, Part, i64, &'static str)>,
    /// A version that may be live is to be found out about: (whose, part, epoch, version, state).
    pub(super) adopt: Option<(AccountId, Part, i64, i64, Rotation)>,
    /// A superseded key's line is gone: (whose, version).
    pub(super) removed: Option<(AccountId, i64)>,
}

impl Write {
    /// One step with its event.
    pub(super) fn step(row: &RotationRow, to: Rotation, why: &str) -> Self {
        let mut write = Self::default();
        write.push(row, row.state, to, why);
        write
    }

    /// Adds a step that follows the last one.
    pub(super) fn push(&mut self, row: &RotationRow, from: Rotation, to: Rotation, why: &str) {
        let step = Step {
            rotation: row.id,
            account: row.account,
            part: row.part,
            epoch: row.epoch,
            version: row.version,
            from,
            to,
            why: why.to_owned(),
        };
        self.events.push(Event::by_service(
            event_name(to.phase),
            row.account,
            serde_json::json!({
                "rotation": row.id.0,
                "part": row.part.as_str(),
                "version": row.version,
                "from": from.phase.as_str(),
                "doubt": to.doubt,
                "why": why,
            }),
        ));
        self.steps.push(step);
    }
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
        let window = i64::try_from(self.limits.lockout_window.as_millis()).unwrap_or(i64::MAX);
        let mut tx = self.store.begin().await?;
        tx.hold(claim.id, claim.node).await?;
        let mut granted = Vec::with_capacity(writes.len());
        for write in writes {
            let mut login = true;
            if let Some((account, part, epoch, version, state)) = write.adopt {
                tx.open_rotation(account, part, epoch, version, state, now)
                    .await?;
            }
            for step in &write.steps {
                tx.advance(step, now).await?;
            }
            if let Some((account, part, version, verdict)) = write.verdict {
                tx.record_test(account, part, version, verdict, now).await?;
            }
            let mut gone = true;
            if let Some((account, version)) = write.removed {
                gone = tx.record_removed(account, version, now).await?;
            }
            if let Some((account, budget)) = write.spend {
                login = tx.spend_login(account, budget, window, now).await?;
            }
            if let Some(account) = write.refund {
                tx.refund_login(account).await?;
            }
            for event in &write.events {
                tx.audit(event, now).await?;
            }
            granted.push(Granted { login, gone });
        }
        tx.commit().await?;
        Ok(granted)
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
