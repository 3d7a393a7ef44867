//! One functional session: a shared connection for writes, a few kept ones for logins.
//!
//! Invariant: no login of a managed account ever happens on the functional connection, and no
//! kept connection waits while logged in as somebody.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::change::Progress;
use super::directory::{self, Found, Name, OPERATIONS_ERROR, Root};
use super::link::{Fault, Link, Reply};
use super::result;
use super::tls::Endpoint;
use super::{dn, identity};
use crate::{
    Account, CanonicalIdentity, Changed, Checked, Class, Credential, Evidence, Functional,
    LdapTarget, Listing, Query, Reason, Scope, Secret, Session, Target,
};

/// How many connections for logins are kept. More only queue at the server.
const PROBES_MAX: usize = 4;
/// How many entries' marks are kept for a later look. Only lost answers leave any.
const MARKS_MAX: usize = 1_024;

/// A session on one directory.
pub(super) struct LdapSession {
    endpoint: Endpoint,
    pub(super) base_dn: String,
    /// Whose word about itself it is.
    pub(super) trust: String,
    pinned: Option<String>,
    pub(super) key_attribute: Option<String>,
    limit: Duration,
    pub(super) functional: Option<Functional>,
    pub(super) functional_dn: OnceLock<String>,
    /// What the directory said of itself when it was reached first.
    root: OnceLock<Root>,
    /// Bound as the functional account, or as nobody if there is none.
    shared: tokio::sync::Mutex<Option<Arc<Link>>>,
    pub(super) turns: Semaphore,
    kept: std::sync::Mutex<Vec<Link>>,
    pub(super) probes: Semaphore,
    /// What entries showed before a write whose answer was lost, by DN.
    marks: std::sync::Mutex<HashMap<String, Vec<u8>>>,
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
            trust: identity::vouching(&ldap.ca_pem)?,
            pinned: ldap.flavour.clone(),
            key_attribute: ldap.key_attribute.clone(),
            limit: target.timeout,
            functional: functional.cloned(),
            functional_dn: OnceLock::new(),
            root: OnceLock::new(),
            shared: tokio::sync::Mutex::default(),
            turns: Semaphore::new(target.in_flight.max(1)),
            kept: std::sync::Mutex::default(),
            probes: Semaphore::new(PROBES_MAX),
            marks: std::sync::Mutex::default(),
            stopped: OnceLock::new(),
        })
    }

    /// The shared connection, opened anew if the last one is of no more use, and what answers.
    pub(super) async fn shared(&self) -> Result<(Arc<Link>, &Root), Reason> {
        // Held while connecting: one functional login at a time, not one per waiting account.
        let mut shared = self.shared.lock().await;
        if let Some(link) = shared.as_ref().filter(|link| link.usable())
            && let Some(root) = self.root.get()
        {
            return Ok((Arc::clone(link), root));
        }
        *shared = None;
        if let Some(reason) = self.stopped.get() {
            return Err(reason.clone());
        }
        let link = Link::connect(&self.endpoint).await?;
        let root = self.recognise(&directory::root(&link).await?)?;
        if let Some(functional) = &self.functional {
            self.log_in(&link, root, functional).await?;
        }
        Ok((Arc::clone(shared.insert(Arc::new(link))), root))
    }

    /// Compares what answers with what was pinned, and with what answered before.
    fn recognise(&self, root: &Root) -> Result<&Root, Reason> {
        let flavour = root.flavour;
        tracing::debug!(flavour = flavour.name(), "directory connected");
        let foreign = self.pinned.as_ref().is_some_and(|name| !flavour.is(name));
        if foreign || self.root.get_or_init(|| root.clone()) != root {
            return Err(self.stop(
                Class::IdentityMismatch,
                "the directory is another product or domain than the pinned one; nothing was sent",
            ));
        }
        // Set a line above.
        self.root.get().ok_or_else(over)
    }

    /// Logs the functional account in and proves that it is who it should be.
    async fn log_in(
        &self,
        link: &Link,
        root: &Root,
        functional: &Functional,
    ) -> Result<(), Reason> {
        let stop = |text| Err(self.stop(Class::Denied, text));
        let Ok(password) = functional.credential.password() else {
            return stop("a functional account logs in to a directory with a password");
        };
        if is_empty(password) {
            return stop("the functional account has an empty password");
        }
        let account = &functional.account;
        let late = match self.functional_dn.get() {
            Some(_) => None,
            None => late_name(root, account),
        };
        let name = match (self.functional_dn.get(), &late) {
            (Some(dn), _) => dn.clone(),
            (None, Some(name)) => name.clone(),
            (None, None) => self.find_functional(link, root, account).await?,
        };
        let reply = link.bind(&name, password).await.map_err(Fault::reason)?;
        if let Some(reason) = result::functional(root.flavour, reply) {
            if reason.class == Class::Denied {
                drop(self.stopped.set(reason.clone()));
            }
            return Err(reason);
        }
        let dn = match late {
            // Anywhere in the domain: the system's base is where managed accounts live.
            Some(_) => root.find(link, "", account).await.map_err(not_found)?.dn,
            None => name,
        };
        if !root.is_bound_as(link, &dn).await.map_err(Fault::reason)? {
            return stop("the directory took the functional login for somebody else's");
        }
        drop(self.functional_dn.set(dn));
        Ok(())
    }

    async fn find_functional(
        &self,
        link: &Link,
        root: &Root,
        account: &Account,
    ) -> Result<String, Reason> {
        if account.dn.is_none() && dn::Dn::parse(account.login.as_str()).is_some() {
            return Ok(account.login.as_str().to_owned());
        }
        if Name::of(account).is_none() {
            return Err(self.stop(
                Class::Denied,
                "the functional account's DN is no distinguished name",
            ));
        }
        let found = root.find(link, &self.base_dn, account).await;
        found.map(|found| found.dn).map_err(not_found)
    }

    fn stop(&self, class: Class, text: &'static str) -> Reason {
        let reason = Reason::system(class, text);
        drop(self.stopped.set(reason.clone()));
        reason
    }

    /// Where an account lives, looked up by whoever the shared connection is logged in as.
    pub(super) async fn find(&self, account: &Account) -> Result<(Found, &Root), Reason> {
        if let (Some(Name::Dn(dn)), Some(root)) = (Name::of(account), self.root.get()) {
            let dn = dn.to_owned();
            return Ok((Found { dn, mark: None }, root));
        }
        let _turn = self.turns.acquire().await.map_err(|_| over())?;
        let (shared, root) = self.shared().await?;
        let found = root.find(&shared, &self.base_dn, account).await?;
        Ok((found, root))
    }

    /// A connection for one login: a kept one, or a new one.
    pub(super) async fn probe(&self) -> Result<Link, Reason> {
        while let Some(link) = self.kept_links().pop() {
            if link.usable() {
                return Ok(link);
            }
        }
        Link::connect(&self.endpoint).await
    }

    /// Keeps a connection on which a bind was answered so, once it is nobody's.
    pub(super) async fn give_back(&self, link: Link, bound: Reply) {
        // A refused bind leaves the connection anonymous already. Source: RFC 4511 4.2.1.
        let nobody = bound.code != 0
            || link
                .unbind_identity()
                .await
                .is_ok_and(|reply| reply.code == 0);
        let fit = nobody && bound.code != OPERATIONS_ERROR && link.usable();
        if fit && !self.probes.is_closed() {
            self.kept_links().push(link);
        }
    }

    fn kept_links(&self) -> MutexGuard<'_, Vec<Link>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What entries showed before a write that has not been answered.
    pub(super) fn marks(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() >= MARKS_MAX {
            marks.clear();
        }
        marks
    }
}

/// The name under which an account logs in before it could be looked up: domains alone.
pub(super) fn late_name(root: &Root, account: &Account) -> Option<String> {
    match Name::of(account) {
        Some(Name::Login(login)) if dn::Dn::parse(login).is_none() => root.bind_name(login),
        _ => None,
    }
}

fn not_found(reason: Reason) -> Reason {
    match reason.scope {
        Scope::System => reason,
        Scope::Account => Reason::system(
            Class::NoAccount,
            "the functional account was not found by its login name; give its DN",
        ),
    }
}

pub(super) fn over() -> Reason {
    Reason::system(
        Class::Unreachable,
        "the session was closed; nothing was sent",
    )
}

pub(super) fn late() -> Reason {
    Reason::system(
        Class::Unreachable,
        "the directory did not answer in time; nothing was sent",
    )
}

#[expect(clippy::disallowed_methods, reason = "looks at the length alone")]
fn is_empty(secret: &Secret) -> bool {
    secret.expose_secret().is_empty()
}

#[async_trait]
impl Session for LdapSession {
    async fn change(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
    ) -> Changed {
        if let Err(reason) = super::admit(account, Some(new)) {
            return Changed::Refused(reason);
        }
        let progress = Progress::default();
        let write = self.write(account, new, current, &progress);
        let written = timeout(self.limit, write).await;
        written.unwrap_or_else(|_| progress.given_up())
    }

    /// A password is proved by a login. A key cannot be: that the entry shows it when it is read
    /// back is the strongest proof that a directory gives.
    async fn check(&self, account: &Account, credential: &Credential) -> Checked {
        // Before any byte: a bind with a name and no password succeeds and proves nothing.
        if let Err(reason) = super::admit(account, Some(credential)) {
            return Checked::NotNow(reason);
        }
        let verdict = OnceLock::new();
        let check = async {
            match credential {
                Credential::Password(password) => self.prove(account, password, &verdict).await,
                Credential::Key(pair) => self.read_back(account, pair).await,
            }
        };
        match timeout(self.limit, check).await {
            Ok(checked) => checked,
            Err(_) => verdict.into_inner().unwrap_or_else(|| {
                Checked::NotNow(Reason::system(
                    Class::Unreachable,
                    "the directory did not judge the login in time",
                ))
            }),
        }
    }

    async fn evidence(
        &self,
        account: &Account,
        candidate: &Credential,
        current: Option<&Credential>,
    ) -> Evidence {
        let look = self.look(account, candidate, current);
        match timeout(self.limit, look).await {
            Ok(Ok(evidence)) => evidence,
            Ok(Err(reason)) => Evidence::Undecided(reason),
            Err(_) => Evidence::Undecided(late()),
        }
    }

    /// Nothing to do: a password has one value, and a key was swapped for the new one.
    async fn retire(&self, _account: &Account, _old: &Credential) -> Changed {
        Changed::Done
    }

    async fn list(&self, query: &Query) -> Result<Listing, Reason> {
        let Query::Directory(query) = query else {
            let text = "a directory has no user ids to list by; give a filter";
            return Err(Reason::account(Class::Incompatible, text));
        };
        let listed = timeout(self.limit, self.list_entries(query)).await;
        listed.unwrap_or_else(|_| Err(late()))
    }

    async fn identities(
        &self,
        accounts: &[Account],
    ) -> Result<Vec<Option<CanonicalIdentity>>, Reason> {
        let named = timeout(self.limit, self.name_entries(accounts)).await;
        named.unwrap_or_else(|_| Err(late()))
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
