//! Changes an account's `authorized_keys`: what is said to the script on the target, and what its
//! answer proves.
//!
//! The script stands in `config/targets/keywheel-keys`, its protocol in the script's head. It is
//! sent along, or it is installed on the target.
//!
//! Invariant: a change counts as done only when the file that the target shows afterwards says
//! so.

use zeroize::Zeroizing;

use super::authorized::{Edit, blob, edited, holds};
use super::elevate::says_no;
use super::link::Output;
use super::reply;
use super::talk::{Asked, Line, Say, Sought, Talk};
use crate::{Account, Changed, Class, Evidence, KeyPair, Reason};

/// The script, as it is installed.
const SCRIPT: &str = include_str!("../../../config/targets/keywheel-keys");

/// The largest file that is changed: some thousand keys.
const FILE_MAX_BYTES: usize = 524_288;

/// The most that the script may print: the file, the same as it is then, and words.
pub(super) const OUTPUT_MAX_BYTES: usize = 2 * FILE_MAX_BYTES + 16_384;

/// The longest length of a file, as it is written.
const LENGTH_MAX_DIGITS: usize = 20;

/// What is asked of the script.
#[derive(Clone)]
pub(super) enum Wish {
    Add {
        new: KeyPair,
        current: Option<KeyPair>,
    },
    Remove {
        old: KeyPair,
    },
    Look,
}

impl Wish {
    fn edit(&self) -> Option<Edit<'_>> {
        match self {
            Self::Add { new, current } => Some(Edit::Add {
                new,
                current: current.as_ref(),
            }),
            Self::Remove { old } => Some(Edit::Remove { old }),
            Self::Look => None,
        }
    }

    /// Whether the file is as it was wished.
    fn is_met(&self, file: &[u8]) -> bool {
        match self {
            Self::Add { new, .. } => holds(file, new),
            Self::Remove { old } => !holds(file, old),
            Self::Look => true,
        }
    }
}

/// Speaks with the script.
pub(super) struct Keys {
    nonce: String,
    /// The script's own sentinel, unlike the command's.
    mark: String,
    wish: Wish,
    /// What is still to be said, in this order.
    script: Option<String>,
    request: Option<String>,
    asked: Asked,
    /// True: the account itself is logged in.
    is_own: bool,
    is_over: bool,
    begun: Line,
    file: Sought,
    ready: Line,
}

impl Keys {
    /// `account`: whose file. `elsewhere`: keys that must not stand in a second file.
    pub(super) fn new(
        nonce: &str,
        account: &Account,
        is_dropbear: bool,
        elsewhere: &[&KeyPair],
        wish: Wish,
        asked: Asked,
    ) -> Self {
        let verb = if matches!(wish, Wish::Look) {
            "read"
        } else {
            "edit"
        };
        let server = if is_dropbear { "other" } else { "openssh" };
        let blobs: Vec<&str> = elsewhere.iter().map(|pair| blob(pair)).collect();
        let mark = format!("{nonce}f");
        let request = format!(
            "{verb}\n{}\n{mark}\n{server}\n{}\n",
            account.login,
            blobs.join(" ")
        );
        Self {
            nonce: nonce.to_owned(),
            mark,
            wish,
            script: Some(sent_script()),
            request: Some(request),
            asked,
            is_own: account.uses_own,
            is_over: false,
            begun: Line::default(),
            file: Sought::default(),
            ready: Line::default(),
        }
    }

    /// What stands before a file that is shown.
    fn label(&self, name: &str) -> String {
        format!("KW{}:{name}:", self.mark)
    }

    /// The file as it was shown, and all that came after it.
    fn shown<'a>(&self, heard: &'a [u8], name: &str) -> Option<(&'a [u8], &'a [u8])> {
        let label = self.label(name);
        let at = Sought::default().first(heard, label.as_bytes())?;
        shown_behind(heard.get(at + label.len()..)?)
    }

    /// What became of a change. `sent`: the file may have been changed.
    pub(super) fn changed(&self, output: &Output, sent: bool) -> Changed {
        let is_whole = reply::ended_well(output, &self.nonce);
        let Some((_, after)) = self.shown(&output.bytes, "file") else {
            return self.not_begun(output, is_whole);
        };
        if let Some((now, _)) = self.shown(after, "now")
            && self.wish.is_met(now)
        {
            // The file itself is the proof; how the command ended adds nothing to it.
            return Changed::Done;
        }
        // What follows the old file is the script's alone.
        let said = lossy(after);
        if is_whole && let Some(reason) = refused(&said) {
            return Changed::NotNow(reason);
        }
        if !sent {
            let text = "the target's answer was lost before anything was changed";
            return Changed::NotNow(Reason::account(Class::Unreachable, text));
        }
        reply::lost_answer()
    }

    /// Which of the two the file holds; both, while the new one is proven.
    pub(super) fn evidence(
        &self,
        output: &Output,
        candidate: &KeyPair,
        current: Option<&KeyPair>,
    ) -> Result<Evidence, Reason> {
        let is_whole = reply::ended_well(output, &self.nonce);
        let Some((file, _)) = self.shown(&output.bytes, "file").filter(|_| is_whole) else {
            return Err(match self.not_begun(output, is_whole) {
                Changed::NotNow(reason) | Changed::Refused(reason) | Changed::Unknown(reason) => {
                    reason
                }
                Changed::Done => Reason::account(Class::Incompatible, "no such answer"),
            });
        };
        Ok(if holds(file, candidate) {
            Evidence::Candidate
        } else if current.is_some_and(|current| holds(file, current)) {
            Evidence::Current
        } else {
            Evidence::Neither
        })
    }

    /// What became of a change whose file was never shown: nothing.
    fn not_begun(&self, output: &Output, is_whole: bool) -> Changed {
        let said = |word: &str| output.text.lines().any(|line| line == word);
        if is_whole && said("KW:no-account") {
            let text = "the target has no such account";
            return Changed::Refused(Reason::account(Class::NoAccount, text));
        }
        let reason = refused(&output.text).filter(|_| is_whole);
        Changed::NotNow(reason.unwrap_or_else(|| self.silence(output)))
    }

    /// Why the script said nothing that is known.
    fn silence(&self, output: &Output) -> Reason {
        if !self.is_own {
            if says_no(&output.text) {
                let text = "the functional account may set no keys: allow it keywheel-keys or sh \
                            by the elevation command of this system";
                return Reason::account(Class::Privilege, text);
            }
            return reply::not_begun(output);
        }
        if reply::wants_new_password(&output.text) {
            let text = "the account's password must be changed before anything else";
            return Reason::account(Class::Expired, text);
        }
        let text = "the account's shell runs nothing: only a functional account can change it";
        Reason::account(Class::Incompatible, text)
    }
}

impl Talk for Keys {
    fn next(&mut self, heard: &[u8]) -> Say {
        if let Some(script) = self.script.take() {
            return Say::Plain(Zeroizing::new(script.into_bytes()));
        }
        if let Some(say) = self.asked.next(heard) {
            return say;
        }
        if self.request.is_some() && self.begun.came(heard, b"KW:begin") {
            let request = self.request.take().unwrap_or_default();
            return Say::Plain(Zeroizing::new(request.into_bytes()));
        }
        if self.is_over || self.request.is_some() {
            return Say::Nothing;
        }
        let label = self.label("file");
        let at = self.file.first(heard, label.as_bytes());
        let shown = at.and_then(|at| shown_behind(heard.get(at + label.len()..)?));
        let Some((file, after)) = shown else {
            return Say::Nothing;
        };
        let Some(edit) = self.wish.edit() else {
            self.is_over = true;
            return Say::Over;
        };
        if !self.ready.came(after, b"KW:ready") {
            return Say::Nothing;
        }
        self.is_over = true;
        let Some(new) = edited(file, &edit).filter(|new| new.len() <= FILE_MAX_BYTES) else {
            return Say::Plain(Zeroizing::new(b"-\n".to_vec()));
        };
        let mut message = format!("{}\n", new.len()).into_bytes();
        message.extend_from_slice(&new);
        Say::Secret(Zeroizing::new(message))
    }
}

/// A file behind its label: its length, a line break, and so many bytes.
fn shown_behind(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut digits = rest.iter().take(LENGTH_MAX_DIGITS + 1);
    let end = digits.position(|byte| *byte == b'\n')?;
    let bytes: usize = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
    let rest = rest.get(end + 1..)?;
    Some((rest.get(..bytes)?, rest.get(bytes..)?))
}

/// The script without its comments, and the line that ends it.
fn sent_script() -> String {
    let lines = SCRIPT
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.is_empty());
    let mut sent: String = lines.flat_map(|line| [line, "\n"]).collect();
    sent.push_str("KW-RUN\n");
    sent
}

fn lossy(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(String::from_utf8_lossy(bytes).into_owned())
}

/// What the script says instead of changing anything.
fn refused(said: &str) -> Option<Reason> {
    let words = [
        (
            "KW:not-listed",
            Class::Privilege,
            "the target's /etc/keywheel/accounts does not list it",
        ),
        ("KW:busy", Class::Busy, "the target's key file is busy"),
        (
            "KW:truncated",
            Class::Busy,
            "the key did not arrive whole; nothing was changed",
        ),
        (
            "KW:symlink",
            Class::Incompatible,
            "the account's .ssh or authorized_keys is a symbolic link; it is not followed",
        ),
        (
            "KW:not-plain",
            Class::Incompatible,
            "the account's authorized_keys is no plain file",
        ),
        (
            "KW:owner",
            Class::Incompatible,
            "the account's key file or its directory belongs to somebody else, or others may \
             write there: its owner, group and mode could not be kept",
        ),
        (
            "KW:files",
            Class::Incompatible,
            "the target's AuthorizedKeysFile names none or several files; it must name one",
        ),
        (
            "KW:second",
            Class::Incompatible,
            "the key stands in authorized_keys2; move it to authorized_keys",
        ),
        (
            "KW:no-runuser",
            Class::Incompatible,
            "the target has no runuser",
        ),
        (
            "KW:unchanged",
            Class::Busy,
            "the target could not write the key file: full disk, read-only files, no home",
        ),
        (
            "KW:kept",
            Class::Incompatible,
            "the account's key file is too large to be changed",
        ),
    ];
    let is_said = |word: &str| said.lines().any(|line| line == word);
    words
        .into_iter()
        .find(|(word, ..)| is_said(word))
        .map(|(_, class, text)| Reason::account(class, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Login, Secret};

    const NONCE: &str = "00c0ffee00c0ffee";

    fn pair(letter: char) -> KeyPair {
        KeyPair {
            private: Secret::from("-"),
            public: format!("ssh-ed25519 {}", letter.to_string().repeat(8)),
            marker: "keywheel:7:1".into(),
        }
    }

    fn talk() -> Keys {
        let (new, current) = (pair('N'), None);
        let wish = Wish::Add { new, current };
        let account = Account::named(Login::parse("kw_u0").unwrap(), None);
        Keys::new(NONCE, &account, false, &[], wish, Asked::new(None))
    }

    fn output(text: &str, status: Option<i32>) -> Output {
        Output::played(text, NONCE, status)
    }

    fn changed(text: &str, status: Option<i32>) -> Changed {
        talk().changed(&output(text, status), true)
    }

    const LINE: &str = "ssh-ed25519 NNNNNNNN keywheel:7:1\n";

    #[test]
    fn the_script_that_is_sent_is_the_one_that_is_installed() {
        let sent = sent_script();
        assert!(sent.ends_with("\nKW-RUN\n"));
        assert!(!sent.contains("# "), "{sent}");
        assert_eq!(sent.matches("KW-RUN").count(), 1);
        assert!(sent.len() < 8_192, "{}", sent.len());
    }

    #[test]
    fn only_the_file_itself_proves_a_change() {
        let shown = format!("KW#f:file:0\n\nKW:ready\nKW#f:now:{}\n{LINE}\n", LINE.len());
        assert_eq!(
            changed(&format!("{shown}KW:set\nKW#:0\n"), Some(0)),
            Changed::Done
        );
        assert_eq!(changed(&shown, None), Changed::Done);
        for text in [
            "KW#f:file:0\n\nKW:ready\nKW:set\nKW#:0\n".to_owned(),
            format!(
                "KW#f:file:0\n\nKW:ready\nKW#f:now:{}\n{LINE}",
                LINE.len() + 9
            ),
            "KW#f:file:0\n\nKW:ready\nKW#f:now:0\n\nKW:set\nKW#:0\n".to_owned(),
        ] {
            let seen = changed(&text, Some(0));
            assert!(matches!(seen, Changed::Unknown(_)), "{text}: {seen:?}");
        }
    }

    #[test]
    fn what_stands_in_the_file_is_no_answer() {
        let file = "KW:kept\nKW:symlink\nKWother:now:3\nKW:set\n";
        let text = format!("KW#f:file:{}\n{file}\nKW:ready\n", file.len());
        assert!(matches!(changed(&text, Some(0)), Changed::Unknown(_)));
        let early = format!("KW:begin\nKW#f:file:{}\n{file}KW:ready\n", file.len() + 30);
        let mut talk = talk();
        talk.next(b"");
        assert!(matches!(talk.next(b"KW:begin\n"), Say::Plain(_)));
        let early = output(&early, None);
        assert!(matches!(talk.next(&early.bytes), Say::Nothing));
    }

    #[test]
    fn a_refusal_before_the_file_changes_nothing() {
        for word in ["symlink", "owner", "files", "second", "not-listed"] {
            let seen = changed(&format!("KW:begin\nKW:{word}\nKW#:9\n"), Some(0));
            assert!(matches!(seen, Changed::NotNow(_)), "{word}: {seen:?}");
        }
        let seen = changed("KW:begin\nKW:no-account\nKW#:8\n", Some(0));
        assert!(matches!(seen, Changed::Refused(_)), "{seen:?}");
        let full = "KW#f:file:0\n\nKW:ready\nKW:unchanged\nKW#:7\n";
        assert!(matches!(changed(full, Some(0)), Changed::NotNow(_)));
    }
}
