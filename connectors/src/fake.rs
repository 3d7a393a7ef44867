//! A target in memory that refuses, hangs, lies, loses replies and obeys late.
//!
//! A test tells a [`FakeSystem`] what to do, hands [`Fake`] to the code under test, and asks the
//! system afterwards what it saw.
//!
//! Invariant: the fake keeps every promise of [`Connector`]; only the target behind it misbehaves.

mod state;
mod world;

use std::borrow::Cow;
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use world::{Counts, FakeSystem, FakeWorld, OnChange, OnCheck, OnOpen};

use crate::{
    Account, CanonicalIdentity, Changed, Checked, Class, Connector, Credential, Evidence,
    Functional, Identity, Listing, Query, Reason, Session, Target,
};
use state::{Judged, Proof, log_in};
use world::Shared;

/// The longest secret that the fake takes, in bytes.
const SECRET_MAX_BYTES: usize = 255;

/// The connector to a [`FakeWorld`]. It takes targets of every kind.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    world: FakeWorld,
}

impl Fake {
    /// A connector to this world.
    pub fn new(world: &FakeWorld) -> Self {
        Self {
            world: world.clone(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the fake is the target: it must know the secret"
)]
fn proof(credential: &Credential) -> Proof {
    match credential {
        Credential::Password(password) => Proof::Password(password.expose_secret().to_owned()),
        Credential::Key(pair) => Proof::Key(pair.public.clone()),
    }
}

fn unreachable() -> Reason {
    Reason::system(Class::Unreachable, "the fake target does not answer")
}

fn wrong_identity() -> Reason {
    Reason::system(
        Class::IdentityMismatch,
        "the fake target shows another identity",
    )
}

fn lost(text: impl Into<Cow<'static, str>>) -> Changed {
    Changed::Unknown(Reason::account(Class::Unknown, text))
}

/// Fails as a connection to this system fails now.
async fn connect(does: OnOpen) -> Result<(), Reason> {
    match does {
        OnOpen::Unreachable => Err(unreachable()),
        OnOpen::Hang => pending().await,
        OnOpen::WrongIdentity => Err(wrong_identity()),
        OnOpen::Judge | OnOpen::Reject | OnOpen::NoPrivilege => Ok(()),
    }
}

#[async_trait]
impl Connector for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn admit(&self, _account: &Account, credential: Option<&Credential>) -> Result<(), Reason> {
        if let Some(Credential::Key(pair)) = credential {
            return pair.admit();
        }
        let Some(Proof::Password(secret)) = credential.map(proof) else {
            return Ok(());
        };
        if secret.is_empty() || secret.len() > SECRET_MAX_BYTES {
            return Err(Reason::account(
                Class::Refused,
                "a secret has 1 to 255 bytes",
            ));
        }
        if secret.chars().any(char::is_control) {
            return Err(Reason::account(
                Class::Refused,
                "a secret holds no control character",
            ));
        }
        Ok(())
    }

    async fn identify(&self, target: &Target) -> Result<Identity, Reason> {
        let shared = self.world.find(&target.host).ok_or_else(unreachable)?;
        let does = shared.lock().lasting_open();
        match timeout(target.timeout, connect(does)).await {
            Ok(Err(reason)) if reason.class != Class::IdentityMismatch => Err(reason),
            Ok(_) => Ok(Identity::Fake),
            Err(_) => Err(unreachable()),
        }
    }

    async fn open(
        &self,
        target: &Target,
        functional: Option<&Functional>,
    ) -> Result<Arc<dyn Session>, Reason> {
        let shared = self.world.find(&target.host).ok_or_else(unreachable)?;
        let does = {
            let mut state = shared.lock();
            state.counts.opens += 1;
            state.next_open()
        };
        timeout(target.timeout, connect(does))
            .await
            .unwrap_or_else(|_| Err(unreachable()))?;
        if let Some(functional) = functional {
            log_in(&mut shared.lock(), functional, does)?;
        }
        {
            let counts = &mut shared.lock().counts;
            counts.sessions += 1;
            counts.sessions_max = counts.sessions_max.max(counts.sessions);
        }
        Ok(Arc::new(FakeSession {
            shared,
            timeout: target.timeout,
            may_change: functional.is_some() && does != OnOpen::NoPrivilege,
            places: Semaphore::new(target.in_flight.max(1)),
            closed: AtomicBool::new(false),
        }))
    }
}

struct FakeSession {
    shared: Arc<Shared>,
    timeout: std::time::Duration,
    may_change: bool,
    places: Semaphore,
    closed: AtomicBool,
}

/// Counts an exchange for as long as it lives.
struct Exchange<'a>(&'a Shared);

impl<'a> Exchange<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let counts = &mut shared.lock().counts;
        counts.exchanges += 1;
        counts.exchanges_max = counts.exchanges_max.max(counts.exchanges);
        Self(shared)
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.0.lock().counts.exchanges -= 1;
    }
}

impl FakeSession {
    /// Runs an exchange in its turn, within the time-out; `None` when time is up.
    async fn exchange<T>(&self, exchange: impl Future<Output = T>) -> Option<T> {
        let run = async {
            let _place = self.places.acquire().await;
            let _counted = Exchange::begin(&self.shared);
            // Lets the other calls begin, so that overlap shows.
            tokio::task::yield_now().await;
            exchange.await
        };
        timeout(self.timeout, run).await.ok()
    }

    /// An account that changes itself logs in first: why it could not.
    fn own_login(&self, account: &Account, current: Option<&Credential>) -> Option<Reason> {
        let Some(current) = current else {
            let text = "an account that changes itself needs its current credential";
            return Some(Reason::account(Class::Denied, text));
        };
        let mut state = self.shared.lock();
        match state.judge(account.login.as_str(), &proof(current)) {
            Judged::Right => None,
            Judged::Wrong | Judged::NoAccount => {
                Some(Reason::account(Class::Denied, "the own login was refused"))
            }
            Judged::Locked => Some(Reason::account(Class::Locked, "the account is locked")),
        }
    }

    async fn apply(&self, login: &str, new: &Credential, sent: &AtomicBool) -> Changed {
        let does = {
            let mut state = self.shared.lock();
            if matches!(state.lasting_open(), OnOpen::Unreachable | OnOpen::Hang) {
                return Changed::NotNow(unreachable());
            }
            let does = state.next_change(login);
            if !state.knows(login) {
                let reason =
                    Reason::account(Class::NoAccount, "the fake target has no such account");
                return Changed::Refused(reason);
            }
            does
        };
        sent.store(true, Ordering::SeqCst);
        match does {
            OnChange::Obey => {
                self.shared.lock().set(login, &proof(new));
                Changed::Done
            }
            OnChange::Refuse => {
                Changed::Refused(Reason::account(Class::Refused, "the fake target refuses"))
            }
            OnChange::NotNow => {
                Changed::NotNow(Reason::account(Class::Busy, "the fake target is busy"))
            }
            OnChange::Hang => pending().await,
            OnChange::LoseReply => {
                self.shared.lock().set(login, &proof(new));
                lost("the connection was lost")
            }
            OnChange::LoseOrder => lost("the connection was lost"),
            OnChange::ObeyLate => {
                self.shared.lock().set_late(login, proof(new));
                lost("the connection was lost")
            }
            OnChange::Lie => Changed::Done,
            OnChange::Wait => {
                match self.shared.gate.acquire().await {
                    Ok(place) => place.forget(),
                    Err(_) => return pending().await,
                }
                self.shared.lock().set(login, &proof(new));
                Changed::Done
            }
        }
    }

    async fn log_in(&self, login: &str, credential: &Credential) -> Checked {
        let does = {
            let mut state = self.shared.lock();
            match state.lasting_open() {
                OnOpen::Unreachable => return Checked::NotNow(unreachable()),
                OnOpen::WrongIdentity => return Checked::NotNow(wrong_identity()),
                OnOpen::Hang => OnCheck::Hang,
                OnOpen::Judge | OnOpen::Reject | OnOpen::NoPrivilege => state.next_check(login),
            }
        };
        let judged = match does {
            OnCheck::Judge => self.shared.lock().judge(login, &proof(credential)),
            OnCheck::Drop => {
                let reason = Reason::account(Class::Unreachable, "the connection was lost");
                return Checked::NotNow(reason);
            }
            OnCheck::Hang => pending().await,
            OnCheck::Locked => Judged::Locked,
            OnCheck::Reject => {
                self.shared.lock().fail(login);
                Judged::Wrong
            }
        };
        match judged {
            Judged::Right => Checked::Accepted,
            // As on most targets, an unknown account looks like a wrong secret.
            Judged::Wrong | Judged::NoAccount => {
                Checked::Rejected(Reason::account(Class::Denied, "the login was refused"))
            }
            Judged::Locked => {
                Checked::NotNow(Reason::account(Class::Locked, "the account is locked"))
            }
        }
    }

    fn leave(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            self.shared.lock().counts.sessions -= 1;
        }
    }
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        self.leave();
    }
}

#[async_trait]
impl Session for FakeSession {
    async fn change(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
    ) -> Changed {
        if let Err(reason) = Fake::default().admit(account, Some(new)) {
            return Changed::Refused(reason);
        }
        if account.uses_own {
            if let Some(reason) = self.own_login(account, current) {
                return Changed::NotNow(reason);
            }
        } else if !self.may_change {
            let reason = Reason::system(Class::Privilege, "the session may change nothing");
            return Changed::NotNow(reason);
        }
        let sent = AtomicBool::new(false);
        let answer = self
            .exchange(self.apply(account.login.as_str(), new, &sent))
            .await;
        match answer {
            Some(changed) => changed,
            None if sent.load(Ordering::SeqCst) => lost("the fake target did not answer in time"),
            None => Changed::NotNow(Reason::account(
                Class::Busy,
                "its turn did not come in time",
            )),
        }
    }

    async fn check(&self, account: &Account, credential: &Credential) -> Checked {
        if let Err(reason) = Fake::default().admit(account, Some(credential)) {
            return Checked::NotNow(reason);
        }
        self.exchange(self.log_in(account.login.as_str(), credential))
            .await
            .unwrap_or_else(|| {
                let text = "the fake target did not answer in time";
                Checked::NotNow(Reason::account(Class::Unreachable, text))
            })
    }

    async fn evidence(
        &self,
        account: &Account,
        candidate: &Credential,
        current: Option<&Credential>,
    ) -> Evidence {
        let login = account.login.as_str();
        let look = async {
            let mut state = self.shared.lock();
            state.counts.looks += 1;
            if matches!(state.lasting_open(), OnOpen::Unreachable | OnOpen::Hang) {
                return Evidence::Undecided(unreachable());
            }
            if state.is_blind() || !self.may_change {
                let text = "the fake target offers no look";
                return Evidence::Undecided(Reason::account(Class::Privilege, text));
            }
            if !state.knows(login) {
                let text = "the fake target has no such account";
                return Evidence::Undecided(Reason::account(Class::NoAccount, text));
            }
            if state.accepts(login, &proof(candidate)) {
                Evidence::Candidate
            } else if current.is_some_and(|current| state.accepts(login, &proof(current))) {
                Evidence::Current
            } else {
                Evidence::Neither
            }
        };
        self.exchange(look).await.unwrap_or_else(|| {
            Evidence::Undecided(Reason::account(
                Class::Busy,
                "its turn did not come in time",
            ))
        })
    }

    async fn retire(&self, account: &Account, old: &Credential) -> Changed {
        let Proof::Key(public) = proof(old) else {
            return Changed::Done;
        };
        let login = account.login.as_str();
        let removal = async {
            let does = self.shared.lock().next_retire(login);
            let remove = || self.shared.lock().remove_key(login, &public);
            match does {
                OnChange::Obey | OnChange::Wait => {
                    remove();
                    Changed::Done
                }
                OnChange::Lie => Changed::Done,
                OnChange::Refuse => {
                    Changed::Refused(Reason::account(Class::Refused, "the fake target refuses"))
                }
                OnChange::NotNow => {
                    Changed::NotNow(Reason::account(Class::Busy, "the fake target is busy"))
                }
                OnChange::LoseReply => {
                    remove();
                    lost("the connection was lost")
                }
                OnChange::LoseOrder | OnChange::ObeyLate => lost("the connection was lost"),
                OnChange::Hang => pending().await,
            }
        };
        self.exchange(removal)
            .await
            .unwrap_or_else(|| lost("the fake target did not answer in time"))
    }

    async fn list(&self, query: &Query) -> Result<Listing, Reason> {
        let look = async { self.shared.lock().answer(query, self.may_change) };
        let listed = self.exchange(look).await;
        listed.unwrap_or_else(|| Err(unreachable()))
    }

    async fn identities(
        &self,
        accounts: &[Account],
    ) -> Result<Vec<Option<CanonicalIdentity>>, Reason> {
        Ok(self.shared.lock().identities(accounts))
    }

    async fn close(&self) {
        self.leave();
    }
}
