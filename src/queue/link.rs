//! Links a functional account to a managed account, so that one credential serves both, and parts
//! them again.
//!
//! Invariant: whichever of the two holds the credential afterwards, a functional account that
//! could log in before can log in then.

use super::order::{OrderError, Orders};
use crate::model::account::{Account, LastTest};
use crate::model::audit::Event;
use crate::model::id::{AccountId, FunctionalAccountId};
use crate::model::platform::Platform;
use crate::model::system::EntityType;
use crate::store::{FunctionalLink, FunctionalSecret, SealedKey, SealedSecret, StoreError, Tx};
use crate::vault::Place;

impl Orders {
    /// Lets a functional account log in with a managed account's credential from now on, which
    /// its rotations then change for both. Its own credential is forgotten.
    ///
    /// # Errors
    /// [`OrderError::Refused`] if the two are not one login, [`OrderError::InTheWay`] while the
    /// managed account's credential is not known to work, and if either is linked already.
    pub async fn link_functional(
        &self,
        functional: FunctionalAccountId,
        account: AccountId,
        actor: &str,
    ) -> Result<(), OrderError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        let Some(found) = tx.locked_account(account).await? else {
            return Err(refused("account_id is no managed account"));
        };
        let row = tx.locked_functional(functional).await?;
        let row = row.ok_or(OrderError::NotFound)?;
        let home = tx.locked_system(found.system_id).await?;
        let home = home.ok_or(OrderError::NotFound)?;
        let is_directory = home.place.entity_type == EntityType::Directory;
        let platform = self.engine.platform(home.place.platform_id.0);
        if !platform.is_some_and(Platform::changes_own) {
            return Err(refused(
                "Accounts of this platform cannot change themselves, and while this one changes \
                 nobody else could change it",
            ));
        }
        if !names(&found, &row.account_name, is_directory) {
            return Err(refused(
                "The managed account is another login than the functional account; name and DN \
                 must be the same",
            ));
        }
        if !is_directory {
            let using = self.store.systems_using(functional).await?;
            if let Some(other) = using.iter().find(|id| **id != home.id) {
                return Err(refused(format!(
                    "The managed account lives on one host, and managed system {} uses the \
                     functional account as well; give that one another functional account, or \
                     link an account of a directory",
                    other.0
                )));
            }
        }
        sound(&mut tx, &found).await?;
        let link = FunctionalLink {
            functional,
            account,
            system: home.id,
        };
        tx.link_functional(link, now).await.map_err(already)?;
        let body = serde_json::json!({"account": account.0});
        let event = Event::by(actor, "functional_account.linked", functional, body);
        tx.audit(&event, now).await?;
        Ok(tx.commit().await?)
    }

    /// Parts a functional account from its managed account: it keeps the password that is current
    /// now as its own, or the key pair where there is no password. Nothing happens if it is not
    /// linked.
    ///
    /// # Errors
    /// [`OrderError::InTheWay`] while the credential is not known to work.
    pub async fn unlink_functional(
        &self,
        functional: FunctionalAccountId,
        actor: &str,
    ) -> Result<(), OrderError> {
        let Some(link) = self.store.functional_link(functional).await? else {
            return Ok(());
        };
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        let found = tx.locked_account(link.account).await?;
        let found = found.ok_or(OrderError::NotFound)?;
        tx.locked_functional(functional).await?;
        sound(&mut tx, &found).await?;
        let current = found.credential.current_version;
        let Some(version) = current.or(found.credential.current_key_version) else {
            return Err(OrderError::InTheWay(
                "The managed account has no credential to leave behind; give it one first".into(),
            ));
        };
        let secret = self.own_secret(functional, link.account, version).await?;
        tx.unlink_functional(link, secret).await?;
        let body = serde_json::json!({"account": link.account.0, "version": version});
        let event = Event::by(actor, "functional_account.unlinked", functional, body);
        tx.audit(&event, now).await?;
        Ok(tx.commit().await?)
    }

    /// A version of a managed account, sealed for its functional account's own row.
    async fn own_secret(
        &self,
        functional: FunctionalAccountId,
        account: AccountId,
        version: i64,
    ) -> Result<FunctionalSecret, OrderError> {
        let kept = self.store.sealed_version(account, version).await?;
        let kept = kept.ok_or(StoreError::Corrupt {
            table: "credential_versions",
            row: account.0,
            problem: "the version is missing",
        })?;
        let again = |from: Place, sealed: &[u8], to: Place| -> Result<Vec<u8>, OrderError> {
            let opened = self.vault.open(&from, sealed)?;
            Ok(self.vault.seal(&to, &opened, self.dice.as_ref())?.0)
        };
        let from = Place::credential(account, version);
        Ok(match kept {
            SealedSecret::Password(sealed) => {
                let to = Place::functional_account(functional);
                FunctionalSecret::Password(again(from, &sealed, to)?)
            }
            SealedSecret::Key {
                private,
                passphrase,
                public,
            } => {
                let place = Place::functional_passphrase(functional);
                let passphrase = passphrase
                    .map(|sealed| again(Place::passphrase(account, version), &sealed, place));
                FunctionalSecret::Key(SealedKey {
                    private: again(from, &private, Place::functional_key(functional))?,
                    passphrase: passphrase.transpose()?,
                    public,
                })
            }
        })
    }
}

/// Fails unless the account's current credential is known to work, and stays as it is.
async fn sound(tx: &mut Tx, account: &Account) -> Result<(), OrderError> {
    let in_the_way = |text: &str| Err(OrderError::InTheWay(text.to_owned()));
    let credential = &account.credential;
    if tx.open_job(account.id).await?.is_some() {
        return in_the_way("A change or test of the managed account is under way");
    }
    if credential.in_doubt || credential.key_in_doubt {
        return in_the_way(
            "The managed account's credential is in doubt; test or resolve it first",
        );
    }
    if !credential.is_held() || credential.last_test != LastTest::Passed {
        return in_the_way(
            "The managed account's current credential has not been tested; test it first",
        );
    }
    Ok(())
}

/// True if both are one login: by name, DN or principal name; directories ignore case.
fn names(account: &Account, login: &str, is_directory: bool) -> bool {
    let settings = &account.settings;
    if !is_directory {
        return settings.name == login;
    }
    // `DOMAIN\name` is told by what follows the domain.
    let short = login.split_once('\\').map_or(login, |(_, name)| name);
    let same = |name: &str, login: &str| name.to_lowercase() == login.to_lowercase();
    let is = |name: &Option<String>, login| name.as_deref().is_some_and(|name| same(name, login));
    same(&settings.name, short)
        || is(&settings.sam_account_name, short)
        || is(&settings.distinguished_name, login)
        || is(&settings.user_principal_name, login)
}

fn refused(text: impl Into<String>) -> OrderError {
    OrderError::Refused(text.into())
}

fn already(error: StoreError) -> OrderError {
    match error {
        StoreError::Conflict { .. } => OrderError::InTheWay(
            "One of the two accounts is linked already; part it first".to_owned(),
        ),
        other => OrderError::Store(other),
    }
}
