//! How a functional account raises its rights.
//!
//! `sudo` may ask for the functional account's own password. The others must not ask: `doas`
//! reads from a terminal only, `pbrun` and `pmrun` ask as their policy says.
//!
//! Invariant: a password for rights is sent only to the question that was drawn for it.

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::talk::{Answer, Asked};
use crate::{Class, Credential, Elevation, Functional, Reason};

/// How rights are raised in one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) elevation: Elevation,
    /// True: `sudo` asks for the functional account's password.
    pub(super) asks: bool,
}

impl Way {
    /// The way of an account that has its rights already.
    pub(super) const NONE: Self = Self {
        elevation: Elevation::None,
        asks: false,
    };

    /// Raises rights without a question.
    pub(super) const fn silent(elevation: Elevation) -> Self {
        Self {
            elevation,
            asks: false,
        }
    }

    /// What stands before a command that needs rights.
    pub(super) fn prefix(self) -> &'static str {
        match (self.elevation, self.asks) {
            (Elevation::None, _) => "",
            // $k is the question; a password that sudo remembers must not spare it.
            (Elevation::Sudo, true) => "sudo -k -S -p \"$k\" ",
            (Elevation::Sudo, false) => "sudo -n ",
            (Elevation::Doas, _) => "doas -n ",
            (Elevation::Pbrun, _) => "pbrun ",
            (Elevation::Pmrun, _) => "pmrun ",
        }
    }

    /// Sets `$k`, if the prefix needs it. The question does not stand in the command itself.
    pub(super) fn preamble(self, nonce: &str) -> String {
        if self.asks {
            // With a line break, so that what follows stands on a line of its own.
            format!("k=$(printf \"KW%s-SUDO:\\n.\" {nonce}); k=${{k%.}}; ")
        } else {
            String::new()
        }
    }

    /// Finds out that `sudo` takes the password, before anything else stands on the input: what
    /// it reads after a wrong one it would try as the next. Prints `KW:begin`.
    pub(super) fn check(self) -> String {
        if self.asks {
            format!("{}-l >/dev/null || exit 3; echo KW:begin; ", self.prefix())
        } else {
            String::new()
        }
    }

    /// The answer to that question, and `after` it what the raised program reads first.
    #[expect(
        clippy::disallowed_methods,
        reason = "sudo asks for the functional password"
    )]
    pub(super) fn asked(
        self,
        nonce: &str,
        functional: &Functional,
        after: &str,
        times: usize,
    ) -> Asked {
        let password = match &functional.credential {
            Credential::Password(password) if self.asks => password.expose_secret(),
            Credential::Password(_) | Credential::Key(_) => return Asked::new(None),
        };
        // Reserved first: a buffer that grows leaves copies behind.
        let mut line = Zeroizing::new(String::with_capacity(password.len() + 1));
        line.push_str(password);
        line.push('\n');
        Asked::new(Some(Answer {
            prompt: format!("KW{nonce}-SUDO:"),
            line,
            after: after.to_owned(),
            times,
        }))
    }
}

/// The account may not do what was asked, by the elevating program's own words (under
/// `LC_ALL=C`).
pub(super) fn says_no(text: &str) -> bool {
    const WORDS: [&str; 13] = [
        "sudo: a password is required",
        "sudo: a terminal is required",
        "is not allowed to execute",
        "may not run sudo",
        "is not in the sudoers file",
        "incorrect password attempt",
        "Sorry, try again",
        "doas: Operation not permitted",
        "doas: Authorization required",
        "doas: Authentication failed",
        "Request rejected by p",
        "doas: a tty is required",
        "doas: doas is not enabled",
    ];
    WORDS.iter().any(|words| text.contains(words))
}

/// Why nothing can be changed without more rights.
pub(super) fn privilege() -> Reason {
    let text = "the functional account may set no passwords: allow it /usr/sbin/chpasswd or \
                keywheel-passwd by the elevation command of this system";
    Reason::system(Class::Privilege, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sudo_that_asks_needs_a_question() {
        for elevation in [
            Elevation::None,
            Elevation::Sudo,
            Elevation::Doas,
            Elevation::Pbrun,
            Elevation::Pmrun,
        ] {
            let way = Way::silent(elevation);
            assert!(!way.prefix().contains("$k"), "{way:?}");
            assert_eq!(way.preamble("1"), "", "{way:?}");
        }
        let asks = Way {
            elevation: Elevation::Sudo,
            asks: true,
        };
        assert!(asks.prefix().contains("$k"));
        assert!(!asks.preamble("1").contains("KW1-SUDO:"));
    }
}
