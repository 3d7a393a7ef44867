//! Exports: files with passwords that somebody ordered.
//!
//! Invariant: an order holds no value; the file is made for whoever fetches it, of what they may see.

use std::time::Duration;

use super::Timestamp;
use super::id::{ExportId, OrganizationId, UserId};

/// Longest password of a file.
pub const ZIP_PASSWORD_MAX_CHARS: usize = 255;
/// Most orders of one user that stand at once: each is a row, and none costs more than a call.
pub const ORDERS_MAX: usize = 100;

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// Who ordered it.
    pub user_id: UserId,
    /// Of which organization, with its name; `None`: of all.
    pub organization: Option<(OrganizationId, String)>,
    /// With what the audit trail says of its records.
    pub include_logs: bool,
    /// Its file is encrypted under a password that was given.
    pub encrypted: bool,
    /// When it was ordered.
    pub created_at: Timestamp,
}

impl Export {
    /// How long an order stands.
    pub const KEPT: Duration = Duration::from_hours(7 * 24);

    /// Orders that were made then, or earlier, stand no more at `now`.
    pub fn ended_by(now: Timestamp) -> Timestamp {
        now.minus(Self::KEPT)
    }
}

/// An order to be recorded.
#[derive(Clone, Debug)]
pub struct NewExport {
    /// Its id, which the password is sealed for.
    pub id: ExportId,
    /// Who orders it.
    pub user_id: UserId,
    /// Of which organization; `None`: of all.
    pub organization_id: Option<OrganizationId>,
    /// With what the audit trail says of its records.
    pub include_logs: bool,
    /// What its file is encrypted under, sealed; `None`: it is not.
    pub zip_password: Option<Vec<u8>>,
}
