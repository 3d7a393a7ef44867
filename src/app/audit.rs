//! The keys of the audit trail, and the trail as commands beside the service see it.
//!
//! The keys are sealed in the database like any secret, so that every node has them and a backup
//! holds them; what an auditor is handed opens nothing else.
//!
//! Invariant: keys are made for a trail without a single sealed row, and for no other.

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::database::{self, place};
use super::error::AppError;
use super::key_ring;
use crate::config::Settings;
use crate::generate::Dice;
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::audit_chain::{
    AnchorKey, AuditKeys, ChainKey, KeyFault, Link, MAC_LEN, key_bytes, key_text,
};
use crate::store::{AuditKeysRow, Store, StoreError};
use crate::vault::{Place, Vault, VaultError};

/// Where the key of the chain is sealed.
const CHAIN: Place = Place {
    table: "audit_keys",
    row: 1,
    column: "chain",
    version: 0,
};
/// Where the key that signs anchors is sealed.
const ANCHOR: Place = Place {
    column: "anchor",
    ..CHAIN
};

/// Opens the database for a command that reads beside the service.
///
/// # Errors
/// [`AppError::NoDatabase`] if there is none; [`AppError::Store`] if it has another schema.
pub async fn audit_store(settings: &Settings) -> Result<Store, AppError> {
    if let Some(path) = database::file(settings)
        && !path.is_file()
    {
        return Err(AppError::NoDatabase { path });
    }
    let store = database::connect(settings).await?;
    let fits = store.require_schema().await;
    if fits.is_err() {
        store.close().await;
    }
    fits.map_err(AppError::store(&place(settings)))?;
    Ok(store)
}

/// The keys of a store's audit trail; needs the key-encryption key.
///
/// # Errors
/// [`AppError`], a sentence that says what to do.
pub async fn audit_keys(settings: &Settings, store: &Store) -> Result<AuditKeys, AppError> {
    let none = AppError::KeyRing("audit_keys has no row: the service makes it at its next start");
    let Some(ring) = key_ring::find(settings, store).await? else {
        return Err(none);
    };
    let vault = ring.open()?;
    open(settings, store, &vault).await?.ok_or(none)
}

/// Opens the keys, or makes them if nothing was sealed yet.
pub(super) async fn open_or_make(
    settings: &Settings,
    store: &Store,
    vault: &Vault,
    dice: &dyn Dice,
    now: Timestamp,
) -> Result<AuditKeys, AppError> {
    if let Some(keys) = open(settings, store, vault).await? {
        return Ok(keys);
    }
    let place = place(settings);
    let of_store = &AppError::store(&place);
    if store.audit_head().await.map_err(of_store)? != Link::START {
        return Err(AppError::KeyRing(
            "audit has sealed rows, but audit_keys has no row",
        ));
    }
    let drawn = AuditKeysRow {
        chain: draw(&CHAIN, vault, dice)?,
        anchor: draw(&ANCHOR, vault, dice)?,
        created_at: now,
    };
    match record(store, &drawn, now).await {
        // Another node was first: its keys are everybody's.
        Ok(()) | Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(of_store(error)),
    }
    let made = open(settings, store, vault).await?;
    made.ok_or(AppError::KeyRing("audit_keys has lost its row"))
}

async fn record(store: &Store, drawn: &AuditKeysRow, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.insert_audit_keys(drawn).await?;
    let event = Event::by_service("audit.keys_made", "audit trail", serde_json::json!({}));
    tx.audit(&event, now).await?;
    tx.commit().await
}

fn draw(place: &Place, vault: &Vault, dice: &dyn Dice) -> Result<Vec<u8>, VaultError> {
    let mut bytes = Zeroizing::new([0; MAC_LEN]);
    dice.fill(bytes.as_mut());
    let text = SecretString::from(key_text(&bytes));
    vault.seal(place, &text, dice).map(|sealed| sealed.0)
}

async fn open(
    settings: &Settings,
    store: &Store,
    vault: &Vault,
) -> Result<Option<AuditKeys>, AppError> {
    let place = place(settings);
    let of_store = &AppError::store(&place);
    let Some(row) = store.audit_keys().await.map_err(of_store)? else {
        return Ok(None);
    };
    let identity = store.identity().await.map_err(of_store)?;
    let identity = identity.ok_or(AppError::KeyRing("store_identity has no row"))?;
    let (chain, anchor) = (
        opened(&vault.open(&CHAIN, &row.chain)?)?,
        opened(&vault.open(&ANCHOR, &row.anchor)?)?,
    );
    Ok(Some(AuditKeys {
        store: identity.uuid,
        chain: ChainKey::from_bytes(*chain),
        anchor: AnchorKey::from_seed(&anchor).map_err(no_keys)?,
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the opened text is the key itself; it goes into a type that wipes it"
)]
fn opened(text: &SecretString) -> Result<Zeroizing<[u8; MAC_LEN]>, AppError> {
    key_bytes(text.expose_secret()).map_err(no_keys)
}

fn no_keys(_: KeyFault) -> AppError {
    AppError::KeyRing("audit_keys opens, but holds no keys")
}
