//! Warnings that keys are about to be revoked for want of use.
//!
//! Invariant: a warning names a key by its id and its name, and holds no part of the key.

use super::Timestamp;
use super::id::{KeyId, UserId};
use super::key::ApiKey;
use super::workflow::Rendered;

/// A key that lies idle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleKey {
    /// Its id.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// The sign-in name of whoever acts with it.
    pub owner: String,
    /// Its last use; of a key that was never used, when it was made.
    pub idle_since: Timestamp,
}

impl IdleKey {
    /// When it is revoked, unless it is used before.
    pub fn ends_at(&self) -> Timestamp {
        self.idle_since.plus(ApiKey::IDLE_MAX)
    }

    /// Whoever lies idle since then, or longer, is warned of at `now`.
    pub fn warned_since(now: Timestamp) -> Timestamp {
        now.minus(ApiKey::IDLE_MAX.saturating_sub(ApiKey::IDLE_WARNING))
    }
}

/// A warning that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWarning {
    /// Of which key.
    pub key: IdleKey,
    /// Which administrator, and where they get mail; `None`: no administrator has an address.
    pub to: Option<(UserId, String)>,
}

/// The mail that tells of keys.
pub fn warning(keys: &[IdleKey]) -> Rendered {
    let days = |span: std::time::Duration| span.as_secs() / 86_400;
    let subject = match keys {
        [one] => format!("Keywheel: {} is about to be revoked", one.id),
        more => format!("Keywheel: {} keys are about to be revoked", more.len()),
    };
    let lines = keys.iter().map(|key| {
        let (name, owner) = (one_line(&key.name), one_line(&key.owner));
        let (since, end) = (key.idle_since.rfc3339(), key.ends_at().rfc3339());
        format!(
            "{}, \"{name}\", of {owner}: unused since {since}, revoked at {end}",
            key.id
        )
    });
    let body = format!(
        "A key of the IT Glue dialect that nobody uses for {} days is revoked. In at most {} days \
         that happens to:\n\n{}\n\nA key that is used before then stays. One that nobody needs: \
         revoke it now.\n",
        days(ApiKey::IDLE_MAX),
        days(ApiKey::IDLE_WARNING),
        lines.collect::<Vec<_>>().join("\n")
    );
    Rendered { subject, body }
}

/// A name cannot pass for a line of the mail.
fn one_line(text: &str) -> String {
    let parts =
        text.split(|sign: char| sign.is_control() || matches!(sign, '\u{2028}' | '\u{2029}'));
    parts
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: i64, name: &str) -> IdleKey {
        IdleKey {
            id: KeyId(id),
            name: name.to_owned(),
            owner: "ada".to_owned(),
            idle_since: Timestamp(1_750_000_000_000),
        }
    }

    #[test]
    fn a_mail_names_each_key_with_its_end_in_a_line_of_its_own() {
        let hostile = "desk\r\nkey 9, \"x\"\u{2028}y\u{1b}[2J";
        let mail = warning(&[key(7, hostile), key(8, "lab")]);
        assert_eq!(mail.subject, "Keywheel: 2 keys are about to be revoked");
        let lines: Vec<&str> = mail.body.lines().collect();
        assert_eq!(lines.len(), 6, "{}", mail.body);
        assert_eq!(
            lines[2],
            "key 7, \"desk key 9, \"x\" y [2J\", of ada: unused since 2025-06-15T15:06:40Z, \
             revoked at 2025-09-13T15:06:40Z"
        );
        let one = warning(&[key(8, "lab")]);
        assert_eq!(one.subject, "Keywheel: key 8 is about to be revoked");
    }
}
