//! API keys, each in the form its dialect's clients expect.
//!
//! Invariant: every secret here holds at least 178 bits.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Dice, Rolls};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const NATIVE_PREFIX: &str = "kw_live_";
const NATIVE_RANDOM_CHARS: usize = 30;
const NATIVE_CHECK_CHARS: usize = 6;

/// Length of a generated console password: [`base62`] of it holds 142 bits.
pub const CONSOLE_PASSWORD_CHARS: usize = 24;

/// `chars` random letters and digits; 5.95 bits each.
pub fn base62(dice: &dyn Dice, chars: usize) -> SecretString {
    SecretString::from(drawn("", chars, dice).as_str())
}

/// A Password Safe key: 128 letters and digits.
pub fn password_safe_key(dice: &dyn Dice) -> SecretString {
    base62(dice, 128)
}

/// An IT Glue key: `ITG.` and 60 letters and digits.
pub fn itglue_key(dice: &dyn Dice) -> SecretString {
    SecretString::from(drawn("ITG.", 60, dice).as_str())
}

/// An OAuth client's id: a random UUID. Not secret.
pub fn oauth_client_id(dice: &dyn Dice) -> Uuid {
    let mut bytes = [0; 16];
    dice.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// An OAuth client's secret: 48 letters and digits.
pub fn oauth_client_secret(dice: &dyn Dice) -> SecretString {
    base62(dice, 48)
}

/// What a webhook is signed with: `whsec_` and 32 random bytes in base64.
///
/// Source: the Standard Webhooks specification, "Signature scheme".
pub fn webhook_secret(dice: &dyn Dice) -> SecretString {
    let mut bytes = Zeroizing::new([0; 32]);
    dice.fill(&mut *bytes);
    let encoded = Zeroizing::new(STANDARD.encode(*bytes));
    SecretString::from(format!("whsec_{}", *encoded))
}

/// A native key: `kw_live_`, 30 random letters and digits, and 6 that check them.
///
/// The check lets scanners of leaked secrets be certain, and lets a mistyped key be refused
/// before any look-up.
pub fn native_key(dice: &dyn Dice) -> SecretString {
    let mut key = drawn(NATIVE_PREFIX, NATIVE_RANDOM_CHARS, dice);
    let check = check_of(&key);
    key.extend(check);
    SecretString::from(key.as_str())
}

/// Whether a text has a native key's form and its check fits. Says nothing about its validity.
pub fn native_key_is_wellformed(key: &str) -> bool {
    let Some(at) = key.len().checked_sub(NATIVE_CHECK_CHARS) else {
        return false;
    };
    let Some((checked, check)) = key.split_at_checked(at) else {
        return false;
    };
    let Some(random) = checked.strip_prefix(NATIVE_PREFIX) else {
        return false;
    };
    random.len() == NATIVE_RANDOM_CHARS
        && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && check.chars().eq(check_of(checked))
}

/// A prefix and random characters behind it, with room for a check.
fn drawn(prefix: &str, chars: usize, dice: &dyn Dice) -> Zeroizing<String> {
    let mut rolls = Rolls::new(dice);
    // Room for everything: a string that grows leaves its old bytes behind.
    let room = prefix.len() + chars + NATIVE_CHECK_CHARS;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.push_str(prefix);
    for _ in 0..chars {
        text.extend(rolls.one_of(BASE62).map(char::from));
    }
    text
}

/// CRC-32 in base 62, most significant first, always 6 characters: 62^6 > 2^32.
fn check_of(text: &str) -> [char; NATIVE_CHECK_CHARS] {
    let mut left = crc32(text.as_bytes());
    let mut check = ['0'; NATIVE_CHECK_CHARS];
    for place in check.iter_mut().rev() {
        let digit = BASE62.get((left % 62) as usize).copied().unwrap_or(b'0');
        *place = char::from(digit);
        left /= 62;
    }
    check
}

/// CRC-32 as in ISO 3309, reflected.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let carry = (crc & 1).wrapping_neg();
            crc = (crc >> 1) ^ (0xEDB8_8320 & carry);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn the_greatest_checksum_fits_six_characters() {
        let mut left = u32::MAX;
        for _ in 0..6 {
            left /= 62;
        }
        assert_eq!(left, 0);
    }
}
