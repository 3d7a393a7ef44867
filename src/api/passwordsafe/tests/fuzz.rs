//! Whatever path is asked for.

use proptest::prelude::*;

use super::*;
use crate::fuzz::{check, mutant_texts, text};

#[test]
fn a_path_is_rewritten_to_one_spelling_or_left_alone() {
    let seeds = [
        "/BeyondTrust/api/public/v3/ManagedAccounts/7/Credentials/Change",
        "/eEye.RetinaCS.Server/api/public/v3/Auth/SignAppin/",
        "/api/v1/accounts",
    ];
    let paths =
        prop_oneof![4 => mutant_texts(&seeds, &["//", "%2f", "/../", "BeyondTrust"]), 1 => text(9)];
    check("passwordsafe::canonical", &paths, |path| {
        let found = canonical(&path);
        let lower = path.to_ascii_lowercase();
        let ours = [BASE, LEGACY_BASE].iter().any(|base| {
            let base = base.to_ascii_lowercase();
            lower == base || lower.starts_with(&format!("{base}/"))
        });
        prop_assert_eq!(found.is_some(), ours, "{}", path);
        if let Some(found) = found {
            prop_assert!(found.starts_with(BASE));
            let below = &found[BASE.len()..];
            prop_assert_eq!(below, below.to_ascii_lowercase());
            prop_assert!(
                lower
                    .trim_end_matches('/')
                    .ends_with(below.trim_end_matches('/'))
            );
        }
        Ok(())
    });
}
