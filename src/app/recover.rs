//! Puts back into the database what an escrow journal has and it has not: as kept candidates, which
//! a test of their account may find live.
//!
//! Invariant: nothing that the database has is changed; what was put back once is not put back again;
//! and every account that gets something is marked, so that nothing changes it before it is known.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::json;

use super::audit_store;
use super::database::{self, place};
use super::error::AppError;
use super::key_ring;
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::escrow::{Opened, Owner, Recovered};
use crate::generate::{Dice, GivenKey, KeyError};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::AccountId;
use crate::store::{
    ForgottenValue, Named, NewRegression, NewVersion, SealedSecret, Store, StoreError,
};
use crate::vault::{Place, Vault, VaultError, same_secret};

/// Versions of an account that are compared: more than any account has.
const VERSIONS_MAX: i64 = 1_000_000;

/// What becomes of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutBack {
    /// Its name; empty if the database does not have it.
    pub name: String,
    /// Versions that are put back: as the journal numbers them, and as the database does.
    pub versions: Vec<(i64, i64)>,
    /// Versions of the journal whose key cannot be read.
    pub unreadable: Vec<i64>,
    /// True: the database has no such account.
    pub is_missing: bool,
}

/// A value of the journal that the database lacks.
struct Lacking {
    version: i64,
    given: Given,
    at: Timestamp,
    was_sent: bool,
    print: Option<String>,
}

enum Given {
    Password(SecretString),
    Key(GivenKey, String),
}

/// Puts back what the database lacks of accounts, or with `dry_run` says what would be. On SQLite no
/// service may be running.
///
/// # Errors
/// [`AppError`]; accounts that came before it have what is theirs, and the next run goes on.
pub async fn put_back(
    settings: &Settings,
    found: &Recovered,
    dry_run: bool,
    (clock, dice): (&SharedClock, &dyn Dice),
) -> Result<BTreeMap<AccountId, PutBack>, AppError> {
    let _locks = match database::file(settings) {
        Some(file) if !file.is_file() => return Err(AppError::NoDatabase { path: file }),
        Some(_) => database::lock(settings)?,
        // A server has room for another writer.
        None => Vec::new(),
    };
    let store = audit_store(settings).await?;
    let done = async {
        let ring = key_ring::find(settings, &store).await?;
        let ring = ring.ok_or(AppError::KeyRing("the store has no key yet"))?;
        let work = Work {
            store: &store,
            vault: &ring.open()?,
            dice,
            now: clock.now(),
        };
        let here = place(settings);
        work.all(found, dry_run).await.map_err(|error| match error {
            Fault::Store(error) => AppError::store(&here)(error),
            Fault::Vault(error) => error.into(),
        })
    };
    let done = done.await;
    store.close().await;
    done
}

enum Fault {
    Store(StoreError),
    Vault(VaultError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<VaultError> for Fault {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

struct Work<'a> {
    store: &'a Store,
    vault: &'a Vault,
    dice: &'a dyn Dice,
    now: Timestamp,
}

impl Work<'_> {
    async fn all(
        &self,
        found: &Recovered,
        dry_run: bool,
    ) -> Result<BTreeMap<AccountId, PutBack>, Fault> {
        let mut done = BTreeMap::new();
        let mut lacking = BTreeMap::new();
        for (owner, values) in &found.values {
            let Owner::Account(id) = *owner else { continue };
            let (account, mut report) = (AccountId(id), PutBack::default());
            let lacks = self.compare(account, values, found, &mut report).await?;
            if !lacks.is_empty() {
                lacking.insert(account, lacks);
            }
            if report != PutBack::default() {
                done.insert(account, report);
            }
        }
        if dry_run || lacking.is_empty() {
            for (account, lacks) in &lacking {
                let numbers = self.numbers(*account, lacks).await?;
                done.entry(*account).or_default().versions = numbers;
            }
            return Ok(done);
        }
        // First the marks: an account that has got something back is never without one.
        self.mark(&lacking).await?;
        for (account, lacks) in &lacking {
            let numbers = self.keep(*account, lacks).await?;
            done.entry(*account).or_default().versions = numbers;
        }
        Ok(done)
    }

    /// What the journal has of an account, and the database has not.
    async fn compare(
        &self,
        account: AccountId,
        values: &[Opened],
        found: &Recovered,
        report: &mut PutBack,
    ) -> Result<Vec<Lacking>, Fault> {
        let Some(row) = self.store.account(account).await? else {
            report.is_missing = true;
            return Ok(Vec::new());
        };
        if row.deleted_at.is_some() {
            return Ok(Vec::new());
        }
        let here = self.here(account).await?;
        let mut lacks: Vec<Lacking> = Vec::new();
        for one in values.iter().filter(|one| one.part == "sealed") {
            // An account that came later has the number of one that was forgotten.
            let Some(at) = one.moment().filter(|at| *at >= row.created_at) else {
                continue;
            };
            let is_known = |other: &SecretString| same_secret(&one.value, other);
            let again = lacks.iter().any(|other| match &other.given {
                Given::Password(other) => is_known(other),
                Given::Key(other, _) => is_known(&other.private),
            });
            if again || here.iter().any(is_known) {
                continue;
            }
            let given = match read(one, values) {
                Ok(given) => given,
                Err(_) => {
                    report.unreadable.push(one.version);
                    continue;
                }
            };
            lacks.push(Lacking {
                version: one.version,
                given,
                at,
                was_sent: found.sent.is_empty() || found.sent.contains(&(account.0, one.version)),
                print: one.print.map(|print| print.text()),
            });
        }
        if !lacks.is_empty() || !report.unreadable.is_empty() {
            report.name = row.settings.name;
        }
        Ok(lacks)
    }

    /// Every secret that the database has of an account.
    async fn here(&self, account: AccountId) -> Result<Vec<SecretString>, Fault> {
        let mut here = Vec::new();
        for row in self.store.versions(account, VERSIONS_MAX).await? {
            let sealed = match self.store.sealed_version(account, row.version).await? {
                Some(SealedSecret::Password(sealed)) => sealed,
                Some(SealedSecret::Key { private, .. }) => private,
                None => continue,
            };
            let place = Place::credential(account, row.version);
            here.push(self.vault.open(&place, &sealed)?);
        }
        Ok(here)
    }

    /// The numbers that values get: their own where those are free.
    async fn numbers(
        &self,
        account: AccountId,
        lacks: &[Lacking],
    ) -> Result<Vec<(i64, i64)>, Fault> {
        let rows = self.store.versions(account, VERSIONS_MAX).await?;
        let mut taken: Vec<i64> = rows.iter().map(|row| row.version).collect();
        let wanted = lacks.iter().map(|one| one.version);
        let row = self.store.account_row(account).await?;
        let last = row.map_or(0, |row| row.last_version);
        let mut next = wanted
            .chain(taken.iter().copied())
            .max()
            .unwrap_or(0)
            .max(last);
        let mut numbers = Vec::with_capacity(lacks.len());
        for one in lacks {
            let is_free = one.version > 0 && !taken.contains(&one.version);
            let number = if is_free {
                one.version
            } else {
                next += 1;
                next
            };
            taken.push(number);
            numbers.push((one.version, number));
        }
        Ok(numbers)
    }

    /// Marks accounts that are not yet.
    async fn mark(&self, lacking: &BTreeMap<AccountId, Vec<Lacking>>) -> Result<(), Fault> {
        let mut values = Vec::new();
        for (account, lacks) in lacking {
            if self.store.is_regressed(*account).await? {
                continue;
            }
            values.extend(lacks.iter().map(|one| ForgottenValue {
                account: *account,
                version: one.version,
                print: one.print.clone().unwrap_or_default(),
                at: one.at,
            }));
        }
        if values.is_empty() {
            return Ok(());
        }
        let generation = self.store.generation().await?;
        let new = NewRegression {
            generation,
            expected: generation,
            named: Some(Named {
                values,
                sent: Vec::new(),
            }),
        };
        let mut tx = self.store.begin().await?;
        let (id, accounts) = tx.record_regression(&new, self.now).await?;
        let body = json!({"accounts": accounts, "by": "keywheel recover"});
        tx.audit(&Event::by_service("store.regressed", id, body), self.now)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Keeps an account's values, all in one commit.
    async fn keep(&self, account: AccountId, lacks: &[Lacking]) -> Result<Vec<(i64, i64)>, Fault> {
        let numbers = self.numbers(account, lacks).await?;
        let seals = i64::try_from(lacks.len() * 2).unwrap_or(i64::MAX);
        let mut tx = self.store.begin().await?;
        tx.reserve_seals(self.vault.active_key_id(), seals).await?;
        for (one, (_, number)) in lacks.iter().zip(&numbers) {
            let new = NewVersion {
                account,
                version: *number,
                secret: self.seal(account, *number, &one.given)?,
                origin: "generated",
            };
            tx.add_version(&new, self.now).await?;
            if one.was_sent {
                tx.note_sent(account, *number, one.at).await?;
            }
        }
        let versions: Vec<_> = numbers.iter().map(|(_, number)| number).collect();
        let body = json!({"versions": versions});
        let event = Event::by_service("account.versions_recovered", account, body);
        tx.audit(&event, self.now).await?;
        tx.commit().await?;
        Ok(numbers)
    }

    fn seal(
        &self,
        account: AccountId,
        version: i64,
        given: &Given,
    ) -> Result<SealedSecret, VaultError> {
        let place = Place::credential(account, version);
        Ok(match given {
            Given::Password(value) => {
                SealedSecret::Password(self.vault.seal(&place, value, self.dice)?.0)
            }
            Given::Key(key, public) => SealedSecret::Key {
                private: self.vault.seal(&place, &key.private, self.dice)?.0,
                passphrase: match &key.passphrase {
                    Some(passphrase) => {
                        let place = Place::passphrase(account, version);
                        Some(self.vault.seal(&place, passphrase, self.dice)?.0)
                    }
                    None => None,
                },
                public: public.clone(),
            },
        })
    }
}

/// A password, or a key pair with the passphrase that opens it.
fn read(one: &Opened, all: &[Opened]) -> Result<Given, KeyError> {
    let mut key = GivenKey {
        private: one.value.clone(),
        passphrase: None,
    };
    let mut said = match key.unlock() {
        Ok(opened) => return Ok(Given::Key(key, opened.public)),
        Err(KeyError::Unreadable) => return Ok(Given::Password(one.value.clone())),
        Err(said) => said,
    };
    let passphrases = all
        .iter()
        .rev()
        .filter(|other| other.part == "passphrase" && other.version == one.version);
    for passphrase in passphrases {
        key.passphrase = Some(passphrase.value.clone());
        match key.unlock() {
            Ok(opened) => return Ok(Given::Key(key, opened.public)),
            Err(error) => said = error,
        }
    }
    Err(said)
}
