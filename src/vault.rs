//! Seals secrets for the database and opens them again: envelope encryption, AES-256-GCM.
//!
//! A key-encryption key (KEK) wraps data keys; data keys seal values. A sealed value is
//! `0x01 | data-key id 8 bytes, big-endian | nonce 12 | ciphertext | tag 16`, and what it is
//! bound to (table, row, column, version, key) is authenticated with it.
//!
//! Invariant: [`Vault::open`] is the only door to plaintext; bytes without a seal are an error,
//! never plaintext, and a value opens only in the place where it was sealed. What is only ever
//! compared is hashed ([`Passwords`]).

mod appraisal;
mod archive;
mod kdbx;
mod key;
mod password;
mod place;
mod totp;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::escrow::Journal;
use crate::generate::Dice;
use crate::model::id::DataKeyId;

pub use appraisal::{Fingerprints, sha1, strength};
pub use archive::{ArchiveError, Entry, packed};
pub use kdbx::{KdbxError, Unlocked, unlock};
pub use key::{Kek, WrappedKey};
pub use password::{PASSWORD_MAX_BYTES, PasswordError, Passwords, password_fault};
pub use place::Place;
pub use totp::{code_at, enrolment, otp_secret, step_of};

/// The first byte of every sealed value.
const FORMAT: u8 = 0x01;
/// Bytes of the authentication tag.
const TAG_LEN: usize = 16;
/// Longest secret. The longest in use are RSA private keys, below 4 KiB.
pub const PLAIN_MAX_BYTES: usize = 65_536;
/// Longest sealed value.
const SEALED_MAX_BYTES: usize = 1 + 8 + NONCE_LEN + PLAIN_MAX_BYTES + TAG_LEN;

/// A sealed value, ready to be bound to a statement. It holds no plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// Why a value was not sealed or not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Give the service the right key file; nothing else helps.
    #[error(
        "data key {key} was wrapped by KEK {needed}, but the KEK at hand is {loaded}: \
         point keyring.kek_file to the key file of KEK {needed}; no new key was made"
    )]
    WrongKek {
        key: i64,
        needed: String,
        loaded: String,
    },
    /// Restore the row of `data_keys` from a backup.
    #[error(
        "data key {key} does not open under its own KEK {kek}: its row in data_keys was altered; \
         restore that row from a backup"
    )]
    AlteredKey { key: i64, kek: String },
    /// Make a data key first.
    #[error("the key ring has no active data key: make one before sealing")]
    NoActiveKey,
    /// Two rows carry one id: restore `data_keys` from a backup.
    #[error("data key {key} is in the key ring twice: restore data_keys from a backup")]
    TwiceTheSameKey { key: i64 },
    /// Something wrote the column without sealing; find out what.
    #[error("{place} holds bytes that were never sealed: they are refused, not read as plaintext")]
    NotSealed { place: Place },
    /// Read `data_keys` again; if it is not there, restore it from a backup.
    #[error(
        "{place} was sealed by data key {key}, which the key ring does not hold: reload the key \
         ring; if the key is not in data_keys, restore that row from a backup"
    )]
    UnknownKey { place: Place, key: i64 },
    /// Restore the row from a backup, and find out who wrote it.
    #[error(
        "{place} does not open: its bytes were altered, or copied from another place; restore \
         the row from a backup"
    )]
    Tampered { place: Place },
    /// Sealed by something that is not this service.
    #[error("{place} opens, but is no UTF-8 text")]
    NotText { place: Place },
    /// Refuse the secret; it is longer than anything a target takes.
    #[error("{place} would hold more than {PLAIN_MAX_BYTES} bytes: nothing was sealed")]
    TooLong { place: Place },
    /// The cryptographic library failed; nothing was sealed.
    #[error("the cryptographic library refused to work: nothing was sealed")]
    Library,
}

/// The key ring, unwrapped: seals with the active data key, opens with any.
pub struct Vault {
    keys: HashMap<i64, LessSafeKey>,
    active: i64,
    seals: AtomicU64,
    journal: OnceLock<Arc<Journal>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Vault(active data key {}, {} in all)",
            self.active,
            self.keys.len()
        )
    }
}

impl Vault {
    /// Unwraps the key ring. The KEK is wiped at the end of the call.
    ///
    /// Of several active keys the highest id seals, so that nodes agree.
    ///
    /// # Errors
    /// [`VaultError::WrongKek`], [`VaultError::AlteredKey`], [`VaultError::TwiceTheSameKey`],
    /// [`VaultError::NoActiveKey`] for a ring without an active key, the empty ring included.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the KEK is wiped when this returns"
    )]
    pub fn new(kek: Kek, wrapped: Vec<WrappedKey>) -> Result<Self, VaultError> {
        Self::with_keks(&[kek], &wrapped)
    }

    /// Unwraps a key ring whose keys were wrapped by several KEKs: a re-wrap is under way.
    ///
    /// # Errors
    /// As [`Vault::new`].
    pub fn with_keks(keks: &[Kek], wrapped: &[WrappedKey]) -> Result<Self, VaultError> {
        let mut ring = HashMap::with_capacity(wrapped.len());
        for key in wrapped {
            if ring.insert(key.id.0, key.unwrap_with(keks)?).is_some() {
                return Err(VaultError::TwiceTheSameKey { key: key.id.0 });
            }
        }
        let active = wrapped
            .iter()
            .filter(|key| !key.retired)
            .map(|key| key.id.0)
            .max();
        Ok(Self {
            keys: ring,
            active: active.ok_or(VaultError::NoActiveKey)?,
            seals: AtomicU64::new(0),
            journal: OnceLock::new(),
        })
    }

    /// Makes a data key and wraps it. Store it before anything is sealed with it.
    ///
    /// Its id is drawn too, from 1 to 2^63 − 1: a database restored from a backup can then
    /// never give the id of a lost key to a new one.
    ///
    /// # Errors
    /// [`VaultError::Library`].
    pub fn new_data_key(kek: &Kek, dice: &dyn Dice) -> Result<WrappedKey, VaultError> {
        WrappedKey::draw(kek, dice)
    }

    /// From now on every credential that is sealed goes to this journal too; the first one stays.
    pub fn keep_in(&self, journal: Arc<Journal>) {
        self.journal.get_or_init(|| journal);
    }

    /// Hands a value to the journal, where one is kept and the value is a credential's.
    ///
    /// # Errors
    /// [`VaultError::Library`].
    pub fn escrow(
        &self,
        place: &Place,
        plain: &SecretString,
        sealed: &[u8],
    ) -> Result<(), VaultError> {
        let (Some(journal), Some(kept)) = (self.journal.get(), place.kept(sealed)) else {
            return Ok(());
        };
        #[expect(clippy::disallowed_methods, reason = "the journal seals it at once")]
        let plain = plain.expose_secret();
        journal.keep(kept, plain).map_err(|_| VaultError::Library)
    }

    /// The data key that seals; the store counts seals by it.
    pub fn active_key_id(&self) -> DataKeyId {
        DataKeyId(self.active)
    }

    /// How many values this process has sealed with it.
    pub fn sealed(&self) -> u64 {
        self.seals.load(Ordering::Relaxed)
    }

    /// Seals a secret for its place, with the active data key.
    ///
    /// The nonce is drawn. At 2^30 seals a key the chance of a repeated nonce is below 2^-36;
    /// the store retires a data key there. Source: NIST SP 800-38D, 8.3.
    ///
    /// # Errors
    /// [`VaultError::TooLong`] above [`PLAIN_MAX_BYTES`]; [`VaultError::Library`].
    pub fn seal(
        &self,
        place: &Place,
        secret: &SecretString,
        dice: &dyn Dice,
    ) -> Result<Sealed, VaultError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "sealing needs the plaintext once"
        )]
        let plain = secret.expose_secret().as_bytes();
        if plain.len() > PLAIN_MAX_BYTES {
            return Err(VaultError::TooLong { place: *place });
        }
        let key = self.keys.get(&self.active).ok_or(VaultError::Library)?;
        self.seals.fetch_add(1, Ordering::Relaxed);
        let mut nonce = [0; NONCE_LEN];
        dice.fill(&mut nonce);
        let mut body = Zeroizing::new(plain.to_vec());
        let aad = Aad::from(bound_to(place, self.active));
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut body)
            .map_err(|_| VaultError::Library)?;
        let mut sealed = Vec::with_capacity(1 + 8 + NONCE_LEN + body.len() + TAG_LEN);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.active.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(tag.as_ref());
        self.escrow(place, secret, &sealed)?;
        Ok(Sealed(sealed))
    }

    /// Opens a sealed value that was read from its place.
    ///
    /// # Errors
    /// [`VaultError::NotSealed`], [`VaultError::UnknownKey`], [`VaultError::Tampered`],
    /// [`VaultError::NotText`]; none holds a byte of the value.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<SecretString, VaultError> {
        let not_sealed = VaultError::NotSealed { place: *place };
        let Some((id, nonce, body)) = parts(sealed) else {
            return Err(not_sealed);
        };
        let unknown = VaultError::UnknownKey {
            place: *place,
            key: id,
        };
        let key = self.keys.get(&id).ok_or(unknown)?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = key
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to(place, id)),
                &mut body,
            )
            .map_err(|_| VaultError::Tampered { place: *place })?;
        let text = std::str::from_utf8(plain).map_err(|_| VaultError::NotText { place: *place })?;
        Ok(SecretString::from(text))
    }
}

/// Key id, nonce, and ciphertext with its tag.
fn parts(sealed: &[u8]) -> Option<(i64, [u8; NONCE_LEN], &[u8])> {
    if sealed.len() > SEALED_MAX_BYTES {
        return None;
    }
    let (&FORMAT, rest) = sealed.split_first()? else {
        return None;
    };
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
    (body.len() >= TAG_LEN).then(|| (i64::from_be_bytes(*id), *nonce, body))
}

/// What a value is authenticated with, every part behind its length.
fn bound_to(place: &Place, key: i64) -> Vec<u8> {
    lengthened(&[
        b"keywheel value 1",
        place.table.as_bytes(),
        &place.row.to_be_bytes(),
        place.column.as_bytes(),
        &place.version.to_be_bytes(),
        &key.to_be_bytes(),
    ])
}

/// Parts behind their lengths, so that no two lists give the same bytes.
fn lengthened(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

/// True if both hold the same text; takes the same time wherever they differ.
pub fn same_secret(one: &SecretString, other: &SecretString) -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "two secrets are compared, in constant time"
    )]
    let (one, other) = (
        one.expose_secret().as_bytes(),
        other.expose_secret().as_bytes(),
    );
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests;
