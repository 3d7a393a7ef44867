//! What callers are told of the database's trouble.
//!
//! Invariant: no text of the database itself is told.

use super::{FAILED, Said};
use crate::store::StoreError;

/// What a caller is told of the store's trouble.
pub(super) fn of_store(error: &StoreError) -> Said {
    let (code, text) = match error {
        StoreError::Stale { what } => (
            "stale",
            format!("{what} has changed meanwhile; get it again, then repeat"),
        ),
        StoreError::Conflict { what } => (
            "conflict",
            format!("{what} conflicts with what is there; nothing was changed"),
        ),
        StoreError::Busy => (
            "busy",
            "The service is busy and has changed nothing; try again".to_owned(),
        ),
        StoreError::Full(_) => (
            "storage_full",
            "The database is out of space; nothing was changed. An operator must free some"
                .to_owned(),
        ),
        StoreError::Escrow(_) => (
            "escrow_unavailable",
            "The escrow journal cannot be written; nothing was changed. An operator must see to \
             its disk"
                .to_owned(),
        ),
        StoreError::CommitUnknown(_) => (
            "unknown",
            "The database did not say whether it has done this; look before repeating".to_owned(),
        ),
        StoreError::LeaseLost
        | StoreError::Corrupt { .. }
        | StoreError::Schema(_)
        | StoreError::Database(_) => ("internal", FAILED.to_owned()),
    };
    Said { code, text }
}
