//! Proves a credential, or finds evidence of it without a login.
//!
//! Invariant: a login is accepted only if the directory names the very entry that was meant.

use std::sync::OnceLock;

use super::change::mistaken;
use super::directory::{self, Root};
use super::key::{self, Keys};
use super::link::{Fault, Link, Reply};
use super::result::{self, Verdict};
use super::session::{LdapSession, late_name, over};
use crate::{Account, Checked, Class, Credential, Evidence, KeyPair, Reason, Secret};

impl LdapSession {
    /// Logs in as the account on a connection of its own. The verdict is noted before the
    /// connection is tidied up, so that a server that falls silent then cannot take it back.
    pub(super) async fn prove(
        &self,
        account: &Account,
        secret: &Secret,
        verdict: &OnceLock<Checked>,
    ) -> Checked {
        let Ok(_probe) = self.probes.acquire().await else {
            return Checked::NotNow(over());
        };
        let (link, root, dn, bound) = match self.log_in_as(account, secret).await {
            Ok(found) => found,
            Err(reason) => return Checked::NotNow(reason),
        };
        let checked = match result::judged(root.flavour, bound) {
            Verdict::Right => match root.is_bound_as(&link, &dn).await {
                Ok(true) => Checked::Accepted,
                Ok(false) => Checked::NotNow(mistaken()),
                Err(fault) => Checked::NotNow(fault.reason()),
            },
            Verdict::Wrong => self.refused(&dn).await,
            Verdict::NotNow(reason) => Checked::NotNow(reason),
        };
        verdict.get_or_init(|| checked.clone());
        self.give_back(link, bound).await;
        checked
    }

    /// Binds as the account on a probe; its DN and the directory's answer.
    ///
    /// # Errors
    /// A reason why there is no answer: nothing was judged.
    pub(super) async fn log_in_as(
        &self,
        account: &Account,
        secret: &Secret,
    ) -> Result<(Link, &Root, String, Reply), Reason> {
        let late = match &self.functional {
            Some(_) => None,
            // Nobody is there who could look the account up before it has logged in itself.
            None => late_name(self.shared().await?.1, account),
        };
        if let Some(name) = late {
            let link = self.probe().await?;
            let root = self.shared().await?.1;
            let bound = link.bind(&name, secret).await.map_err(Fault::reason)?;
            let dn = if bound.code == 0 {
                root.find(&link, &self.base_dn, account).await?.dn
            } else {
                name
            };
            return Ok((link, root, dn, bound));
        }
        let (found, root) = self.find(account).await?;
        let link = self.probe().await?;
        // Never repeated: the directory may have counted a bind whose answer was lost.
        let bound = link.bind(&found.dn, secret).await.map_err(Fault::reason)?;
        Ok((link, root, found.dn, bound))
    }

    /// Asks the entry whether the refusal is about the secret.
    async fn refused(&self, dn: &str) -> Checked {
        if self.functional.is_some()
            && let Ok(_turn) = self.turns.acquire().await
            && let Ok((shared, _)) = self.shared().await
            && let Some(reason) = directory::hindrance(&shared, dn).await
        {
            return Checked::NotNow(reason);
        }
        Checked::Rejected(Reason::account(Class::Denied, "the login was refused"))
    }

    /// Reads the entry's keys.
    async fn keys_of(&self, account: &Account) -> Result<Keys, Reason> {
        let _turn = self.turns.acquire().await.map_err(|_| over())?;
        let (link, root) = self.shared().await?;
        let attribute = self.attribute(root.flavour)?;
        let dn = root.find(&link, &self.base_dn, account).await?.dn;
        Keys::read(&link, &dn, attribute).await
    }

    /// Looks whether the entry shows the key.
    pub(super) async fn read_back(&self, account: &Account, pair: &KeyPair) -> Checked {
        match self.keys_of(account).await {
            Ok(keys) if keys.hold(pair) => Checked::Accepted,
            // No key at all may also be one that is hidden.
            Ok(keys) if keys.is_empty() => Checked::NotNow(key::unseen()),
            Ok(_) => Checked::Rejected(Reason::account(
                Class::Denied,
                "the entry shows other keys, and not this one",
            )),
            Err(reason) => Checked::NotNow(reason),
        }
    }

    /// Looks which credential the directory holds.
    ///
    /// # Errors
    /// A reason why that cannot be told.
    pub(super) async fn look(
        &self,
        account: &Account,
        candidate: &Credential,
        current: Option<&Credential>,
    ) -> Result<Evidence, Reason> {
        let Credential::Key(candidate) = candidate else {
            return self.unmoved(account, current).await;
        };
        let keys = self.keys_of(account).await?;
        if keys.is_empty() {
            return Err(key::unseen());
        }
        Ok(match current {
            _ if keys.hold(candidate) => Evidence::Candidate,
            Some(Credential::Key(current)) if keys.hold(current) => Evidence::Current,
            _ => Evidence::Neither,
        })
    }

    /// Tells a password that was not set: what moves with it has not moved since this session
    /// sent it. Nothing tells one that was.
    async fn unmoved(
        &self,
        account: &Account,
        current: Option<&Credential>,
    ) -> Result<Evidence, Reason> {
        let hidden = || {
            Reason::account(
                Class::Incompatible,
                "the directory shows no password, not even hashed",
            )
        };
        let _turn = self.turns.acquire().await.map_err(|_| over())?;
        let (link, root) = self.shared().await?;
        let dn = root.find(&link, &self.base_dn, account).await?.dn;
        let before = self.marks().get(&dn).cloned().ok_or_else(hidden)?;
        let now = root.mark(&link, &dn).await.ok_or_else(hidden)?;
        if now == before && current.is_some() {
            return Ok(Evidence::Current);
        }
        Err(Reason::account(
            Class::Incompatible,
            "the entry has changed since the password was sent, which may be its doing",
        ))
    }
}
