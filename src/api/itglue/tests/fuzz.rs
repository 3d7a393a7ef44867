//! Whatever path is asked for.

use proptest::prelude::*;

use super::*;
use crate::fuzz::{check, mutant_texts, text};

#[test]
fn a_path_is_rewritten_to_one_spelling_or_left_alone() {
    let seeds = [
        "/itglue/organizations/2/relationships/password-folders/7/",
        "/itglue/passwords",
        "/api/v1/password-rules",
    ];
    let paths =
        prop_oneof![4 => mutant_texts(&seeds, &["//", "%2d", "/../", "itglue"]), 1 => text(9)];
    check("itglue::canonical", &paths, |path| {
        let found = canonical(&path);
        let ours = path == BASE || path.starts_with("/itglue/");
        prop_assert_eq!(found.is_some(), ours, "{}", path);
        if let Some(found) = found {
            prop_assert!(found.starts_with(BASE) && !found.contains('-'));
            prop_assert!(path.replace('-', "_").starts_with(&found));
            prop_assert!(path.len() - found.len() <= 1);
        }
        Ok(())
    });
}
