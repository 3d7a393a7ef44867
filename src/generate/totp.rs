//! What second factors are made of.
//!
//! Invariant: a secret of codes holds 160 bits, as RFC 4226 recommends; a recovery code holds 80,
//! so that its SHA-256 gives none back.

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{Dice, Rolls};

/// RFC 4648, section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 5 bits each.
const SECRET_CHARS: usize = 32;
const CODE_GROUPS: usize = 4;
const GROUP_CHARS: usize = 4;

/// A secret of codes: 20 bytes in base 32.
pub fn totp_secret(dice: &dyn Dice) -> SecretString {
    let mut rolls = Rolls::new(dice);
    let mut text = Zeroizing::new(String::with_capacity(SECRET_CHARS));
    for _ in 0..SECRET_CHARS {
        text.extend(rolls.one_of(BASE32).map(char::from));
    }
    SecretString::from(text.as_str())
}

/// A recovery code: `ABCD-EFGH-IJKL-MNOP`.
pub fn recovery_code(dice: &dyn Dice) -> SecretString {
    let mut rolls = Rolls::new(dice);
    let mut text = Zeroizing::new(String::with_capacity(CODE_GROUPS * (GROUP_CHARS + 1)));
    for group in 0..CODE_GROUPS {
        if group > 0 {
            text.push('-');
        }
        for _ in 0..GROUP_CHARS {
            text.extend(rolls.one_of(BASE32).map(char::from));
        }
    }
    SecretString::from(text.as_str())
}
