//! One functional session on one host: a few logins that are used again and again, and a fresh
//! one for each check.
//!
//! What is exchanged on them stands in `exchange.rs`.
//!
//! Invariant: a change whose secret may have left is repeated by nobody here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::elevate::{Way, privilege};
use super::link::{Link, Order, Output, dial, on_thread, silent};
use super::login::{Failed, log_in};
use super::script::{self, Mode};
use super::talk::{Lines, Talk};
use super::turn::Turn;
use super::{Nonces, guard, reply};
use crate::{
    Account, CanonicalIdentity, Changed, Checked, Class, Credential, Elevation, Evidence,
    Functional, HostKey, Listing, Query, Reason, Session, SshTarget, Target,
};

/// The most functional connections to one host. More only wait: `chpasswd` computes each hash
/// under the host's one password lock, and meanwhile keep places from logins, which run side by
/// side and take twice as long.
const FUNCTIONAL_MAX: usize = 3;

/// The most connections that log in at once; sshd's `MaxStartups` begins to drop at ten.
const LOGINS_MAX: usize = 8;

/// The same for Dropbear, which takes five from one address that have not logged in.
const DROPBEAR_LOGINS_MAX: usize = 4;

/// What a functional login may do here.
pub(super) struct Power {
    pub(super) functional: Functional,
    pub(super) mode: Mode,
    pub(super) way: Way,
}

/// One functional session on one host.
pub(super) struct SshSession {
    target: Target,
    pub(super) pin: HostKey,
    elevation: Elevation,
    pub(super) power: Option<Power>,
    pub(super) is_dropbear: bool,
    pub(super) nonces: Arc<Nonces>,
    /// Functional logins that wait for work.
    idle: Mutex<Vec<Link>>,
    exchanges: Semaphore,
    commands: Semaphore,
    logins: Semaphore,
}

/// What a lost connection means for a change.
pub(super) fn lost(turn: &Turn, reason: Reason) -> Changed {
    if turn.was_sent() {
        let text = "the connection was lost after the secret was sent";
        return Changed::Unknown(Reason::account(Class::Unknown, text));
    }
    Changed::NotNow(reason)
}

pub(super) fn turn_did_not_come() -> Reason {
    Reason::account(Class::Busy, "its turn on this session did not come in time")
}

impl SshSession {
    /// Connects, compares the host key, logs in, and finds out what the login may do.
    pub(super) async fn open(
        target: &Target,
        ssh: &SshTarget,
        pin: &HostKey,
        functional: Option<&Functional>,
        nonces: Arc<Nonces>,
    ) -> Result<Self, Reason> {
        let in_flight = target.in_flight.max(1);
        let mut session = Self {
            target: target.clone(),
            pin: pin.clone(),
            elevation: ssh.elevation,
            power: None,
            is_dropbear: false,
            nonces,
            idle: Mutex::default(),
            exchanges: Semaphore::new(in_flight),
            commands: Semaphore::new(in_flight.min(FUNCTIONAL_MAX)),
            logins: Semaphore::new(in_flight.min(LOGINS_MAX)),
        };
        let turn = Turn::new();
        let opened = turn
            .within(target.timeout, session.enter(functional, &turn))
            .await;
        let (power, is_dropbear) = opened
            .unwrap_or_else(|| Err(silent()))
            .map_err(Reason::of_system)?;
        session.power = power;
        session.is_dropbear = is_dropbear;
        if is_dropbear {
            session.logins = Semaphore::new(in_flight.min(DROPBEAR_LOGINS_MAX));
        }
        Ok(session)
    }

    async fn enter(
        &self,
        functional: Option<&Functional>,
        turn: &Arc<Turn>,
    ) -> Result<(Option<Power>, bool), Reason> {
        let Some(functional) = functional else {
            // Proves who answers; each check brings a connection of its own.
            let link = self.connect(turn).await?;
            return Ok((None, link.is_dropbear()));
        };
        guard::admit(&functional.account, Some(&functional.credential))?;
        let link = self
            .log_in(&functional.account, &functional.credential, turn)
            .await
            .map_err(Failed::reason)?;
        let is_dropbear = link.is_dropbear();
        let mut way = Way::silent(self.elevation);
        let (mut link, mut mode) = self.probe(link, functional, way, turn).await?;
        let has_password = matches!(functional.credential, Credential::Password(_));
        if mode.is_none() && way.elevation == Elevation::Sudo && has_password {
            way.asks = true;
            (link, mode) = self.probe(link, functional, way, turn).await?;
        }
        let mode = mode.ok_or_else(privilege)?;
        self.keep(link);
        let power = Power {
            functional: functional.clone(),
            mode,
            way,
        };
        Ok((Some(power), is_dropbear))
    }

    /// Finds out what a login may do when it raises its rights this way.
    async fn probe(
        &self,
        link: Link,
        functional: &Functional,
        way: Way,
        turn: &Arc<Turn>,
    ) -> Result<(Link, Option<Mode>), Reason> {
        let nonce = self.nonces.next();
        let order = Order::new(script::probe(&nonce, way));
        // One question for each program that may be allowed.
        let asked = way.asked(&nonce, functional, "", 3);
        let talk = Lines::new(String::new(), None, asked);
        let (link, output, _) = run(link, order, talk, turn).await?;
        if output.status.is_none() && way.asks {
            return Err(privilege());
        }
        let mode = reply::mode(&output, &nonce)?;
        Ok((link, mode))
    }

    /// A new connection to the pinned host.
    async fn connect(&self, turn: &Arc<Turn>) -> Result<Link, Reason> {
        let wire = dial(&self.target).await?;
        let (pin, limit, turn) = (self.pin.clone(), self.target.timeout, Arc::clone(turn));
        on_thread(move || Link::shake_hands(wire, Some(&pin), limit, &turn)).await?
    }

    /// A new connection to the pinned host, logged in.
    pub(super) async fn log_in(
        &self,
        account: &Account,
        credential: &Credential,
        turn: &Arc<Turn>,
    ) -> Result<Link, Failed> {
        let (login, credential) = (account.login.clone(), credential.clone());
        let enter = move |link: &Link| log_in(link, login.as_str(), &credential);
        let (link, ()) = self.log_in_by(enter, turn).await?;
        Ok(link)
    }

    /// The same, by a login of the caller's own.
    pub(super) async fn log_in_by<T: Send + 'static>(
        &self,
        enter: impl FnOnce(&Link) -> Result<T, Failed> + Send + 'static,
        turn: &Arc<Turn>,
    ) -> Result<(Link, T), Failed> {
        let _place = self.logins.acquire().await;
        let wire = dial(&self.target).await.map_err(Failed::Unjudged)?;
        let (pin, limit, turn) = (self.pin.clone(), self.target.timeout, Arc::clone(turn));
        let logged_in = on_thread(move || {
            let shaken = Link::shake_hands(wire, Some(&pin), limit, &turn);
            let link = shaken.map_err(Failed::Unjudged)?;
            let seen = enter(&link)?;
            Ok((link, seen))
        });
        logged_in
            .await
            .unwrap_or_else(|reason| Err(Failed::Unjudged(reason)))
    }

    fn take(&self) -> Option<Link> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    fn keep(&self, link: Link) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(link);
    }

    /// Runs a command as the functional account; the caller holds a [`Self::command_place`].
    ///
    /// A kept connection that the host has closed meanwhile is replaced once, as long as no
    /// secret was sent.
    pub(super) async fn command<T: Talk + 'static>(
        &self,
        power: &Power,
        order: Order,
        talk: impl Fn() -> T,
        turn: &Arc<Turn>,
    ) -> Result<(Output, T), Reason> {
        if let Some(link) = self.take() {
            match run(link, order.clone(), talk(), turn).await {
                Ok((link, output, talk)) => {
                    self.keep(link);
                    return Ok((output, talk));
                }
                Err(reason) if turn.was_sent() => return Err(reason),
                Err(_) => {}
            }
        }
        let functional = &power.functional;
        let link = self
            .log_in(&functional.account, &functional.credential, turn)
            .await
            .map_err(|failed| failed.reason().of_functional())?;
        let (link, output, talk) = run(link, order, talk(), turn).await?;
        self.keep(link);
        Ok((output, talk))
    }

    /// Waits for a place, no longer than half of the time: an exchange that begins at the last
    /// moment would only be cut.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        let half = self.target.timeout / 2;
        timeout(half, self.exchanges.acquire()).await.ok()?.ok()
    }

    /// The same for an exchange on a functional connection. Its turn on one of those comes first:
    /// whoever waits for a connection must not keep a login from going on meanwhile.
    pub(super) async fn command_place(&self) -> Option<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        let half = self.target.timeout / 2;
        let both = async {
            let command = self.commands.acquire().await.ok()?;
            Some((command, self.exchanges.acquire().await.ok()?))
        };
        timeout(half, both).await.ok()?
    }

    async fn within<T>(&self, turn: &Arc<Turn>, exchange: impl Future<Output = T>) -> Option<T> {
        let limit: Duration = self.target.timeout;
        turn.within(limit, exchange).await
    }
}

impl Reason {
    /// A functional login that fails in the middle of a session: the system's trouble if it was
    /// judged, else one connection's.
    fn of_functional(self) -> Self {
        match self.class {
            Class::Denied | Class::Expired | Class::Incompatible => self.of_system(),
            _ => self,
        }
    }
}

/// Runs a command on a thread; gives the connection back with the output.
pub(super) async fn run<T: Talk + 'static>(
    link: Link,
    order: Order,
    mut talk: T,
    turn: &Arc<Turn>,
) -> Result<(Link, Output, T), Reason> {
    let turn = Arc::clone(turn);
    on_thread(move || {
        let output = link.run(&order, &mut talk, &turn)?;
        Ok((link, output, talk))
    })
    .await?
}

#[async_trait]
impl Session for SshSession {
    async fn change(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
    ) -> Changed {
        if let Err(reason) = guard::admit(account, Some(new)) {
            return Changed::Refused(reason);
        }
        let turn = Turn::new();
        let ended = self.within(&turn, self.replace(account, new, current, &turn));
        ended.await.unwrap_or_else(|| lost(&turn, silent()))
    }

    async fn check(&self, account: &Account, credential: &Credential) -> Checked {
        if let Err(reason) = guard::admit(account, Some(credential)) {
            return Checked::NotNow(reason);
        }
        let turn = Turn::new();
        let ended = self.within(&turn, self.prove(account, credential, &turn));
        ended.await.unwrap_or_else(|| Checked::NotNow(silent()))
    }

    async fn evidence(
        &self,
        account: &Account,
        candidate: &Credential,
        current: Option<&Credential>,
    ) -> Evidence {
        if let Err(reason) = guard::admit(account, Some(candidate)) {
            return Evidence::Undecided(reason);
        }
        let turn = Turn::new();
        let ended = self.within(&turn, self.look(account, candidate, current, &turn));
        match ended.await.unwrap_or_else(|| Err(silent())) {
            Ok(evidence) => evidence,
            Err(reason) => Evidence::Undecided(reason),
        }
    }

    async fn retire(&self, account: &Account, old: &Credential) -> Changed {
        let Credential::Key(pair) = old else {
            // A password that was replaced leaves nothing behind.
            return Changed::Done;
        };
        if let Err(reason) = guard::admit(account, Some(old)) {
            return Changed::Refused(reason);
        }
        let turn = Turn::new();
        let ended = self.within(&turn, self.remove(account, pair, &turn));
        ended.await.unwrap_or_else(|| lost(&turn, silent()))
    }

    async fn list(&self, query: &Query) -> Result<Listing, Reason> {
        let Query::Host(query) = query else {
            let text = "a host has no directory entries to list";
            return Err(Reason::account(Class::Incompatible, text));
        };
        let turn = Turn::new();
        let ended = self.within(&turn, self.list_accounts(query, &turn));
        ended.await.unwrap_or_else(|| Err(silent()))
    }

    async fn identities(
        &self,
        accounts: &[Account],
    ) -> Result<Vec<Option<CanonicalIdentity>>, Reason> {
        let turn = Turn::new();
        let ended = self.within(&turn, self.name_accounts(accounts, &turn));
        ended.await.unwrap_or_else(|| Err(silent()))
    }

    async fn close(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
