//! The key-encryption key, and data keys wrapped by it.
//!
//! A wrapped key is `0x01 | nonce 12 | ciphertext 32 | tag 16`, bound to its own id and to the
//! KEK's.
//!
//! Invariant: no key leaves this room unwrapped, and none is printed.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::{Zeroize, Zeroizing};

use super::{FORMAT, VaultError, lengthened};
use crate::generate::Dice;
use crate::model::id::DataKeyId;

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// A key-encryption key; wiped on drop.
pub struct Kek {
    // Boxed: a move must not leave a copy behind.
    bytes: Box<Zeroizing<[u8; KEY_LEN]>>,
    id: String,
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({})", self.id)
    }
}

impl Kek {
    /// Bytes of a KEK.
    pub const LEN: usize = KEY_LEN;

    /// Takes over 32 uniformly random bytes. The caller wipes its own copy.
    pub fn from_bytes(mut bytes: [u8; KEY_LEN]) -> Self {
        let named = Zeroizing::new(lengthened(&[b"keywheel kek id 1", &bytes]));
        let hash = digest(&SHA256, &named);
        let head = hash.as_ref().first_chunk().copied().unwrap_or_default();
        let id = format!("{:016x}", u64::from_be_bytes(head));
        let kek = Self {
            bytes: Box::new(Zeroizing::new(bytes)),
            id,
        };
        bytes.zeroize();
        kek
    }

    /// Names the key without telling it: 16 hex digits of a hash.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// A data key as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Its id, also in the head of every value it sealed.
    pub id: DataKeyId,
    /// [`Kek::id`] of the KEK that wrapped it.
    pub kek_id: String,
    /// The wrapped bytes.
    pub wrapped: Vec<u8>,
    /// True: it opens what it sealed, and seals no more.
    pub retired: bool,
}

impl WrappedKey {
    /// Draws a key and its id.
    pub(super) fn draw(kek: &Kek, dice: &dyn Dice) -> Result<Self, VaultError> {
        let mut plain = Zeroizing::new([0; KEY_LEN]);
        dice.fill(plain.as_mut());
        let mut id = [0; 8];
        dice.fill(&mut id);
        let id = DataKeyId((i64::from_be_bytes(id) & i64::MAX).max(1));
        wrap(id, &plain, kek, false, dice)
    }

    /// The same data key under another KEK: what a KEK rotation does, row by row.
    ///
    /// # Errors
    /// [`VaultError::WrongKek`] if `from` did not wrap it; [`VaultError::AlteredKey`];
    /// [`VaultError::Library`].
    pub fn rewrap(&self, from: &Kek, to: &Kek, dice: &dyn Dice) -> Result<Self, VaultError> {
        let plain = self.plain(std::slice::from_ref(from))?;
        wrap(self.id, &plain, to, self.retired, dice)
    }

    /// Unwraps with whichever KEK wrapped it.
    pub(super) fn unwrap_with(&self, keks: &[Kek]) -> Result<LessSafeKey, VaultError> {
        cipher(&*self.plain(keks)?)
    }

    fn plain(&self, keks: &[Kek]) -> Result<Zeroizing<[u8; KEY_LEN]>, VaultError> {
        let kek = keks
            .iter()
            .find(|kek| kek.id == self.kek_id)
            .ok_or_else(|| {
                let loaded: Vec<_> = keks.iter().map(Kek::id).collect();
                let (needed, loaded) = (self.kek_id.clone(), loaded.join(", "));
                VaultError::WrongKek {
                    key: self.id.0,
                    needed,
                    loaded,
                }
            })?;
        let altered = || VaultError::AlteredKey {
            key: self.id.0,
            kek: self.kek_id.clone(),
        };
        let Some((&FORMAT, rest)) = self.wrapped.split_first() else {
            return Err(altered());
        };
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(altered)?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = cipher(&kek.bytes)?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(bound_to(self.id, kek)),
                &mut body,
            )
            .map_err(|_| altered())?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        if plain.len() != KEY_LEN {
            return Err(altered());
        }
        key.copy_from_slice(plain);
        Ok(key)
    }
}

fn wrap(
    id: DataKeyId,
    plain: &[u8; KEY_LEN],
    kek: &Kek,
    retired: bool,
    dice: &dyn Dice,
) -> Result<WrappedKey, VaultError> {
    let mut nonce = [0; NONCE_LEN];
    dice.fill(&mut nonce);
    let mut body = Zeroizing::new(plain.to_vec());
    let tag = cipher(&kek.bytes)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound_to(id, kek)),
            &mut body,
        )
        .map_err(|_| VaultError::Library)?;
    let mut wrapped = vec![FORMAT];
    wrapped.extend_from_slice(&nonce);
    wrapped.extend_from_slice(&body);
    wrapped.extend_from_slice(tag.as_ref());
    Ok(WrappedKey {
        id,
        kek_id: kek.id.clone(),
        wrapped,
        retired,
    })
}

/// The library wipes its own copy when the key is dropped.
fn cipher(key: &[u8; KEY_LEN]) -> Result<LessSafeKey, VaultError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Library)?;
    Ok(LessSafeKey::new(key))
}

fn bound_to(id: DataKeyId, kek: &Kek) -> Vec<u8> {
    lengthened(&[
        b"keywheel data key 1",
        &id.0.to_be_bytes(),
        kek.id.as_bytes(),
    ])
}
