//! What Keywheel does on a target: change a credential, check it by a login, look for evidence
//! without one, retire the old one, list accounts. One [`Connector`] trait serves every kind of target.
//!
//! Invariant: nothing here decides what becomes of a credential; an answer says only what the
//! target is known to have done, and whatever is not known is [`Changed::Unknown`].
#![deny(missing_docs)]

mod answer;
mod canonical;
#[cfg(feature = "conformance")]
pub mod conformance;
mod credential;
#[cfg(feature = "dialogue")]
pub mod dialogue;
#[cfg(feature = "fake")]
pub mod fake;
mod filter;
#[cfg(test)]
#[path = "../../src/fuzz.rs"]
mod fuzz;
#[cfg(feature = "ldap")]
pub mod ldap;
mod listing;
#[cfg(feature = "ssh")]
pub mod ssh;
mod target;
#[cfg(test)]
mod tests;
pub mod wire;

use std::sync::Arc;

use async_trait::async_trait;

pub use answer::{Changed, Checked, Class, Evidence, Reason, Scope};
pub use canonical::CanonicalIdentity;
pub use credential::{Credential, KeyPair};
pub use filter::{Filter, FilterError};
pub use listing::{DirectoryQuery, Found, HostQuery, Listing, Lock, Query};
#[cfg(feature = "dialogue")]
pub use target::DialogueTarget;
pub use target::{
    Account, Elevation, Functional, HostKey, Identity, LdapTarget, Login, LoginError, SshTarget,
    Target, TargetKind,
};

/// A password or key on its way to a target; wiped on drop, never printed.
pub type Secret = secrecy::SecretString;

/// The connector of this name, as a process of its own serves it; `None` if there is none here.
///
/// `seed` is where the sentinels of SSH start. The fake serves `FakeWorld::preset`.
#[cfg_attr(
    not(feature = "ssh"),
    expect(unused_variables, reason = "SSH alone has sentinels")
)]
pub fn by_name(name: &str, seed: u64) -> Option<Arc<dyn Connector>> {
    match name {
        #[cfg(feature = "ssh")]
        "ssh" => Some(Arc::new(ssh::Ssh::new(seed))),
        #[cfg(feature = "dialogue")]
        "dialogue" => Some(Arc::new(dialogue::Dialogues::new())),
        #[cfg(feature = "ldap")]
        "ldap" => Some(Arc::new(ldap::Ldap::new())),
        #[cfg(feature = "fake")]
        "fake" => Some(Arc::new(fake::Fake::new(&fake::FakeWorld::preset()))),
        _ => None,
    }
}

/// One kind of target.
#[async_trait]
pub trait Connector: Send + Sync + std::fmt::Debug {
    /// The connector's name in metrics and job records: `ssh`, `ldap`, `dialogue`, `fake`.
    fn name(&self) -> &'static str;

    /// Says whether this account and this credential can be handed to the target unmistakably.
    ///
    /// Called before any connection: a newline in a password is a second command to `chpasswd`.
    ///
    /// # Errors
    /// A [`Reason`] of class [`Class::Refused`] naming what is wrong, never the secret.
    fn admit(&self, account: &Account, credential: Option<&Credential>) -> Result<(), Reason>;

    /// Learns who answers at the target's address. Nothing secret is sent.
    ///
    /// # Errors
    /// A [`Reason`] of scope [`Scope::System`].
    async fn identify(&self, target: &Target) -> Result<Identity, Reason>;

    /// Opens one functional session: connects, proves the target's identity, logs in.
    ///
    /// Without a functional account the session can only [`Session::check`], and change accounts
    /// that change themselves ([`Account::uses_own`]).
    ///
    /// # Errors
    /// A [`Reason`] of scope [`Scope::System`]: nothing was changed, and no account of the
    /// system can be changed now.
    async fn open(
        &self,
        target: &Target,
        functional: Option<&Functional>,
    ) -> Result<Arc<dyn Session>, Reason>;
}

/// One functional session on one target. Calls may overlap, up to [`Target::in_flight`].
///
/// Every call ends within [`Target::timeout`], whatever the target does.
#[async_trait]
pub trait Session: Send + Sync {
    /// Sets `new` as the account's credential. [`Changed::Done`] is the target's word, not proof.
    ///
    /// `current` is handed over for accounts that change their own credential. A key is added:
    /// the old one works until [`Session::retire`], except in directories, which swap them.
    async fn change(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
    ) -> Changed;

    /// Logs in as the account, on a connection of its own: the only proof there is.
    ///
    /// A refused login counts on the target; the caller has counted it before.
    async fn check(&self, account: &Account, credential: &Credential) -> Checked;

    /// Looks, without any login, which credential the target holds.
    ///
    /// [`Evidence::Undecided`] where the target offers no such look.
    async fn evidence(
        &self,
        account: &Account,
        candidate: &Credential,
        current: Option<&Credential>,
    ) -> Evidence;

    /// Removes what the old credential left on the target, once another is current. For
    /// passwords: nothing to do. For keys: our old line, and nobody else's.
    async fn retire(&self, account: &Account, old: &Credential) -> Changed;

    /// Lists accounts. Changes nothing, and no hash of a password leaves the target.
    ///
    /// What the functional account may not see is unknown in the rows, and keeps none away.
    ///
    /// # Errors
    /// A [`Reason`]: nothing was listed. [`Class::Incompatible`] where no account can be.
    async fn list(&self, query: &Query) -> Result<Listing, Reason>;

    /// Says who these accounts are by the target's own word, one answer for each in their order:
    /// `None` where that is not known. Changes nothing, and nobody logs in.
    ///
    /// # Errors
    /// A [`Reason`]: nothing is known of any.
    async fn identities(
        &self,
        accounts: &[Account],
    ) -> Result<Vec<Option<CanonicalIdentity>>, Reason> {
        Ok(vec![None; accounts.len()])
    }

    /// Ends the session. Dropping it does the same, without waiting.
    async fn close(&self);
}
