//! Codes of second factors: TOTP, RFC 6238, with SHA-1, six digits and steps of 30 s, which is what
//! every app of the kind speaks.
//!
//! Invariant: a code is compared in constant time, and a step is told only to whoever gave its code.

use aws_lc_rs::{constant_time, hmac};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::model::Timestamp;

const STEP_MS: i64 = 30_000;
/// Steps that a clock may be off; RFC 6238, section 5.2.
const SKEW_STEPS: i64 = 1;
const DIGITS: usize = 6;
/// Under which name apps show the factor.
const ISSUER: &str = "Keywheel";

/// The step whose code this is: the present one or its neighbours. The caller refuses a step that
/// was used before.
pub fn step_of(secret: &SecretString, code: &SecretString, now: Timestamp) -> Option<i64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "codes are computed of the secret"
    )]
    let key = decoded(secret.expose_secret())?;
    #[expect(
        clippy::disallowed_methods,
        reason = "codes are compared, in constant time"
    )]
    let code = code.expose_secret().as_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let present = now.0.div_euclid(STEP_MS);
    let mut found = None;
    // All of them, so that the time taken tells none from another.
    for step in present - SKEW_STEPS..=present + SKEW_STEPS {
        let own = code_of(&key, step);
        if constant_time::verify_slices_are_equal(own.as_bytes(), code).is_ok() {
            found = Some(step);
        }
    }
    found
}

/// A secret of codes as somebody gives it, in base 32 of any case, perhaps in groups and padded;
/// `None` if it is no such text, or has fewer than 10 bytes or more than 128.
pub fn otp_secret(given: &SecretString) -> Option<SecretString> {
    #[expect(clippy::disallowed_methods, reason = "the secret is read once")]
    let given = given.expose_secret();
    let mut text = Zeroizing::new(String::with_capacity(given.len()));
    let kept = given.chars().filter(|c| !matches!(c, ' ' | '-'));
    text.extend(kept.map(|c| c.to_ascii_uppercase()));
    let bare = text.trim_end_matches('=');
    let bytes = decoded(bare)?;
    (10..=128)
        .contains(&bytes.len())
        .then(|| SecretString::from(bare))
}

/// The code of a secret at `now`, and for how many more seconds it is that.
pub fn code_at(secret: &SecretString, now: Timestamp) -> Option<(SecretString, u64)> {
    #[expect(
        clippy::disallowed_methods,
        reason = "codes are computed of the secret"
    )]
    let key = decoded(secret.expose_secret())?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let code = code_of(&key, now.0.div_euclid(STEP_MS));
    let until_next_ms = STEP_MS - now.0.rem_euclid(STEP_MS);
    let left_s = u64::try_from(until_next_ms)
        .unwrap_or_default()
        .div_ceil(1_000);
    Some((SecretString::from(code.as_str()), left_s))
}

/// RFC 4226, section 5.3, of the step's number.
fn code_of(key: &hmac::Key, step: i64) -> Zeroizing<String> {
    let mac = hmac::sign(key, &step.to_be_bytes());
    let bytes = mac.as_ref();
    let at = usize::from(bytes.last().copied().unwrap_or_default() & 15);
    let word = bytes.get(at..at + 4).unwrap_or_default();
    let word = word
        .iter()
        .fold(0, |word: u32, byte| word << 8 | u32::from(*byte));
    Zeroizing::new(format!("{:0DIGITS$}", (word & 0x7fff_ffff) % 1_000_000))
}

/// Base 32 without padding, RFC 4648.
fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() * 5 / 8));
    let (mut held, mut bits) = (0_u16, 0);
    for c in text.bytes() {
        let five = match c {
            b'A'..=b'Z' => c - b'A',
            b'2'..=b'7' => c - b'2' + 26,
            _ => return None,
        };
        held = held << 5 | u16::from(five);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 255).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

/// What an app reads, by a picture or by hand: `otpauth://totp/…`. It holds the secret.
pub fn enrolment(secret: &SecretString, user: &str) -> SecretString {
    #[expect(
        clippy::disallowed_methods,
        reason = "the URL hands the secret to an app"
    )]
    let secret = secret.expose_secret();
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    let mut name = String::with_capacity(3 * user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            name.push(char::from(byte));
        } else {
            let two = [digit(byte >> 4), digit(byte & 15)];
            name.push('%');
            name.extend(two.map(|c| c.to_ascii_uppercase()));
        }
    }
    let url = Zeroizing::new(format!(
        "otpauth://totp/{ISSUER}:{name}?secret={secret}&issuer={ISSUER}\
         &algorithm=SHA1&digits={DIGITS}&period={}",
        STEP_MS / 1_000
    ));
    SecretString::from(url.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `12345678901234567890`, the secret of RFC 6238, appendix B.
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    fn at(code: &str, seconds: i64) -> Option<i64> {
        let (secret, code) = (SecretString::from(SECRET), SecretString::from(code));
        step_of(&secret, &code, Timestamp(seconds * 1_000))
    }

    #[test]
    fn the_codes_are_the_published_ones() {
        // RFC 6238, appendix B, the last six of its eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(at(code, seconds), Some(seconds / 30), "{code}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_late_and_no_longer() {
        for (seconds, good) in [(0, true), (29, true), (30, true), (89, true), (90, false)] {
            assert_eq!(at("287082", seconds).is_some(), good, "{seconds}");
        }
        for code in ["287081", "28708", "2870820", "", "94287082"] {
            assert_eq!(at(code, 59), None, "{code}");
        }
        assert_eq!(decoded("A1"), None);
    }

    #[test]
    fn a_given_secret_is_read_in_any_form_and_gives_the_published_codes() {
        let read = |text: &str| otp_secret(&SecretString::from(text));
        let secret = read("gezd gnbv-gy3tqojqgezdgnbvgy3tqojq====").unwrap();
        let (code, left_s) = code_at(&secret, Timestamp(59_000)).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a published code is compared")]
        let code = code.expose_secret();
        assert_eq!((code, left_s), ("287082", 1));
        for text in ["", "GEZDGNBV", "GEZDGNBVGY3TQOJ1", "ümlaut"] {
            assert!(read(text).is_none(), "{text}");
        }
        assert!(read(&"A".repeat(400)).is_none());
    }

    #[test]
    fn the_url_names_the_user_and_is_no_other() {
        let url = enrolment(&SecretString::from("GEZDGNBV"), "Ada & Co/é");
        #[expect(clippy::disallowed_methods, reason = "a made-up secret is compared")]
        let url = url.expose_secret();
        assert_eq!(
            url,
            "otpauth://totp/Keywheel:Ada%20%26%20Co%2F%C3%A9?secret=GEZDGNBV&issuer=Keywheel\
             &algorithm=SHA1&digits=6&period=30"
        );
    }
}
