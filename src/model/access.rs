//! Groups, smart rules and roles: what people may do, and with which accounts.
//!
//! Invariant: a feature, a level and a role have the vendor's names and one number each; a number
//! that nobody knows grants nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Timestamp;
use super::fault::{Fault, Faults};
use super::id::{GroupId, SmartRuleId};
use super::principal::{AccessLevel, Permission};

/// A feature permission of Password Safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Managed accounts, functional accounts and their credentials.
    AccountManagement,
    /// The bulk change of a system.
    GlobalQuarantine,
    /// Assets and workgroups.
    AssetManagement,
    /// Managed systems.
    SystemManagement,
    /// Roles of groups on smart rules.
    RoleManagement,
    /// Users, groups, keys and permissions.
    UserManagement,
    /// Smart rules.
    RuleManagement,
}

impl Feature {
    /// Every feature, by number.
    pub const ALL: [Self; 7] = [
        Self::AccountManagement,
        Self::GlobalQuarantine,
        Self::AssetManagement,
        Self::SystemManagement,
        Self::RoleManagement,
        Self::UserManagement,
        Self::RuleManagement,
    ];

    /// `PermissionID`.
    pub const fn number(self) -> i64 {
        self as i64 + 1
    }

    /// Reads it back.
    pub fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }

    /// The vendor's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountManagement => "Password Safe Account Management",
            Self::GlobalQuarantine => "Password Safe API Global Quarantine",
            Self::AssetManagement => "Asset Management",
            Self::SystemManagement => "Password Safe System Management",
            Self::RoleManagement => "Password Safe Role Management",
            Self::UserManagement => "User Accounts Management",
            Self::RuleManagement => "Smart Rule Management",
        }
    }

    /// What a level of it permits.
    pub fn permissions(self, level: AccessLevel) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| {
            permission
                .feature()
                .is_some_and(|(feature, least)| feature == self && least <= level)
        })
    }
}

/// A role of a group on a smart rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Asks for credentials.
    Requestor,
    /// Approves what others ask for.
    Approver,
    /// Both.
    RequestorApprover,
    /// Sees and sets credentials without asking: information systems administrator.
    Isa,
    /// Reads.
    Auditor,
    /// Sets and changes credentials.
    CredentialsManager,
    /// Looks at recorded sessions; there are none here.
    RecordedSessionReviewer,
    /// Looks at running sessions; there are none here.
    ActiveSessionReviewer,
}

impl Role {
    /// Every role, by number.
    pub const ALL: [Self; 8] = [
        Self::Requestor,
        Self::Approver,
        Self::RequestorApprover,
        Self::Isa,
        Self::Auditor,
        Self::CredentialsManager,
        Self::RecordedSessionReviewer,
        Self::ActiveSessionReviewer,
    ];
    /// Who finds accounts to ask for.
    pub const REQUESTORS: &'static [Self] = &[Self::Requestor, Self::RequestorApprover, Self::Isa];
    /// Who sets and changes the credentials of the accounts that a rule references.
    pub const SETTERS: &'static [Self] = &[Self::Isa, Self::CredentialsManager];

    /// `RoleID`. Source: the vendor's numbers; there is no 6.
    pub const fn number(self) -> i64 {
        match self {
            Self::Requestor => 1,
            Self::Approver => 2,
            Self::RequestorApprover => 3,
            Self::Isa => 4,
            Self::Auditor => 5,
            Self::CredentialsManager => 7,
            Self::RecordedSessionReviewer => 8,
            Self::ActiveSessionReviewer => 9,
        }
    }

    /// Reads it back.
    pub fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }

    /// The vendor's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requestor => "Requestor",
            Self::Approver => "Approver",
            Self::RequestorApprover => "Requestor and Approver",
            Self::Isa => "Information Systems Administrator",
            Self::Auditor => "Auditor",
            Self::CredentialsManager => "Credentials Manager",
            Self::RecordedSessionReviewer => "Recorded Session Reviewer",
            Self::ActiveSessionReviewer => "Active Session Reviewer",
        }
    }

    /// True if the role is given on rules of this kind.
    pub const fn fits(self, kind: RuleKind) -> bool {
        let on_machines = matches!(self, Self::Isa | Self::Auditor);
        match kind {
            RuleKind::Account => !on_machines,
            RuleKind::Asset | RuleKind::System => on_machines,
        }
    }

    /// True if it says when and how credentials are asked for.
    pub const fn needs_policy(self) -> bool {
        matches!(self, Self::Requestor | Self::RequestorApprover)
    }

    /// True for the three of which a group has one at most on a rule.
    pub const fn excludes_others(self) -> bool {
        matches!(
            self,
            Self::Requestor | Self::Approver | Self::RequestorApprover
        )
    }
}

/// Users who may do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// What people read; unique in any case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// False: it grants nothing.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Feature permissions of the dialect.
    pub features: BTreeMap<Feature, AccessLevel>,
    /// What else was granted.
    pub permissions: BTreeSet<Permission>,
}

/// A group to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// What people read; unique in any case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What is granted.
    pub permissions: BTreeSet<Permission>,
}

impl NewGroup {
    /// What is wrong with it.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("name", &self.name, 128);
        faults.line("description", &self.description, 1_000);
        faults.found()
    }
}

/// What a smart rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Managed accounts.
    Account,
    /// Assets, and the accounts of the systems made from them.
    Asset,
    /// Managed systems, and their accounts.
    System,
}

impl RuleKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Account, Self::Asset, Self::System];

    /// As it stands in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Asset => "asset",
            Self::System => "system",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == raw)
    }

    /// The vendor's `RuleType`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Account => "ManagedAccount",
            Self::Asset => "Asset",
            Self::System => "ManagedSystem",
        }
    }
}

/// A selection of accounts, systems or assets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmartRule {
    /// Its id.
    pub id: SmartRuleId,
    /// What people read; unique in any case.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Under which heading it is shown.
    pub category: String,
    /// What it holds.
    pub kind: RuleKind,
    /// Built in: it holds everything of its kind, and nobody changes it.
    pub everything: bool,
    /// When it was last made or processed.
    pub processed_at: Timestamp,
}

/// A rule with fixed members, to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewQuickRule {
    /// What people read; unique in any case.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Under which heading it is shown.
    pub category: String,
    /// What it holds.
    pub kind: RuleKind,
    /// Ids of what it holds.
    pub members: BTreeSet<i64>,
}

impl NewQuickRule {
    /// What is wrong with it.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("title", &self.title, 255);
        faults.line("description", &self.description, 1_000);
        faults.required("category", &self.category, 255);
        faults.found()
    }
}

/// The access policy that is always there: at any time, without approval.
pub const OPEN_POLICY: i64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_and_unknown_ones_nowhere() {
        for feature in Feature::ALL {
            assert_eq!(Feature::of(feature.number()), Some(feature));
        }
        for role in Role::ALL {
            assert_eq!(Role::of(role.number()), Some(role));
        }
        assert_eq!((Feature::of(0), Feature::of(8)), (None, None));
        assert_eq!((Role::of(0), Role::of(6), Role::of(10)), (None, None, None));
    }

    #[test]
    fn writing_a_feature_includes_reading_it() {
        for feature in Feature::ALL {
            let of = |level| feature.permissions(level).collect::<BTreeSet<_>>();
            let (read, write) = (of(AccessLevel::Read), of(AccessLevel::ReadWrite));
            assert!(read.is_subset(&write) && read != write, "{feature:?}");
        }
        let quarantine = Feature::GlobalQuarantine.permissions(AccessLevel::ReadWrite);
        assert_eq!(quarantine.collect::<Vec<_>>(), [Permission::QuarantinesRun]);
    }

    #[test]
    fn a_role_fits_the_kinds_of_rules_that_the_vendor_gives_it_on() {
        for role in Role::ALL {
            assert_ne!(role.fits(RuleKind::Account), role.fits(RuleKind::Asset));
            assert_eq!(role.fits(RuleKind::System), role.fits(RuleKind::Asset));
        }
        assert!(
            Role::Isa.fits(RuleKind::Asset) && Role::CredentialsManager.fits(RuleKind::Account)
        );
    }
}
