//! Reads a key pair that somebody gives, before anything is done with it.
//!
//! Invariant: no fault repeats a byte of a key or passphrase.

use secrecy::SecretString;

use crate::api::error::{ApiError, Fault};
use crate::generate::{GivenKey, KeyError, public_of};
use crate::queue::NewKey;

/// Characters of a key at most; the longest RSA keys in use stay below 16 KiB.
const KEY_MAX_CHARS: usize = 65_536;
const PASSPHRASE_MAX_CHARS: usize = 1_000;

/// The key fields of a body.
pub(in crate::api) struct GivenKeys {
    public: Option<String>,
    private: Option<SecretString>,
    passphrase: Option<SecretString>,
}

impl GivenKeys {
    /// What was given elsewhere than in the dialect.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for lengths.
    pub(in crate::api) fn of(
        public: Option<String>,
        private: Option<String>,
        passphrase: Option<String>,
    ) -> Result<Self, ApiError> {
        for (field, text, max) in [
            ("PublicKey", &public, KEY_MAX_CHARS),
            ("PrivateKey", &private, KEY_MAX_CHARS),
            ("Passphrase", &passphrase, PASSPHRASE_MAX_CHARS),
        ] {
            let length = text.as_ref().map_or(0, |text| text.chars().count());
            if length > max {
                let why = format!("must have at most {max} characters");
                return Err(ApiError::field(field, why));
            }
        }
        Ok(Self {
            public,
            private: private.map(SecretString::from),
            passphrase: passphrase.map(SecretString::from),
        })
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for wrong types and lengths.
    pub(super) fn read(fields: &super::Fields) -> Result<Self, ApiError> {
        Ok(Self {
            public: fields.text("PublicKey", KEY_MAX_CHARS)?,
            private: fields
                .text("PrivateKey", KEY_MAX_CHARS)?
                .map(SecretString::from),
            passphrase: fields
                .text("Passphrase", PASSPHRASE_MAX_CHARS)?
                .map(SecretString::from),
        })
    }

    /// True if a key was given; a passphrase alone means nothing.
    pub(super) fn any(&self) -> bool {
        self.public.is_some() || self.private.is_some()
    }

    /// The key pair, opened on a thread of its own: a passphrase's key takes long to derive.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the field.
    pub(in crate::api) async fn open(
        self,
        update_system: bool,
    ) -> Result<Option<NewKey>, ApiError> {
        if !self.any() {
            return Ok(None);
        }
        tokio::task::spawn_blocking(move || self.check(update_system))
            .await
            .map_err(|_| ApiError::Internal("reading a key pair panicked"))?
    }

    fn check(self, update_system: bool) -> Result<Option<NewKey>, ApiError> {
        let Some(private) = self.private else {
            return match self.public {
                Some(_) => Err(ApiError::field("PrivateKey", "is required with PublicKey")),
                None => Ok(None),
            };
        };
        if self.public.is_none() && update_system {
            let why = "is required if PrivateKey is given and UpdateSystem is true";
            return Err(ApiError::field("PublicKey", why));
        }
        let key = NewKey::read(GivenKey {
            private,
            passphrase: self.passphrase,
        })
        .map_err(|error| ApiError::field(field_of(error), error.to_string()))?;
        let public = self
            .public
            .map(|text| {
                public_of(&text).ok_or_else(|| {
                    let why = "cannot be read; give one line, as in authorized_keys";
                    ApiError::field("PublicKey", why)
                })
            })
            .transpose()?;
        if public.is_some_and(|public| public != key.opened.public) {
            return Err(ApiError::Invalid(vec![Fault {
                field: "PublicKey".to_owned(),
                text: "is not the private key's".to_owned(),
            }]));
        }
        Ok(Some(key))
    }
}

/// Which field a fault is in.
fn field_of(error: KeyError) -> &'static str {
    match error {
        KeyError::NoPassphrase | KeyError::WrongPassphrase => "Passphrase",
        KeyError::Unreadable | KeyError::OldEncryption | KeyError::Kind | KeyError::Rounds => {
            "PrivateKey"
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use ssh_key::private::{Ed25519Keypair, KeypairData};
    use ssh_key::{Cipher, Kdf, LineEnding, PrivateKey};

    use super::super::Fields;
    use super::*;

    /// A key pair drawn from a seed: private, public.
    fn pair(seed: u8) -> (PrivateKey, String) {
        let pair = Ed25519Keypair::from_seed(&[seed; 32]);
        let private = PrivateKey::new(KeypairData::Ed25519(pair), "test").unwrap();
        let public = private.public_key().to_openssh().unwrap();
        (private, public)
    }

    fn text(private: &PrivateKey) -> String {
        private.to_openssh(LineEnding::LF).unwrap().to_string()
    }

    fn locked(private: &PrivateKey, rounds: u32) -> String {
        let kdf = Kdf::Bcrypt {
            salt: vec![7; 16],
            rounds,
        };
        text(
            &private
                .encrypt_with(Cipher::Aes256Ctr, kdf, 7, "open sesame")
                .unwrap(),
        )
    }

    fn check(body: &Value, update_system: bool) -> Result<(), String> {
        let fields = Fields::parse(None, body.to_string().as_bytes()).unwrap();
        GivenKeys::read(&fields)
            .unwrap()
            .check(update_system)
            .map(drop)
            .map_err(|error| match error {
                ApiError::Invalid(faults) => format!("{}: {}", faults[0].field, faults[0].text),
                other => panic!("{other}"),
            })
    }

    #[test]
    fn a_pair_passes_locked_or_not() {
        let (private, public) = pair(1);
        let open = json!({"PrivateKey": text(&private), "PublicKey": public});
        assert_eq!(check(&open, true), Ok(()));
        let locked = json!({
            "PrivateKey": locked(&private, 1), "PublicKey": public, "Passphrase": "open sesame",
        });
        assert_eq!(check(&locked, true), Ok(()));
        assert_eq!(check(&json!({"PrivateKey": text(&private)}), false), Ok(()));
        assert_eq!(check(&json!({"Passphrase": "alone"}), true), Ok(()));
    }

    #[test]
    fn every_fault_names_its_field() {
        let (private, public) = pair(1);
        let (key, other) = (text(&private), pair(2).1);
        let locked = locked(&private, 1);
        for (body, fault) in [
            (json!({"PrivateKey": key}), "PublicKey: is required"),
            (json!({"PublicKey": public}), "PrivateKey: is required"),
            (
                json!({"PrivateKey": "x", "PublicKey": public}),
                "PrivateKey: cannot",
            ),
            (
                json!({"PrivateKey": key, "PublicKey": "x"}),
                "PublicKey: cannot",
            ),
            (
                json!({"PrivateKey": key, "PublicKey": other}),
                "PublicKey: is not the private",
            ),
            (
                json!({"PrivateKey": locked, "PublicKey": public}),
                "Passphrase: is required",
            ),
            (
                json!({"PrivateKey": locked, "PublicKey": public, "Passphrase": "wrong"}),
                "Passphrase: does not open",
            ),
        ] {
            let found = check(&body, true).unwrap_err();
            assert!(found.starts_with(fault), "{found}");
            assert!(
                !found.contains("wrong") && !found.contains("BEGIN"),
                "{found}"
            );
        }
    }

    #[test]
    fn a_key_that_would_take_hours_to_open_is_refused_at_once() {
        let (private, public) = pair(1);
        // The count of rounds stands behind the salt.
        let mut slow = PrivateKey::from_openssh(locked(&private, 1))
            .unwrap()
            .to_bytes()
            .unwrap();
        let salt = slow.windows(16).position(|bytes| bytes == [7; 16]).unwrap();
        slow[salt + 16..salt + 20].copy_from_slice(&u32::MAX.to_be_bytes());
        let slow = text(&PrivateKey::from_bytes(&slow).unwrap());
        let body = json!({"PrivateKey": slow, "PublicKey": public, "Passphrase": "open sesame"});
        assert!(check(&body, true).unwrap_err().contains("rounds"));
    }
}
