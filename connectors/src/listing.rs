//! Which accounts a target has, as far as it says so.
//!
//! Invariant: every text of a [`Found`] is printable and bounded, whatever the target sent; a row
//! whose name or DN had to be altered for that is not importable.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Filter, Login};

/// What is to be listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The local accounts of a host.
    Host(HostQuery),
    /// The entries of a directory below the system's base DN that carry a login name.
    Directory(DirectoryQuery),
}

/// Which accounts of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostQuery {
    /// The lowest user id.
    pub uid_min: u32,
    /// The highest one.
    pub uid_max: u32,
    /// True: root, too, whatever the range is.
    pub with_root: bool,
    /// Only accounts with one of these shells; empty: with any.
    pub shells: Vec<String>,
}

impl Default for HostQuery {
    /// The people's range of `login.defs(5)`, and root.
    fn default() -> Self {
        Self {
            uid_min: 1_000,
            uid_max: 59_999,
            with_root: true,
            shells: Vec::new(),
        }
    }
}

/// Which entries of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryQuery {
    /// Only entries that match this, too.
    pub filter: Option<Filter>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// At most [`Listing::ROWS_MAX`], each name or DN once.
    #[serde(deserialize_with = "rows")]
    pub found: Vec<Found>,
    /// True: there are more. Ask for less.
    pub truncated: bool,
    /// Rows that could not be read as an account.
    pub unreadable: u32,
}

impl Listing {
    /// The most rows of one listing.
    pub const ROWS_MAX: usize = 5_000;
}

/// One account that a target has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its login name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// True: an account of this name, and DN, can be handed to the target unmistakably.
    pub importable: bool,
    /// Its distinguished name; directories only.
    #[serde(deserialize_with = "optional_text")]
    pub dn: Option<String>,
    /// What stays when it is renamed: the user id, the entry's UUID or GUID.
    #[serde(deserialize_with = "optional_text")]
    pub id: Option<String>,
    /// Its login shell.
    #[serde(deserialize_with = "optional_text")]
    pub shell: Option<String>,
    /// Whether a password opens it.
    pub lock: Lock,
    /// When its password was set, in milliseconds since 1970. A host knows only the day.
    #[serde(deserialize_with = "moment")]
    pub changed_at: Option<i64>,
    /// True: its password must be changed before it is used, or the account has run out.
    pub expired: Option<bool>,
}

/// Whether a password opens an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lock {
    /// The right one does.
    Open,
    /// None does: locked or disabled.
    Locked,
    /// It has none.
    NoPassword,
    /// The target does not say, or not to this login.
    Unknown,
}

impl Lock {
    /// Every state, in the order of the type.
    pub const ALL: [Self; 4] = [Self::Open, Self::Locked, Self::NoPassword, Self::Unknown];

    /// The state as it stands in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Locked => "locked",
            Self::NoPassword => "no_password",
            Self::Unknown => "unknown",
        }
    }
}

/// The longest text of a row, in bytes.
const TEXT_MAX_BYTES: usize = 1_024;
/// What the rows of one listing may take together, so that it fits one message.
const LISTING_MAX_BYTES: usize = 786_432;
/// After so many rows that are none a target is believed to send nothing else.
const UNREADABLE_MAX: u32 = 10_000;
/// What a row takes beside its texts, at most.
const ROW_BYTES: usize = 64;
/// The end of the year 9999, in milliseconds since 1970.
const MOMENT_MAX: i64 = 253_402_300_799_999;

/// A time that a record can hold.
pub(crate) fn admit_moment(at: i64) -> Option<i64> {
    (0..=MOMENT_MAX).contains(&at).then_some(at)
}

/// True for what moves, hides or turns around what is shown beside it.
fn is_unseen(sign: char) -> bool {
    sign.is_control()
        || matches!(sign,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffd}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A foreign text in a form that can be shown, and whether it is still the same.
pub(crate) fn printable(raw: &str) -> (String, bool) {
    let mut shown = String::new();
    for sign in raw.chars() {
        let escaped = is_unseen(sign);
        let size = if escaped { 10 } else { sign.len_utf8() };
        if shown.len() + size > TEXT_MAX_BYTES {
            return (shown, false);
        }
        if escaped {
            shown.extend(sign.escape_unicode());
        } else {
            shown.push(sign);
        }
    }
    let same = shown == raw;
    (shown, same)
}

/// Collects rows up to the limits.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    listing: Listing,
    bytes: usize,
    seen: BTreeSet<String>,
}

impl Collector {
    /// Takes a row; false: it is full, and whatever is still to come is too much.
    ///
    /// What was found under the same name and DN before is the one that the target goes by.
    pub(crate) fn take(&mut self, row: Found) -> bool {
        let key = match &row.dn {
            Some(dn) => format!("{}\0{dn}", row.name),
            None => row.name.clone(),
        };
        let texts = [&row.dn, &row.id, &row.shell].into_iter().flatten();
        let size = ROW_BYTES + row.name.len() + texts.map(String::len).sum::<usize>();
        if self.seen.contains(&key) {
            return true;
        }
        if self.listing.found.len() >= Listing::ROWS_MAX || self.bytes + size > LISTING_MAX_BYTES {
            self.listing.truncated = true;
            return false;
        }
        self.seen.insert(key);
        self.bytes += size;
        self.listing.found.push(row);
        true
    }

    /// Notes that a row could not be read. Like [`Self::take`], it says false when it is full.
    pub(crate) fn skip(&mut self) -> bool {
        self.listing.unreadable = self.listing.unreadable.saturating_add(1);
        self.listing.unreadable < UNREADABLE_MAX
    }

    /// Notes that the target has more.
    pub(crate) fn cut(&mut self) {
        self.listing.truncated = true;
    }

    /// What was collected.
    pub(crate) fn end(self) -> Listing {
        self.listing
    }
}

/// A name as it is shown, and the same as a login if it is one.
pub(crate) fn name(raw: &str) -> (String, Option<Login>) {
    let (shown, same) = printable(raw);
    let login = same.then(|| Login::parse(raw).ok()).flatten();
    (shown, login)
}

fn rows<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Found>, D::Error> {
    let found = Vec::<Found>::deserialize(from)?;
    if found.len() > Listing::ROWS_MAX {
        return Err(de::Error::custom("too many rows"));
    }
    Ok(found)
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT_MAX_BYTES && !text.chars().any(is_unseen)
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if !is_text(&text) {
        return Err(de::Error::custom("no text"));
    }
    Ok(text)
}

fn optional_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    if text.as_ref().is_some_and(|text| !is_text(text)) {
        return Err(de::Error::custom("no text"));
    }
    Ok(text)
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let at = Option::<i64>::deserialize(from)?;
    if at.is_some_and(|at| admit_moment(at).is_none()) {
        return Err(de::Error::custom("no time"));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, Answer, FromProcess};

    fn row(name: &str) -> Found {
        Found {
            name: name.to_owned(),
            importable: true,
            dn: None,
            id: None,
            shell: None,
            lock: Lock::Unknown,
            changed_at: None,
            expired: None,
        }
    }

    fn sent(found: Vec<Found>) -> Result<FromProcess, wire::WireError> {
        let listing = Listing {
            found,
            truncated: false,
            unreadable: 0,
        };
        let answer = Answer::Listed(Ok(listing));
        let frame = wire::encode(&FromProcess::Answer { id: 1, answer })?;
        wire::decode(&frame[4..])
    }

    #[test]
    fn what_cannot_be_shown_is_escaped_and_is_no_longer_the_same() {
        assert_eq!(printable("kw_u0 ü"), ("kw_u0 ü".to_owned(), true));
        for (raw, shown) in [
            ("a\u{1b}[2J", "a\\u{1b}[2J"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\nb", "a\\u{a}b"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(printable(raw), (shown.to_owned(), false));
            assert_eq!(name(raw).1, None);
        }
        let (long, same) = printable(&"ü".repeat(600));
        assert!(!same && long.len() == 1_024);
        let (long, same) = printable(&"\u{e0041}".repeat(600));
        assert!(!same && long.len() <= 1_024);
    }

    #[test]
    fn a_full_listing_is_one_message_whatever_its_rows_are() {
        let mut many = Collector::default();
        let mut taken = 0;
        while many.take(row(&format!("u{taken}"))) {
            taken += 1;
        }
        assert_eq!(taken, Listing::ROWS_MAX);
        let mut wide = Collector::default();
        let mut number = 0;
        loop {
            let text = |sign: &str| Some(sign.repeat(1_000));
            let full = Found {
                dn: text("d"),
                id: text("i"),
                shell: text("s"),
                changed_at: Some(MOMENT_MAX),
                expired: Some(true),
                ..row(&format!("{number}{}", "n".repeat(1_000)))
            };
            if !wide.take(full) {
                break;
            }
            number += 1;
        }
        for collected in [many.end(), wide.end()] {
            assert!(collected.truncated);
            let count = collected.found.len();
            let FromProcess::Answer {
                answer: Answer::Listed(Ok(told)),
                ..
            } = sent(collected.found).unwrap()
            else {
                panic!("another answer");
            };
            assert_eq!(told.found.len(), count);
        }
    }

    #[test]
    fn the_first_of_one_name_counts() {
        let mut collector = Collector::default();
        for id in ["1", "2"] {
            let id = Some(id.to_owned());
            assert!(collector.take(Found { id, ..row("a") }));
        }
        let listing = collector.end();
        assert_eq!(listing.found.len(), 1);
        assert_eq!(listing.found[0].id.as_deref(), Some("1"));
    }

    #[test]
    fn rows_that_no_connector_makes_are_not_taken() {
        assert!(sent(vec![row("kw_u0")]).is_ok());
        let text = |text: &str| Some(text.to_owned());
        let wrong = [
            row("a\nb"),
            row("a\u{202e}b"),
            row(&"x".repeat(1_025)),
            Found {
                dn: text("a\0"),
                ..row("a")
            },
            Found {
                id: text("\u{1b}"),
                ..row("a")
            },
            Found {
                shell: text(&"x".repeat(1_025)),
                ..row("a")
            },
            Found {
                changed_at: Some(-1),
                ..row("a")
            },
            Found {
                changed_at: Some(i64::MAX),
                ..row("a")
            },
        ];
        for row in wrong {
            assert!(sent(vec![row.clone()]).is_err(), "{row:?}");
        }
        let many = vec![row("a"); Listing::ROWS_MAX + 1];
        assert!(sent(many).is_err());
    }
}
