//! What may be handed to a host at all.
//!
//! Invariant: a name and a password that pass are exactly one line of `chpasswd`; a key that
//! passes is exactly one line of `authorized_keys`.

use secrecy::ExposeSecret;

use crate::{Account, Class, Credential, Reason, Secret};

/// The longest name that Linux takes (`useradd(8)`).
const NAME_MAX_BYTES: usize = 32;

/// The longest password. PAM takes 511 bytes, libcrypt's SHA variants 255.
const SECRET_MAX_BYTES: usize = 255;

/// Says what is wrong with this account's name or this credential.
pub(super) fn admit(account: &Account, credential: Option<&Credential>) -> Result<(), Reason> {
    if !is_name(account.login.as_str()) {
        let text = "a name on a host begins with a small letter or _, goes on with small \
                    letters, digits, _ . or -, and has at most 32 characters";
        return Err(Reason::account(Class::Refused, text));
    }
    match credential {
        Some(Credential::Password(secret)) => admit_secret(secret),
        Some(Credential::Key(pair)) => pair.admit(),
        None => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "looks at the characters, keeps none"
)]
fn admit_secret(secret: &Secret) -> Result<(), Reason> {
    let secret = secret.expose_secret();
    let wrong = if secret.is_empty() {
        "a password must not be empty"
    } else if secret.len() > SECRET_MAX_BYTES {
        "a password on a host has at most 255 bytes"
    } else if secret.chars().any(char::is_control) {
        "a password on a host holds no control character: a line break begins another command"
    } else {
        return Ok(());
    };
    Err(Reason::account(Class::Refused, wrong))
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && name.len() <= NAME_MAX_BYTES
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Login;

    fn admitted(name: &str, secret: &str) -> bool {
        let account = Account {
            login: Login::parse(name).unwrap(),
            dn: None,
            uses_own: false,
        };
        admit(&account, Some(&Credential::from(secret))).is_ok()
    }

    #[test]
    fn names_that_a_command_could_misread_are_refused() {
        for name in ["kw_u0", "_apt", "a.b-c", "a".repeat(32).as_str()] {
            assert!(admitted(name, "Right-vLm9Q"), "{name}");
        }
        for name in [
            "-R",
            "Root",
            "9lives",
            "a b",
            "a$(id)",
            "ü",
            "a/b",
            "a".repeat(33).as_str(),
        ] {
            assert!(!admitted(name, "Right-vLm9Q"), "{name}");
        }
    }

    #[test]
    fn passwords_that_are_not_one_line_are_refused() {
        for secret in ["a:b:c", " blanks ", "päß", "'\"$`\\", &"x".repeat(255)] {
            assert!(admitted("kw_u0", secret), "{secret}");
        }
        for secret in [
            "",
            "a\nroot:b",
            "a\r",
            "a\0b",
            "tab\t",
            "\u{85}",
            &"x".repeat(256),
        ] {
            assert!(!admitted("kw_u0", secret), "{secret:?}");
        }
    }
}
