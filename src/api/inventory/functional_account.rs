//! Acts on functional accounts.
//!
//! Invariant: an audit row says that a password was given, never more.

use secrecy::SecretString;
use serde_json::json;

use super::{Act, sound};
use crate::api::error::ApiError;
use crate::model::audit::Event;
use crate::model::functional_account::{FunctionalAccount, FunctionalSettings};
use crate::model::id::FunctionalAccountId;
use crate::vault::Place;

const GONE: ApiError = ApiError::NotFound {
    what: "Functional Account",
};

/// Adds a functional account.
///
/// # Errors
/// [`ApiError::Invalid`].
pub async fn add(
    act: Act<'_>,
    settings: FunctionalSettings,
    password: Option<SecretString>,
) -> Result<FunctionalAccount, ApiError> {
    sound(settings.faults())?;
    let now = act.api.clock.now();
    let mut tx = act.api.store.begin().await?;
    let id: FunctionalAccountId = tx.id(FunctionalAccountId::KIND).await?;
    let sealed = match password {
        Some(password) => Some(
            act.api
                .vault
                .seal(&Place::functional_account(id), &password, &*act.api.dice)?
                .0,
        ),
        None => None,
    };
    let has_password = sealed.is_some();
    tx.insert_functional_account(id, &settings, sealed, now)
        .await?;
    let body = json!({
        "name": settings.account_name,
        "platform": settings.platform_id,
        "password": has_password,
    });
    tx.audit(
        &Event::by(act.actor, "functional_account.added", id, body),
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(FunctionalAccount {
        id,
        settings,
        has_password,
        systems: 0,
        created_at: now,
    })
}

/// Removes a functional account and its password.
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
