//! Draws secrets: passwords by rule, API keys, and the bytes other rooms ask [`Dice`] for.
//!
//! Invariant: nothing else draws a random number; every draw is unbiased, and every buffer that
//! held one is wiped.

mod key;
mod openssh;
mod pair;
mod pem;
mod totp;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use rand::rand_core::UnwrapErr;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::model::password_rule::{Alphabet, PasswordRule, RuleError};

pub use key::{
    CONSOLE_PASSWORD_CHARS, base62, itglue_key, native_key, native_key_is_wellformed,
    oauth_client_id, oauth_client_secret, password_safe_key, webhook_secret,
};
pub use pair::{GivenKey, KeyError, Pair, UnlockedKey, key_pair, public_of};
pub use totp::{recovery_code, totp_secret};

/// Where random bytes come from. Handed in, so that tests can hand in their own.
pub trait Dice: Send + Sync + fmt::Debug {
    /// Fills `bytes` with uniformly random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's generator.
///
/// If it fails, the call panics: to go on with predictable secrets would be worse.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDice;

impl Dice for SystemDice {
    fn fill(&self, bytes: &mut [u8]) {
        UnwrapErr(SysRng).fill_bytes(bytes);
    }
}

/// The same bytes for the same seed, for tests: whatever it draws can be guessed.
#[derive(Debug)]
pub struct SeededDice(Mutex<StdRng>);

impl SeededDice {
    /// Dice that repeat themselves.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Dice for SeededDice {
    fn fill(&self, bytes: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(bytes);
    }
}

/// Draws before giving up. A rule's worst chance is above 1 in 2,000, so that an honest
/// generator gets here with a chance below 2^-70.
const TRIES_MAX: u32 = 100_000;

/// A span that is spread: half to one and a half times as long.
pub fn jittered(span: std::time::Duration, dice: &dyn Dice) -> std::time::Duration {
    let mut byte = [0; 2];
    dice.fill(&mut byte);
    let spread = f64::from(u16::from_be_bytes(byte)) / f64::from(u16::MAX);
    span.mul_f64(0.5 + spread)
}

/// Why no password was generated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// Correct the rule.
    #[error("no password can follow the rule: {0}")]
    Rule(#[from] RuleError),
    /// Mistrust the machine.
    #[error("{TRIES_MAX} draws gave no password by the rule: the random generator is broken")]
    NoLuck,
    /// A key pair could not be made of what was drawn.
    #[error("no key pair came of the random generator's bytes")]
    Key,
}

/// Generates a password of the rule's maximum length.
///
/// Every password that the rule allows is equally likely: characters are drawn independently,
/// and a draw that misses a required class is thrown away whole, not mended.
///
/// # Errors
/// [`GenerateError`].
pub fn password(rule: &PasswordRule, dice: &dyn Dice) -> Result<SecretString, GenerateError> {
    let alphabet = rule.alphabet()?;
    let mut rolls = Rolls::new(dice);
    let mut drawn = Zeroizing::new(String::with_capacity(usize::from(alphabet.length)));
    for _ in 0..TRIES_MAX {
        drawn.clear();
        draw(&alphabet, &mut rolls, &mut drawn);
        if alphabet
            .required
            .iter()
            .all(|class| drawn.chars().any(|c| class.contains(&c)))
        {
            return Ok(SecretString::from(drawn.as_str()));
        }
    }
    Err(GenerateError::NoLuck)
}

fn draw(alphabet: &Alphabet, rolls: &mut Rolls<'_>, into: &mut String) {
    into.extend(rolls.one_of(&alphabet.first));
    for _ in 1..alphabet.length {
        into.extend(rolls.one_of(&alphabet.any));
    }
}

/// Random bytes fetched in blocks: one system call for some passwords, not one a character.
struct Rolls<'a> {
    dice: &'a dyn Dice,
    block: Zeroizing<[u8; 256]>,
    left: usize,
}

impl<'a> Rolls<'a> {
    fn new(dice: &'a dyn Dice) -> Self {
        Self {
            dice,
            block: Zeroizing::new([0; 256]),
            left: 0,
        }
    }

    fn byte(&mut self) -> u8 {
        if self.left == 0 {
            self.dice.fill(self.block.as_mut());
            self.left = self.block.len();
        }
        self.left -= 1;
        self.block.get(self.left).copied().unwrap_or_default()
    }

    /// One of at most 256 things, all equally likely; `None` of nothing.
    fn one_of<T: Copy>(&mut self, things: &[T]) -> Option<T> {
        let count = things.len();
        if count == 0 || count > 256 {
            return None;
        }
        // Bytes past the last whole multiple would favour the first things.
        let fair = 256 - 256 % count;
        loop {
            let byte = usize::from(self.byte());
            if byte < fair {
                return things.get(byte % count).copied();
            }
        }
    }
}

#[cfg(test)]
mod tests;
