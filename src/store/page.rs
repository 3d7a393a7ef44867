//! Which part of a list is wanted.
//!
//! Invariant: every list that a caller can ask for has a limit.

/// A part of a list that is ordered by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many rows.
    pub limit: i64,
    /// After leaving out so many.
    pub offset: i64,
}

impl Page {
    /// The first `limit` rows.
    pub const fn first(limit: i64) -> Self {
        Self { limit, offset: 0 }
    }
}
