//! Requests: somebody asks for a credential, gets it for a while, and gives it back.
//!
//! Invariant: a request that has ended never opens anything again, and one that was open and
//! rotates is ended together with the order to change the credential.

use super::Timestamp;
use super::id::{AccountId, RequestId, SystemId, UserId};

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// Waits for approval.
    Pending,
    /// Opens its credential until it expires.
    Active,
    /// Given back.
    CheckedIn,
    /// Its time is over.
    Expired,
    /// Taken back, by whoever made it or by an administrator.
    Canceled,
    /// Refused by an approver.
    Denied,
}

impl RequestState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Active,
        Self::CheckedIn,
        Self::Expired,
        Self::Canceled,
        Self::Denied,
    ];

    /// As it stands in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::CheckedIn => "checked_in",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
            Self::Denied => "denied",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == raw)
    }

    /// The vendor's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::CheckedIn | Self::Expired => "Expired",
            Self::Canceled | Self::Denied => "Canceled",
        }
    }

    /// True if it may still open something.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Active)
    }
}

/// A request as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// Who asked.
    pub user_id: UserId,
    /// For which account.
    pub account_id: AccountId,
    /// On which system.
    pub system_id: SystemId,
    /// Where it stands.
    pub state: RequestState,
    /// Why; empty where nobody said.
    pub reason: String,
    /// True if the credential changes when it ends.
    pub rotates: bool,
    /// How many must approve.
    pub approvals_needed: i64,
    /// When it was made.
    pub requested_at: Timestamp,
    /// When it was approved; from the start where nobody has to.
    pub approved_at: Option<Timestamp>,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A request to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRequest {
    /// Who asks.
    pub user_id: UserId,
    /// For which account.
    pub account_id: AccountId,
    /// On which system.
    pub system_id: SystemId,
    /// Why; empty where nobody said.
    pub reason: String,
    /// True if the credential changes when it ends.
    pub rotates: bool,
    /// How many must approve.
    pub approvals_needed: i64,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_back_and_only_two_are_live() {
        for state in RequestState::ALL {
            assert_eq!(RequestState::parse(state.as_str()), Some(state));
            assert_eq!(
                state.is_live(),
                state.word() == "Pending" || state.word() == "Active"
            );
        }
        assert_eq!(RequestState::parse("open"), None);
    }
}
