//! Anchors: signed statements of where the chain stood, kept outside of the database.
//!
//! Invariant: an anchor counts only for the store that its signature names.

use serde::{Deserialize, Serialize};

use super::{AnchorKey, Link, Mac, PublicKey, hex, lengthened, unhex};
use crate::model::Timestamp;

/// Bytes of a signature. Source: RFC 8032, 5.1.6.
const SIGNATURE_LEN: usize = 64;
/// What else this key might ever sign begins otherwise.
const LABEL: &[u8] = b"keywheel audit anchor 1";

/// Where the chain of a store stood at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Which store.
    pub store: String,
    /// The newest sealed row's place; 0 if there was none.
    pub seq: i64,
    /// Its mac.
    pub mac: Mac,
    /// When this was signed, in milliseconds of Unix time.
    pub at: Timestamp,
    /// Ed25519, as hex digits.
    pub signature: String,
}

/// Why an anchor does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorFault {
    /// It is cut short, or something else.
    #[error("it is no anchor")]
    Malformed,
    /// It says nothing about this trail.
    #[error("it is of another store")]
    OtherStore,
    /// Somebody made or changed it without the key.
    #[error("its signature is not of this store's key")]
    Signature,
}

fn message(store: &str, link: Link, at: Timestamp) -> Vec<u8> {
    lengthened(&[
        LABEL,
        store.as_bytes(),
        &link.seq.to_be_bytes(),
        &link.mac.0,
        &at.0.to_be_bytes(),
    ])
}

impl Anchor {
    /// Signs where the chain stands.
    pub fn sign(key: &AnchorKey, store: &str, link: Link, at: Timestamp) -> Self {
        Self {
            store: store.to_owned(),
            seq: link.seq,
            mac: link.mac,
            at,
            signature: hex(&key.sign(&message(store, link, at))),
        }
    }

    /// Where the chain stood.
    pub fn link(&self) -> Link {
        Link {
            seq: self.seq,
            mac: self.mac,
        }
    }

    /// Says whether it counts for this store.
    ///
    /// # Errors
    /// [`AnchorFault`].
    pub fn check(&self, store: &str, key: &PublicKey) -> Result<(), AnchorFault> {
        if self.store != store {
            return Err(AnchorFault::OtherStore);
        }
        let signature: [u8; SIGNATURE_LEN] =
            unhex(&self.signature).ok_or(AnchorFault::Malformed)?;
        if key.accepts(&message(store, self.link(), self.at), &signature) {
            Ok(())
        } else {
            Err(AnchorFault::Signature)
        }
    }

    /// Reads one line of a file of anchors.
    ///
    /// # Errors
    /// [`AnchorFault::Malformed`].
    pub fn parse(line: &str) -> Result<Self, AnchorFault> {
        serde_json::from_str(line).map_err(|_| AnchorFault::Malformed)
    }

    /// One line of a file of anchors, without its end.
    ///
    /// # Errors
    /// [`AnchorFault::Malformed`]; none is known.
    pub fn to_line(&self) -> Result<String, AnchorFault> {
        serde_json::to_string(self).map_err(|_| AnchorFault::Malformed)
    }
}
