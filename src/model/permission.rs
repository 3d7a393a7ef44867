//! What somebody may be permitted to do.
//!
//! Invariant: every permission has one name, and writing includes reading, as does exporting.

use std::fmt;

use serde::Serialize;

use super::access::Feature;

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
    /// Take the audit trail out as a whole.
    AuditExport,
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
    /// Read password records, without their values.
    PasswordsRead,
    /// See the value of a password record that is not an account's.
    PasswordsReveal,
    /// Add, edit and delete password records and what they are kept in.
    PasswordsWrite,
    /// Read policies.
    PoliciesRead,
    /// Add, edit and delete policies.
    PoliciesWrite,
    /// Order a change of every account of a system.
    QuarantinesRun,
    /// Read reports.
    ReportsRead,
    /// Read the roles of groups on smart rules.
    RolesRead,
    /// Give and take roles on smart rules.
    RolesWrite,
    /// Read every smart rule.
    RulesRead,
    /// Make, edit and delete smart rules.
    RulesWrite,
    /// Read managed systems.
    SystemsRead,
    /// Add, edit and delete managed systems.
    SystemsWrite,
    /// Read users and groups.
    UsersRead,
    /// Make users and groups, and grant permissions.
    UsersWrite,
    /// Read, make and edit the workflows that tell of reveals.
    WorkflowsWrite,
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
    pub const ALL: [Self; 31] = [
        Self::AccountsRead,
        Self::AccountsWrite,
        Self::AssetsRead,
        Self::AssetsWrite,
        Self::AuditExport,
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
        Self::PasswordsRead,
        Self::PasswordsReveal,
        Self::PasswordsWrite,
        Self::PoliciesRead,
        Self::PoliciesWrite,
        Self::QuarantinesRun,
        Self::ReportsRead,
        Self::RolesRead,
        Self::RolesWrite,
        Self::RulesRead,
        Self::RulesWrite,
        Self::SystemsRead,
        Self::SystemsWrite,
        Self::UsersRead,
        Self::UsersWrite,
        Self::WorkflowsWrite,
    ];

    /// As it stands in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountsRead => "accounts.read",
            Self::AccountsWrite => "accounts.write",
            Self::AssetsRead => "assets.read",
            Self::AssetsWrite => "assets.write",
            Self::AuditExport => "audit.export",
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
            Self::PasswordsRead => "passwords.read",
            Self::PasswordsReveal => "passwords.reveal",
            Self::PasswordsWrite => "passwords.write",
            Self::PoliciesRead => "policies.read",
            Self::PoliciesWrite => "policies.write",
            Self::QuarantinesRun => "quarantines.run",
            Self::ReportsRead => "reports.read",
            Self::RolesRead => "roles.read",
            Self::RolesWrite => "roles.write",
            Self::RulesRead => "rules.read",
            Self::RulesWrite => "rules.write",
            Self::SystemsRead => "systems.read",
            Self::SystemsWrite => "systems.write",
            Self::UsersRead => "users.read",
            Self::UsersWrite => "users.write",
            Self::WorkflowsWrite => "workflows.write",
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
    pub const fn feature(self) -> Option<(Feature, AccessLevel)> {
        Some(match self {
            Self::AccountsRead => (Feature::AccountManagement, AccessLevel::Read),
            Self::AccountsWrite
            | Self::CredentialsRotate
            | Self::CredentialsSet
            | Self::CredentialsTest => (Feature::AccountManagement, AccessLevel::ReadWrite),
            Self::AssetsRead => (Feature::AssetManagement, AccessLevel::Read),
            Self::AssetsWrite => (Feature::AssetManagement, AccessLevel::ReadWrite),
            Self::SystemsRead => (Feature::SystemManagement, AccessLevel::Read),
            Self::SystemsWrite => (Feature::SystemManagement, AccessLevel::ReadWrite),
            Self::QuarantinesRun => (Feature::GlobalQuarantine, AccessLevel::ReadWrite),
            Self::RolesRead => (Feature::RoleManagement, AccessLevel::Read),
            Self::RolesWrite => (Feature::RoleManagement, AccessLevel::ReadWrite),
            Self::RulesRead => (Feature::RuleManagement, AccessLevel::Read),
            Self::RulesWrite => (Feature::RuleManagement, AccessLevel::ReadWrite),
            Self::UsersRead => (Feature::UserManagement, AccessLevel::Read),
            Self::UsersWrite | Self::KeysWrite => (Feature::UserManagement, AccessLevel::ReadWrite),
            Self::AuditExport
            | Self::AuditRead
            | Self::CredentialsReveal
            | Self::ImportsRun
            | Self::JobsRead
            | Self::JobsResolve
            | Self::MetricsRead
            | Self::PasswordsRead
            | Self::PasswordsReveal
            | Self::PasswordsWrite
            | Self::PoliciesRead
            | Self::PoliciesWrite
            | Self::ReportsRead
            | Self::WorkflowsWrite => return None,
        })
    }

    /// The permission that includes this one: writing includes reading.
    pub(super) const fn included_in(self) -> Option<Self> {
        match self {
            Self::AccountsRead => Some(Self::AccountsWrite),
            Self::AssetsRead => Some(Self::AssetsWrite),
            Self::AuditRead => Some(Self::AuditExport),
            Self::PoliciesRead => Some(Self::PoliciesWrite),
            Self::SystemsRead => Some(Self::SystemsWrite),
            Self::JobsRead => Some(Self::JobsResolve),
            Self::PasswordsRead => Some(Self::PasswordsWrite),
            Self::RolesRead => Some(Self::RolesWrite),
            Self::RulesRead => Some(Self::RulesWrite),
            Self::UsersRead => Some(Self::UsersWrite),
            Self::AccountsWrite
            | Self::AssetsWrite
            | Self::AuditExport
            | Self::CredentialsReveal
            | Self::CredentialsRotate
            | Self::CredentialsSet
            | Self::CredentialsTest
            | Self::ImportsRun
            | Self::JobsResolve
            | Self::KeysWrite
            | Self::MetricsRead
            | Self::PasswordsReveal
            | Self::PasswordsWrite
            | Self::PoliciesWrite
            | Self::QuarantinesRun
            | Self::ReportsRead
            | Self::RolesWrite
            | Self::RulesWrite
            | Self::SystemsWrite
            | Self::UsersWrite
            | Self::WorkflowsWrite => None,
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
