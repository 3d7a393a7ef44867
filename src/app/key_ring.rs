//! Opens the key ring: KEK file, data keys, and the sealed probe that proves they belong together.
//!
//! Invariant: a key-encryption key is made for a store without a single key, and for no other.

use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::database::place;
use super::error::AppError;
use super::files;
use crate::config::{SecretFileError, Settings, read_secret_file};
use crate::generate::Dice;
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::store::{Backend, DataKeyRow, Store, StoreIdentity};
use crate::vault::{Kek, Place, Vault, WrappedKey, same_secret};

/// Where the probe is sealed.
pub(super) const PROBE: Place = Place {
    table: "store_identity",
    row: 1,
    column: "probe",
    version: 0,
};
/// Seals after which a data key retires. Source: NIST SP 800-38D, 8.3, with room to spare.
const SEALS_MAX: i64 = 1 << 30;
/// Age at which a data key retires.
const AGE_MAX: Duration = Duration::from_hours(365 * 24);

/// What the probe says, once opened.
pub(super) fn probe_text(uuid: &str) -> SecretString {
    SecretString::from(format!("keywheel probe 1 {uuid}"))
}

/// The rows of a key ring and its KEK; nothing was unwrapped yet.
pub(super) struct Ring {
    identity: StoreIdentity,
    keys: Vec<DataKeyRow>,
    kek: Kek,
}

/// Looks for the ring; `None`: the store is fresh. Changes nothing.
pub(super) async fn find(settings: &Settings, store: &Store) -> Result<Option<Ring>, AppError> {
    let place = place(settings);
    let of_store = AppError::store(&place);
    let identity = store.identity().await.map_err(&of_store)?;
    let keys = store.data_keys().await.map_err(&of_store)?;
    let identity = match (identity, keys.is_empty()) {
        (None, true) => return Ok(None),
        (None, false) => {
            return Err(AppError::KeyRing(
                "data_keys has keys, but store_identity has no row",
            ));
        }
        (Some(_), true) => {
            return Err(AppError::KeyRing(
                "store_identity has a row, but data_keys has no key",
            ));
        }
        (Some(identity), false) => identity,
    };
    let path = settings.kek_file();
    let Some(kek) = read(&path)? else {
        return Err(AppError::KekGone { path });
    };
    Ok(Some(Ring {
        identity,
        keys,
        kek,
    }))
}

impl Ring {
    /// Unwraps the keys, and opens the probe with them.
    pub(super) fn open(self) -> Result<Vault, AppError> {
        let vault = Vault::new(self.kek, self.keys.into_iter().map(wrapped).collect())?;
        let probe = self
            .identity
            .probe
            .ok_or(AppError::KeyRing("store_identity has no probe"))?;
        let opened = vault.open(&PROBE, &probe).map_err(AppError::Probe)?;
        if same_secret(&opened, &probe_text(&self.identity.uuid)) {
            Ok(vault)
        } else {
            Err(AppError::KeyRing(
                "the probe in store_identity opens, but belongs to another store",
            ))
        }
    }

    /// When the store was made.
    pub(super) fn made_at(&self) -> Timestamp {
        self.identity.created_at
    }

    /// Retires data keys that are old or used up, and makes one in their place. Only where one
    /// node has the store: peers with a ring in memory could not open what the new key seals.
    pub(super) async fn renew(
        mut self,
        settings: &Settings,
        store: &Store,
        dice: &dyn Dice,
        now: Timestamp,
    ) -> Result<Self, AppError> {
        let used_up = |key: &&DataKeyRow| {
            key.retired_at.is_none()
                && (key.seals >= SEALS_MAX || now.since(key.created_at) >= AGE_MAX)
        };
        let old: Vec<_> = self.keys.iter().filter(used_up).map(|key| key.id).collect();
        // A ring that this KEK does not open is the opening's matter.
        let ours = self.keys.iter().all(|key| key.kek_id == self.kek.id());
        if store.backend() != Backend::Sqlite || old.is_empty() || !ours {
            return Ok(self);
        }
        let new = Vault::new_data_key(&self.kek, dice)?;
        let write = async {
            let mut tx = store.begin().await?;
            for key in old {
                tx.retire_data_key(key, now).await?;
            }
            tx.insert_data_key(new.id, &new.kek_id, &new.wrapped, now)
                .await?;
            let body = serde_json::json!({"kek": new.kek_id});
            tx.audit(&Event::by_service("data_key.made", new.id, body), now)
                .await?;
            tx.commit().await?;
            store.data_keys().await
        };
        self.keys = write.await.map_err(AppError::store(&place(settings)))?;
        tracing::info!(key = new.id.0, "a new data key seals from now on");
        Ok(self)
    }
}

fn wrapped(row: DataKeyRow) -> WrappedKey {
    WrappedKey {
        id: row.id,
        kek_id: row.kek_id,
        wrapped: row.wrapped,
        retired: row.retired_at.is_some(),
    }
}

/// Reads the KEK; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Kek>, AppError> {
    let bytes = match read_secret_file(path) {
        Err(SecretFileError::Unreadable { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            return Ok(None);
        }
        read => read?,
    };
    let found = bytes.len();
    let exact: Result<Zeroizing<[u8; Kek::LEN]>, _> =
        <[u8; Kek::LEN]>::try_from(bytes.as_slice()).map(Zeroizing::new);
    match exact {
        Ok(exact) => Ok(Some(Kek::from_bytes(*exact))),
        Err(_) => Err(AppError::KekLength {
            path: path.to_owned(),
            found,
            needed: Kek::LEN,
        }),
    }
}

/// Draws a KEK and writes it to its file.
pub(super) fn make(path: &Path, dice: &dyn Dice) -> Result<Kek, AppError> {
    let mut bytes = Zeroizing::new([0; Kek::LEN]);
    dice.fill(bytes.as_mut());
    files::write_new(path, bytes.as_ref())?;
    Ok(Kek::from_bytes(*bytes))
}
