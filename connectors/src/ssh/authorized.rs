//! What stands in an `authorized_keys` file, and what it becomes.
//!
//! Invariant: a line whose key is not the one that is added or removed stays as it is, byte for
//! byte.

use crate::KeyPair;
use crate::credential::is_key_type;

/// What is to become of a file.
#[derive(Debug)]
pub(super) enum Edit<'a> {
    /// One line more, with the options of the current key's line.
    Add {
        new: &'a KeyPair,
        current: Option<&'a KeyPair>,
    },
    /// Every line of this key less.
    Remove { old: &'a KeyPair },
}

/// The base64 of a key's public half.
pub(super) fn blob(pair: &KeyPair) -> &str {
    pair.public.split(' ').nth(1).unwrap_or_default()
}

/// Whether some line lets this key in.
pub(super) fn holds(file: &[u8], pair: &KeyPair) -> bool {
    keys(file).any(|(_, key)| key.blob == blob(pair).as_bytes())
}

/// The file as it is to become; `None`: it is so already.
pub(super) fn edited(file: &[u8], edit: &Edit<'_>) -> Option<Vec<u8>> {
    match edit {
        Edit::Add { new, .. } if holds(file, new) => None,
        Edit::Add { new, current } => {
            let of_current = |pair: &KeyPair| {
                let is_its = |key: &Key<'_>| key.blob == blob(pair).as_bytes();
                let mut found = keys(file).filter(|(_, key)| is_its(key));
                found.next().map(|(_, key)| key.options.to_vec())
            };
            let options = current.and_then(of_current).unwrap_or_default();
            let mut edited = file.to_vec();
            if edited.last().is_some_and(|last| *last != b'\n') {
                edited.push(b'\n');
            }
            if !options.is_empty() {
                edited.extend_from_slice(&options);
                edited.push(b' ');
            }
            edited.extend_from_slice(format!("{} {}\n", new.public, new.marker).as_bytes());
            Some(edited)
        }
        Edit::Remove { old } if !holds(file, old) => None,
        Edit::Remove { old } => {
            let is_old =
                |line: &[u8]| key(line).is_some_and(|key| key.blob == blob(old).as_bytes());
            let kept = lines(file).filter(|line| !is_old(line));
            Some(kept.flatten().copied().collect())
        }
    }
}

/// A line that lets a key in.
#[derive(Debug, PartialEq, Eq)]
struct Key<'a> {
    /// What stands before the algorithm.
    options: &'a [u8],
    blob: &'a [u8],
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|byte| *byte == b'\n')
}

fn keys(file: &[u8]) -> impl Iterator<Item = (&[u8], Key<'_>)> {
    lines(file).filter_map(|line| Some((line, key(line)?)))
}

/// Reads a line as sshd does (`sshd(8)`, `AUTHORIZED_KEYS FILE FORMAT`).
fn key(line: &[u8]) -> Option<Key<'_>> {
    let line = line.trim_ascii();
    if line.first().is_none_or(|first| *first == b'#') {
        return None;
    }
    let (options, rest) = match line.iter().position(|byte| is_blank(*byte)) {
        Some(end) if is_key_type(line.get(..end)?) => (&[][..], line),
        _ => {
            let end = options_end(line);
            (line.get(..end)?, line.get(end..)?)
        }
    };
    let mut words = rest
        .split(|byte| is_blank(*byte))
        .filter(|word| !word.is_empty());
    let kind = words.next()?;
    let blob = words.next()?;
    is_key_type(kind).then_some(Key { options, blob })
}

/// Where the options end: at the first blank outside of quotes.
fn options_end(line: &[u8]) -> usize {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            b'"' if !is_escaped => is_quoted = !is_quoted,
            byte if is_blank(*byte) && !is_quoted => return at,
            _ => {}
        }
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    line.len()
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn pair(letter: char) -> KeyPair {
        KeyPair {
            private: Secret::from("-"),
            public: format!("ssh-ed25519 {}", letter.to_string().repeat(8)),
            marker: format!("keywheel:7:{letter}"),
        }
    }

    fn text(edited: Option<Vec<u8>>) -> String {
        String::from_utf8_lossy(&edited.expect("changed")).into_owned()
    }

    #[test]
    fn a_key_joins_the_lines_that_are_there() {
        let (new, current) = (pair('N'), pair('C'));
        let add = Edit::Add {
            new: &new,
            current: Some(&current),
        };
        let line = "ssh-ed25519 NNNNNNNN keywheel:7:N\n";
        assert_eq!(text(edited(b"", &add)), line);
        for (before, joined) in [
            ("# mine\n\n", format!("# mine\n\n{line}")),
            ("ssh-rsa AAAA me", format!("ssh-rsa AAAA me\n{line}")),
            (
                "\r\nssh-rsa AAAA me\r\n",
                format!("\r\nssh-rsa AAAA me\r\n{line}"),
            ),
        ] {
            assert_eq!(text(edited(before.as_bytes(), &add)), joined);
        }
        assert_eq!(edited(line.as_bytes(), &add), None, "once is enough");
    }

    #[test]
    fn a_new_line_has_the_options_of_the_current_one() {
        let (new, current) = (pair('N'), pair('C'));
        let add = Edit::Add {
            new: &new,
            current: Some(&current),
        };
        for options in [
            "no-pty",
            "from=\"10.0.0.0/8\",command=\"echo \\\"a b\\\" # ssh-ed25519 CCCCCCCC\"",
            "restrict,environment=\"A=b c\"",
        ] {
            let file = format!("ssh-rsa AAAA x\n{options} ssh-ed25519 CCCCCCCC c\n");
            let line = format!("{file}{options} ssh-ed25519 NNNNNNNN keywheel:7:N\n");
            assert_eq!(text(edited(file.as_bytes(), &add)), line);
        }
    }

    #[test]
    fn only_lines_of_the_old_key_go() {
        let old = pair('C');
        let foreign = [
            "ssh-rsa CCCCCCCCC almost\n",
            "# ssh-ed25519 CCCCCCCC off\n",
            "command=\"x ssh-ed25519 CCCCCCCC y\" ssh-rsa AAAA me\n",
            "ssh-rsa AAAA ssh-ed25519 CCCCCCCC in a comment\n",
            "  \t\n",
            "\u{fffd} no key at all\n",
        ];
        let ours = [
            "ssh-ed25519 CCCCCCCC keywheel:7:C\n",
            "  no-pty\tssh-ed25519\tCCCCCCCC\n",
            "command=\"a b\" ssh-ed25519 CCCCCCCC named otherwise\n",
        ];
        let file = [foreign.concat(), ours.concat(), foreign.concat()].concat();
        let remove = Edit::Remove { old: &old };
        let left = [foreign.concat(), foreign.concat()].concat();
        assert_eq!(text(edited(file.as_bytes(), &remove)), left);
        assert_eq!(edited(left.as_bytes(), &remove), None);
        let last = "ssh-rsa AAAA me\nssh-ed25519 CCCCCCCC x";
        assert_eq!(text(edited(last.as_bytes(), &remove)), "ssh-rsa AAAA me\n");
    }

    #[test]
    fn bytes_that_are_no_text_survive() {
        let new = pair('N');
        let add = Edit::Add {
            new: &new,
            current: None,
        };
        let before = b"\xff\xfe\0 \r\nssh-rsa AAAA \xe9\n";
        let after = edited(before, &add).unwrap();
        assert!(after.starts_with(before));
    }
}
