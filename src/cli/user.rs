//! `keywheel user`: for an administrator who is locked out.
//!
//! Invariant: the password comes from standard input, and is neither an argument nor shown.

use std::io::{self, BufRead, IsTerminal};

use clap::{Args, Subcommand};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::output::{print, say};
use super::{Exit, Globals, block_on, failed, load};
use crate::app::{self, ResetError};
use crate::clock::SystemClock;
use crate::generate::SystemDice;
use crate::vault::PASSWORD_MAX_BYTES;

/// Let a locked-out administrator in again
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel user reset-admin")]
pub(super) struct User {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set an administrator's password, read from standard input, and forget their second factor
    ///
    /// The first line of standard input is the password; a terminal is asked for it without showing
    /// it. The service must be stopped if its database is a file.
    #[command(after_help = "Example:\n  keywheel user reset-admin --name admin")]
    ResetAdmin {
        /// Sign-in name
        #[arg(long, value_name = "NAME", default_value = app::ADMINISTRATOR)]
        name: String,
    },
}

impl User {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let What::ResetAdmin { name } = self.what;
        let settings = load(&globals.inputs(Vec::new()))?.settings;
        let password = read().map_err(|error| {
            say(&format!("no password could be read: {error}"));
            Exit::Failed
        })?;
        let done = block_on(async {
            let clock = SystemClock::shared();
            app::reset_administrator(&settings, (&name, &password), &clock, &SystemDice).await
        })?;
        match done {
            Ok(()) => print(&format!(
                "{name} signs in with the new password, and without a second factor"
            )),
            Err(ResetError::App(error)) => Err(failed(&error)),
            Err(error) => {
                say(&error.to_string());
                Err(Exit::Failed)
            }
        }
    }
}

/// The first line of standard input.
fn read() -> io::Result<SecretString> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(stdin.lock());
    }
    say("New password:");
    let hidden = Hidden::begin()?;
    let password = line(stdin.lock());
    drop(hidden);
    password
}

fn line(from: impl BufRead) -> io::Result<SecretString> {
    // Room for all of it, so that it never grows: a buffer that grows leaves its old bytes behind.
    let room = PASSWORD_MAX_BYTES + 3;
    let mut text = Zeroizing::new(String::with_capacity(room));
    let most = u64::try_from(room).unwrap_or(u64::MAX);
    from.take(most).read_line(&mut text)?;
    let line = text.trim_end_matches(['\r', '\n']);
    Ok(SecretString::from(line))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        hidden.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0) {
            say(&format!(
                "the terminal still hides what is typed: {error}; run `reset`"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_first_line_is_the_password_as_it_stands() {
        for (input, password) in [
            ("correct horse\n", "correct horse"),
            (" two \r\nnext", " two "),
            ("no end", "no end"),
            ("", ""),
        ] {
            #[expect(clippy::disallowed_methods, reason = "made-up passwords are compared")]
            let read = line(input.as_bytes()).unwrap().expose_secret().to_owned();
            assert_eq!(read, password);
        }
        let long = "x".repeat(2_000);
        #[expect(clippy::disallowed_methods, reason = "a made-up password is measured")]
        let read = line(long.as_bytes()).unwrap().expose_secret().len();
        assert!(read > PASSWORD_MAX_BYTES, "too long stays too long: {read}");
    }
}
