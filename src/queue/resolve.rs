//! Settles accounts that are in doubt, or that somebody else has changed, as an operator says.
//!
//! Invariant: every order is on record with its reason before anything is sent; what an operator
//! says without a test moves current alone, and leaves the doubt.

use keywheel_connectors::{Credential, Secret};
use serde_json::json;

use super::{OrderError, Orders};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::credential::{Part, Parts};
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};
use crate::model::rotation::{Outcome, Phase};
use crate::store::{NewJob, Step, Tx};

/// How an account is to be settled.
#[derive(Debug)]
pub enum Resolve {
    /// Ask the target once more which secret works.
    Probe,
    /// Ask, and go on with the change: what the target holds becomes current, and is changed.
    Retry,
    /// Set a new credential through the functional account, whatever the target holds.
    Reset,
    /// This kept version works, an operator says: it becomes current once a login has shown it.
    UseVersion(i64),
    /// The same without a login. It is current then, and in doubt until a test has passed.
    UseUntested(i64),
    /// The target has this password: it is kept, and becomes current once a login has shown it.
    Supply(Secret),
}

impl Resolve {
    /// As it stands in the audit trail.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Retry => "retry",
            Self::Reset => "reset",
            Self::UseVersion(_) => "use_version",
            Self::UseUntested(_) => "use_untested",
            Self::Supply(_) => "supply",
        }
    }

    const fn changes(&self) -> bool {
        matches!(self, Self::Retry | Self::Reset)
    }
}

/// What is to be settled, and by whom.
#[derive(Debug)]
pub struct ResolveOrder<'a> {
    /// Whose credential.
    pub account: AccountId,
    /// Which part of it.
    pub part: Part,
    /// How.
    pub how: Resolve,
    /// Why.
    pub reason: &'a str,
    /// Who.
    pub actor: &'a str,
}

impl Orders {
    /// Orders that an account is settled; under which job.
    ///
    /// # Errors
    /// [`OrderError`]; then nothing was ordered, and nothing has changed.
    pub async fn resolve(&self, order: ResolveOrder<'_>) -> Result<JobId, OrderError> {
        let given: Vec<Credential> = match &order.how {
            Resolve::Supply(password) => vec![password.clone().into()],
            _ => Vec::new(),
        };
        let changes = order.how.changes();
        let (row, system) = self.fit(order.account, &given, changes).await?;
        if matches!(order.how, Resolve::Reset) && row.use_own_credentials != 0 {
            return Err(OrderError::Refused(
                "The account changes itself by its own login, which its target refuses; reset it \
                 on the target and supply the new password"
                    .into(),
            ));
        }
        let mut tx = self.store.begin().await?;
        tx.lock_queue(system).await?;
        if let Some(open) = tx.open_job(order.account).await? {
            return Err(OrderError::InTheWay(format!(
                "Job {} of the account is under way; wait for its end first",
                open.id.0
            )));
        }
        let now = self.clock.now();
        let version = match &order.how {
            Resolve::UseVersion(version) | Resolve::UseUntested(version) => {
                self.kept_of_part(&order, *version).await?;
                Some(*version)
            }
            Resolve::Supply(password) => {
                let given = (Some(password), None);
                let kept = self.keep(&mut tx, order.account, given, "supplied");
                kept.await?.versions.0
            }
            Resolve::Probe | Resolve::Retry | Resolve::Reset => None,
        };
        let new = job(&order, system, version, now);
        let job = if matches!(order.how, Resolve::UseUntested(_)) {
            self.use_untested(&mut tx, &order, version.unwrap_or_default(), now)
                .await?;
            let log = "an operator said so; the target was not contacted";
            tx.record_done(&new, log, now).await?
        } else {
            tx.enqueue(&new, now).await?
        };
        let body = json!({
            "job": job.0,
            "how": order.how.as_str(),
            "part": order.part.as_str(),
            "version": version,
            "reason": order.reason,
        });
        let event = Event::by(order.actor, "account.resolving", order.account, body);
        tx.audit(&event, now).await?;
        if matches!(order.how, Resolve::UseUntested(_)) {
            tx.replan(order.account, now).await?;
        }
        tx.commit().await?;
        self.metrics
            .jobs_enqueued(new.kind.as_str(), new.cause.as_str(), 1);
        Ok(job)
    }

    /// Refuses a version that is not kept, or is another part's.
    async fn kept_of_part(&self, order: &ResolveOrder<'_>, version: i64) -> Result<(), OrderError> {
        let kept = self.store.sealed_version(order.account, version).await?;
        match kept {
            Some(kept) if kept.part() == order.part => Ok(()),
            Some(_) => Err(OrderError::Refused(format!(
                "Version {version} is not a {}",
                order.part.as_str()
            ))),
            None => Err(OrderError::Refused(format!(
                "Version {version} of the account is not kept; its doubt shows those that are"
            ))),
        }
    }

    /// Makes a version current on an operator's word.
    async fn use_untested(
        &self,
        tx: &mut Tx,
        order: &ResolveOrder<'_>,
        version: i64,
        now: Timestamp,
    ) -> Result<(), OrderError> {
        let row = tx.account_row(order.account).await?;
        let row = row.ok_or(OrderError::NotFound)?;
        let open = self
            .store
            .open_rotation_of(order.account, order.part)
            .await?;
        if let Some(open) = open {
            if open.state.phase != Phase::NeedsOperator {
                return Err(OrderError::InTheWay(
                    "A change of the account has not come to its end; retry or probe it first"
                        .into(),
                ));
            }
            let Ok(to) = open.state.after(Outcome::Current) else {
                return Err(OrderError::InTheWay(
                    "The change cannot be set aside".into(),
                ));
            };
            let step = Step {
                rotation: open.id,
                account: open.account,
                part: open.part,
                epoch: open.epoch,
                version: open.version,
                from: open.state,
                to,
                why: "an operator said which version works".to_owned(),
            };
            tx.advance(&step, now).await?;
        }
        tx.store_current(order.account, order.part, row.epoch, version, now)
            .await?;
        Ok(())
    }
}

fn job(order: &ResolveOrder<'_>, system: SystemId, version: Option<i64>, now: Timestamp) -> NewJob {
    let kind = if order.how.changes() {
        JobKind::Rotate
    } else {
        JobKind::Test
    };
    // What is set anew, whatever the target holds, is the answer to a mismatch.
    let cause = if matches!(order.how, Resolve::Reset) {
        Cause::Mismatch
    } else {
        Cause::Operator
    };
    let parts = match order.how {
        Resolve::Probe => Parts::ALL_THERE_ARE,
        _ => Parts::of(order.part),
    };
    NewJob {
        account: order.account,
        system,
        kind,
        cause,
        actor: order.actor.to_owned(),
        priority: Priority::Immediate,
        run_at: now,
        parts,
        version: version.filter(|_| order.part == Part::Password),
        key_version: version.filter(|_| order.part == Part::Key),
    }
}
