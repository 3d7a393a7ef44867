//! Acts on functional accounts.
//!
//! Invariant: an audit row says which secrets were given or taken away, never more.

use secrecy::SecretString;
use serde_json::json;

use super::{Act, sound};
use crate::api::error::ApiError;
use crate::model::audit::Event;
use crate::model::fault::Fault;
use crate::model::functional_account::{FunctionalAccount, FunctionalSettings};
use crate::model::id::FunctionalAccountId;
use crate::queue::NewKey;
use crate::store::{SealedKey, Tx};
use crate::vault::Place;

const GONE: ApiError = ApiError::NotFound {
    what: "Functional Account",
};

/// A secret that a functional account gets; `None` takes away the one it has.
#[derive(Debug)]
pub enum NewSecret {
    /// Its password.
    Password(Option<SecretString>),
    /// Its key pair; where it has one, it does not log in with its password.
    Key(Option<NewKey>),
    /// What raises rights on network devices.
    Enable(Option<SecretString>),
}

impl NewSecret {
    /// What the audit trail says of it.
    const fn change(&self) -> &'static str {
        match self {
            Self::Password(Some(_)) => "password",
            Self::Password(None) => "no password",
            Self::Key(Some(_)) => "key",
            Self::Key(None) => "no key",
            Self::Enable(Some(_)) => "enable secret",
            Self::Enable(None) => "no enable secret",
        }
    }

    /// True if it is what the account logs in with.
    const fn logs_in(&self) -> bool {
        match self {
            Self::Password(_) | Self::Key(_) => true,
            Self::Enable(_) => false,
        }
    }

    /// Seals it for its place and stores it.
    async fn store(
        self,
        act: Act<'_>,
        tx: &mut Tx,
        id: FunctionalAccountId,
    ) -> Result<(), ApiError> {
        let seal = |place: Place, secret: &SecretString| {
            let sealed = act.api.vault.seal(&place, secret, &*act.api.dice);
            sealed.map(|sealed| sealed.0)
        };
        match self {
            Self::Password(Some(password)) => {
                let sealed = seal(Place::functional_account(id), &password)?;
                tx.set_functional_password(id, sealed).await?;
            }
            Self::Password(None) => tx.clear_functional_password(id).await?,
            Self::Key(None) => tx.set_functional_key(id, None).await?,
            Self::Key(Some(key)) => {
                let given = key.given;
                let passphrase = given
                    .passphrase
                    .map(|passphrase| seal(Place::functional_passphrase(id), &passphrase));
                let sealed = SealedKey {
                    private: seal(Place::functional_key(id), &given.private)?,
                    passphrase: passphrase.transpose()?,
                    public: key.opened.public,
                };
                tx.set_functional_key(id, Some(sealed)).await?;
            }
            Self::Enable(secret) => {
                let place = Place::functional_enable(id);
                let sealed = secret.map(|secret| seal(place, &secret)).transpose()?;
                tx.set_functional_enable(id, sealed).await?;
            }
        }
        Ok(())
    }
}

/// Refuses what a functional account of that platform cannot have.
fn fit(act: Act<'_>, settings: &FunctionalSettings, secrets: &[NewSecret]) -> Result<(), ApiError> {
    let platforms = &act.api.platforms;
    sound(settings.faults(platforms))?;
    let Some(platform) = platforms.find(settings.platform_id) else {
        return Ok(());
    };
    let mut faults = Vec::new();
    let refused = |field| Fault {
        field,
        problem: "is not available on this platform".to_owned(),
    };
    for secret in secrets {
        match secret {
            NewSecret::Key(Some(_)) if !platform.connector.takes_keys() => {
                faults.push(refused("private_key"));
            }
            NewSecret::Enable(Some(_)) if !platform.enable_secret => {
                faults.push(refused("enable_secret"));
            }
            NewSecret::Password(_) | NewSecret::Key(_) | NewSecret::Enable(_) => {}
        }
    }
    sound(faults)
}

/// Adds a functional account.
///
/// # Errors
/// [`ApiError::Invalid`].
pub async fn add(
    act: Act<'_>,
    settings: FunctionalSettings,
    secrets: Vec<NewSecret>,
) -> Result<FunctionalAccount, ApiError> {
    fit(act, &settings, &secrets)?;
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let id: FunctionalAccountId = tx.id(FunctionalAccountId::KIND).await?;
    tx.insert_functional_account(id, &settings, None, now)
        .await?;
    let body = json!({
        "name": settings.account_name,
        "platform": settings.platform_id,
        "secrets": secrets.iter().map(NewSecret::change).collect::<Vec<_>>(),
    });
    for secret in secrets {
        secret.store(act, &mut tx, id).await?;
    }
    tx.audit(
        &Event::by(act.actor, "functional_account.added", id, body),
        now,
    )
    .await?;
    tx.commit().await?;
    act.api.store.functional_account(id).await?.ok_or(GONE)
}

/// Changes a functional account that was read at `revision`, but not its platform.
///
/// # Errors
/// [`ApiError::Invalid`]; [`ApiError::Conflict`] if it would become another login, or get a
/// credential, while it is linked to a managed account; [`ApiError::Store`] if it was edited or
/// removed meanwhile.
pub async fn change(
    act: Act<'_>,
    id: FunctionalAccountId,
    revision: i64,
    settings: &FunctionalSettings,
    secrets: Vec<NewSecret>,
) -> Result<FunctionalAccount, ApiError> {
    fit(act, settings, &secrets)?;
    let before = act.api.store.functional_account(id).await?.ok_or(GONE)?;
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let renamed = before.settings.account_name != settings.account_name;
    tx.update_functional_account(id, revision, settings).await?;
    // Read after the row was taken: whoever links it holds the row as well.
    if (renamed || secrets.iter().any(NewSecret::logs_in))
        && let Some(link) = act.api.store.functional_link(id).await?
    {
        return Err(ApiError::conflict(format!(
            "It logs in with the credential of managed account {}; change that one, or part the \
             two first",
            link.account.0
        )));
    }
    let body = json!({
        "name": settings.account_name,
        "secrets": secrets.iter().map(NewSecret::change).collect::<Vec<_>>(),
    });
    for secret in secrets {
        secret.store(act, &mut tx, id).await?;
    }
    tx.audit(
        &Event::by(act.actor, "functional_account.updated", id, body),
        now,
    )
    .await?;
    tx.commit().await?;
    act.api.store.functional_account(id).await?.ok_or(GONE)
}

/// Removes a functional account and its secrets.
///
/// # Errors
/// [`ApiError::NotFound`]; [`ApiError::Store`] with a conflict while systems use it.
pub async fn remove(act: Act<'_>, id: FunctionalAccountId) -> Result<(), ApiError> {
    let account = act.api.store.functional_account(id).await?.ok_or(GONE)?;
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    tx.delete_functional_account(id).await?;
    let body = json!({"name": account.settings.account_name});
    tx.audit(
        &Event::by(act.actor, "functional_account.removed", id, body),
        now,
    )
    .await?;
    Ok(tx.commit().await?)
}
