//! Private keys in PEM: PKCS #1 (RFC 8017), SEC 1 (RFC 5915) and PKCS #8 (RFC 5958).
//!
//! Invariant: how long a key may take to open is known before anything is derived.

use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, SecretDocument};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo};
use rsa::pkcs1::DecodeRsaPrivateKey;
use sec1::{EcParameters, EcPrivateKey};
use ssh_key::EcdsaCurve;
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, KeypairData, RsaKeypair};

use super::KeyError;

/// What a key in OpenSSH's own format begins with.
pub(super) const OPENSSH: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
/// Rounds of PBKDF2 at most; `openssl` and `ssh-keygen` use 2048.
const PBKDF2_ROUNDS_MAX: u32 = 1_000_000;
/// Bytes that scrypt may work on; `openssl` uses 16 MiB.
const SCRYPT_MAX_BYTES: u64 = 64 << 20;
/// How often scrypt may do so.
const SCRYPT_PARALLEL_MAX: u16 = 4;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// Reads a private key, opening it if it is encrypted.
pub(super) fn decode(text: &str, passphrase: Option<&[u8]>) -> Result<KeypairData, KeyError> {
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyError::OldEncryption);
    }
    // `openssl ecparam` writes the curve's name in front.
    let at = text.rfind("-----BEGIN ").ok_or(KeyError::Unreadable)?;
    let text = text.get(at..).ok_or(KeyError::Unreadable)?;
    let (label, document) = SecretDocument::from_pem(text).map_err(|_| KeyError::Unreadable)?;
    match label {
        "RSA PRIVATE KEY" => rsa_key(document.as_bytes()),
        "EC PRIVATE KEY" => ec_key(document.as_bytes(), None),
        "PRIVATE KEY" => pkcs8_key(document.as_bytes()),
        "ENCRYPTED PRIVATE KEY" => {
            let sealed = EncryptedPrivateKeyInfo::from_der(document.as_bytes())
                .map_err(|_| KeyError::Unreadable)?;
            let passphrase = passphrase.ok_or(KeyError::NoPassphrase)?;
            affordable(&sealed)?;
            let opened = sealed
                .decrypt(passphrase)
                .map_err(|_| KeyError::WrongPassphrase)?;
            pkcs8_key(opened.as_bytes())
        }
        _ => Err(KeyError::Unreadable),
    }
}

fn affordable(sealed: &EncryptedPrivateKeyInfo<'_>) -> Result<(), KeyError> {
    let EncryptionScheme::Pbes2(scheme) = &sealed.encryption_algorithm else {
        return Err(KeyError::OldEncryption);
    };
    let affordable = match &scheme.kdf {
        Kdf::Pbkdf2(kdf) => kdf.iteration_count <= PBKDF2_ROUNDS_MAX,
        Kdf::Scrypt(kdf) => {
            let block = u64::from(kdf.block_size).saturating_mul(128);
            // RFC 7914 section 6; the library takes the logarithm of whatever stands there.
            kdf.cost_parameter.is_power_of_two()
                && kdf.cost_parameter > 1
                && kdf.cost_parameter.saturating_mul(block) <= SCRYPT_MAX_BYTES
                && kdf.parallelization <= SCRYPT_PARALLEL_MAX
        }
        _ => return Err(KeyError::Unreadable),
    };
    affordable.then_some(()).ok_or(KeyError::Rounds)
}

fn pkcs8_key(bytes: &[u8]) -> Result<KeypairData, KeyError> {
    let info = PrivateKeyInfo::from_der(bytes).map_err(|_| KeyError::Unreadable)?;
    match info.algorithm.oid {
        RSA => rsa_key(info.private_key),
        EC => {
            let curve = info
                .algorithm
                .parameters_oid()
                .map_err(|_| KeyError::Kind)?;
            ec_key(info.private_key, Some(curve))
        }
        ED25519 => {
            let seed =
                OctetStringRef::from_der(info.private_key).map_err(|_| KeyError::Unreadable)?;
            let seed = seed.as_bytes().try_into();
            let seed: &[u8; 32] = seed.map_err(|_| KeyError::Unreadable)?;
            Ok(KeypairData::from(Ed25519Keypair::from_seed(seed)))
        }
        _ => Err(KeyError::Kind),
    }
}

fn rsa_key(bytes: &[u8]) -> Result<KeypairData, KeyError> {
    let key = rsa::RsaPrivateKey::from_pkcs1_der(bytes).map_err(|_| KeyError::Unreadable)?;
    let pair = RsaKeypair::try_from(key).map_err(|_| KeyError::Kind)?;
    Ok(KeypairData::from(pair))
}

fn ec_key(bytes: &[u8], curve: Option<ObjectIdentifier>) -> Result<KeypairData, KeyError> {
    let key = EcPrivateKey::from_der(bytes).map_err(|_| KeyError::Unreadable)?;
    let named = key.parameters.and_then(EcParameters::named_curve);
    let curve = match curve.or(named).ok_or(KeyError::Kind)? {
        P256 => EcdsaCurve::NistP256,
        P384 => EcdsaCurve::NistP384,
        P521 => EcdsaCurve::NistP521,
        _ => return Err(KeyError::Kind),
    };
    Ok(KeypairData::from(ecdsa(curve, key.private_key)?))
}

/// The pair that a private number makes on a curve.
pub(super) fn ecdsa(curve: EcdsaCurve, number: &[u8]) -> Result<EcdsaKeypair, KeyError> {
    Ok(match curve {
        EcdsaCurve::NistP256 => {
            let private = p256::SecretKey::from_slice(number).map_err(|_| KeyError::Unreadable)?;
            EcdsaKeypair::NistP256 {
                public: private.public_key().into(),
                private: private.into(),
            }
        }
        EcdsaCurve::NistP384 => {
            let private = p384::SecretKey::from_slice(number).map_err(|_| KeyError::Unreadable)?;
            EcdsaKeypair::NistP384 {
                public: private.public_key().into(),
                private: private.into(),
            }
        }
        EcdsaCurve::NistP521 => {
            let private = p521::SecretKey::from_slice(number).map_err(|_| KeyError::Unreadable)?;
            EcdsaKeypair::NistP521 {
                public: private.public_key().into(),
                private: private.into(),
            }
        }
    })
}
