//! Logs in with a password or a key.
//!
//! Invariant: one login sends its password once, by one method; a password that is to follow it
//! is sent only where the system asks for one in the same dialogue.

use secrecy::ExposeSecret;
use ssh2::{KeyboardInteractivePrompt, Prompt};

use super::link::{Link, code};
use super::own::{Course, Step};
use super::turn::Turn;
use crate::{Class, Credential, KeyPair, Reason, Secret};

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

/// What a login did beside opening a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// Nothing.
    AsBefore,
    /// The system asked for another password, and took it.
    Changed,
}

/// Logs in.
pub(super) fn log_in(link: &Link, login: &str, credential: &Credential) -> Result<(), Failed> {
    let methods = methods(link, login)?;
    match credential {
        Credential::Password(password) => {
            let mut dialogue = Dialogue::new(link, password, None);
            with_password(link, login, &methods, &mut dialogue)?;
        }
        Credential::Key(pair) => with_key(link, login, &methods, pair)?,
    }
    Ok(())
}

/// Logs in; a system that asks for another password on the way gets `new`.
///
/// [`Turn::was_sent`] tells whether it may have gone.
pub(super) fn log_in_and_change(
    link: &Link,
    login: &str,
    password: &Secret,
    new: &Secret,
    turn: &Turn,
) -> Result<Entered, Failed> {
    let methods = methods(link, login)?;
    let mut dialogue = Dialogue::new(link, password, Some((new, turn)));
    with_password(link, login, &methods, &mut dialogue)
}

fn methods(link: &Link, login: &str) -> Result<String, Failed> {
    let session = link.session();
    let methods = session.auth_methods(login).map(ToOwned::to_owned);
    if session.authenticated() {
        return Err(unjudged(
            Class::Incompatible,
            "the system lets this account in unasked",
        ));
    }
    methods.map_err(|error| refused(&error))
}

/// Logs in with the private half, which stays here.
#[expect(clippy::disallowed_methods, reason = "the login signs with the key")]
fn with_key(link: &Link, login: &str, methods: &str, pair: &KeyPair) -> Result<(), Failed> {
    if !offers(methods, "publickey") {
        return Err(unjudged(Class::Incompatible, "the system takes no keys"));
    }
    let private = pair.private.expose_secret();
    let session = link.session();
    let answer = session.userauth_pubkey_memory(login, None, private, None);
    match answer {
        Ok(()) if session.authenticated() => Ok(()),
        Ok(()) => Err(more(Class::Incompatible)),
        Err(error) if code(&error) == KEY_UNREADABLE => Err(unjudged(
            Class::Incompatible,
            "the private key is in a form that is not known here",
        )),
        // The signature was not taken, or the connection ended: a server that still answers has
        // judged.
        Err(error) if code(&error) == SIGNATURE_NOT_TAKEN => match session.auth_methods(login) {
            Ok(_) => Err(next_factor(link, login, "publickey", wrong())),
            Err(_) => Err(refused(&error)),
        },
        Err(error) => Err(next_factor(link, login, "publickey", refused(&error))),
    }
}

/// `LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED`.
const SIGNATURE_NOT_TAKEN: i32 = -19;

/// libssh2 could not read the key (`LIBSSH2_ERROR_FILE`).
const KEY_UNREADABLE: i32 = -16;

/// Logs in: by the method `password`, where it is not offered by `keyboard-interactive`.
#[expect(clippy::disallowed_methods, reason = "the login needs the password")]
fn with_password(
    link: &Link,
    login: &str,
    methods: &str,
    dialogue: &mut Dialogue<'_>,
) -> Result<Entered, Failed> {
    let session = link.session();
    let known = ["password", "keyboard-interactive"];
    let Some(method) = known.into_iter().find(|method| offers(methods, method)) else {
        return Err(unjudged(
            Class::Incompatible,
            "the system takes no passwords",
        ));
    };
    let answer = if method == "password" {
        session.userauth_password(login, dialogue.password.expose_secret())
    } else {
        let answer = session.userauth_keyboard_interactive(login, dialogue);
        if let Some(failed) = dialogue.failed.take() {
            return Err(failed);
        }
        answer
    };
    match answer {
        Ok(()) if session.authenticated() => Ok(dialogue.entered()),
        Ok(()) => Err(more(Class::Incompatible)),
        Err(error) => Err(next_factor(link, login, method, refused(&error))),
    }
}

/// A right secret as the first of several factors looks like a wrong one, but the server then
/// asks for something else.
fn next_factor(link: &Link, login: &str, method: &str, failed: Failed) -> Failed {
    let next = link.session().auth_methods(login);
    match (&failed, next) {
        (Failed::Wrong(_), Ok(next)) if !offers(next, method) => more(Class::Incompatible),
        _ => failed,
    }
}

fn offers(methods: &str, method: &str) -> bool {
    methods.split(',').any(|offered| offered == method)
}

fn more(class: Class) -> Failed {
    let text = match class {
        Class::Expired => "the password must be changed at the login",
        _ => "the system asks for more than one secret",
    };
    unjudged(class, text)
}

fn wrong() -> Failed {
    Failed::Wrong(Reason::account(
        Class::Denied,
        "the login was refused: wrong secret, locked or unknown account",
    ))
}

fn refused(error: &ssh2::Error) -> Failed {
    match code(error) {
        -18 => wrong(),
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

/// Answers the first hidden question with the password, and those for another password with the
/// one that is to follow, if there is one.
struct Dialogue<'a> {
    link: &'a Link,
    password: &'a Secret,
    new: Option<(&'a Secret, &'a Turn)>,
    is_first: bool,
    course: Course,
    failed: Option<Failed>,
}

impl<'a> Dialogue<'a> {
    fn new(link: &'a Link, password: &'a Secret, new: Option<(&'a Secret, &'a Turn)>) -> Self {
        Self {
            link,
            password,
            new,
            is_first: true,
            course: Course::default(),
            failed: None,
        }
    }

    fn entered(&self) -> Entered {
        if self.course.is_through() {
            Entered::Changed
        } else {
            Entered::AsBefore
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the dialogue asks for them")]
    fn answer(&mut self, prompt: &Prompt<'_>) -> String {
        if std::mem::take(&mut self.is_first) && !prompt.echo {
            return self.password.expose_secret().to_owned();
        }
        let step = self.course.step(&prompt.text);
        let Some((new, turn)) = self.new else {
            let class = match step {
                Step::Unknown => Class::Incompatible,
                _ => Class::Expired,
            };
            return self.stop(more(class));
        };
        match step {
            Step::Current => self.password.expose_secret().to_owned(),
            Step::New | Step::Again if turn.may_send() => new.expose_secret().to_owned(),
            Step::New | Step::Again => self.stop(unjudged(Class::Unreachable, "time was up")),
            Step::Repeated(reason) => self.stop(Failed::Unjudged(reason)),
            Step::Unknown => self.stop(more(Class::Incompatible)),
        }
    }

    /// Ends the connection: an empty answer would be tried as one.
    fn stop(&mut self, failed: Failed) -> String {
        self.failed.get_or_insert(failed);
        if self.new.is_some() {
            self.link.hang_up();
        }
        String::new()
    }
}

impl KeyboardInteractivePrompt for Dialogue<'_> {
    fn prompt(&mut self, _: &str, _: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        prompts.iter().map(|prompt| self.answer(prompt)).collect()
    }
}
