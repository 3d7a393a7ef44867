//! How the key of a KeePass file is made of its password: AES-KDF and Argon2.
//!
//! Invariant: what a file asks for in memory and time is bounded before any of it is done.

use std::collections::HashMap;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use zeroize::Zeroizing;

use super::{KdbxError, Source, fixed, sha256, whole};

/// Most rounds of AES: some seconds.
const ROUNDS_MAX: u64 = 100_000_000;
/// Most memory of Argon2, and most of it times passes: some seconds.
const MEMORY_MAX_KIB: u64 = 256 * 1_024;
const WORK_MAX_KIB: u64 = 16 * 1_024 * 1_024;
const LANES_MAX: u32 = 64;

const AES_KDF: [u128; 2] = [
    0xc9d9_f39a_628a_4460_bf74_0d08_c18a_4fea,
    0x7c02_bb82_79a7_4ac0_927d_114a_0064_8238,
];
const ARGON2D: u128 = 0xef63_6ddf_8c29_444b_91f7_a9a4_03e3_0a0c;
const ARGON2ID: u128 = 0x9e29_8b19_56db_4773_b23d_fc3e_c6f0_a1e6;

/// How the key is made of the password.
pub(super) enum Kdf {
    Aes {
        seed: [u8; 32],
        rounds: u64,
    },
    Argon2 {
        algorithm: Algorithm,
        version: Version,
        params: Params,
        salt: Vec<u8>,
    },
}

impl Kdf {
    pub(super) fn aes(seed: &[u8], rounds: u64) -> Result<Self, KdbxError> {
        if rounds > ROUNDS_MAX {
            return Err(KdbxError::TooCostly("more than 100000000 rounds"));
        }
        let seed = fixed(seed, "transform seed")?;
        Ok(Self::Aes { seed, rounds })
    }

    /// Reads the dictionary of KDBX 4.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, KdbxError> {
        const WHAT: &str = "key derivation";
        let mut source = Source(bytes);
        source.take(2, WHAT)?;
        let mut items: HashMap<&[u8], &[u8]> = HashMap::new();
        while source.number(1, WHAT)? != 0 {
            let name = source.sized(4, WHAT)?;
            items.insert(name, source.sized(4, WHAT)?);
        }
        let item = |name: &str| {
            let found = items.get(name.as_bytes());
            found.copied().ok_or(KdbxError::Broken(WHAT))
        };
        let id = u128::from_be_bytes(fixed(item("$UUID")?, WHAT)?);
        if AES_KDF.contains(&id) {
            return Self::aes(item("S")?, whole(item("R")?));
        }
        let algorithm = match id {
            ARGON2D => Algorithm::Argon2d,
            ARGON2ID => Algorithm::Argon2id,
            _ => return Err(KdbxError::Unsupported("another key derivation")),
        };
        let version = match whole(item("V")?) {
            0x10 => Version::V0x10,
            0x13 => Version::V0x13,
            _ => return Err(KdbxError::Unsupported("another version of Argon2")),
        };
        let memory_kib = whole(item("M")?) / 1_024;
        let (passes, lanes) = (whole(item("I")?), whole(item("P")?));
        if memory_kib > MEMORY_MAX_KIB || memory_kib.saturating_mul(passes) > WORK_MAX_KIB {
            return Err(KdbxError::TooCostly(
                "more than 256 MiB, or too many passes, of Argon2",
            ));
        }
        let small = |number: u64| u32::try_from(number).map_err(|_| KdbxError::Broken(WHAT));
        let lanes = small(lanes)?;
        if lanes > LANES_MAX {
            return Err(KdbxError::TooCostly("more than 64 lanes of Argon2"));
        }
        let params = Params::new(small(memory_kib)?, small(passes)?, lanes, Some(32));
        Ok(Self::Argon2 {
            algorithm,
            version,
            params: params.map_err(|_| KdbxError::Broken(WHAT))?,
            salt: item("S")?.to_vec(),
        })
    }

    pub(super) fn transform(&self, composite: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, KdbxError> {
        const WHAT: KdbxError = KdbxError::Broken("key derivation");
        match self {
            Self::Aes { seed, rounds } => {
                let key = UnboundCipherKey::new(&AES_256, seed).map_err(|_| WHAT)?;
                let key = EncryptingKey::ecb(key).map_err(|_| WHAT)?;
                let mut blocks = Zeroizing::new(*composite);
                for _ in 0..*rounds {
                    key.encrypt(blocks.as_mut_slice()).map_err(|_| WHAT)?;
                }
                Ok(sha256(&[blocks.as_slice()]))
            }
            Self::Argon2 {
                algorithm,
                version,
                params,
                salt,
            } => {
                let mut key = Zeroizing::new([0; 32]);
                let argon2 = Argon2::new(*algorithm, *version, params.clone());
                let done = argon2.hash_password_into(composite, salt, key.as_mut_slice());
                done.map_err(|_| WHAT)?;
                Ok(key)
            }
        }
    }
}
