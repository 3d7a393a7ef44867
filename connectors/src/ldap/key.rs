//! SSH public keys in an entry: looked for, and swapped in one step.
//!
//! Invariant: a value that is not ours is neither deleted nor rewritten; the old key is deleted as
//! it stands there, so whoever came first wins.

use std::collections::HashSet;

use ldap3::{Mod, Scope};

use super::diagnosis::Said;
use super::link::{Fault, Link, Reply};
use super::result;
use crate::{Changed, Class, KeyPair, Reason};

/// The longest line that is handed to a directory, in bytes: an RSA key of 16,384 bits fits.
const LINE_MAX_BYTES: usize = 4_096;

/// Says whether the directory could take the key's line for something else.
pub(super) fn admit(pair: &KeyPair) -> Result<(), Reason> {
    let sign = |sign: char| sign.is_ascii_alphanumeric() || "-+/=@.".contains(sign);
    let fits = parts(&pair.public).is_some_and(|(kind, blob)| {
        kind.chars().all(sign) && blob.chars().all(sign) && blob.len() > 16
    });
    let marked = !pair.marker.is_empty() && !pair.marker.chars().any(char::is_control);
    if fits && marked && line(pair).len() <= LINE_MAX_BYTES {
        return Ok(());
    }
    Err(Reason::account(
        Class::Refused,
        "the key is no OpenSSH public key with a marker of one line",
    ))
}

/// True for the name of an attribute that keys may be written to: never one that holds passwords.
pub(super) fn is_attribute(name: &str) -> bool {
    let sign = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '.');
    let secret = [
        "userPassword",
        "unicodePwd",
        "2.5.4.35",
        "1.2.840.113556.1.4.90",
    ];
    let is = |other: &&str| name.eq_ignore_ascii_case(other);
    !name.is_empty() && name.chars().all(sign) && !secret.iter().any(is)
}

/// The value that stands for a key of ours.
fn line(pair: &KeyPair) -> String {
    format!("{} {}", pair.public, pair.marker)
}

fn parts(public: &str) -> Option<(&str, &str)> {
    let (kind, blob) = public.split_once(' ')?;
    (!kind.is_empty() && !blob.contains(' ')).then_some((kind, blob))
}

/// True if a value holds this key, whatever options and comment stand around it.
fn holds(value: &[u8], pair: &KeyPair) -> bool {
    let (Ok(text), Some((kind, blob))) = (std::str::from_utf8(value), parts(&pair.public)) else {
        return false;
    };
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    words.windows(2).any(|two| two == [kind, blob])
}

/// The keys that an entry shows.
pub(super) struct Keys(Vec<Vec<u8>>);

impl Keys {
    /// Reads them.
    ///
    /// # Errors
    /// [`Class::NoAccount`] if there is no entry to be seen.
    pub(super) async fn read(link: &Link, dn: &str, attribute: &str) -> Result<Self, Reason> {
        let (entries, reply) = link
            .search(dn, Scope::Base, "(objectClass=*)", &[attribute])
            .await
            .map_err(Fault::reason)?;
        let no = |class, text| Err(Reason::account(class, text));
        match (entries.as_slice(), reply.code) {
            ([entry], 0) => Ok(Self(entry.values(attribute).to_vec())),
            ([], 0 | 32 | 34) => no(
                Class::NoAccount,
                "the directory holds no entry of this name",
            ),
            (_, 50) => no(Class::Privilege, "this login may not read the entry's keys"),
            _ => no(Class::Busy, "the directory did not finish the look-up"),
        }
    }

    /// True if none is there, or none may be seen.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if this key is among them.
    pub(super) fn hold(&self, pair: &KeyPair) -> bool {
        self.0.iter().any(|value| holds(value, pair))
    }

    fn of(&self, pair: &KeyPair) -> HashSet<Vec<u8>> {
        let ours = self.0.iter().filter(|value| holds(value, pair));
        ours.cloned().collect()
    }

    /// What makes these keys hold `new` in the place of `old`; `None` if they do already.
    ///
    /// # Errors
    /// [`Class::IdentityMismatch`] if the old key is gone: somebody else was here.
    pub(super) fn swap(
        &self,
        attribute: &str,
        new: &KeyPair,
        old: Option<&KeyPair>,
    ) -> Result<Option<Vec<Mod<Vec<u8>>>>, Reason> {
        let name = || attribute.as_bytes().to_vec();
        let there = self.hold(new);
        let old = old.filter(|old| parts(&old.public) != parts(&new.public));
        let gone = old.map(|old| self.of(old)).unwrap_or_default();
        if !there && gone.is_empty() && old.is_some() {
            if self.is_empty() {
                return Err(unseen());
            }
            return Err(lost());
        }
        let mut mods = Vec::new();
        if !gone.is_empty() {
            mods.push(Mod::Delete(name(), gone));
        }
        if !there {
            mods.push(Mod::Add(name(), HashSet::from([line(new).into_bytes()])));
        }
        Ok(Some(mods).filter(|mods| !mods.is_empty()))
    }
}

/// What a look at an entry without visible keys says.
pub(super) fn unseen() -> Reason {
    Reason::account(
        Class::Privilege,
        "the entry has no key that this login may see",
    )
}

fn lost() -> Reason {
    Reason::account(
        Class::IdentityMismatch,
        "the old key is gone: somebody else changed this entry's keys; nothing was changed",
    )
}

/// What became of a swap.
pub(super) fn swapped(reply: Reply) -> Changed {
    let no = |text| Changed::NotNow(Reason::account(Class::Incompatible, text));
    match (reply.code, reply.said) {
        (0, _) => Changed::Done,
        (16, Said::NoSuchType) | (17, _) => no("the directory's schema has no such key attribute"),
        (16, _) => Changed::NotNow(lost()),
        (19 | 21 | 65, _) => no("the directory's schema does not let this entry hold the key"),
        // Somebody added the very same value meanwhile; the next attempt finds it there.
        (20, _) => Changed::NotNow(Reason::account(
            Class::Busy,
            "the entry's keys changed meanwhile; nothing was changed",
        )),
        _ => result::common(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    const KIND: &str = "ssh-ed25519";

    fn pair(blob: &str) -> KeyPair {
        KeyPair {
            private: Secret::from("none"),
            public: format!("{KIND} AAAAC3NzaC1lZDI1NTE5{blob}"),
            marker: "keywheel:7:2".to_owned(),
        }
    }

    fn keys(lines: &[String]) -> Keys {
        Keys(lines.iter().map(|line| line.clone().into_bytes()).collect())
    }

    fn count(mods: &[Mod<Vec<u8>>]) -> (usize, usize) {
        let (mut deleted, mut added) = (0, 0);
        for one in mods {
            match one {
                Mod::Delete(_, values) => deleted += values.len(),
                Mod::Add(_, values) => added += values.len(),
                Mod::Replace(..) | Mod::Increment(..) => unreachable!("never sent"),
            }
        }
        (deleted, added)
    }

    #[test]
    fn a_swap_deletes_the_old_key_as_it_stands_there_and_nothing_else() {
        let stored = format!("from=\"10.0.0.0/8\" {} its owner", pair("old").public);
        let held = keys(&[stored.clone(), line(&pair("foreign"))]);
        let mods = held.swap("sshPublicKey", &pair("new"), Some(&pair("old")));
        let mods = mods.unwrap().unwrap();
        assert_eq!(count(&mods), (1, 1));
        let expected = HashSet::from([stored.into_bytes()]);
        assert!(matches!(&mods[0], Mod::Delete(_, values) if *values == expected));
    }

    #[test]
    fn a_swap_that_was_done_is_not_done_again() {
        let held = keys(&[line(&pair("new"))]);
        assert_eq!(held.swap("k", &pair("new"), Some(&pair("old"))), Ok(None));
        let both = keys(&[line(&pair("new")), line(&pair("old"))]);
        let mods = both.swap("k", &pair("new"), Some(&pair("old"))).unwrap();
        assert_eq!(count(&mods.unwrap()), (1, 0));
        assert_eq!(held.swap("k", &pair("new"), Some(&pair("new"))), Ok(None));
    }

    #[test]
    fn a_first_key_is_added_and_a_vanished_one_is_an_alarm() {
        let held = keys(&[line(&pair("foreign"))]);
        let mods = held.swap("k", &pair("new"), None).unwrap().unwrap();
        assert_eq!(count(&mods), (0, 1));
        let reason = held
            .swap("k", &pair("new"), Some(&pair("old")))
            .unwrap_err();
        assert_eq!(reason.class, Class::IdentityMismatch);
        let reason = keys(&[]).swap("k", &pair("new"), Some(&pair("old")));
        assert_eq!(reason.unwrap_err().class, Class::Privilege);
    }

    #[test]
    fn a_lost_swap_is_told_from_a_schema_without_the_attribute() {
        let reply = |said| Reply {
            code: 16,
            objection: None,
            said,
        };
        for (said, class) in [
            (Said::NoSuchValue, Class::IdentityMismatch),
            (Said::Nothing, Class::IdentityMismatch),
            (Said::NoSuchType, Class::Incompatible),
        ] {
            let changed = swapped(reply(said));
            assert!(matches!(&changed, Changed::NotNow(reason) if reason.class == class));
        }
    }

    #[test]
    fn a_key_is_never_written_where_passwords_live() {
        for name in [
            "sshPublicKey",
            "altSecurityIdentities",
            "1.3.6.1.4.1.24552.500.1.1.1.13",
        ] {
            assert!(is_attribute(name), "{name}");
        }
        for name in [
            "",
            "userPassword",
            "USERPASSWORD",
            "unicodePwd",
            "2.5.4.35",
            "a b",
            "x;y",
        ] {
            assert!(!is_attribute(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        assert_eq!(admit(&pair("x")), Ok(()));
        for public in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 short",
            "a b c",
            "ssh-rsa AAAA\nssh-rsa BBBB",
        ] {
            let bad = KeyPair {
                public: public.to_owned(),
                ..pair("x")
            };
            assert_eq!(admit(&bad).unwrap_err().class, Class::Refused, "{public:?}");
        }
        for marker in ["", "two\nlines", &"x".repeat(LINE_MAX_BYTES)] {
            let bad = KeyPair {
                marker: marker.to_owned(),
                ..pair("x")
            };
            assert_eq!(admit(&bad).unwrap_err().class, Class::Refused);
        }
    }
}
