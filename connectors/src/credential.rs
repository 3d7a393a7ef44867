//! What an account logs in with: a password, or an SSH key pair.
//!
//! Invariant: a private key never travels to a target; its public half and a marker do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Class, Reason, Secret, wire};

/// What an account logs in with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Credential {
    /// A password.
    Password(#[serde(with = "wire::secret")] Secret),
    /// An SSH key pair.
    Key(KeyPair),
}

/// An SSH key pair, as a target needs it.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyPair {
    /// The private half: OpenSSH's own format, not encrypted.
    #[serde(with = "wire::secret")]
    pub private: Secret,
    /// The public half: algorithm and base64, as in `authorized_keys`, without a comment.
    pub public: String,
    /// The comment of the line that is ours: `keywheel:<account>:<version>`.
    pub marker: String,
}

/// The longest line of `authorized_keys`; sshd reads 8 KiB in its oldest versions. Half of it is
/// left to options.
const LINE_MAX_BYTES: usize = 4_096;

impl KeyPair {
    /// Says whether the public half and the marker are one line that lets one key in.
    ///
    /// # Errors
    /// A [`Reason`] of class [`Class::Refused`] naming what is wrong.
    pub fn admit(&self) -> Result<(), Reason> {
        let mut words = self.public.split(' ');
        let is_blob = |blob: &str| {
            let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
            !blob.is_empty() && blob.bytes().all(is_base64)
        };
        let is_public = match (words.next(), words.next(), words.next()) {
            (Some(kind), Some(blob), None) => is_key_type(kind.as_bytes()) && is_blob(blob),
            _ => false,
        };
        let is_marker = |byte: u8| byte.is_ascii_graphic();
        let wrong = if !is_public {
            "a public key is its algorithm and its base64, with one blank between"
        } else if self.marker.is_empty() || !self.marker.bytes().all(is_marker) {
            "a key's marker is one word"
        } else if self.public.len() + self.marker.len() > LINE_MAX_BYTES {
            "a public key with its marker has at most 4,096 bytes"
        } else {
            return Ok(());
        };
        Err(Reason::account(Class::Refused, wrong))
    }
}

/// Whether this word names a key's algorithm, and no option of a line in `authorized_keys`.
pub(crate) fn is_key_type(word: &[u8]) -> bool {
    let begins = [&b"ssh-"[..], b"ecdsa-", b"sk-"];
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-@.".contains(byte);
    begins.iter().any(|begin| word.starts_with(begin)) && word.iter().all(is_word)
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("public", &self.public)
            .field("marker", &self.marker)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// The password.
    ///
    /// # Errors
    /// A [`Reason`] of class [`Class::Refused`] if it is a key.
    pub fn password(&self) -> Result<&Secret, Reason> {
        match self {
            Self::Password(password) => Ok(password),
            Self::Key(_) => Err(Reason::account(
                Class::Refused,
                "this target takes passwords, no keys",
            )),
        }
    }
}

impl From<Secret> for Credential {
    fn from(password: Secret) -> Self {
        Self::Password(password)
    }
}

impl From<&str> for Credential {
    fn from(password: &str) -> Self {
        Self::Password(Secret::from(password))
    }
}

impl From<String> for Credential {
    fn from(password: String) -> Self {
        Self::Password(Secret::from(password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> KeyPair {
        KeyPair {
            private: Secret::from("-"),
            public: "ssh-ed25519 AAAA".into(),
            marker: "keywheel:7:1".into(),
        }
    }

    #[test]
    fn a_public_half_that_is_more_than_one_key_is_refused() {
        assert!(pair().admit().is_ok());
        for public in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA comment",
            "ssh-ed25519 AAAA\nssh-rsa BBBB",
            "command=\"x\" AAAA",
            "ssh-ed25519  AAAA",
        ] {
            let public = public.to_owned();
            assert!(KeyPair { public, ..pair() }.admit().is_err());
        }
        for marker in ["", "two words", "line\nbreak"] {
            let marker = marker.to_owned();
            assert!(KeyPair { marker, ..pair() }.admit().is_err());
        }
    }
}
