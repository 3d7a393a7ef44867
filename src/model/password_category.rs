//! Categories of password records.
//!
//! Invariant: two categories never share a name, whatever its case.

use super::Timestamp;
use super::id::PasswordCategoryId;

/// Longest name of a category or a folder.
pub const NAME_MAX_CHARS: usize = 255;

/// One category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordCategory {
    /// Its id.
    pub id: PasswordCategoryId,
    /// What people read; unique in any case.
    pub name: String,
    /// How many records it has.
    pub records: i64,
    /// When it was made; of those that are built in, when the store was.
    pub created_at: Timestamp,
    /// Its last edit.
    pub updated_at: Timestamp,
}
