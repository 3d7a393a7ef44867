//! Hashes the passwords of users, and verifies them.
//!
//! argon2id with the second recommended parameters of RFC 9106, section 4: 3 passes over 64 MiB in
//! 4 lanes, a salt of 128 bits, a hash of 256. They are the RFC's own choice where its first, with
//! 2 GiB for each sign-in, is too much. A hash takes about a tenth of a second of one core, so at most
//! two are computed at a time, on threads of their own: 128 MiB and two cores, however many sign in.
//!
//! Invariant: a verification computes one hash, also where there is none to compare with; and who
//! hangs up frees no place before the hash is done.

use std::sync::Arc;

use argon2::password_hash::phc;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::generate::Dice;
use crate::model::password::PasswordHash;

/// RFC 9106, section 4, second recommended option.
const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 3;
const LANES: u32 = 4;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// Hashes that are computed at a time.
const AT_ONCE: usize = 2;
/// Sign-ins that may wait for their turn; the last of them for about two seconds.
const WAITING_MAX: usize = 32;

/// Characters of a password at least.
const MIN_CHARS: usize = 12;
/// Bytes of a password at most: what is longer costs its reader, not its guesser.
pub const PASSWORD_MAX_BYTES: usize = 1_000;

/// Why no hash was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Try again a little later.
    #[error("too many passwords are being verified; try again")]
    Busy,
    /// Set the password anew; if that fails too, the machine lacks memory.
    #[error("a password could not be hashed: its stored hash is unreadable, or memory is short")]
    Library,
}

/// What is wrong with a new password of the user with this name; `None`: it may be taken.
///
/// Length is what counts (NIST SP 800-63B, 3.1.1.2): no classes of characters are demanded.
pub fn password_fault(password: &SecretString, user: &str) -> Option<&'static str> {
    #[expect(clippy::disallowed_methods, reason = "a new password is measured")]
    let password = password.expose_secret();
    if password.chars().count() < MIN_CHARS {
        Some("must have at least 12 characters")
    } else if password.len() > PASSWORD_MAX_BYTES {
        Some("must have at most 1000 bytes")
    } else if password.chars().any(char::is_control) {
        Some("must have no control characters")
    } else if password.to_lowercase() == user.to_lowercase() {
        Some("must not be the user's name")
    } else {
        None
    }
}

/// Computes hashes, two at a time.
#[derive(Clone, Debug)]
pub struct Passwords {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE + WAITING_MAX)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Passwords {
    /// Hashes a password with a salt that is drawn.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(
        &self,
        password: &SecretString,
        dice: &dyn Dice,
    ) -> Result<PasswordHash, PasswordError> {
        let mut salt = [0; SALT_BYTES];
        dice.fill(&mut salt);
        let password = password.clone();
        let hashed = self.in_turn(move || hashed(&password, &salt)).await?;
        let hashed = hashed.map_err(|_| PasswordError::Library)?;
        Ok(PasswordHash::of_phc(hashed.to_string()))
    }

    /// True if this is the password; without a hash false, after the same work.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn verify(
        &self,
        password: &SecretString,
        kept: Option<&PasswordHash>,
    ) -> Result<bool, PasswordError> {
        let (password, kept) = (password.clone(), kept.cloned());
        let verified = self.in_turn(move || verified(&password, kept.as_ref()));
        match verified.await? {
            Ok(()) => Ok(true),
            Err(Error::PasswordInvalid) => Ok(false),
            Err(_) => Err(PasswordError::Library),
        }
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| PasswordError::Busy)?;
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| PasswordError::Library)?;
        // The thread holds them: it goes on where a caller hangs up.
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((place, turn));
            done
        });
        worked.await.map_err(|_| PasswordError::Library)
    }
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES));
    let params = params.map_err(Error::from)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[expect(clippy::disallowed_methods, reason = "hashing needs the password once")]
fn hashed(password: &SecretString, salt: &[u8]) -> Result<phc::PasswordHash, Error> {
    argon2()?.hash_password_with_salt(password.expose_secret().as_bytes(), salt)
}

#[expect(clippy::disallowed_methods, reason = "hashing needs the password once")]
fn verified(password: &SecretString, kept: Option<&PasswordHash>) -> Result<(), Error> {
    let Some(kept) = kept else {
        // Of somebody who has none, or does not exist: how long it takes must not say so.
        hashed(password, &[0; SALT_BYTES])?;
        return Err(Error::PasswordInvalid);
    };
    argon2()?.verify_password(password.expose_secret().as_bytes(), kept.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::SeededDice;

    #[tokio::test]
    async fn a_password_is_verified_by_its_hash_alone() {
        let passwords = Passwords::default();
        let dice = SeededDice::new(1);
        let password = SecretString::from("correct horse battery");
        let hash = passwords.hash(&password, &dice).await.unwrap();
        // The parameters that the head of this file names.
        let said = "$argon2id$v=19$m=65536,t=3,p=4$";
        assert!(hash.as_str().starts_with(said), "{}", hash.as_str());
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
        let again = passwords.hash(&password, &dice).await.unwrap();
        assert!(hash != again, "each has a salt of its own");
        let verify = async |text: &str, hash| {
            let text = SecretString::from(text);
            passwords.verify(&text, hash).await
        };
        assert_eq!(verify("correct horse battery", Some(&hash)).await, Ok(true));
        assert_eq!(
            verify("correct horse batterx", Some(&hash)).await,
            Ok(false)
        );
        assert_eq!(verify("correct horse battery", None).await, Ok(false));
        let unreadable = PasswordHash::of_phc("canary-7731".into());
        let error = verify("correct horse battery", Some(&unreadable)).await;
        assert_eq!(error, Err(PasswordError::Library));
        assert!(!error.unwrap_err().to_string().contains("7731"));
    }

    #[tokio::test]
    async fn two_are_computed_at_a_time_and_a_crowd_is_sent_away() {
        let passwords = Passwords::default();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let running = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let most = running.clone();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE + WAITING_MAX {
            let (passwords, gate, running) = (passwords.clone(), gate.clone(), running.clone());
            all.spawn(async move {
                let work = move || {
                    let now = 1 + running.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    gate.lock().unwrap().recv().unwrap();
                    running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    now
                };
                passwords.in_turn(work).await
            });
        }
        while passwords.places.available_permits() > 0
            || most.load(std::sync::atomic::Ordering::SeqCst) < AT_ONCE
        {
            tokio::task::yield_now().await;
        }
        let refused = passwords.in_turn(|| ()).await;
        assert_eq!(refused, Err(PasswordError::Busy));
        for _ in 0..AT_ONCE + WAITING_MAX {
            open.send(()).unwrap();
        }
        for now in all.join_all().await {
            assert!(now.unwrap() <= AT_ONCE);
        }
        assert_eq!(passwords.in_turn(|| ()).await, Ok(()));
    }

    #[test]
    fn a_new_password_is_long_enough_and_no_name() {
        let fault = |text: &str| password_fault(&SecretString::from(text), "Ada.Lovelace");
        assert_eq!(fault("twelve chars"), None);
        assert_eq!(fault("äöüäöüäöüäöü"), None, "characters count, not bytes");
        assert_eq!(fault(&"x".repeat(1_000)), None);
        for text in [
            "eleven char",
            "ada.LOVELACE",
            "twelve\u{0}chars!",
            "twelve\nchars!",
            &"x".repeat(1_001),
        ] {
            assert!(fault(text).is_some(), "{text:?}");
        }
    }
}
