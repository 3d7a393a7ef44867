//! What may be handed to a platform at all.
//!
//! Invariant: a name that passes is one word in any dialogue, and a password is one line.

use secrecy::ExposeSecret;

use super::definition::Dialogue;
use crate::{Account, Class, Credential, Reason, Secret};

/// The longest name.
const NAME_MAX_BYTES: usize = 64;

fn refused(text: impl Into<std::borrow::Cow<'static, str>>) -> Reason {
    Reason::account(Class::Refused, text)
}

/// Says what is wrong with this account's name or this credential on any platform.
pub(super) fn admit(account: &Account, credential: Option<&Credential>) -> Result<(), Reason> {
    if !is_name(account.login.as_str()) {
        let text = "a name in a dialogue begins with a letter, a digit or _, goes on with these, \
                    ., @ or -, and has at most 64 characters";
        return Err(refused(text));
    }
    match credential.map(Credential::password).transpose()? {
        Some(password) => is_one_line(password),
        None => Ok(()),
    }
}

/// The same on this platform, for a password that is to be set.
pub(super) fn fits(dialogue: &Dialogue, password: &Secret) -> Result<(), Reason> {
    is_one_line(password)?;
    keeps_rule(dialogue, password)
}

#[expect(
    clippy::disallowed_methods,
    reason = "looks at the characters, keeps none"
)]
fn is_one_line(secret: &Secret) -> Result<(), Reason> {
    let secret = secret.expose_secret();
    if secret.is_empty() {
        return Err(refused("a password must not be empty"));
    }
    if secret.chars().any(char::is_control) {
        let text = "a password in a dialogue holds no control character: a line break begins \
                    another command";
        return Err(refused(text));
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "looks at the characters, keeps none"
)]
fn keeps_rule(dialogue: &Dialogue, secret: &Secret) -> Result<(), Reason> {
    let (rule, id) = (&dialogue.secret, &dialogue.id);
    let secret = secret.expose_secret();
    let chars = secret.chars().count();
    if chars < rule.min_chars || chars > rule.max_chars {
        let (min, max) = (rule.min_chars, rule.max_chars);
        return Err(refused(format!(
            "a password on the platform {id} has {min} to {max} characters"
        )));
    }
    if rule
        .forbid
        .as_ref()
        .is_some_and(|forbid| forbid.is_match(secret))
    {
        return Err(refused(format!(
            "the password holds what the platform {id} forbids"
        )));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().next().is_some_and(is_word)
        && name.len() <= NAME_MAX_BYTES
        && name
            .bytes()
            .all(|byte| is_word(byte) || b".@-".contains(&byte))
}
