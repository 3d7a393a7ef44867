//! A connector whose every call crosses the wall.
//!
//! A session whose process has ended goes on in another one, with a functional login of its own:
//! what was under way is a lost reply, and what follows it (the probe) can do its work at once.
//!
//! Invariant: [`Connector::admit`] stays here, since it sees no target; and a lost reply to a
//! change is [`Changed::Unknown`], always.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keywheel_connectors::dialogue::Undoing;
use keywheel_connectors::wire::{Answer, Call};
use keywheel_connectors::{
    Account, CanonicalIdentity, Changed, Checked, Class, Connector, Credential, Evidence,
    Functional, Identity, Listing, Query, Reason, Session, Target, TargetKind,
};
use tokio::sync::Mutex;

use super::lease::{self, Lease};
use super::pool::Pool;
use super::process::{End, Lost};

/// How often a session whose process ended may go on in another one.
const REOPENS_MAX: u32 = 2;

/// A connector on the far side of the wall.
#[derive(Clone, Debug)]
pub struct Remote {
    pool: Arc<Pool>,
    /// The same connector on this side; it never meets a target.
    near: Arc<dyn Connector>,
    /// Changes that a system may take back, whichever process made them.
    undoing: Arc<Undoing>,
}

impl Remote {
    /// The connector that `pool`'s processes serve. `near` is the same one, for what needs no
    /// target.
    pub fn new(pool: Arc<Pool>, near: Arc<dyn Connector>) -> Self {
        Self {
            pool,
            near,
            undoing: Arc::default(),
        }
    }

    async fn lease(&self, target: &Target) -> Result<Lease, Reason> {
        self.pool.lease(lease::system(target), target.timeout).await
    }

    async fn open_lease(
        &self,
        target: &Target,
        functional: Option<&Functional>,
    ) -> Result<Lease, Reason> {
        let lease = self.lease(target).await?;
        let call = Call::Open {
            session: lease.session,
            target: target.clone(),
            functional: functional.cloned(),
        };
        match lease.ask(call, target.timeout).await {
            Ok(Answer::Opened(Ok(()))) => Ok(lease),
            Ok(Answer::Opened(Err(reason))) => Err(reason),
            Ok(_) => Err(whole(lease.breaks())),
            Err(lost) => Err(whole(lost)),
        }
    }
}

impl Lease {
    async fn ask(&self, call: Call, limit: Duration) -> Result<Answer, Lost> {
        self.process.call(call, limit).await
    }

    /// The process has answered something that was not asked.
    fn breaks(&self) -> Lost {
        self.process.condemn(End::Malformed);
        Lost::After
    }
}

/// What a lost call says of one account.
fn single(lost: Lost) -> Reason {
    match lost {
        Lost::Before => Reason::account(
            Class::Unreachable,
            "the connector process had ended before; nothing was sent",
        ),
        Lost::TooLong => Reason::account(
            Class::Refused,
            "the request is too long for a connector process; nothing was sent",
        ),
        Lost::After => Reason::account(
            Class::Unknown,
            "the connector process ended before it answered; the target may have been reached",
        ),
    }
}

/// What a lost call says of the whole system: nothing was changed by it.
fn whole(lost: Lost) -> Reason {
    match lost {
        Lost::Before | Lost::After => Reason::system(
            Class::Unreachable,
            "the connector process ended before it had reached the system",
        ),
        Lost::TooLong => Reason::system(
            Class::Incompatible,
            "what is known of the system is too long for a connector process: shorten its \
             certificate bundle",
        ),
    }
}

#[async_trait]
impl Connector for Remote {
    fn name(&self) -> &'static str {
        self.near.name()
    }

    fn admit(&self, account: &Account, credential: Option<&Credential>) -> Result<(), Reason> {
        self.near.admit(account, credential)
    }

    async fn identify(&self, target: &Target) -> Result<Identity, Reason> {
        let lease = self.lease(target).await?;
        let call = Call::Identify {
            target: target.clone(),
        };
        match lease.ask(call, target.timeout).await {
            Ok(Answer::Identified(identified)) => identified,
            Ok(_) => Err(whole(lease.breaks())),
            Err(lost) => Err(whole(lost)),
        }
    }

    async fn open(
        &self,
        target: &Target,
        functional: Option<&Functional>,
    ) -> Result<Arc<dyn Session>, Reason> {
        let lease = self.open_lease(target, functional).await?;
        Ok(Arc::new(RemoteSession {
            remote: self.clone(),
            target: target.clone(),
            functional: functional.cloned(),
            held: Mutex::new(Held {
                lease: Some(Arc::new(lease)),
                reopens: 0,
            }),
        }))
    }
}

/// A session in a connector process.
struct RemoteSession {
    remote: Remote,
    target: Target,
    functional: Option<Functional>,
    held: Mutex<Held>,
}

struct Held {
    lease: Option<Arc<Lease>>,
    reopens: u32,
}

impl RemoteSession {
    /// The session's place in a process that lives.
    async fn lease(&self) -> Result<Arc<Lease>, Reason> {
        // Held while another is opened: one functional login, not one per waiting account.
        let mut held = self.held.lock().await;
        if let Some(lease) = &held.lease
            && lease.process.lives()
        {
            return Ok(Arc::clone(lease));
        }
        if held.lease.take().is_none() || held.reopens >= REOPENS_MAX {
            return Err(single(Lost::Before));
        }
        held.reopens += 1;
        let opened = self
            .remote
            .open_lease(&self.target, self.functional.as_ref());
        let lease = Arc::new(opened.await?);
        held.lease = Some(Arc::clone(&lease));
        Ok(lease)
    }

    /// Asks; `read` takes the answer that fits.
    async fn ask<T>(
        &self,
        call: impl FnOnce(u64) -> Call,
        read: impl FnOnce(Answer) -> Option<T>,
    ) -> Result<T, Failed> {
        let lease = self.lease().await.map_err(Failed::Unsent)?;
        match lease.ask(call(lease.session), self.target.timeout).await {
            Ok(answer) => read(answer).ok_or_else(|| Failed::Lost(single(lease.breaks()))),
            Err(Lost::After) => Err(Failed::Lost(single(Lost::After))),
            Err(lost) => Err(Failed::Unsent(single(lost))),
        }
    }
}

/// Why a call of a session has no answer.
enum Failed {
    /// Nothing was sent.
    Unsent(Reason),
    /// The target may have been reached.
    Lost(Reason),
}

fn changed(asked: Result<Changed, Failed>) -> Changed {
    asked.unwrap_or_else(|failed| match failed {
        Failed::Unsent(reason) => Changed::NotNow(reason),
        Failed::Lost(reason) => Changed::Unknown(reason),
    })
}

/// How long the target may take a change of this account back that nobody confirmed.
fn undo(target: &Target, account: &Account) -> Option<Duration> {
    match &target.kind {
        TargetKind::Dialogue(part) => part.platform.undo(account),
        _ => None,
    }
}

fn read_changed(answer: Answer) -> Option<Changed> {
    match answer {
        Answer::Changed(changed) => Some(changed),
        Answer::Identified(_)
        | Answer::Opened(_)
        | Answer::Checked(_)
        | Answer::Evidence(_)
        | Answer::Listed(_)
        | Answer::Identities(_)
        | Answer::Closed
        | Answer::Cancelled => None,
    }
}

#[async_trait]
impl Session for RemoteSession {
    async fn change(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
    ) -> Changed {
        let call = |session| Call::Change {
            session,
            account: account.clone(),
            new: new.clone(),
            current: current.cloned(),
        };
        let Some(undo) = undo(&self.target, account) else {
            return changed(self.ask(call, read_changed).await);
        };
        // Noted before the call: whoever gives it up, or ends with its process, notes nothing.
        let undoing = &self.remote.undoing;
        let longest = undo + self.target.timeout;
        let before = undoing.expect(&self.target, account, longest);
        let changed = changed(self.ask(call, read_changed).await);
        match &changed {
            Changed::Unknown(_) => drop(undoing.expect(&self.target, account, undo)),
            Changed::Done | Changed::Refused(_) | Changed::NotNow(_) => {
                undoing.restore(&self.target, account, before);
            }
        }
        changed
    }

    async fn check(&self, account: &Account, credential: &Credential) -> Checked {
        if let Some(reason) = self.remote.undoing.forbids(&self.target, account) {
            return Checked::NotNow(reason);
        }
        let call = |session| Call::Check {
            session,
            account: account.clone(),
            credential: credential.clone(),
        };
        let read = |answer| match answer {
            Answer::Checked(checked) => Some(checked),
            _ => None,
        };
        match self.ask(call, read).await {
            Ok(checked) => checked,
            Err(Failed::Unsent(reason) | Failed::Lost(reason)) => Checked::NotNow(reason),
        }
    }

    async fn evidence(
        &self,
        account: &Account,
        candidate: &Credential,
        current: Option<&Credential>,
    ) -> Evidence {
        let call = |session| Call::Evidence {
            session,
            account: account.clone(),
            candidate: candidate.clone(),
            current: current.cloned(),
        };
        let read = |answer| match answer {
            Answer::Evidence(evidence) => Some(evidence),
            _ => None,
        };
        match self.ask(call, read).await {
            Ok(evidence) => evidence,
            Err(Failed::Unsent(reason) | Failed::Lost(reason)) => Evidence::Undecided(reason),
        }
    }

    async fn retire(&self, account: &Account, old: &Credential) -> Changed {
        let call = |session| Call::Retire {
            session,
            account: account.clone(),
            old: old.clone(),
        };
        changed(self.ask(call, read_changed).await)
    }

    async fn list(&self, query: &Query) -> Result<Listing, Reason> {
        let call = |session| Call::List {
            session,
            query: query.clone(),
        };
        let read = |answer| match answer {
            Answer::Listed(listed) => Some(listed),
            _ => None,
        };
        match self.ask(call, read).await {
            Ok(listed) => listed,
            Err(Failed::Unsent(reason) | Failed::Lost(reason)) => Err(reason),
        }
    }

    async fn identities(
        &self,
        accounts: &[Account],
    ) -> Result<Vec<Option<CanonicalIdentity>>, Reason> {
        let call = |session| Call::Identities {
            session,
            accounts: accounts.to_vec(),
        };
        let read = |answer| match answer {
            // One for each, or it is no answer.
            Answer::Identities(Ok(known)) if known.len() != accounts.len() => None,
            Answer::Identities(known) => Some(known),
            _ => None,
        };
        match self.ask(call, read).await {
            Ok(known) => known,
            Err(Failed::Unsent(reason) | Failed::Lost(reason)) => Err(reason),
        }
    }

    async fn close(&self) {
        let Some(lease) = self.held.lock().await.lease.take() else {
            return;
        };
        let call = Call::Close {
            session: lease.session,
        };
        match lease.ask(call, self.target.timeout).await {
            Ok(Answer::Closed) => {}
            Ok(_) => {
                lease.breaks();
            }
            // There is nobody left to say farewell to.
            Err(lost) => tracing::debug!(?lost, "a session ended without a farewell"),
        }
    }
}
