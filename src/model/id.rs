//! Ids, one type a noun.
//!
//! Invariant: an id of one noun does not compile where another's is wanted; all are positive.

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident: $kind:literal,)+) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// The noun's row in the `ids` table.
            pub const KIND: &'static str = $kind;
        }

        impl From<i64> for $name {
            fn from(raw: i64) -> Self {
                Self(raw)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} {}", $kind, self.0)
            }
        }
    )+};
}

ids! {
    /// A managed account.
    AccountId: "account",
    /// A machine in the Password Safe dialect.
    AssetId: "asset",
    /// A row of the audit trail.
    AuditId: "audit",
    /// One batch of one system held by one node.
    ClaimId: "claim",
    /// A notice of a workflow that is sent, or an alert that one was not.
    DeliveryId: "delivery",
    /// A listing of the accounts that a system has.
    DiscoveryId: "discovery",
    /// A file with passwords that was ordered.
    ExportId: "export",
    /// A functional account.
    FunctionalAccountId: "functional account",
    /// Queued work.
    JobId: "job",
    /// A group of users.
    GroupId: "group",
    /// An API key.
    KeyId: "key",
    /// A data-encryption key.
    DataKeyId: "data key",
    /// A node, new at every start.
    NodeId: "node",
    /// A customer or department whose passwords are documented.
    OrganizationId: "organization",
    /// A category of password records.
    PasswordCategoryId: "password category",
    /// A folder of password records.
    PasswordFolderId: "password folder",
    /// A documented password.
    PasswordRecordId: "password record",
    /// A value that a password record has or had.
    PasswordVersionId: "password version",
    /// A platform.
    PlatformId: "platform",
    /// A rotation policy.
    PolicyId: "policy",
    /// A bulk change of one system.
    QuarantineId: "quarantine",
    /// A time when the store was found older than it had been.
    RegressionId: "regression",
    /// A request for a credential.
    RequestId: "request",
    /// A rotation.
    RotationId: "rotation",
    /// A password rule.
    RuleId: "password rule",
    /// A signed-in session.
    SessionId: "session",
    /// A smart rule.
    SmartRuleId: "smart rule",
    /// A managed system.
    SystemId: "system",
    /// A user.
    UserId: "user",
    /// A session that a user opened with their password.
    UserSessionId: "user session",
    /// What is done about reveals.
    WorkflowId: "workflow",
    /// One thing that a workflow does.
    WorkflowActionId: "workflow action",
    /// A workgroup.
    WorkgroupId: "workgroup",
}
