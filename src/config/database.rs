//! The database's URL, which may hold a password.
//!
//! Invariant: neither `Debug` nor the serialised form shows the password.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `sqlite`, `sqlite:FILE` or `postgres://user:password@host/database`.
#[derive(Clone)]
pub struct DatabaseUrl(SecretString);

/// Which database to open.
#[derive(Clone, Debug)]
pub enum DatabaseTarget {
    /// This file.
    Sqlite(PathBuf),
    /// This URL.
    Postgres(SecretString),
}

impl DatabaseUrl {
    /// Takes a URL of a database that the service can use.
    ///
    /// # Errors
    /// A sentence that does not repeat the URL.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let known = text == "sqlite"
            || text
                .strip_prefix("sqlite:")
                .is_some_and(|file| !file.is_empty())
            || text.starts_with("postgres://")
            || text.starts_with("postgresql://");
        if known && !text.contains(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err("must be `sqlite`, `sqlite:FILE` or `postgres://…`")
        }
    }

    pub(super) fn target(&self, data_dir: &Path) -> DatabaseTarget {
        match self.text().strip_prefix("sqlite") {
            Some("") => DatabaseTarget::Sqlite(data_dir.join("keywheel.db")),
            Some(file) => DatabaseTarget::Sqlite(file.trim_start_matches(':').into()),
            None => DatabaseTarget::Postgres(self.0.clone()),
        }
    }

    /// Whether somebody who reads the URL learns a password.
    pub(super) fn holds_password(&self) -> bool {
        self.shown() != self.text()
    }

    /// The URL without its password, nor parameters that may be one. In doubt it hides more.
    fn shown(&self) -> String {
        let text = self.text();
        let Some((scheme, rest)) = text.split_once("://") else {
            return text.to_owned();
        };
        // The last @: passwords that were not percent-encoded may hold any character.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => match user.split_once(':') {
                Some((user, _)) => (format!("{user}:***@"), rest),
                None => (format!("{user}@"), rest),
            },
            // A port is a number: what is none may be a password before a host that was left out.
            None if !has_sound_port(rest) => return format!("{scheme}://***"),
            None => (String::new(), rest),
        };
        match rest.split_once('?') {
            Some((place, all)) if all.to_lowercase().contains("pass") => {
                format!("{scheme}://{user}{place}?***")
            }
            _ => format!("{scheme}://{user}{rest}"),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the URL is taken apart and compared here only"
    )]
    fn text(&self) -> &str {
        self.0.expose_secret()
    }
}

/// False if what stands where a port would is no number.
fn has_sound_port(rest: &str) -> bool {
    let place = rest.split(['/', '?']).next().unwrap_or_default();
    // An IPv6 address has colons of its own.
    let port = place.rsplit(']').next().unwrap_or_default().split_once(':');
    port.is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Default for DatabaseUrl {
    fn default() -> Self {
        Self("sqlite".into())
    }
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for DatabaseUrl {}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(deserializer)?);
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (text, shown) in [
            ("sqlite", "sqlite"),
            (
                "sqlite:/var/lib/keywheel/k.db",
                "sqlite:/var/lib/keywheel/k.db",
            ),
            (
                "postgres://keywheel@db/keywheel",
                "postgres://keywheel@db/keywheel",
            ),
            (
                "postgres://kw:s3cret@db:5432/kw",
                "postgres://kw:***@db:5432/kw",
            ),
            ("postgres://kw:s3c@ret:x@db/kw", "postgres://kw:***@db/kw"),
            (
                "postgresql://db/kw?user=kw&password=s3cret",
                "postgresql://db/kw?***",
            ),
            (
                "postgres://kw@db/kw?sslmode=require",
                "postgres://kw@db/kw?sslmode=require",
            ),
        ] {
            let url = DatabaseUrl::parse(text).unwrap();
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(url.holds_password(), text.contains("s3c"), "{text}");
        }
    }

    #[test]
    fn a_password_with_every_awkward_character_stays_hidden() {
        for mark in ['?', '/', '#', ':', '@', '%'] {
            let url = DatabaseUrl::parse(&format!("postgres://kw:one{mark}two@db/kw")).unwrap();
            assert!(!format!("{url:?}").contains("one"), "{url:?}");
            assert!(!format!("{url:?}").contains("two"), "{url:?}");
        }
    }

    #[test]
    fn other_databases_are_refused_without_repeating_the_url() {
        for text in [
            "",
            "sqlite:",
            "mysql://kw:s3cret@db/kw",
            "/tmp/x.db",
            "postgres://a\nb",
        ] {
            let refused = DatabaseUrl::parse(text).unwrap_err();
            assert!(!refused.contains("s3cret") && refused.contains("postgres://"));
        }
    }
}
