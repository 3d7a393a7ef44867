//! What is said to a command, and when.
//!
//! Invariant: what belongs to one program is not sent before that program has asked for it, so
//! that no other one reads it.

use zeroize::Zeroizing;

/// What to do after all that was heard so far.
pub(super) enum Say {
    /// Listen on.
    Nothing,
    /// Send this; it changes nothing on the target.
    Plain(Zeroizing<Vec<u8>>),
    /// Send this; from its first byte on the target may change.
    Secret(Zeroizing<Vec<u8>>),
    /// Nothing more will be said.
    Over,
    /// End the connection at once.
    HangUp,
}

/// One side of a conversation with a command: ours.
pub(super) trait Talk: Send {
    /// Says what to do, after all that was `heard` since the command began.
    ///
    /// Asked again after each answer but [`Say::Nothing`], [`Say::Over`] and [`Say::HangUp`].
    fn next(&mut self, heard: &[u8]) -> Say;
}

/// The answer to a question for a password by which rights are raised.
pub(super) struct Answer {
    /// The question, drawn for this exchange alone.
    pub(super) prompt: String,
    /// The password and a line break.
    pub(super) line: Zeroizing<String>,
    /// What the raised program reads first. Sent along once `KW:begin` has shown that the
    /// password is right: `sudo` would try it as the next one.
    pub(super) after: String,
    /// How often the question may come; once more means that the password is wrong.
    pub(super) times: usize,
}

/// Answers [`Answer::prompt`] and nothing else.
pub(super) struct Asked {
    answer: Option<Answer>,
    given: usize,
    prompts: Sought,
    complaints: Sought,
    begun: Line,
}

impl Asked {
    pub(super) fn new(answer: Option<Answer>) -> Self {
        Self {
            answer,
            given: 0,
            prompts: Sought::default(),
            complaints: Sought::default(),
            begun: Line::default(),
        }
    }

    /// What to say to a question that came; `None`: none came.
    pub(super) fn next(&mut self, heard: &[u8]) -> Option<Say> {
        let answer = self.answer.as_ref()?;
        if self.prompts.count(heard, answer.prompt.as_bytes()) <= self.given {
            return None;
        }
        // A second try of a wrong password would only count against the account. That the input
        // ends counts as one already.
        if self.given == answer.times || self.complaints.count(heard, b"try again") > 0 {
            return Some(Say::HangUp);
        }
        self.given += 1;
        let after = if self.begun.came(heard, b"KW:begin") {
            answer.after.as_bytes()
        } else {
            b""
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(answer.line.len() + after.len()));
        bytes.extend_from_slice(answer.line.as_bytes());
        bytes.extend_from_slice(after);
        Some(Say::Plain(bytes))
    }

    /// Whether a question may still come.
    fn may_come(&self) -> bool {
        let left = |answer: &Answer| self.given < answer.times;
        self.answer.as_ref().is_some_and(left)
    }
}

/// Says a head at once, or after `KW:begin` where `sudo` asks; and a tail after `KW:ready`.
pub(super) struct Lines {
    head: Option<String>,
    tail: Option<Zeroizing<String>>,
    asked: Asked,
    begun: Line,
    ready: Line,
}

impl Lines {
    /// `tail`: a secret, if there is one.
    pub(super) fn new(head: String, tail: Option<Zeroizing<String>>, asked: Asked) -> Self {
        Self {
            head: Some(head).filter(|head| !head.is_empty()),
            tail,
            asked,
            begun: Line::default(),
            ready: Line::default(),
        }
    }
}

impl Talk for Lines {
    fn next(&mut self, heard: &[u8]) -> Say {
        let may_begin = self.asked.answer.is_none() || self.begun.came(heard, b"KW:begin");
        if may_begin && let Some(head) = self.head.take() {
            return Say::Plain(Zeroizing::new(head.into_bytes()));
        }
        if let Some(say) = self.asked.next(heard) {
            return say;
        }
        if let Some(tail) = &self.tail {
            if !self.ready.came(heard, b"KW:ready") {
                return Say::Nothing;
            }
            let secret = Zeroizing::new(tail.as_bytes().to_vec());
            self.tail = None;
            return Say::Secret(secret);
        }
        if self.asked.may_come() {
            Say::Nothing
        } else {
            Say::Over
        }
    }
}

/// Looks for one line in what is heard. Each byte is looked at once, however small the pieces are
/// in which a target sends it.
#[derive(Default)]
pub(super) struct Line {
    /// Where the line begins that has not come whole.
    begin: usize,
    /// How much was looked at.
    seen: usize,
    came: bool,
}

impl Line {
    /// Whether this line came whole; asked of the same line, while what was heard grows.
    pub(super) fn came(&mut self, heard: &[u8], wanted: &[u8]) -> bool {
        let fresh = heard.get(self.seen..).unwrap_or_default();
        for end in fresh.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            let end = self.seen + end.0;
            self.came |= heard.get(self.begin..end) == Some(wanted);
            self.begin = end + 1;
        }
        self.seen = heard.len();
        self.came
    }
}

/// Looks for a text in what is heard, likewise.
#[derive(Default)]
pub(super) struct Sought {
    /// At how many places it was looked for.
    seen: usize,
    count: usize,
    first: Option<usize>,
}

impl Sought {
    /// How often the text has come; asked of the same text, while what was heard grows.
    fn count(&mut self, heard: &[u8], wanted: &[u8]) -> usize {
        let fresh = heard.get(self.seen..).unwrap_or_default();
        let size = wanted.len().max(1);
        for (at, _) in fresh
            .windows(size)
            .enumerate()
            .filter(|(_, window)| *window == wanted)
        {
            self.first = self.first.or(Some(self.seen + at));
            self.count += 1;
        }
        self.seen = self.seen.max((heard.len() + 1).saturating_sub(size));
        self.count
    }

    /// Where it came first.
    pub(super) fn first(&mut self, heard: &[u8], wanted: &[u8]) -> Option<usize> {
        self.count(heard, wanted);
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(say: &Say) -> String {
        match say {
            Say::Nothing => "-".into(),
            Say::Plain(bytes) => format!("plain {}", String::from_utf8_lossy(bytes)),
            Say::Secret(bytes) => format!("secret {}", String::from_utf8_lossy(bytes)),
            Say::Over => "over".into(),
            Say::HangUp => "hang up".into(),
        }
    }

    fn answer(times: usize) -> Asked {
        Asked::new(Some(Answer {
            prompt: "KW1-SUDO:".into(),
            line: Zeroizing::new("right\n".into()),
            after: "read\n".into(),
            times,
        }))
    }

    #[test]
    fn a_secret_waits_for_the_whole_word() {
        let tail = Some(Zeroizing::new("secret\nKW-END\n".to_owned()));
        let mut talk = Lines::new("name\n".into(), tail, Asked::new(None));
        assert_eq!(said(&talk.next(b"")), "plain name\n");
        let mut heard = Vec::new();
        for piece in ["xKW:ready\n", "KW:readyx\n", "noise", "\n", "KW:re", "ady"] {
            heard.extend_from_slice(piece.as_bytes());
            assert_eq!(said(&talk.next(&heard)), "-", "{piece:?}");
        }
        heard.push(b'\n');
        assert_eq!(said(&talk.next(&heard)), "secret secret\nKW-END\n");
        assert_eq!(said(&talk.next(&heard)), "over");
    }

    #[test]
    fn a_password_for_rights_is_sent_only_to_its_own_question() {
        let mut talk = Lines::new(String::new(), None, answer(1));
        let mut heard = Vec::new();
        for piece in ["Password: ", "KW2-SUDO:", "KW1-SU"] {
            heard.extend_from_slice(piece.as_bytes());
            assert_eq!(said(&talk.next(&heard)), "-", "{piece}");
        }
        heard.extend_from_slice(b"DO:");
        assert_eq!(said(&talk.next(&heard)), "plain right\n");
        assert_eq!(said(&talk.next(&heard)), "over");
        // Asked again, it was wrong; more tries would lock somebody out.
        heard.extend_from_slice(b"\nSorry, try again.\nKW1-SUDO:");
        assert_eq!(said(&talk.next(&heard)), "hang up");
    }

    #[test]
    fn nothing_that_sudo_could_try_as_a_password_comes_before_its_own() {
        let mut talk = Lines::new("name\n".into(), None, answer(2));
        assert_eq!(said(&talk.next(b"")), "-");
        assert_eq!(said(&talk.next(b"KW1-SUDO:\n")), "plain right\n");
        assert_eq!(said(&talk.next(b"KW1-SUDO:\n")), "-");
        let begun = b"KW1-SUDO:\nKW:begin\n";
        assert_eq!(said(&talk.next(begun)), "plain name\n");
        assert_eq!(said(&talk.next(begun)), "-");
        let asked = b"KW1-SUDO:\nKW:begin\nKW1-SUDO:\n";
        assert_eq!(said(&talk.next(asked)), "plain right\nread\n");
        assert_eq!(said(&talk.next(asked)), "over");
    }
}
