//! Where sealed values belong.
//!
//! Invariant: a place is part of what a value is sealed with, so no place is ever renamed.

use std::fmt;

use crate::escrow::{Kept, Owner, Print};
use crate::model::id::{
    AccountId, ExportId, FunctionalAccountId, PasswordRecordId, PasswordVersionId, UserId,
    WorkflowActionId,
};

/// Where a sealed value belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The table.
    pub table: &'static str,
    /// The row's id.
    pub row: i64,
    /// The column.
    pub column: &'static str,
    /// The credential's version; 0 where a value has none.
    pub version: i64,
}

impl Place {
    /// Where a version's secret is sealed.
    pub const fn credential(account: AccountId, version: i64) -> Self {
        Self {
            table: "credential_versions",
            row: account.0,
            column: "sealed",
            version,
        }
    }

    /// Where the passphrase of a version's private key is sealed.
    pub const fn passphrase(account: AccountId, version: i64) -> Self {
        Self {
            column: "passphrase",
            ..Self::credential(account, version)
        }
    }

    /// Where a functional account's password is sealed.
    pub const fn functional_account(id: FunctionalAccountId) -> Self {
        Self {
            table: "functional_accounts",
            row: id.0,
            column: "password",
            version: 0,
        }
    }

    /// Where a functional account's private key is sealed.
    pub const fn functional_key(id: FunctionalAccountId) -> Self {
        Self {
            column: "private_key",
            ..Self::functional_account(id)
        }
    }

    /// Where the passphrase of that key is sealed.
    pub const fn functional_passphrase(id: FunctionalAccountId) -> Self {
        Self {
            column: "passphrase",
            ..Self::functional_account(id)
        }
    }

    /// Where a functional account's enable secret is sealed.
    pub const fn functional_enable(id: FunctionalAccountId) -> Self {
        Self {
            column: "enable_secret",
            ..Self::functional_account(id)
        }
    }

    /// Where a value of a password record is sealed.
    pub const fn password(record: PasswordRecordId, version: PasswordVersionId) -> Self {
        Self {
            table: "password_versions",
            row: record.0,
            column: "sealed",
            version: version.0,
        }
    }

    /// Where a password record's secret of one-time codes is sealed.
    pub const fn password_otp(record: PasswordRecordId) -> Self {
        Self {
            table: "password_texts",
            row: record.0,
            column: "otp",
            version: 0,
        }
    }

    /// Where the address of a webhook or of Slack is sealed.
    pub const fn workflow_url(id: WorkflowActionId) -> Self {
        Self {
            table: "workflow_actions",
            row: id.0,
            column: "url",
            version: 0,
        }
    }

    /// Where the secret is sealed that a webhook is signed with.
    pub const fn signing_secret(id: WorkflowActionId) -> Self {
        Self {
            column: "signing_secret",
            ..Self::workflow_url(id)
        }
    }

    /// Where the password of an export's file is sealed.
    pub const fn zip_password(id: ExportId) -> Self {
        Self {
            table: "exports",
            row: id.0,
            column: "zip_password",
            version: 0,
        }
    }

    /// Where the secret of a user's second factor is sealed.
    pub const fn totp(user: UserId) -> Self {
        Self {
            table: "user_totp",
            row: user.0,
            column: "sealed",
            version: 0,
        }
    }
}

impl Place {
    /// Its place in the escrow journal; `None`: it is no credential that a target knows or people
    /// have documented.
    pub(super) fn kept(&self, sealed: &[u8]) -> Option<Kept> {
        let owner = match self.table {
            "credential_versions" => Owner::Account(self.row),
            "functional_accounts" => Owner::FunctionalAccount(self.row),
            "password_versions" | "password_texts" => Owner::PasswordRecord(self.row),
            _ => return None,
        };
        Some(Kept {
            owner,
            part: self.column,
            version: self.version,
            print: Print::of(sealed),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{} of row {}, version {}",
            self.table, self.column, self.row, self.version
        )
    }
}
