//! An account changes its own password: by `passwd` on a terminal, or on the way in, where the
//! system asks for another one at the login.
//!
//! Invariant: after a question that comes a second time nothing more is sent; until the new
//! password was typed twice nothing has changed.

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::link::Output;
use super::reply::{self, lost_answer};
use super::talk::{Say, Talk};
use crate::{Changed, Class, Reason, Secret};

/// The end of a line that is looked at; questions are shorter.
const QUESTION_MAX_BYTES: usize = 1_024;

/// What a question wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The password that is current.
    Current,
    /// The one that is to follow.
    New,
    /// The same again. After it the target may change.
    Again,
    /// Nothing: it came before, so what was sent was refused.
    Repeated(Reason),
    /// No question that is known here.
    Unknown,
}

/// How far a dialogue has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Course {
    has_current: bool,
    has_new: bool,
    has_again: bool,
}

impl Course {
    /// What this question wants, and notes that it gets it. Translated questions are not known.
    pub(super) fn step(&mut self, question: &str) -> Step {
        let text = question.trim().to_ascii_lowercase();
        let has = |words: [&str; 3]| words.iter().any(|word| text.contains(word));
        if !text.ends_with(':') || !text.contains("password") {
            return Step::Unknown;
        }
        if has(["retype", "re-enter", "again"]) {
            return match (self.has_new, std::mem::replace(&mut self.has_again, true)) {
                (true, false) => Step::Again,
                (false, _) => Step::Unknown,
                (true, true) => Step::Repeated(weak()),
            };
        }
        if has(["new password", "new unix", "new login"]) {
            return if std::mem::replace(&mut self.has_new, true) {
                Step::Repeated(weak())
            } else {
                Step::New
            };
        }
        if has(["current", "old password", "(current)"]) {
            return if self.has_new || std::mem::replace(&mut self.has_current, true) {
                Step::Repeated(wrong_current())
            } else {
                Step::Current
            };
        }
        Step::Unknown
    }

    /// Whether the new password was typed twice.
    pub(super) fn is_through(self) -> bool {
        self.has_again
    }
}

fn weak() -> Reason {
    Reason::account(
        Class::Refused,
        "the target's password rules refuse this password",
    )
}

fn wrong_current() -> Reason {
    Reason::account(
        Class::Denied,
        "the target does not take the account's current password",
    )
}

/// Speaks with `passwd`.
pub(super) struct Passwd {
    current: Secret,
    new: Secret,
    course: Course,
    stopped: Option<Reason>,
    /// What was heard before the last answer.
    answered_bytes: usize,
}

impl Passwd {
    pub(super) fn new(current: &Secret, new: &Secret) -> Self {
        Self {
            current: current.clone(),
            new: new.clone(),
            course: Course::default(),
            stopped: None,
            answered_bytes: 0,
        }
    }

    /// What became of the password. `sent`: it may have left.
    pub(super) fn verdict(self, output: &Output, nonce: &str, sent: bool) -> Changed {
        if let Some(reason) = self.stopped {
            return if reason.class == Class::Refused {
                Changed::Refused(reason)
            } else {
                Changed::NotNow(reason)
            };
        }
        judge(output, nonce, sent, self.course.is_through())
    }
}

#[expect(clippy::disallowed_methods, reason = "passwd asks for it")]
fn line(secret: &Secret) -> Zeroizing<Vec<u8>> {
    let secret = secret.expose_secret().as_bytes();
    let mut line = Zeroizing::new(Vec::with_capacity(secret.len() + 1));
    line.extend_from_slice(secret);
    line.push(b'\n');
    line
}

impl Talk for Passwd {
    fn next(&mut self, heard: &[u8]) -> Say {
        let fresh = heard.get(self.answered_bytes..).unwrap_or_default();
        // The end of it: a target that sends byte by byte must not have it all read each time.
        let before = fresh.len().saturating_sub(QUESTION_MAX_BYTES);
        let fresh = fresh.get(before..).unwrap_or_default();
        let ends = |byte: &u8| *byte == b'\n' || *byte == b'\r';
        let question = fresh.rsplit(ends).next().unwrap_or_default();
        let question = String::from_utf8_lossy(question);
        if !question.trim_end().ends_with(':') {
            return Say::Nothing;
        }
        let step = self.course.step(&question);
        if step != Step::Unknown {
            self.answered_bytes = heard.len();
        }
        match step {
            Step::Current => Say::Plain(line(&self.current)),
            Step::New | Step::Again => Say::Secret(line(&self.new)),
            Step::Repeated(reason) => {
                self.stopped = Some(reason);
                Say::HangUp
            }
            Step::Unknown => {
                // Nothing was changed, nobody will answer: no need to wait for the deadline.
                if !self.course.has_new {
                    let text = "the target asks in words that are not known here";
                    self.stopped = Some(Reason::account(Class::Incompatible, text));
                    return Say::HangUp;
                }
                Say::Nothing
            }
        }
    }
}

/// What `passwd` said in the end. `through`: the new password was typed twice.
fn judge(output: &Output, nonce: &str, sent: bool, through: bool) -> Changed {
    let text = output.text.to_ascii_lowercase();
    // A login that must change its password first gets passwd from the server itself, and no
    // sentinel. Status 0 may also mean that no status came.
    let status = reply::own_status(output, nonce).or(output.status.filter(|status| *status != 0));
    let is_content = text.contains("updated successfully") || text.contains("changed by");
    if through && sent && is_content && (status == Some(0) || output.status == Some(0)) {
        return Changed::Done;
    }
    if !sent {
        return Changed::NotNow(not_asked(&text, output));
    }
    let Some(status) = status.filter(|status| *status != 0) else {
        return lost_answer();
    };
    tracing::debug!(status, "passwd refused");
    if text.contains("already used") || text.contains("bad password") || text.contains("unchanged")
    {
        // By the rules for passwords, unless it says that something else was in the way.
        return if text.contains("already used") || text.contains("bad password") {
            Changed::Refused(weak())
        } else {
            let text = "the target could not set the password: full disk, read-only files, PAM";
            Changed::NotNow(Reason::account(Class::Busy, text))
        };
    }
    if through {
        lost_answer()
    } else {
        let text = "the target ended the dialogue before the password was typed twice";
        Changed::NotNow(Reason::account(Class::Busy, text))
    }
}

/// Why the new password was never asked for.
fn not_asked(text: &str, output: &Output) -> Reason {
    if text.contains("wait longer") || text.contains("must wait") {
        let text = "the password is too young to be changed by its owner";
        return Reason::account(Class::Refused, text);
    }
    if text.contains("authentication") || text.contains("token manipulation") {
        return wrong_current();
    }
    if text.contains("currently not available") || output.text.trim().is_empty() {
        let text = "the account's shell runs nothing: only a functional account can change it";
        return Reason::account(Class::Incompatible, text);
    }
    Reason::account(
        Class::Incompatible,
        "the target's passwd asks for no new password",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "00c0ffee00c0ffee";

    fn output(text: &str, status: Option<i32>) -> Output {
        Output::played(text, NONCE, status)
    }

    /// Plays what a terminal shows, piece by piece; returns what was said to each.
    fn play(pieces: &[&str]) -> (Passwd, Vec<String>) {
        let (current, new) = (Secret::from("Old-vLm9"), Secret::from("New-vLm9"));
        let mut talk = Passwd::new(&current, &new);
        let (mut heard, mut said) = (Vec::new(), Vec::new());
        for piece in pieces {
            heard.extend_from_slice(piece.as_bytes());
            said.push(match talk.next(&heard) {
                Say::Nothing => "-".into(),
                Say::Plain(bytes) => format!("plain {}", String::from_utf8_lossy(&bytes).trim()),
                Say::Secret(bytes) => format!("secret {}", String::from_utf8_lossy(&bytes).trim()),
                Say::Over => "over".into(),
                Say::HangUp => "hang up".into(),
            });
        }
        (talk, said)
    }

    fn verdict(pieces: &[&str], text: &str, status: Option<i32>, sent: bool) -> String {
        format!(
            "{:?}",
            play(pieces).0.verdict(&output(text, status), NONCE, sent)
        )
    }

    const ASKS: [&str; 5] = [
        "Changing password for kw_u0.\n",
        "Current ",
        "password: ",
        "\nNew password: ",
        "\nRetype new password: ",
    ];

    #[test]
    fn each_question_is_answered_once() {
        let (_, said) = play(&ASKS);
        let right = [
            "-",
            "-",
            "plain Old-vLm9",
            "secret New-vLm9",
            "secret New-vLm9",
        ];
        assert_eq!(said, right);
        let old = ["(current) UNIX password: ", "\nEnter new UNIX password: "];
        assert_eq!(play(&old).1, ["plain Old-vLm9", "secret New-vLm9"]);
    }

    #[test]
    fn a_question_that_comes_again_ends_the_dialogue() {
        let weak = [
            "Current password: ",
            "\nNew password: ",
            "\nBAD PASSWORD: it is too short\nNew password: ",
        ];
        assert_eq!(play(&weak).1.last().unwrap(), "hang up");
        assert!(verdict(&weak, "", None, true).starts_with("Refused"));
        let wrong = ["Current password: ", "\nCurrent password: "];
        assert_eq!(play(&wrong).1, ["plain Old-vLm9", "hang up"]);
        assert!(verdict(&wrong, "", None, false).starts_with("NotNow"));
    }

    #[test]
    fn a_translated_question_gets_nothing() {
        let german = [
            "Ändern des Passworts für kw_u0.\n",
            "Geben Sie das aktuelle Passwort ein: ",
        ];
        assert_eq!(play(&german).1, ["-", "hang up"]);
        assert!(verdict(&german, "", None, false).starts_with("NotNow"));
        let half = ["Current password: ", "\nNeues Passwort: "];
        assert_eq!(play(&half).1, ["plain Old-vLm9", "hang up"]);
    }

    #[test]
    fn done_needs_passwds_own_word_and_a_status() {
        let done = "passwd: password updated successfully\nKW#:0\n";
        assert_eq!(verdict(&ASKS, done, Some(0), true), "Done");
        let forced = "passwd: password updated successfully\n";
        assert_eq!(verdict(&ASKS, forced, Some(0), true), "Done");
        for (text, status) in [
            ("", Some(0)),
            ("", None),
            ("KW#:0\n", Some(0)),
            (forced, None),
        ] {
            let seen = verdict(&ASKS, text, status, true);
            assert!(seen.starts_with("Unknown"), "{text}: {seen}");
        }
        assert!(!verdict(&ASKS[..4], done, Some(0), true).starts_with("Done"));
    }

    #[test]
    fn a_refusal_is_proof_only_with_a_status() {
        let used = "Password has been already used. Choose another.\n\
                    passwd: password unchanged\nKW#:10\n";
        assert!(verdict(&ASKS, used, Some(0), true).starts_with("Refused"));
        let cut = "Password has been already used.";
        assert!(verdict(&ASKS, cut, None, true).starts_with("Unknown"));
        let young = "You must wait longer to change your password.\nKW#:10\n";
        let seen = verdict(&ASKS[..3], young, Some(0), false);
        assert!(
            seen.starts_with("NotNow") && seen.contains("Refused"),
            "{seen}"
        );
        let wrong = "passwd: Authentication token manipulation error\nKW#:10\n";
        assert!(verdict(&ASKS[..3], wrong, Some(0), false).contains("Denied"));
    }
}
