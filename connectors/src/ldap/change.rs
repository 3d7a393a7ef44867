//! Changes one account's credential: by the functional account, or by the account itself.
//!
//! Invariant: a change is noted as sent before the first byte of a new credential leaves; until
//! then whatever goes wrong has changed nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::diagnosis::Said;
use super::directory::{Found, OPERATIONS_ERROR, Root};
use super::dn;
use super::flavour::Flavour;
use super::key::{self, Keys};
use super::link::{Fault, Link, Reply};
use super::ppolicy::Objection;
use super::result::{self, Verdict};
use super::session::{LdapSession, late, over};
use super::write;
use crate::{Account, Changed, Class, Credential, KeyPair, Reason, Scope, Secret};

/// How far a change has come, for whoever gives up waiting.
#[derive(Default)]
pub(super) struct Progress {
    sent: AtomicBool,
    outcome: OnceLock<Changed>,
}

impl Progress {
    fn send(&self) {
        self.sent.store(true, Ordering::Release);
    }

    /// Notes the directory's word, so that no silence afterwards can take it back.
    fn end(&self, changed: Changed) -> Changed {
        self.outcome.get_or_init(|| changed.clone());
        changed
    }

    /// What is known of a change that nobody waits for any longer.
    pub(super) fn given_up(self) -> Changed {
        if let Some(changed) = self.outcome.into_inner() {
            return changed;
        }
        if self.sent.into_inner() {
            return Changed::Unknown(Reason::system(
                Class::Unknown,
                "the directory did not answer in time; the credential may have been set",
            ));
        }
        Changed::NotNow(late())
    }
}

impl LdapSession {
    /// Writes the credential.
    pub(super) async fn write(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
        progress: &Progress,
    ) -> Changed {
        let written = match new {
            Credential::Password(new) if account.uses_own => {
                self.change_own(account, new, current, progress).await
            }
            Credential::Password(new) => self.reset(account, new, current, progress).await,
            Credential::Key(new) => self.swap(account, new, current, progress).await,
        };
        written.unwrap_or_else(Changed::NotNow)
    }

    /// Sets the password as the functional account.
    async fn reset(
        &self,
        account: &Account,
        new: &Secret,
        current: Option<&Credential>,
        progress: &Progress,
    ) -> Result<Changed, Reason> {
        self.has_functional("without a functional account no password can be set")?;
        let _turn = self.turns.acquire().await.map_err(|_| over())?;
        let (link, root) = self.shared().await?;
        let Found { dn, mark } = root.find(&link, &self.base_dn, account).await?;
        let own = self.functional_dn.get();
        if own.is_some_and(|own| dn::same(own, &dn)) {
            return Err(Reason::account(
                Class::Privilege,
                "this is the functional account itself; its password is not reset by itself",
            ));
        }
        // A domain's own look is worth its time: a lost answer need not cost a login then.
        let mark = match mark {
            None if root.flavour.is_domain() => root.mark(&link, &dn).await,
            mark => mark,
        };
        if let Some(mark) = mark {
            self.marks().insert(dn.clone(), mark);
        }
        let current = current.and_then(|current| current.password().ok());
        progress.send();
        let written = write::reset(&link, root.flavour, &dn, new, current).await;
        let changed = match written {
            Ok(reply) => {
                if reply.code == OPERATIONS_ERROR {
                    link.retire();
                }
                result::written(root.flavour, reply)
            }
            Err(fault) => unanswered(fault),
        };
        let changed = progress.end(changed);
        if changed == Changed::Done {
            write::release(&link, root.flavour, &dn).await;
        }
        if !matches!(changed, Changed::Unknown(_)) {
            self.marks().remove(&dn);
        }
        Ok(changed)
    }

    /// Sets the password as the account itself, on a connection of its own.
    ///
    /// The login with the current password comes first, and counts like any other.
    async fn change_own(
        &self,
        account: &Account,
        new: &Secret,
        current: Option<&Credential>,
        progress: &Progress,
    ) -> Result<Changed, Reason> {
        let Some(Ok(current)) = current.map(Credential::password) else {
            return Err(Reason::account(
                Class::Denied,
                "an account changes its own password only with the current one",
            ));
        };
        super::admit_password(current)?;
        let _probe = self.probes.acquire().await.map_err(|_| over())?;
        let (link, root, dn, bound) = self.log_in_as(account, current).await?;
        let usable = match (bound.code, bound.objection) {
            // Whoever must change the password may do that alone, not even ask who it is.
            (0, Some(Objection::ChangeAfterReset)) => Ok(()),
            _ => self.is_usable(&link, root, &dn, bound).await,
        };
        if let Err(reason) = usable {
            self.give_back(link, bound).await;
            return Err(reason);
        }
        progress.send();
        let changed = match write::own(&link, root.flavour, &dn, new, current).await {
            // The login has just proved it, so it is the right to look at it that lacks.
            Ok(reply) if reply.said == Said::OldUnchecked => Changed::NotNow(Reason::account(
                Class::Privilege,
                "the account may write its password, but the old one may not be compared for it",
            )),
            Ok(reply) => match of_own(root.flavour, reply) {
                Changed::Refused(_) if root.is_too_young(&link, &dn).await => {
                    Changed::NotNow(result::too_young())
                }
                changed => changed,
            },
            Err(fault) => return Ok(unanswered(fault)),
        };
        let changed = progress.end(changed);
        self.give_back(link, bound).await;
        Ok(changed)
    }

    async fn is_usable(
        &self,
        link: &Link,
        root: &Root,
        dn: &str,
        bound: Reply,
    ) -> Result<(), Reason> {
        match result::judged(root.flavour, bound) {
            Verdict::Right if root.is_bound_as(link, dn).await.map_err(Fault::reason)? => Ok(()),
            Verdict::Right => Err(mistaken()),
            Verdict::Wrong => Err(Reason::account(
                Class::Denied,
                "the login with the current password was refused; nothing was sent",
            )),
            Verdict::NotNow(reason) => Err(reason),
        }
    }

    /// Puts a key in the place of another, in one step.
    async fn swap(
        &self,
        account: &Account,
        new: &KeyPair,
        current: Option<&Credential>,
        progress: &Progress,
    ) -> Result<Changed, Reason> {
        self.has_functional("without a functional account no key can be set")?;
        let old = current.and_then(|current| match current {
            Credential::Key(old) => Some(old),
            Credential::Password(_) => None,
        });
        let _turn = self.turns.acquire().await.map_err(|_| over())?;
        let (link, root) = self.shared().await?;
        let attribute = self.attribute(root.flavour)?;
        let dn = root.find(&link, &self.base_dn, account).await?.dn;
        let keys = Keys::read(&link, &dn, attribute).await?;
        let Some(mods) = keys.swap(attribute, new, old)? else {
            return Ok(Changed::Done);
        };
        progress.send();
        Ok(match link.modify(&dn, mods).await {
            Ok(reply) => {
                if reply.code == OPERATIONS_ERROR {
                    link.retire();
                }
                key::swapped(reply)
            }
            Err(fault) => unanswered(fault),
        })
    }

    /// The attribute that holds keys here.
    pub(super) fn attribute(&self, flavour: Flavour) -> Result<&str, Reason> {
        let attribute = self.key_attribute.as_deref().or(flavour.key_attribute());
        let no = |text| Reason::system(Class::Incompatible, text);
        match attribute {
            Some(name) if key::is_attribute(name) => Ok(name),
            Some(_) => Err(no("the attribute that is set for SSH keys cannot hold any")),
            None => Err(no(
                "set the attribute that holds SSH keys: this directory has none of its own",
            )),
        }
    }

    fn has_functional(&self, text: &'static str) -> Result<(), Reason> {
        let lacks = || Reason::system(Class::Privilege, text);
        self.functional.as_ref().map(|_| ()).ok_or_else(lacks)
    }
}

/// What a self-change was answered: the functional account has no part in it.
fn of_own(flavour: Flavour, reply: Reply) -> Changed {
    match result::written(flavour, reply) {
        Changed::NotNow(reason)
            if reason.class == Class::Denied && reason.scope == Scope::System =>
        {
            Changed::Unknown(result::unlisted(reply.code))
        }
        changed => changed,
    }
}

/// A login that the directory attributes to another entry.
pub(super) fn mistaken() -> Reason {
    Reason::account(
        Class::IdentityMismatch,
        "the directory took the login for somebody else's",
    )
}

fn unanswered(fault: Fault) -> Changed {
    match fault {
        Fault::NotSent => Changed::NotNow(Reason::system(
            Class::Unreachable,
            "the connection was lost before the credential was sent",
        )),
        Fault::Lost(reason) => Changed::Unknown(Reason {
            class: if reason.class == Class::Incompatible {
                reason.class
            } else {
                Class::Unknown
            },
            ..reason
        }),
    }
}
