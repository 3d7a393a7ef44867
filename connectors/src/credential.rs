//! What an account logs in with: a password, or an SSH key pair.
//!
//! Invariant: a private key never travels to a target; its public half and a marker do.

use std::fmt;

use crate::{Class, Reason, Secret};

/// What an account logs in with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A password.
    Password(Secret),
    /// An SSH key pair.
    Key(KeyPair),
}

/// An SSH key pair, as a target needs it.
#[derive(Clone)]
pub struct KeyPair {
    /// The private half: OpenSSH's own format, not encrypted.
    pub private: Secret,
    /// The public half: algorithm and base64, as in `authorized_keys`, without a comment.
    pub public: String,
    /// The comment of the line that is ours: `keywheel:<account>:<version>`.
    pub marker: String,
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
