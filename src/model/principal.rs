//! Who may call, and what they may do.
//!
//! Invariant: deny by default: a permission that nobody granted is refused.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Timestamp;
use super::id::{KeyId, SessionId, UserId};

/// One thing that a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Read managed accounts.
    AccountsRead,
    /// Add, edit and delete managed accounts and functional accounts.
    AccountsWrite,
    /// Read assets.
    AssetsRead,
    /// Add, edit and delete assets and workgroups.
    AssetsWrite,
    /// Read the audit trail.
    AuditRead,
    /// See a credential in the clear.
    CredentialsReveal,
    /// Order a change to a random credential.
    CredentialsRotate,
    /// Give a credential, or store one without touching the target.
    CredentialsSet,
    /// Order a test.
    CredentialsTest,
    /// List the accounts that a system has, and bring accounts in.
    ImportsRun,
    /// Read jobs and quarantines.
    JobsRead,
    /// Settle what needs an operator.
    JobsResolve,
    /// Make and revoke the keys of others.
    KeysWrite,
    /// Read metrics.
    MetricsRead,
    /// Read policies.
    PoliciesRead,
    /// Add, edit and delete policies.
    PoliciesWrite,
    /// Order a change of every account of a system.
    QuarantinesRun,
    /// Read managed systems.
    SystemsRead,
    /// Add, edit and delete managed systems.
    SystemsWrite,
    /// Make users and grant permissions.
    UsersWrite,
}

/// How much of a Password Safe feature permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessLevel {
    /// Read.
    Read,
    /// Read/Write.
    ReadWrite,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 20] = [
        Self::AccountsRead,
        Self::AccountsWrite,
        Self::AssetsRead,
        Self::AssetsWrite,
        Self::AuditRead,
        Self::CredentialsReveal,
        Self::CredentialsRotate,
        Self::CredentialsSet,
        Self::CredentialsTest,
        Self::ImportsRun,
        Self::JobsRead,
        Self::JobsResolve,
        Self::KeysWrite,
        Self::MetricsRead,
        Self::PoliciesRead,
        Self::PoliciesWrite,
        Self::QuarantinesRun,
        Self::SystemsRead,
        Self::SystemsWrite,
        Self::UsersWrite,
    ];

    /// As it stands in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountsRead => "accounts.read",
            Self::AccountsWrite => "accounts.write",
            Self::AssetsRead => "assets.read",
            Self::AssetsWrite => "assets.write",
            Self::AuditRead => "audit.read",
            Self::CredentialsReveal => "credentials.reveal",
            Self::CredentialsRotate => "credentials.rotate",
            Self::CredentialsSet => "credentials.set",
            Self::CredentialsTest => "credentials.test",
            Self::ImportsRun => "imports.run",
            Self::JobsRead => "jobs.read",
            Self::JobsResolve => "jobs.resolve",
            Self::KeysWrite => "keys.write",
            Self::MetricsRead => "metrics.read",
            Self::PoliciesRead => "policies.read",
            Self::PoliciesWrite => "policies.write",
            Self::QuarantinesRun => "quarantines.run",
            Self::SystemsRead => "systems.read",
            Self::SystemsWrite => "systems.write",
            Self::UsersWrite => "users.write",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.as_str() == raw)
    }

    /// The Password Safe feature permission and level that stand for it; `None` where the
    /// dialect has no word for it.
    pub const fn password_safe(self) -> Option<(&'static str, AccessLevel)> {
        match self {
            Self::AccountsRead => Some(("Password Safe Account Management", AccessLevel::Read)),
            Self::AccountsWrite
            | Self::CredentialsRotate
            | Self::CredentialsSet
            | Self::CredentialsTest => {
                Some(("Password Safe Account Management", AccessLevel::ReadWrite))
            }
            Self::AssetsRead => Some(("Asset Management", AccessLevel::Read)),
            Self::AssetsWrite => Some(("Asset Management", AccessLevel::ReadWrite)),
            Self::SystemsRead => Some(("Password Safe System Management", AccessLevel::Read)),
            Self::SystemsWrite => Some(("Password Safe System Management", AccessLevel::ReadWrite)),
            Self::QuarantinesRun => Some((
                "Password Safe API Global Quarantine",
                AccessLevel::ReadWrite,
            )),
            Self::UsersWrite | Self::KeysWrite => {
                Some(("User Accounts Management", AccessLevel::ReadWrite))
            }
            Self::AuditRead
            | Self::CredentialsReveal
            | Self::ImportsRun
            | Self::JobsRead
            | Self::JobsResolve
            | Self::MetricsRead
            | Self::PoliciesRead
            | Self::PoliciesWrite => None,
        }
    }

    /// The permission that includes this one: writing includes reading.
    const fn included_in(self) -> Option<Self> {
        match self {
            Self::AccountsRead => Some(Self::AccountsWrite),
            Self::AssetsRead => Some(Self::AssetsWrite),
            Self::PoliciesRead => Some(Self::PoliciesWrite),
            Self::SystemsRead => Some(Self::SystemsWrite),
            Self::JobsRead => Some(Self::JobsResolve),
            Self::AccountsWrite
            | Self::AssetsWrite
            | Self::AuditRead
            | Self::CredentialsReveal
            | Self::CredentialsRotate
            | Self::CredentialsSet
            | Self::CredentialsTest
            | Self::ImportsRun
            | Self::JobsResolve
            | Self::KeysWrite
            | Self::MetricsRead
            | Self::PoliciesWrite
            | Self::QuarantinesRun
            | Self::SystemsWrite
            | Self::UsersWrite => None,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Permission {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

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
}

impl User {
    /// True if the user may do this.
    pub fn may(&self, permission: Permission) -> bool {
        self.administrator
            || self.granted.contains(&permission)
            || permission
                .included_in()
                .is_some_and(|wider| self.granted.contains(&wider))
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
}
