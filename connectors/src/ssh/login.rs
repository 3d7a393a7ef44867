//! Logs in with a password.
//!
//! Invariant: one login sends its password once, by one method.

use secrecy::ExposeSecret;
use ssh2::{KeyboardInteractivePrompt, Prompt};

use super::link::{Link, code};
use crate::{Class, Reason, Secret};

/// How a login did not succeed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server judged the password and says no.
    Wrong(Reason),
    /// The password was not judged.
    Unjudged(Reason),
}

impl Failed {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Wrong(reason) | Self::Unjudged(reason) => reason,
        }
    }
}

fn unjudged(class: Class, text: &'static str) -> Failed {
    Failed::Unjudged(Reason::account(class, text))
}

/// Logs in: by the method `password`, where it is not offered by `keyboard-interactive`.
#[expect(clippy::disallowed_methods, reason = "the login needs the password")]
pub(super) fn log_in(link: &Link, login: &str, password: &Secret) -> Result<(), Failed> {
    let session = link.session();
    let methods = session.auth_methods(login).map(ToOwned::to_owned);
    if session.authenticated() {
        return Err(unjudged(
            Class::Incompatible,
            "the system lets this account in unasked",
        ));
    }
    let methods = methods.map_err(|error| refused(&error))?;
    let known = ["password", "keyboard-interactive"];
    let Some(method) = known.into_iter().find(|method| offers(&methods, method)) else {
        return Err(unjudged(
            Class::Incompatible,
            "the system takes no passwords",
        ));
    };
    let password = password.expose_secret();
    let answer = if method == "password" {
        session.userauth_password(login, password)
    } else {
        let mut dialogue = Dialogue {
            password: Some(password),
            asked_more: None,
        };
        let answer = session.userauth_keyboard_interactive(login, &mut dialogue);
        if let Some(failed) = dialogue.asked_more.map(more) {
            return Err(failed);
        }
        answer
    };
    match answer {
        Ok(()) if session.authenticated() => Ok(()),
        Ok(()) => Err(more(Class::Incompatible)),
        Err(error) => {
            let failed = refused(&error);
            // A right password as the first of several factors looks like a wrong one, but the
            // server then asks for something else.
            let next = session.auth_methods(login);
            match (&failed, next) {
                (Failed::Wrong(_), Ok(next)) if !offers(next, method) => {
                    Err(more(Class::Incompatible))
                }
                _ => Err(failed),
            }
        }
    }
}

fn offers(methods: &str, method: &str) -> bool {
    methods.split(',').any(|offered| offered == method)
}

fn more(class: Class) -> Failed {
    let text = match class {
        Class::Expired => "the password must be changed at the login",
        _ => "the system asks for more than a password",
    };
    unjudged(class, text)
}

fn refused(error: &ssh2::Error) -> Failed {
    match code(error) {
        -18 => Failed::Wrong(Reason::account(
            Class::Denied,
            "the login was refused: wrong password, locked or unknown account",
        )),
        -9 => unjudged(
            Class::Unreachable,
            "the system did not answer the login in time",
        ),
        _ => unjudged(
            Class::Denied,
            "the system ended the connection during the login: expired account, closed system",
        ),
    }
}

/// Answers the first hidden question with the password, and no other.
struct Dialogue<'a> {
    password: Option<&'a str>,
    asked_more: Option<Class>,
}

impl KeyboardInteractivePrompt for Dialogue<'_> {
    fn prompt(&mut self, _: &str, _: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        let mut answer = |prompt: &Prompt<'_>| {
            if !prompt.echo
                && let Some(password) = self.password.take()
            {
                return password.to_owned();
            }
            let text = prompt.text.to_ascii_lowercase();
            let is_change = text.contains("new") || text.contains("current");
            self.asked_more = Some(if is_change {
                Class::Expired
            } else {
                Class::Incompatible
            });
            String::new()
        };
        prompts.iter().map(&mut answer).collect()
    }
}
