//! Credentials that people give: sealed, kept, and stored without the target where they say so.
//!
//! Invariant: a given secret is sealed before it is bound to a statement, and a key that was
//! superseded never comes back: an order to remove it may still land.

use keywheel_connectors::{Credential, KeyPair, Secret};

use super::order::{OrderError, Orders};
use crate::engine::marker;
use crate::generate::{self, GivenKey, KeyError, UnlockedKey};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::credential::{Part, Parts};
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};
use crate::model::password_rule::PasswordRule;
use crate::store::{AccountRow, NewJob, NewVersion, SealedSecret, Tx};
use crate::vault::Place;

/// A key pair that somebody gives.
#[derive(Debug)]
pub struct NewKey {
    /// As it was given; this is what is kept.
    pub given: GivenKey,
    /// As connectors take it.
    pub opened: UnlockedKey,
}

impl NewKey {
    /// Reads it. Blocks: a passphrase's key takes long to derive.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(given: GivenKey) -> Result<Self, KeyError> {
        let opened = given.unlock()?;
        Ok(Self { given, opened })
    }
}

/// What is given, as connectors take it.
pub(super) fn given(
    account: AccountId,
    password: Option<&Secret>,
    key: Option<&NewKey>,
) -> Vec<Credential> {
    let password = password.cloned().map(Credential::from);
    let key = key.map(|key| {
        Credential::Key(KeyPair {
            private: key.opened.private.clone(),
            public: key.opened.public.clone(),
            marker: marker(account, 0), // its version is not known yet
        })
    });
    password.into_iter().chain(key).collect()
}

/// What was kept.
pub(super) struct Kept {
    /// The account's epoch.
    pub(super) epoch: i64,
    /// The versions of the password and of the key pair.
    pub(super) versions: (Option<i64>, Option<i64>),
}

/// What is stored without the target.
#[derive(Clone, Copy)]
struct Stored<'a> {
    secrets: (Option<&'a Secret>, Option<&'a NewKey>),
    /// False: it was drawn.
    given: bool,
    actor: &'a str,
}

impl Orders {
    /// Seals what is given and keeps it as the account's next versions.
    pub(super) async fn keep(
        &self,
        tx: &mut Tx,
        account: AccountId,
        (password, key): (Option<&Secret>, Option<&NewKey>),
        origin: &'static str,
    ) -> Result<Kept, OrderError> {
        let row = tx.account_row(account).await?.ok_or(OrderError::NotFound)?;
        let mut last = row.last_version;
        let mut versions = (None, None);
        if let Some(password) = password {
            last += 1;
            let place = Place::credential(account, last);
            let sealed = self.vault.seal(&place, password, self.dice.as_ref())?.0;
            let secret = SealedSecret::Password(sealed);
            self.keep_one(tx, account, last, secret, origin).await?;
            versions.0 = Some(last);
        }
        if let Some(key) = key {
            let public = &key.opened.public;
            if tx.key_was_used(account, public).await? {
                return Err(OrderError::Refused(
                    "The key was the account's before and has been superseded; give another one"
                        .into(),
                ));
            }
            last += 1;
            let secret = self.seal_key(account, last, key)?;
            self.keep_one(tx, account, last, secret, origin).await?;
            versions.1 = Some(last);
        }
        Ok(Kept {
            epoch: row.epoch,
            versions,
        })
    }

    async fn keep_one(
        &self,
        tx: &mut Tx,
        account: AccountId,
        version: i64,
        secret: SealedSecret,
        origin: &'static str,
    ) -> Result<(), OrderError> {
        let new = NewVersion {
            account,
            version,
            secret,
            origin,
        };
        Ok(tx.add_version(&new, self.clock.now()).await?)
    }

    /// Seals a key pair for a version's place.
    ///
    /// # Errors
    /// [`OrderError::Vault`].
    pub fn seal_key(
        &self,
        account: AccountId,
        version: i64,
        key: &NewKey,
    ) -> Result<SealedSecret, OrderError> {
        let dice = self.dice.as_ref();
        let place = Place::credential(account, version);
        let private = self.vault.seal(&place, &key.given.private, dice)?.0;
        let place = Place::passphrase(account, version);
        let passphrase = match &key.given.passphrase {
            Some(passphrase) => Some(self.vault.seal(&place, passphrase, dice)?.0),
            None => None,
        };
        Ok(SealedSecret::Key {
            private,
            passphrase,
            public: key.opened.public.clone(),
        })
    }

    /// Stores a credential without touching the target: what is given, or a random password, which
    /// goes to all that share it.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn store_only(
        &self,
        account: AccountId,
        password: Option<Secret>,
        key: Option<NewKey>,
        actor: &str,
    ) -> Result<JobId, OrderError> {
        let row = self
            .store
            .account_row(account)
            .await?
            .ok_or(OrderError::NotFound)?;
        let system = self
            .store
            .system_of(account)
            .await?
            .ok_or(OrderError::NotFound)?;
        let given = password.is_some() || key.is_some();
        if key.is_some() {
            let details = self.store.system_row(system).await?;
            let details = details.ok_or(OrderError::NotFound)?;
            if !self.engine.takes_keys(&details) {
                let text = "Accounts of this platform have passwords, no keys";
                return Err(OrderError::Refused(text.into()));
            }
        }
        let password = match (password, &key) {
            (None, None) => Some(self.draw(&row)?),
            (password, _) => password,
        };
        let members = match &password {
            Some(_) => self.members(account).await?,
            None => vec![account],
        };
        let mut tx = self.store.begin().await?;
        let members = self.lock_members(&mut tx, &members).await?;
        let now = self.clock.now();
        let mut ordered = None;
        let mut parent: Option<(AccountId, i64)> = None;
        for member in members {
            let own_key = key.as_ref().filter(|_| member.0 == account);
            let stored = Stored {
                secrets: (password.as_ref(), own_key),
                given,
                actor,
            };
            let (job, version) = self.store_one(&mut tx, member, stored, now).await?;
            match (parent, version) {
                (Some(parent), Some(version)) => {
                    tx.record_synced(member.0, version, parent).await?;
                }
                (None, Some(version)) => parent = Some((member.0, version)),
                (_, None) => {}
            }
            if member.0 == account {
                ordered = Some(job);
            }
        }
        tx.commit().await?;
        ordered.ok_or(OrderError::NotFound)
    }

    /// Stores for one account; says under which job, and the password's version.
    async fn store_one(
        &self,
        tx: &mut Tx,
        (account, system): (AccountId, SystemId),
        stored: Stored<'_>,
        now: Timestamp,
    ) -> Result<(JobId, Option<i64>), OrderError> {
        let kept = self.keep(tx, account, stored.secrets, "stored").await?;
        let mut parts = Parts::NONE;
        for (part, version) in [
            (Part::Password, kept.versions.0),
            (Part::Key, kept.versions.1),
        ] {
            if let Some(version) = version {
                tx.store_current(account, part, kept.epoch, version, now)
                    .await?;
                parts = parts.plus(Parts::of(part));
            }
        }
        let new = NewJob {
            account,
            system,
            kind: JobKind::Rotate,
            cause: Cause::Order,
            actor: stored.actor.to_owned(),
            priority: Priority::Immediate,
            run_at: now,
            parts,
            version: kept.versions.0,
            key_version: kept.versions.1,
        };
        let job = tx
            .record_done(&new, "stored; the target was not contacted", now)
            .await?;
        let body = serde_json::json!({
            "job": job.0,
            "version": kept.versions.0,
            "key_version": kept.versions.1,
            "given": stored.given,
        });
        let event = Event::by(stored.actor, "credential.stored", account, body);
        tx.audit(&event, now).await?;
        tx.replan(account, now).await?;
        Ok((job, kept.versions.0))
    }

    fn draw(&self, row: &AccountRow) -> Result<Secret, OrderError> {
        let rule = PasswordRule::built_in(row.password_rule_id)
            .ok_or_else(|| OrderError::Refused("The account's password rule is gone".into()))?;
        generate::password(&rule, self.dice.as_ref())
            .map_err(|error| OrderError::Refused(error.to_string()))
    }
}
