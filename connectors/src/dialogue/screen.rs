//! What a system has said since it was last spoken to, as a person would read it.
//!
//! Invariant: no secret that was sent can be matched, logged or shown: it reads `<SENT>`.

use zeroize::Zeroizing;

/// What stands in a secret's place.
pub(super) const SENT: &str = "<SENT>";

/// Patterns see no more than the end of what was said.
const WINDOW_BYTES: usize = 4_096;

/// The bytes since the last send.
#[derive(Debug, Default)]
pub(super) struct Screen {
    bytes: Zeroizing<Vec<u8>>,
}

impl Screen {
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What came after so many bytes; only to be searched for a pager.
    pub(super) fn text_since(&self, bytes: usize) -> Zeroizing<String> {
        let bytes = self.bytes.get(bytes..).unwrap_or_default();
        Zeroizing::new(clean(&String::from_utf8_lossy(bytes)))
    }

    /// The text: escape sequences, carriage returns and what was erased by backspaces removed,
    /// secrets replaced in the whole of it, not piece by piece.
    pub(super) fn text(&self, secrets: &[&str]) -> Zeroizing<String> {
        let mut text = Zeroizing::new(clean(&String::from_utf8_lossy(&self.bytes)));
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            if text.contains(secret) {
                text = Zeroizing::new(text.replace(secret, SENT));
            }
        }
        text
    }
}

/// The last bytes of a text, at a character's border.
pub(super) fn window(text: &str) -> &str {
    let mut start = text.len().saturating_sub(WINDOW_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or(text)
}

/// The text without the beginning of a secret at its end: the rest of its echo may be on its way,
/// and a password may begin like a complaint.
pub(super) fn settled<'a>(text: &'a str, secrets: &[&str]) -> &'a str {
    let beginnings = secrets.iter().flat_map(|secret| {
        let cuts = secret.char_indices().map(|(at, _)| at);
        cuts.filter_map(|at| secret.get(..at))
    });
    let ends = beginnings.filter(|part| text.ends_with(part)).map(str::len);
    let cut = text.len() - ends.max().unwrap_or(0);
    text.get(..cut).unwrap_or(text)
}

/// Removes what moves a cursor or colours a text.
fn clean(raw: &str) -> String {
    // Reserved first: a buffer that grows leaves copies behind.
    let mut out = String::with_capacity(raw.len());
    let mut signs = raw.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '\u{1b}' => match signs.next() {
                // A control sequence ends with a byte from @ to ~ (ECMA-48, 5.4).
                Some('[') => {
                    while signs
                        .next()
                        .is_some_and(|sign| !('@'..='~').contains(&sign))
                    {}
                }
                // A command to the system ends with BEL or ESC \ (ECMA-48, 5.6).
                Some(']') => {
                    while let Some(sign) = signs.next() {
                        if sign == '\u{7}' {
                            break;
                        }
                        if sign == '\u{1b}' {
                            signs.next_if_eq(&'\\');
                            break;
                        }
                    }
                }
                Some('(' | ')' | '#') => drop(signs.next()),
                _ => {}
            },
            '\u{8}' => {
                if !out.ends_with('\n') {
                    out.pop();
                }
            }
            '\n' | '\t' => out.push(sign),
            sign if sign.is_control() => {}
            sign => out.push(sign),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[&str], secrets: &[&str]) -> String {
        let mut screen = Screen::default();
        for piece in pieces {
            screen.hear(piece.as_bytes());
        }
        screen.text(secrets).to_string()
    }

    #[test]
    fn colours_titles_and_erased_pagers_are_gone() {
        assert_eq!(text(&["\x1b[1;32mR1\x1b[0m", "#\r\n"], &[]), "R1#\n");
        assert_eq!(text(&["\x1b]0;title\x07R1# "], &[]), "R1# ");
        assert_eq!(text(&["\x1b]0;title\x1b\\R1# "], &[]), "R1# ");
        assert_eq!(text(&["\x1b(BR1\x1b=#"], &[]), "R1#");
        let erased = format!(
            "one\n--More--{0}{1}{0}two",
            "\u{8}".repeat(8),
            " ".repeat(8)
        );
        assert_eq!(text(&[&erased], &[]), "one\ntwo");
        assert_eq!(text(&["a\n\u{8}\u{8}b\0\u{7}"], &[]), "a\nb");
        assert_eq!(text(&["end\x1b["], &[]), "end");
    }

    #[test]
    fn a_secret_that_comes_in_pieces_is_redacted_all_the_same() {
        let pieces = ["secret Fre", "\x1b[mshNew", "-vLm9Q\r\nR1#"];
        assert_eq!(text(&pieces, &["FreshNew-vLm9Q", ""]), "secret <SENT>\nR1#");
    }

    #[test]
    fn half_a_secret_is_no_complaint_yet() {
        let secrets = ["xfailure:y9z", "xf"];
        assert_eq!(settled("password=\"xfailure:", &secrets), "password=\"");
        assert_eq!(settled("password=\"xfail", &secrets), "password=\"");
        assert_eq!(
            settled("failure: short\n> ", &secrets),
            "failure: short\n> "
        );
        assert_eq!(settled("", &secrets), "");
        assert_eq!(settled("ö", &["öö"]), "");
    }

    #[test]
    fn patterns_see_the_last_four_kibibytes() {
        let long = format!("{}ö{}", "x".repeat(5_000), "y".repeat(4_095));
        assert_eq!(window(&long).len(), 4_095);
        assert_eq!(window("short"), "short");
    }
}
