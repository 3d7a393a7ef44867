//! Second factors: codes that change with time (TOTP, RFC 6238).
//!
//! Invariant: the secret of the codes exists here in its sealed form alone.

use super::Timestamp;

/// A user's second factor.
#[derive(Clone, PartialEq, Eq)]
pub struct Totp {
    /// The secret, sealed.
    pub sealed: Vec<u8>,
    /// Since when sign-ins need a code; `None`: enrolled, and not yet confirmed.
    pub confirmed_at: Option<Timestamp>,
    /// The last step whose code was used.
    pub last_step: i64,
}

impl Totp {
    /// Codes that replace a factor that is lost, each once.
    pub const RECOVERY_CODES: usize = 10;
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            confirmed_at,
            last_step,
            ..
        } = self;
        write!(f, "Totp(confirmed {confirmed_at:?}, last step {last_step})")
    }
}
