//! What every connector must do, on any target.
//!
//! Invariant: the suite knows no kind of target; what differs between kinds is told to it in
//! [`Capabilities`].

mod keys;
mod promises;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::timeout;

use crate::{
    Account, Changed, Checked, Connector, Credential, Functional, KeyPair, Reason, Scope, Session,
    Target,
};

/// An account and the credential that it has now.
#[derive(Clone, Debug)]
pub struct Held {
    /// The account.
    pub account: Account,
    /// Its password. The suite writes the new one here after each change.
    pub credential: Credential,
}

/// What differs between kinds of targets.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// True: the session finds [`crate::Evidence`]. False: every look is `Undecided`.
    pub evidence: bool,
    /// True: the target takes the old password for a while yet, as a domain controller does.
    pub old_lingers: bool,
    /// Fresh key pairs, [`KEYS_MIN`] of them or more, for a target that takes keys beside a
    /// password. Empty: it takes none.
    pub keys: Vec<KeyPair>,
    /// An account that the target does not know.
    pub unknown_account: Account,
    /// A target of this kind where nobody listens.
    pub unreachable: Target,
    /// A target of this kind that takes connections and never says a word; a short time-out.
    pub mute: Option<Target>,
    /// The target, pinned to an identity that is not its own.
    pub wrong_identity: Option<Target>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The promise, as a sentence.
    pub promise: &'static str,
    /// What was seen instead; holds no secret.
    pub saw: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.saw)
    }
}

/// The fewest accounts that the suite can work with.
pub const ACCOUNTS_MIN: usize = 6;

/// The fewest key pairs that the suite can work with.
pub const KEYS_MIN: usize = 3;

/// How much later than the target's time-out an answer may come on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// Tries every promise of the trait; returns those that were kept, as sentences.
///
/// Needs [`ACCOUNTS_MIN`] accounts; each suffers at most one wrong login between two right ones.
/// At the end `accounts` holds the secrets that the target holds. New secrets look like
/// `Fresh-12-kw-vLm9Q`. Run it on tokio's own clock.
///
/// # Errors
/// Every promise that was not kept.
pub async fn run(
    connector: &dyn Connector,
    target: &Target,
    functional: &Functional,
    accounts: &mut [Held],
    can: &Capabilities,
) -> Result<Vec<&'static str>, Vec<Broken>> {
    let suite = Suite {
        connector,
        target,
        functional,
        can,
        drawn: AtomicUsize::new(0),
        secrets: Mutex::default(),
        said: Mutex::default(),
    };
    suite.remember(&functional.credential);
    let mut verdicts = suite.without_accounts().await;
    if let Some((first, rest)) = accounts.split_first_mut()
        && rest.len() + 1 >= ACCOUNTS_MIN
    {
        suite.remember(&first.credential);
        for held in rest.iter() {
            suite.remember(&held.credential);
        }
        verdicts.extend(suite.with_one(first).await);
        if !can.keys.is_empty() {
            verdicts.extend(suite.with_keys(first).await);
        }
        verdicts.extend(suite.with_many(rest).await);
    } else {
        verdicts.push((
            "the suite has accounts enough",
            Err(format!("needs {ACCOUNTS_MIN}")),
        ));
    }
    verdicts.push(("no answer holds a secret", suite.no_answer_holds_a_secret()));
    let (kept, broken): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(|(_, seen)| seen.is_ok());
    if broken.is_empty() {
        return Ok(kept.into_iter().map(|(promise, _)| promise).collect());
    }
    let broken = broken.into_iter();
    Err(broken
        .map(|(promise, seen)| Broken {
            promise,
            saw: seen.err().unwrap_or_default(),
        })
        .collect())
}

type Seen = Result<(), String>;
type Verdict = (&'static str, Seen);

struct Suite<'a> {
    connector: &'a dyn Connector,
    target: &'a Target,
    functional: &'a Functional,
    can: &'a Capabilities,
    drawn: AtomicUsize,
    secrets: Mutex<BTreeSet<String>>,
    said: Mutex<Vec<String>>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the suite looks for its secrets in the answers"
)]
fn plain(credential: &Credential) -> &str {
    match credential {
        Credential::Password(password) => password.expose_secret(),
        Credential::Key(pair) => pair.private.expose_secret(),
    }
}

fn expect(seen: &impl fmt::Debug, right: bool) -> Seen {
    if right {
        Ok(())
    } else {
        Err(format!("{seen:?}"))
    }
}

fn is_done(changed: Result<Changed, String>) -> Seen {
    let changed = changed?;
    expect(&changed, changed == Changed::Done)
}

/// A refusal that speaks for the whole system.
fn is_system(reason: &Reason) -> bool {
    reason.scope == Scope::System
}

impl Suite<'_> {
    fn remember(&self, secret: &Credential) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(plain(secret).to_owned());
    }

    fn fresh(&self) -> Credential {
        let number = self.drawn.fetch_add(1, Ordering::SeqCst);
        let secret = Credential::from(format!("Fresh-{number}-kw-vLm9Q"));
        self.remember(&secret);
        secret
    }

    fn hear(&self, answer: &impl fmt::Debug) {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{answer:?}"));
    }

    /// Awaits one call, no longer than the trait allows.
    async fn within<T: fmt::Debug>(
        &self,
        target: &Target,
        call: impl Future<Output = T>,
    ) -> Result<T, String> {
        let answer = timeout(target.timeout + SLACK, call)
            .await
            .map_err(|_| format!("no answer within {:?}", target.timeout))?;
        self.hear(&answer);
        Ok(answer)
    }

    async fn open(
        &self,
        target: &Target,
        functional: Option<&Functional>,
    ) -> Result<Result<Arc<dyn Session>, Reason>, String> {
        let call = self.connector.open(target, functional);
        let opened = timeout(target.timeout + SLACK, call)
            .await
            .map_err(|_| format!("open gave no answer within {:?}", target.timeout))?;
        if let Err(reason) = &opened {
            self.hear(reason);
        }
        Ok(opened)
    }

    async fn session(&self) -> Result<Arc<dyn Session>, String> {
        self.open(self.target, Some(self.functional))
            .await?
            .map_err(|reason| reason.to_string())
    }

    async fn change(&self, session: &Arc<dyn Session>, held: &mut Held) -> Result<Changed, String> {
        let new = self.fresh();
        let call = session.change(&held.account, &new, Some(&held.credential));
        let changed = self.within(self.target, call).await?;
        if changed == Changed::Done {
            held.credential = new;
        }
        Ok(changed)
    }

    async fn check(
        &self,
        session: &Arc<dyn Session>,
        account: &Account,
        credential: &Credential,
    ) -> Result<Checked, String> {
        self.within(self.target, session.check(account, credential))
            .await
    }

    async fn accepts(&self, session: &Arc<dyn Session>, held: &Held) -> Seen {
        let seen = self.check(session, &held.account, &held.credential).await?;
        expect(&seen, seen == Checked::Accepted)
    }

    fn no_answer_holds_a_secret(&self) -> Seen {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let leaks = said
            .iter()
            .filter(|text| secrets.iter().any(|one| text.contains(one)));
        match leaks.count() {
            // An ear that hears nothing proves nothing.
            0 if said.is_empty() => Err("no answer was heard".into()),
            0 => Ok(()),
            leaks => Err(format!("{leaks} of {} answers", said.len())),
        }
    }
}
