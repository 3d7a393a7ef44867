//! Who may call, and what they may do.
//!
//! Invariant: deny by default: a permission that nobody granted is refused, and only hashes of
//! keys and cookies exist here.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::Timestamp;
use super::access::Role;
use super::id::{GroupId, KeyId, SessionId, UserId};
pub use super::permission::{AccessLevel, Permission};

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Sign-in name.
    pub name: String,
    /// What people read.
    pub display_name: String,
    /// Empty where unknown.
    pub email: String,
    /// Passes every check.
    pub administrator: bool,
    /// May not sign in.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// What was granted; an administrator needs nothing.
    pub granted: BTreeSet<Permission>,
    /// What the user has by its groups.
    pub by_groups: ByGroups,
}

/// What a user has by its active groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByGroups {
    /// The groups, those that grant nothing included.
    pub ids: BTreeSet<GroupId>,
    /// What they permit.
    pub permissions: BTreeSet<Permission>,
    /// Roles that they have on any rule: whoever has one may look further.
    pub roles: BTreeSet<Role>,
}

impl User {
    /// True if the user may do this.
    pub fn may(&self, permission: Permission) -> bool {
        let has = |one: &Permission| {
            self.granted.contains(one) || self.by_groups.permissions.contains(one)
        };
        self.administrator
            || has(&permission)
            || permission.included_in().is_some_and(|wider| has(&wider))
    }

    /// True if the user may do any of these.
    pub fn may_any(&self, permissions: &[Permission]) -> bool {
        permissions.iter().any(|one| self.may(*one))
    }

    /// Everything that the user may do; of an administrator what it was granted besides.
    pub fn permissions(&self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .into_iter()
            .filter(|one| self.granted.contains(one) || self.by_groups.permissions.contains(one))
    }

    /// True if the user may do all that another may: nobody acts for somebody, or gives somebody,
    /// what they lack themselves.
    pub fn covers(&self, other: &Self) -> bool {
        let roles = other.by_groups.roles.is_empty() || self.may(Permission::RolesWrite);
        let permissions = || other.permissions().all(|one| self.may(one));
        self.administrator
            || self.id == other.id
            || (!other.administrator && roles && permissions())
    }

    /// True if the user has one of these roles on any rule.
    pub fn has_any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.by_groups.roles.contains(role))
    }
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Sign-in name, unique without regard to case.
    pub name: String,
    /// What people read.
    pub display_name: String,
    /// Empty where unknown.
    pub email: String,
    /// Passes every check.
    pub administrator: bool,
    /// What is granted.
    pub granted: BTreeSet<Permission>,
}

/// Which interface takes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// The native API: `Authorization: Bearer …`.
    Native,
    /// The Password Safe dialect: `Authorization: PS-Auth key=…`.
    PasswordSafe,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Native, Self::PasswordSafe];

    /// As it stands in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::PasswordSafe => "passwordsafe",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == raw)
    }
}

/// An API key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Which interface takes it.
    pub kind: KeyKind,
    /// Who acts with it.
    pub user_id: UserId,
    /// What people read.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When somebody ended it.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// True if the key signs in at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A key to be recorded; the key itself is handed out once and not kept.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Which interface takes it.
    pub kind: KeyKind,
    /// Who acts with it.
    pub user_id: UserId,
    /// What people read.
    pub name: String,
    /// What is kept of the key.
    pub hash: KeyHash,
    /// Its first characters; see [`KeyHash::prefix`].
    pub prefix: String,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A signed-in session of the Password Safe dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who signed in.
    pub user_id: UserId,
    /// With which key.
    pub key_id: KeyId,
    /// Sign-in.
    pub created_at: Timestamp,
    /// Last call, at a minute's grain.
    pub seen_at: Timestamp,
}

impl Session {
    /// How exactly the last call is noted: a write a call would be too many.
    pub const GRAIN: Duration = Duration::from_mins(1);

    /// Whoever was last seen then, or earlier, has been idle for too long at `now`.
    pub fn idle_since(idle: Duration, now: Timestamp) -> Timestamp {
        now.minus(idle + Self::GRAIN)
    }
}

/// SHA-256 of a key or cookie, 64 lower-case hex digits. Keys are random and long, so a slow
/// hash would add nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyHash(String);

impl KeyHash {
    /// Characters of a key that may be kept and shown, to recognise it by.
    const PREFIX_CHARS: usize = 12;

    /// Hashes a key.
    #[expect(clippy::disallowed_methods, reason = "hashing needs the key once")]
    pub fn of(key: &SecretString) -> Self {
        let hash = digest::digest(&digest::SHA256, key.expose_secret().as_bytes());
        Self(
            hash.as_ref()
                .iter()
                .fold(String::with_capacity(64), |mut hex, byte| {
                    hex.extend(char::from_digit(u32::from(byte >> 4), 16));
                    hex.extend(char::from_digit(u32::from(byte & 15), 16));
                    hex
                }),
        )
    }

    /// The first characters of a key: at most 12 of its 36 or more, so that what is left still
    /// cannot be guessed.
    #[expect(clippy::disallowed_methods, reason = "the prefix is made to be shown")]
    pub fn prefix(key: &SecretString) -> String {
        key.expose_secret()
            .chars()
            .take(Self::PREFIX_CHARS)
            .collect()
    }

    /// As it stands in the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(administrator: bool, granted: &[Permission]) -> User {
        User {
            id: UserId(1),
            name: "ada".into(),
            display_name: "Ada".into(),
            email: String::new(),
            administrator,
            disabled: false,
            created_at: Timestamp(0),
            by_groups: ByGroups::default(),
            granted: granted.iter().copied().collect(),
        }
    }

    #[test]
    fn every_permission_reads_back() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.as_str()), Some(permission));
        }
        assert_eq!(Permission::parse("accounts.delete"), None);
    }

    #[test]
    fn a_user_without_grants_may_nothing_and_an_administrator_everything() {
        for permission in Permission::ALL {
            assert!(!user(false, &[]).may(permission));
            assert!(user(true, &[]).may(permission));
        }
    }

    #[test]
    fn writing_includes_reading_but_never_the_other_way_round() {
        let writer = user(false, &[Permission::AccountsWrite]);
        assert!(writer.may(Permission::AccountsRead));
        assert!(!writer.may(Permission::CredentialsReveal));
        assert!(!writer.may(Permission::SystemsRead));
        assert!(!user(false, &[Permission::AccountsRead]).may(Permission::AccountsWrite));
    }

    #[test]
    fn a_hash_is_the_published_one_and_prints_nothing() {
        let hash = KeyHash::of(&SecretString::from("abc"));
        assert_eq!(
            hash.as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(format!("{hash:?}"), "KeyHash(…)");
    }

    #[test]
    fn a_key_ends_at_its_expiry_and_at_its_revocation() {
        let key = ApiKey {
            id: KeyId(1),
            kind: KeyKind::Native,
            user_id: UserId(1),
            name: String::new(),
            prefix: String::new(),
            created_at: Timestamp(0),
            expires_at: Some(Timestamp(10)),
            revoked_at: None,
        };
        assert!(key.is_live(Timestamp(9)));
        assert!(!key.is_live(Timestamp(10)));
        assert!(
            !ApiKey {
                revoked_at: Some(Timestamp(1)),
                ..key
            }
            .is_live(Timestamp(2))
        );
    }
}
