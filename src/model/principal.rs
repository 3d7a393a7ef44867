//! Who may call, and what they may do.
//!
//! Invariant: deny by default: a permission that nobody granted is refused.

use std::collections::BTreeSet;
use std::time::Duration;

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
}
