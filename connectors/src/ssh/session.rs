//! One functional session on one host: a few logins that are used again and again, and a fresh
//! one for each check.
//!
//! Invariant: a change whose password may have left is repeated by nobody here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::link::{Input, Link, Output, dial, on_thread, silent};
use super::login::{Failed, log_in};
use super::script::{self, Mode};
use super::turn::Turn;
use super::{Nonces, guard, reply, shadow};
use crate::{
    Account, Changed, Checked, Class, Credential, Elevation, Evidence, Functional, HostKey, Reason,
    Secret, Session, SshTarget, Target,
};

/// The most functional connections to one host. More only wait: `chpasswd` computes each hash
/// under the host's one password lock, and meanwhile keep places from logins, which run side by
/// side and take twice as long.
const FUNCTIONAL_MAX: usize = 3;

/// The most connections that log in at once; sshd's `MaxStartups` begins to drop at ten.
const LOGINS_MAX: usize = 8;

/// One functional session on one host.
pub(super) struct SshSession {
    target: Target,
    pin: HostKey,
    elevation: Elevation,
    functional: Option<(Functional, Mode)>,
    nonces: Arc<Nonces>,
    /// Functional logins that wait for work.
    idle: Mutex<Vec<Link>>,
    exchanges: Semaphore,
    commands: Semaphore,
    logins: Semaphore,
}

/// What a lost connection means for a change.
fn lost(turn: &Turn, reason: Reason) -> Changed {
    if turn.was_sent() {
        let text = "the connection was lost after the password was sent";
        return Changed::Unknown(Reason::account(Class::Unknown, text));
    }
    Changed::NotNow(reason)
}

fn turn_did_not_come() -> Reason {
    Reason::account(Class::Busy, "its turn on this session did not come in time")
}

impl SshSession {
    /// Connects, compares the host key, logs in, and finds out how passwords are set.
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
            functional: None,
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
        let mode = opened
            .unwrap_or_else(|| Err(silent()))
            .map_err(Reason::of_system)?;
        session.functional = functional.cloned().zip(mode);
        Ok(session)
    }

    async fn enter(
        &self,
        functional: Option<&Functional>,
        turn: &Arc<Turn>,
    ) -> Result<Option<Mode>, Reason> {
        let Some(functional) = functional else {
            // Proves who answers; each check brings a connection of its own.
            self.connect(turn).await?;
            return Ok(None);
        };
        let password = password_for(&functional.account, &functional.credential)?;
        let link = self.log_in(&functional.account, password, turn).await;
        let link = link.map_err(Failed::reason)?;
        let nonce = self.nonces.next();
        let command = script::probe(&nonce, self.elevation);
        let (link, output) = run(link, command, Input::default(), turn).await?;
        let mode = reply::mode(&output, &nonce)?;
        self.keep(link);
        Ok(Some(mode))
    }

    /// A new connection to the pinned host.
    async fn connect(&self, turn: &Arc<Turn>) -> Result<Link, Reason> {
        let wire = dial(&self.target).await?;
        let (pin, limit, turn) = (self.pin.clone(), self.target.timeout, Arc::clone(turn));
        on_thread(move || Link::shake_hands(wire, Some(&pin), limit, &turn)).await?
    }

    /// A new connection to the pinned host, logged in.
    async fn log_in(
        &self,
        account: &Account,
        password: &Secret,
        turn: &Arc<Turn>,
    ) -> Result<Link, Failed> {
        let _place = self.logins.acquire().await;
        let wire = dial(&self.target).await.map_err(Failed::Unjudged)?;
        let (pin, limit, turn) = (self.pin.clone(), self.target.timeout, Arc::clone(turn));
        let (login, password) = (account.login.clone(), password.clone());
        let logged_in = on_thread(move || {
            let shaken = Link::shake_hands(wire, Some(&pin), limit, &turn);
            let link = shaken.map_err(Failed::Unjudged)?;
            log_in(&link, login.as_str(), &password)?;
            Ok(link)
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
    async fn command(
        &self,
        functional: &Functional,
        command: String,
        input: impl Fn() -> Input,
        turn: &Arc<Turn>,
    ) -> Result<Output, Reason> {
        if let Some(link) = self.take() {
            match run(link, command.clone(), input(), turn).await {
                Ok((link, output)) => {
                    self.keep(link);
                    return Ok(output);
                }
                Err(reason) if turn.was_sent() => return Err(reason),
                Err(_) => {}
            }
        }
        let password = functional.credential.password()?;
        let link = self.log_in(&functional.account, password, turn).await;
        let link = link.map_err(|failed| failed.reason().of_functional())?;
        let (link, output) = run(link, command, input(), turn).await?;
        self.keep(link);
        Ok(output)
    }

    /// Waits for a place, no longer than half of the time: an exchange that begins at the last
    /// moment would only be cut.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        let half = self.target.timeout / 2;
        timeout(half, self.exchanges.acquire()).await.ok()?.ok()
    }

    /// The same for an exchange on a functional connection. Its turn on one of those comes first:
    /// whoever waits for a connection must not keep a login from going on meanwhile.
    async fn command_place(&self) -> Option<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        let half = self.target.timeout / 2;
        let both = async {
            let command = self.commands.acquire().await.ok()?;
            Some((command, self.exchanges.acquire().await.ok()?))
        };
        timeout(half, both).await.ok()?
    }

    async fn set(&self, account: &Account, new: &Secret, turn: &Arc<Turn>) -> Changed {
        let Some((functional, mode)) = &self.functional else {
            let text = "this session has no functional account: it can only check";
            return Changed::NotNow(Reason::system(Class::Privilege, text));
        };
        let Some(_place) = self.command_place().await else {
            return Changed::NotNow(turn_did_not_come());
        };
        let nonce = self.nonces.next();
        let command = script::set(&nonce, self.elevation, *mode);
        let input = || Input {
            head: script::set_head(*mode, account.login.as_str()),
            tail: Some(tail(new)),
        };
        match self.command(functional, command, input, turn).await {
            Ok(output) => reply::changed(&output, &nonce, turn.was_sent()),
            Err(reason) => lost(turn, reason),
        }
    }

    async fn prove(&self, account: &Account, secret: &Secret, turn: &Arc<Turn>) -> Checked {
        let Some(_place) = self.place().await else {
            return Checked::NotNow(turn_did_not_come());
        };
        let link = match self.log_in(account, secret, turn).await {
            Ok(link) => link,
            Err(Failed::Wrong(reason)) => return Checked::Rejected(reason),
            Err(Failed::Unjudged(reason)) => return Checked::NotNow(reason),
        };
        let nonce = self.nonces.next();
        match run(link, script::whoami(&nonce), Input::default(), turn).await {
            Ok((_, output)) => reply::checked(&output, &nonce, account.login.as_str()),
            Err(reason) => Checked::NotNow(reason),
        }
    }

    async fn look(
        &self,
        account: &Account,
        candidate: &Secret,
        current: Option<&Secret>,
        turn: &Arc<Turn>,
    ) -> Result<Evidence, Reason> {
        let Some((functional, Mode::Wrapper)) = &self.functional else {
            let text = "the target offers no look without login: install keywheel-passwd there";
            return Err(Reason::system(Class::Privilege, text));
        };
        let _place = self.command_place().await.ok_or_else(turn_did_not_come)?;
        let nonce = self.nonces.next();
        let command = script::read(&nonce, self.elevation);
        let input = || Input {
            head: script::read_head(account.login.as_str()),
            tail: None,
        };
        let output = self.command(functional, command, input, turn).await?;
        let (candidate, current) = (candidate.clone(), current.cloned());
        on_thread(move || {
            let field = reply::field(&output, &nonce)?;
            Ok(shadow::judge(field, &candidate, current.as_ref()))
        })
        .await?
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
async fn run(
    link: Link,
    command: String,
    input: Input,
    turn: &Arc<Turn>,
) -> Result<(Link, Output), Reason> {
    let turn = Arc::clone(turn);
    on_thread(move || {
        let output = link.run(&command, &input, &turn)?;
        Ok((link, output))
    })
    .await?
}

#[expect(
    clippy::disallowed_methods,
    reason = "the target must learn it; wiped after sending"
)]
fn tail(new: &Secret) -> Zeroizing<String> {
    let new = new.expose_secret();
    // Reserved first: a buffer that grows leaves copies behind.
    let mut tail = Zeroizing::new(String::with_capacity(new.len() + 8));
    tail.push_str(new);
    tail.push_str("\nKW-END\n");
    tail
}

/// The password of a credential, if both may be handed to a host.
fn password_for<'a>(account: &Account, credential: &'a Credential) -> Result<&'a Secret, Reason> {
    let password = credential.password()?;
    guard::admit(account, Some(password))?;
    Ok(password)
}

#[async_trait]
impl Session for SshSession {
    async fn change(
        &self,
        account: &Account,
        new: &Credential,
        _current: Option<&Credential>,
    ) -> Changed {
        let new = match password_for(account, new) {
            Ok(new) => new,
            Err(reason) => return Changed::Refused(reason),
        };
        let turn = Turn::new();
        let ended = self.within(&turn, self.set(account, new, &turn)).await;
        ended.unwrap_or_else(|| lost(&turn, silent()))
    }

    async fn check(&self, account: &Account, credential: &Credential) -> Checked {
        let secret = match password_for(account, credential) {
            Ok(secret) => secret,
            Err(reason) => return Checked::NotNow(reason),
        };
        let turn = Turn::new();
        let ended = self.within(&turn, self.prove(account, secret, &turn)).await;
        ended.unwrap_or_else(|| Checked::NotNow(silent()))
    }

    async fn evidence(
        &self,
        account: &Account,
        candidate: &Credential,
        current: Option<&Credential>,
    ) -> Evidence {
        let candidate = match password_for(account, candidate) {
            Ok(candidate) => candidate,
            Err(reason) => return Evidence::Undecided(reason),
        };
        let current = current.and_then(|current| current.password().ok());
        let turn = Turn::new();
        let ended = self
            .within(&turn, self.look(account, candidate, current, &turn))
            .await;
        match ended.unwrap_or_else(|| Err(silent())) {
            Ok(evidence) => evidence,
            Err(reason) => Evidence::Undecided(reason),
        }
    }

    async fn retire(&self, _account: &Account, _old: &Credential) -> Changed {
        // A password that was replaced leaves nothing behind.
        Changed::Done
    }

    async fn close(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
