//! Folders of password records: a tree in each organization.
//!
//! Invariant: what is kept in a restricted folder is seen by those alone who are named there, or in
//! the nearest restricted folder above it.

use std::collections::{BTreeMap, BTreeSet};

use super::Timestamp;
use super::id::{OrganizationId, PasswordFolderId};

/// One folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFolder {
    /// Its id.
    pub id: PasswordFolderId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// The folder that it is in.
    pub parent_id: Option<PasswordFolderId>,
    /// What people read; unique in its parent in any case.
    pub name: String,
    /// Open only to those who are named.
    pub restricted: bool,
    /// The nearest restricted folder of itself and those above it: who is named there may enter.
    pub gate_id: Option<PasswordFolderId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its last edit.
    pub updated_at: Timestamp,
}

/// Deepest nesting; what is deeper is a mistake of a program.
pub const DEPTH_MAX: usize = 32;

/// A folder as far as the tree's shape goes: its parent, and whether it is restricted.
pub type Shape = BTreeMap<PasswordFolderId, (Option<PasswordFolderId>, bool)>;

/// The nearest restricted folder of `folder` and those above it.
pub fn gate_of(shape: &Shape, folder: PasswordFolderId) -> Option<PasswordFolderId> {
    lineage(shape, folder).find(|id| shape.get(id).is_some_and(|(_, restricted)| *restricted))
}

/// How deep a folder lies; 1 at the top. `None`: it lies in itself.
pub fn depth(shape: &Shape, folder: PasswordFolderId) -> Option<usize> {
    let mut seen = BTreeSet::new();
    for id in lineage(shape, folder).take(shape.len() + 1) {
        if !seen.insert(id) {
            return None;
        }
    }
    Some(seen.len())
}

/// How many levels lie below a folder; 0 where none do.
pub fn height(shape: &Shape, folder: PasswordFolderId) -> usize {
    let levels = |id: &PasswordFolderId| {
        lineage(shape, *id)
            .take(shape.len())
            .position(|above| above == folder)
    };
    shape.keys().filter_map(levels).max().unwrap_or(0)
}

/// A folder and those above it.
fn lineage(
    shape: &Shape,
    folder: PasswordFolderId,
) -> impl Iterator<Item = PasswordFolderId> + use<'_> {
    std::iter::successors(Some(folder), |id| {
        shape.get(id).and_then(|(parent, _)| *parent)
    })
    .take(shape.len() + 1)
}

/// The names of a path such as `Infrastructure/Domain Controllers`; empty ones are left out.
pub fn path_names(path: &str) -> Vec<&str> {
    let names = path.split('/').map(str::trim);
    names.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: &[(i64, Option<i64>, bool)]) -> Shape {
        let id = PasswordFolderId;
        let row = |(one, parent, restricted): &(i64, Option<i64>, bool)| {
            (id(*one), (parent.map(id), *restricted))
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn the_nearest_restricted_folder_is_the_gate() {
        let tree = shape(&[
            (1, None, false),
            (2, Some(1), true),
            (3, Some(2), false),
            (4, Some(3), true),
        ]);
        let gates = [1, 2, 3, 4].map(|one| gate_of(&tree, PasswordFolderId(one)));
        let wanted = [None, Some(2), Some(2), Some(4)];
        assert_eq!(gates, wanted.map(|one| one.map(PasswordFolderId)));
    }

    #[test]
    fn depth_and_height_are_counted_and_a_cycle_is_seen() {
        let tree = shape(&[(1, None, false), (2, Some(1), false), (3, Some(2), false)]);
        let depths = [1, 2, 3].map(|one| depth(&tree, PasswordFolderId(one)));
        assert_eq!(depths, [Some(1), Some(2), Some(3)]);
        let heights = [1, 2, 3].map(|one| height(&tree, PasswordFolderId(one)));
        assert_eq!(heights, [2, 1, 0]);
        let ring = shape(&[(1, Some(2), false), (2, Some(1), false)]);
        assert_eq!(depth(&ring, PasswordFolderId(1)), None);
        assert_eq!(gate_of(&ring, PasswordFolderId(1)), None);
    }

    #[test]
    fn a_path_is_names_without_the_empty_ones() {
        let names = path_names("/Infrastructure// Domain Controllers /");
        assert_eq!(names, ["Infrastructure", "Domain Controllers"]);
    }
}
