//! SSH key pairs: drawn by rule, and read in whatever form they are given.
//!
//! Invariant: what leaves here is a pair, derived and compared, and no fault repeats a byte of a
//! key or passphrase.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::rand_core::{CryptoRng, Error as DiceError, RngCore};
use ssh_key::{Algorithm, EcdsaCurve, Kdf, LineEnding, Mpint, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::{Dice, GenerateError, openssh, password, pem};
use crate::model::key_rule::{KeyKind, KeyRule};
use crate::model::password_rule::PasswordRule;

/// Rounds of bcrypt at most. `ssh-keygen` uses 16; each costs milliseconds, and the client picks.
const KDF_ROUNDS_MAX: u32 = 256;
/// RSA keys below are broken, or refused by servers. Source: NIST SP 800-131A.
const RSA_MIN_BITS: usize = 2_048;

/// A private key as it was given, or as it was drawn.
#[derive(Clone)]
pub struct GivenKey {
    /// OpenSSH's own format, or PEM with PKCS #1, SEC 1 or PKCS #8; perhaps encrypted.
    pub private: SecretString,
    /// What opens it.
    pub passphrase: Option<SecretString>,
}

impl fmt::Debug for GivenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenKey")
    }
}

/// A key pair to be kept: one that was drawn, or one that was given and read.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Its private half, perhaps under a passphrase.
    pub given: GivenKey,
    /// Its public half: algorithm and base64.
    pub public: String,
}

/// A key pair that was opened.
pub struct UnlockedKey {
    /// OpenSSH's own format, not encrypted.
    pub private: SecretString,
    /// Algorithm and base64.
    pub public: String,
}

impl fmt::Debug for UnlockedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnlockedKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// Why a key that was given is no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is in none of the forms, or damaged.
    #[error("cannot be read; give it in OpenSSH's own format, or as PEM")]
    Unreadable,
    /// It is encrypted the way that OpenSSL 0.9 did.
    #[error("is encrypted in the old PEM way; convert it with ssh-keygen -p")]
    OldEncryption,
    /// Not Ed25519, ECDSA on a NIST curve, or RSA of 2048 bits and more.
    #[error(
        "is of a kind that is not taken; give an ED25519, ECDSA or RSA key of 2048 bits or more"
    )]
    Kind,
    /// It would take too long to open.
    #[error("is encrypted with more than {KDF_ROUNDS_MAX} rounds")]
    Rounds,
    /// It is encrypted, and no passphrase was given.
    #[error("is required: the private key is encrypted")]
    NoPassphrase,
    /// The passphrase does not open it.
    #[error("does not open the private key")]
    WrongPassphrase,
}

impl GivenKey {
    /// Opens it, and derives its public half. Blocks: a passphrase's key takes long to derive.
    ///
    /// # Errors
    /// [`KeyError`].
    #[expect(
        clippy::disallowed_methods,
        reason = "a key is decoded from its characters"
    )]
    pub fn unlock(&self) -> Result<UnlockedKey, KeyError> {
        let text = self.private.expose_secret().trim();
        let passphrase = self
            .passphrase
            .as_ref()
            .map(|secret| secret.expose_secret().as_bytes());
        let key = if text.contains(pem::OPENSSH) {
            decrypted(text, passphrase)?
        } else {
            let data = pem::decode(text, passphrase)?;
            PrivateKey::new(data, "").map_err(|_| KeyError::Unreadable)?
        };
        proved(&key)?;
        Ok(UnlockedKey {
            private: encoded(&key).map_err(|_| KeyError::Unreadable)?,
            public: line(key.public_key()).ok_or(KeyError::Unreadable)?,
        })
    }
}

fn decrypted(text: &str, passphrase: Option<&[u8]>) -> Result<PrivateKey, KeyError> {
    let whole = |data: KeypairData| PrivateKey::new(data, "").ok();
    let Ok(key) = PrivateKey::from_openssh(text) else {
        let key = openssh::plain(text).and_then(whole);
        return key.ok_or(KeyError::Unreadable);
    };
    if !key.is_encrypted() {
        return Ok(key);
    }
    let passphrase = passphrase.ok_or(KeyError::NoPassphrase)?;
    if let Kdf::Bcrypt { rounds, .. } = key.kdf()
        && *rounds > KDF_ROUNDS_MAX
    {
        return Err(KeyError::Rounds);
    }
    key.decrypt(passphrase)
        .ok()
        .or_else(|| openssh::locked(&key, passphrase).and_then(whole))
        .ok_or(KeyError::WrongPassphrase)
}

/// Only what servers in use take, and only what is a pair: a file may name one public half and
/// hold the private half of another.
fn proved(key: &PrivateKey) -> Result<(), KeyError> {
    let is_pair = match key.key_data() {
        KeypairData::Ed25519(pair) => Ed25519PublicKey::from(&pair.private) == pair.public,
        KeypairData::Ecdsa(pair) => {
            let made = pem::ecdsa(pair.curve(), pair.private_key_bytes())?;
            made.public_key_bytes() == pair.public_key_bytes()
        }
        KeypairData::Rsa(pair) => {
            let modulus = pair.public.n.as_positive_bytes().unwrap_or_default();
            if modulus.len() * 8 < RSA_MIN_BITS {
                return Err(KeyError::Kind);
            }
            whole_rsa(pair).is_some_and(|key| key.validate().is_ok())
        }
        _ => return Err(KeyError::Kind),
    };
    is_pair.then_some(()).ok_or(KeyError::Unreadable)
}

fn whole_rsa(pair: &RsaKeypair) -> Option<rsa::RsaPrivateKey> {
    let number = |number: &Mpint| number.as_positive_bytes().map(rsa::BigUint::from_bytes_be);
    rsa::RsaPrivateKey::from_components(
        number(&pair.public.n)?,
        number(&pair.public.e)?,
        number(&pair.private.d)?,
        vec![number(&pair.private.p)?, number(&pair.private.q)?],
    )
    .ok()
}

fn encoded(key: &PrivateKey) -> ssh_key::Result<SecretString> {
    let text: Zeroizing<String> = key.to_openssh(LineEnding::LF)?;
    Ok(SecretString::from(text.as_str()))
}

/// Algorithm and base64.
fn line(key: &PublicKey) -> Option<String> {
    PublicKey::new(key.key_data().clone(), "").to_openssh().ok()
}

/// The public key of a line as in `authorized_keys`: algorithm and base64, its comment dropped.
pub fn public_of(text: &str) -> Option<String> {
    line(&PublicKey::from_openssh(text.trim()).ok()?)
}

/// Draws a key pair by a rule. Blocks: RSA keys take seconds.
///
/// # Errors
/// [`GenerateError`].
#[expect(
    clippy::disallowed_methods,
    reason = "the private half is encrypted under its passphrase"
)]
pub fn key_pair(rule: &KeyRule, dice: &dyn Dice) -> Result<Pair, GenerateError> {
    let mut rng = DiceRng(dice);
    let key = draw(rule.kind, &mut rng).map_err(|_| GenerateError::Key)?;
    let public = line(key.public_key()).ok_or(GenerateError::Key)?;
    let (key, passphrase) = if rule.passphrase {
        let passphrase = password(&PasswordRule::default_rule(), dice)?;
        let key = key
            .encrypt(&mut rng, passphrase.expose_secret())
            .map_err(|_| GenerateError::Key)?;
        (key, Some(passphrase))
    } else {
        (key, None)
    };
    let private = encoded(&key).map_err(|_| GenerateError::Key)?;
    let given = GivenKey {
        private,
        passphrase,
    };
    Ok(Pair { given, public })
}

fn draw(kind: KeyKind, rng: &mut DiceRng<'_>) -> ssh_key::Result<PrivateKey> {
    let curve = match kind {
        KeyKind::Ed25519 => return PrivateKey::random(rng, Algorithm::Ed25519),
        KeyKind::Rsa { bits } => {
            let pair = RsaKeypair::random(rng, usize::from(bits))?;
            return PrivateKey::new(KeypairData::from(pair), "");
        }
        KeyKind::EcdsaP256 => EcdsaCurve::NistP256,
        KeyKind::EcdsaP384 => EcdsaCurve::NistP384,
        KeyKind::EcdsaP521 => EcdsaCurve::NistP521,
    };
    PrivateKey::random(rng, Algorithm::Ecdsa { curve })
}

/// The house's dice, as the key crates take them.
struct DiceRng<'a>(&'a dyn Dice);

impl RngCore for DiceRng<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), DiceError> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl CryptoRng for DiceRng<'_> {}

#[cfg(test)]
mod tests;
