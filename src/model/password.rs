//! The hash of a user's password.
//!
//! Invariant: a password itself does not exist here, and its hash is neither printed nor shown.

use std::fmt;

/// An argon2id hash with its salt and cost, as a PHC string:
/// `$argon2id$v=19$m=…,t=…,p=…$<salt>$<hash>`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash, as it was computed or stored.
    pub fn of_phc(phc: String) -> Self {
        Self(phc)
    }

    /// As it stands in the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}
