//! One functional session: a shared connection for writes, a few kept ones for logins.
//!
//! Invariant: no login of a managed account ever happens on the functional connection, and no
//! kept connection waits while logged in as somebody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::directory;
use super::dn;
use super::link::{Fault, Link};
use super::result::{self, Verdict};
use super::tls::Endpoint;
use crate::{
    Account, Changed, Checked, Class, Credential, Evidence, Functional, LdapTarget, Reason, Scope,
    Secret, Session, Target,
};

/// How many connections for logins are kept. More only queue at the server.
const PROBES_MAX: usize = 4;

/// A session on one directory.
pub(super) struct LdapSession {
    endpoint: Endpoint,
    base_dn: String,
    limit: Duration,
    functional: Option<Functional>,
    functional_dn: OnceLock<String>,
    /// Bound as the functional account, or as nobody if there is none.
    shared: tokio::sync::Mutex<Option<Arc<Link>>>,
    turns: Semaphore,
    kept: std::sync::Mutex<Vec<Link>>,
    probes: Semaphore,
    /// Set by the first refused functional login, so that there is no second one.
    stopped: OnceLock<Reason>,
}

impl LdapSession {
    /// A session that is not connected yet.
    ///
    /// # Errors
    /// A reason of the system's scope: nothing could be trusted.
    pub(super) fn new(
        target: &Target,
        ldap: &LdapTarget,
        functional: Option<&Functional>,
    ) -> Result<Self, Reason> {
        Ok(Self {
            endpoint: Endpoint::new(target, ldap)?,
            base_dn: ldap.base_dn.clone(),
            limit: target.timeout,
            functional: functional.cloned(),
            functional_dn: OnceLock::new(),
            shared: tokio::sync::Mutex::default(),
            turns: Semaphore::new(target.in_flight.max(1)),
            kept: std::sync::Mutex::default(),
            probes: Semaphore::new(PROBES_MAX),
            stopped: OnceLock::new(),
        })
    }

    /// The shared connection, opened anew if the last one is of no more use.
    pub(super) async fn shared(&self) -> Result<Arc<Link>, Reason> {
        // Held while connecting: one functional login at a time, not one per waiting account.
        let mut shared = self.shared.lock().await;
        if let Some(link) = shared.as_ref().filter(|link| link.usable()) {
            return Ok(Arc::clone(link));
        }
        *shared = None;
        if let Some(reason) = self.stopped.get() {
            return Err(reason.clone());
        }
        let link = Link::connect(&self.endpoint).await?;
        let flavour = directory::flavour(&link).await?;
        tracing::debug!(flavour, "directory connected");
        if let Some(functional) = &self.functional {
            self.log_in(&link, functional).await?;
        }
        Ok(Arc::clone(shared.insert(Arc::new(link))))
    }

    /// Logs the functional account in and proves that it is who it should be.
    async fn log_in(&self, link: &Link, functional: &Functional) -> Result<(), Reason> {
        let Ok(password) = functional.credential.password() else {
            return Err(self.stop("the functional account of a directory needs a password"));
        };
        if is_empty(password) {
            return Err(self.stop("the functional account has an empty password"));
        }
        let dn = match self.functional_dn.get() {
            Some(dn) => dn.clone(),
            None => self.find_functional(link, &functional.account).await?,
        };
        let reply = link.bind(&dn, password).await.map_err(Fault::reason)?;
        if let Some(reason) = result::functional(reply) {
            if reason.class == Class::Denied {
                drop(self.stopped.set(reason.clone()));
            }
            return Err(reason);
        }
        let identity = link.who_am_i().await.map_err(Fault::reason)?;
        if !identity.is_some_and(|identity| dn::same(&identity, &dn)) {
            return Err(self.stop("the directory took the functional login for somebody else's"));
        }
        drop(self.functional_dn.set(dn));
        Ok(())
    }

    async fn find_functional(&self, link: &Link, account: &Account) -> Result<String, Reason> {
        let login = account.login.as_str();
        if account.dn.is_none() && dn::Dn::parse(login).is_some() {
            return Ok(login.to_owned());
        }
        if account.dn.is_some() && directory::known(account).is_none() {
            return Err(self.stop("the functional account's DN is no distinguished name"));
        }
        directory::resolve(link, &self.base_dn, account)
            .await
            .map_err(|reason| match reason.scope {
                Scope::System => reason,
                Scope::Account => Reason::system(
                    Class::NoAccount,
                    "the functional account was not found by its login name; give its DN",
                ),
            })
    }

    fn stop(&self, text: &'static str) -> Reason {
        let reason = Reason::system(Class::Denied, text);
        drop(self.stopped.set(reason.clone()));
        reason
    }

    /// Writes the secret. `sent` is set before the first byte of it leaves.
    async fn write(&self, account: &Account, new: &Secret, sent: &AtomicBool) -> Changed {
        if self.functional.is_none() {
            return Changed::NotNow(Reason::system(
                Class::Privilege,
                "without a functional account no password can be set",
            ));
        }
        let Ok(_turn) = self.turns.acquire().await else {
            return Changed::NotNow(over());
        };
        let link = match self.shared().await {
            Ok(link) => link,
            Err(reason) => return Changed::NotNow(reason),
        };
        let dn = match directory::resolve(&link, &self.base_dn, account).await {
            Ok(dn) => dn,
            Err(reason) => return Changed::NotNow(reason),
        };
        if self
            .functional_dn
            .get()
            .is_some_and(|own| dn::same(own, &dn))
        {
            return Changed::NotNow(Reason::account(
                Class::Privilege,
                "this is the functional account itself; its password is not reset by itself",
            ));
        }
        sent.store(true, Ordering::Release);
        match link.set_password(&dn, new).await {
            Ok(reply) => {
                if reply.code == OPERATIONS_ERROR {
                    link.retire();
                }
                result::written(reply)
            }
            Err(Fault::NotSent) => Changed::NotNow(Reason::system(
                Class::Unreachable,
                "the connection was lost before the password was sent",
            )),
            Err(Fault::Lost(reason)) => Changed::Unknown(Reason {
                class: if reason.class == Class::Incompatible {
                    reason.class
                } else {
                    Class::Unknown
                },
                ..reason
            }),
        }
    }

    /// Logs in as the account on a connection of its own. The verdict is noted before the
    /// connection is tidied up, so that a server that falls silent then cannot take it back.
    async fn prove(
        &self,
        account: &Account,
        secret: &Secret,
        verdict: &OnceLock<Checked>,
    ) -> Checked {
        let Ok(_probe) = self.probes.acquire().await else {
            return Checked::NotNow(over());
        };
        let dn = match self.name_of(account).await {
            Ok(dn) => dn,
            Err(reason) => return Checked::NotNow(reason),
        };
        let link = match self.probe().await {
            Ok(link) => link,
            Err(reason) => return Checked::NotNow(reason),
        };
        // Never repeated: the directory may have counted a bind whose answer was lost.
        let reply = match link.bind(&dn, secret).await {
            Ok(reply) => reply,
            Err(fault) => return Checked::NotNow(fault.reason()),
        };
        let checked = match result::judged(reply) {
            Verdict::Right => match link.who_am_i().await {
                Ok(Some(identity)) if dn::same(&identity, &dn) => Checked::Accepted,
                Ok(_) => Checked::NotNow(Reason::account(
                    Class::IdentityMismatch,
                    "the directory took the login for somebody else's",
                )),
                Err(fault) => Checked::NotNow(fault.reason()),
            },
            Verdict::Wrong => self.refused(&dn).await,
            Verdict::NotNow(reason) => Checked::NotNow(reason),
        };
        verdict.get_or_init(|| checked.clone());
        // A refused bind leaves the connection anonymous already. Source: RFC 4511 4.2.1.
        let nobody = reply.code != 0
            || link
                .unbind_identity()
                .await
                .is_ok_and(|reply| reply.code == 0);
        if nobody && reply.code != OPERATIONS_ERROR {
            self.keep(link);
        }
        checked
    }

    /// Asks the entry whether the refusal is about the secret.
    async fn refused(&self, dn: &str) -> Checked {
        if self.functional.is_some()
            && let Ok(_turn) = self.turns.acquire().await
            && let Ok(shared) = self.shared().await
            && let Some(reason) = directory::hindrance(&shared, dn).await
        {
            return Checked::NotNow(reason);
        }
        Checked::Rejected(Reason::account(Class::Denied, "the login was refused"))
    }

    async fn name_of(&self, account: &Account) -> Result<String, Reason> {
        if let Some(dn) = directory::known(account) {
            return Ok(dn.to_owned());
        }
        let _turn = self.turns.acquire().await.map_err(|_| over())?;
        let shared = self.shared().await?;
        directory::resolve(&shared, &self.base_dn, account).await
    }

    async fn probe(&self) -> Result<Link, Reason> {
        while let Some(link) = self.kept_links().pop() {
            if link.usable() {
                return Ok(link);
            }
        }
        Link::connect(&self.endpoint).await
    }

    fn keep(&self, link: Link) {
        if !self.probes.is_closed() && link.usable() {
            self.kept_links().push(link);
        }
    }

    fn kept_links(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `operationsError`: some servers answer so on a connection that lost its identity.
const OPERATIONS_ERROR: u32 = 1;

fn over() -> Reason {
    Reason::system(
        Class::Unreachable,
        "the session was closed; nothing was sent",
    )
}

fn late() -> Reason {
    Reason::system(
        Class::Unreachable,
        "the directory did not answer in time; nothing was sent",
    )
}

#[expect(clippy::disallowed_methods, reason = "looks at the length alone")]
fn is_empty(secret: &Secret) -> bool {
    secret.expose_secret().is_empty()
}

/// The password of a credential, if both may be handed to a directory.
fn password_for<'a>(account: &Account, credential: &'a Credential) -> Result<&'a Secret, Reason> {
    let password = credential.password()?;
    super::admit(account, Some(password))?;
    Ok(password)
}

#[async_trait]
impl Session for LdapSession {
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
        let sent = AtomicBool::new(false);
        match timeout(self.limit, self.write(account, new, &sent)).await {
            Ok(changed) => changed,
            Err(_) if sent.load(Ordering::Acquire) => Changed::Unknown(Reason::system(
                Class::Unknown,
                "the directory did not answer in time; the password may have been set",
            )),
            Err(_) => Changed::NotNow(late()),
        }
    }

    async fn check(&self, account: &Account, credential: &Credential) -> Checked {
        // Before any byte: a bind with a name and no password succeeds and proves nothing.
        let secret = match password_for(account, credential) {
            Ok(secret) => secret,
            Err(reason) => return Checked::NotNow(reason),
        };
        let verdict = OnceLock::new();
        match timeout(self.limit, self.prove(account, secret, &verdict)).await {
            Ok(checked) => checked,
            Err(_) => verdict.into_inner().unwrap_or_else(|| {
                Checked::NotNow(Reason::system(
                    Class::Unreachable,
                    "the directory did not judge the login in time",
                ))
            }),
        }
    }

    async fn evidence(&self, _: &Account, _: &Credential, _: Option<&Credential>) -> Evidence {
        Evidence::Undecided(Reason::account(
            Class::Incompatible,
            "the directory shows no password, not even hashed",
        ))
    }

    async fn retire(&self, _account: &Account, _old: &Credential) -> Changed {
        // A password has one value: the old one went with the change.
        Changed::Done
    }

    async fn close(&self) {
        self.turns.close();
        self.probes.close();
        self.kept_links().clear();
        // Whoever holds it is connecting, which ends within the limit.
        if let Ok(mut shared) = timeout(self.limit, self.shared.lock()).await {
            *shared = None;
        }
    }
}
