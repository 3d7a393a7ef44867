//! Measures values for reports: whether two are the same, how strong one is, whether a corpus has it.
//!
//! Invariant: of a value nothing leaves but a mark under a key that is drawn for one report, a score,
//! or a hash that is looked up and forgotten.

use aws_lc_rs::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

use crate::generate::Dice;

/// Marks values: the same value has the same mark, for as long as these live.
#[derive(Debug)]
pub struct Fingerprints(hmac::Key);

impl Fingerprints {
    /// Under a key of their own, which nobody ever learns.
    pub fn draw(dice: &dyn Dice) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        dice.fill(key.as_mut());
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// A value's mark: HMAC-SHA-256.
    pub fn of(&self, value: &SecretString) -> [u8; 32] {
        #[expect(
            clippy::disallowed_methods,
            reason = "values are compared by their marks"
        )]
        let tag = hmac::sign(&self.0, value.expose_secret().as_bytes());
        let mut mark = [0; 32];
        for (to, from) in mark.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        mark
    }
}

/// How hard a value is to guess, 0 to 4; `known`: what whoever guesses knows, such as the login name.
///
/// Source: Wheeler, zxcvbn, USENIX Security 2016. Of long values the first 100 characters count.
pub fn strength(value: &SecretString, known: &[&str]) -> u8 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the estimate looks at the characters"
    )]
    let guess = zxcvbn(value.expose_secret(), known);
    u8::from(guess.score())
}

/// A value's SHA-1: what the public corpora of breached passwords are made of.
pub fn sha1(value: &SecretString) -> [u8; 20] {
    #[expect(clippy::disallowed_methods, reason = "the corpus knows hashes alone")]
    let hash = digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        value.expose_secret().as_bytes(),
    );
    let mut bytes = [0; 20];
    for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::SeededDice;

    #[test]
    fn the_same_value_has_the_same_mark_under_one_key_alone() {
        let (one, other) = (SecretString::from("a"), SecretString::from("b"));
        let dice = SeededDice::new(1);
        let marks = Fingerprints::draw(&dice);
        assert_eq!(marks.of(&one), marks.of(&SecretString::from("a")));
        assert_ne!(marks.of(&one), marks.of(&other));
        assert_ne!(Fingerprints::draw(&dice).of(&one), marks.of(&one));
    }

    #[test]
    fn what_is_common_or_known_is_weak() {
        let of = |value: &str, known: &[&str]| strength(&SecretString::from(value), known);
        assert_eq!(of("password", &[]), 0);
        assert_eq!(of("", &[]), 0);
        assert_eq!(of("zJ7#qPw2!vKx94mT", &[]), 4);
        assert!(of("backup-svc-acme", &["backup-svc-acme"]) < of("backup-svc-acme", &[]));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // FIPS 180-4, example "abc".
        let hash = sha1(&SecretString::from("abc"));
        let words = hash.chunks_exact(4);
        let words = words.map(|word| u32::from_be_bytes(word.try_into().unwrap()));
        let published = [
            0xa999_3e36,
            0x4706_816a,
            0xba3e_2571,
            0x7850_c26c,
            0x9cd0_d89d,
        ];
        assert!(words.eq(published));
    }
}
