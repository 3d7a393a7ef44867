//! The keys of the audit trail: one makes the macs, one signs the anchors.
//!
//! An auditor is handed the first and the public half of the second ([`AuditorKey`]): enough to
//! verify every row and every anchor, and to open no secret. Whoever holds the first could make a
//! chain anew, but not the anchors that it would have to agree with.
//!
//! Invariant: neither key is printed, and both are wiped on drop.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{MAC_LEN, Mac, encoded, hex, unhex};
use crate::model::audit::AuditRow;

/// A key was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no key of an audit trail: it must be what `keywheel audit key` has written")]
pub struct KeyFault;

/// A key as text: what is sealed in the database.
pub fn key_text(bytes: &Zeroizing<[u8; MAC_LEN]>) -> String {
    hex(bytes.as_ref())
}

/// The key that [`key_text`] wrote.
///
/// # Errors
/// [`KeyFault`] for any other text.
pub fn key_bytes(text: &str) -> Result<Zeroizing<[u8; MAC_LEN]>, KeyFault> {
    unhex(text).map(Zeroizing::new).ok_or(KeyFault)
}

/// Makes the macs of the chain.
pub struct ChainKey {
    // Boxed: a move must not leave a copy behind.
    bytes: Box<Zeroizing<[u8; MAC_LEN]>>,
    hmac: hmac::Key,
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey(…)")
    }
}

impl ChainKey {
    /// Takes over 32 uniformly random bytes. The caller wipes its own copy.
    pub fn from_bytes(mut bytes: [u8; MAC_LEN]) -> Self {
        let key = Self {
            hmac: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            bytes: Box::new(Zeroizing::new(bytes)),
        };
        bytes.zeroize();
        key
    }

    /// The mac of a row at a place of the chain, behind the mac before it.
    pub fn mac(&self, previous: &Mac, seq: i64, row: &AuditRow) -> Mac {
        let tag = hmac::sign(&self.hmac, &encoded(previous, seq, row));
        // The tag of SHA-256 has 32 bytes.
        Mac::from_bytes(tag.as_ref()).unwrap_or(Mac::NONE)
    }
}

/// Signs anchors.
pub struct AnchorKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl fmt::Debug for AnchorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnchorKey(…)")
    }
}

impl AnchorKey {
    /// From 32 uniformly random bytes. Source: RFC 8032, 5.1.5.
    ///
    /// # Errors
    /// [`KeyFault`] if the library refuses them.
    pub fn from_seed(seed: &Zeroizing<[u8; MAC_LEN]>) -> Result<Self, KeyFault> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| KeyFault)?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map(PublicKey).map_err(|_| KeyFault)?;
        Ok(Self { pair, public })
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// Tells an anchor of ours from another; public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; MAC_LEN]);

impl PublicKey {
    pub(super) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// What the service needs of the trail of its store.
#[derive(Debug)]
pub struct AuditKeys {
    /// Which store this is.
    pub store: String,
    /// Makes the macs.
    pub chain: ChainKey,
    /// Signs the anchors.
    pub anchor: AnchorKey,
}

impl AuditKeys {
    /// What an auditor needs of it.
    pub fn auditor(&self) -> AuditorKey {
        AuditorKey {
            store: self.store.clone(),
            chain: ChainKey::from_bytes(**self.chain.bytes),
            anchors: self.anchor.public(),
        }
    }
}

/// What an auditor needs: enough to verify, and to open nothing.
#[derive(Debug)]
pub struct AuditorKey {
    /// Which store it is of.
    pub store: String,
    /// Makes the macs.
    pub chain: ChainKey,
    /// Verifies the anchors.
    pub anchors: PublicKey,
}

/// An auditor's key as a file holds it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    store: String,
    chain_key: String,
    anchor_key: String,
}

impl AuditorKey {
    /// As a file holds it: one JSON object; its `chain_key` is a secret.
    ///
    /// # Errors
    /// [`KeyFault`]; none is known.
    pub fn to_text(&self) -> Result<Zeroizing<String>, KeyFault> {
        let mut text = Text {
            store: self.store.clone(),
            chain_key: hex(self.chain.bytes.as_ref().as_ref()),
            anchor_key: self.anchors.to_string(),
        };
        let written = serde_json::to_string(&text).map(Zeroizing::new);
        text.chain_key.zeroize();
        written.map_err(|_| KeyFault)
    }

    /// Reads what [`AuditorKey::to_text`] wrote.
    ///
    /// # Errors
    /// [`KeyFault`]; it holds nothing of the text.
    pub fn parse(text: &[u8]) -> Result<Self, KeyFault> {
        let mut text: Text = serde_json::from_slice(text).map_err(|_| KeyFault)?;
        let chain = unhex(&text.chain_key);
        text.chain_key.zeroize();
        Ok(Self {
            store: text.store,
            chain: ChainKey::from_bytes(chain.ok_or(KeyFault)?),
            anchors: PublicKey(unhex(&text.anchor_key).ok_or(KeyFault)?),
        })
    }
}
