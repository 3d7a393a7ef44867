//! What each noun of the dialect adds to the description, a file each.
//!
//! A new noun is a file here, which [`all`] names; a new route of a noun is an operation in its file.
//!
//! Invariant: an operation stands here once.

mod category;
mod export;
mod folder;
mod organization;
mod password;
mod reference;

use serde_json::Value;

use super::operation::Operation;

/// A noun.
pub(super) struct Noun {
    /// What it is called.
    pub(super) tag: &'static str,
    /// What is done with it.
    pub(super) operations: Vec<Operation>,
    /// What its operations take and answer, by names that no other noun gives.
    pub(super) schemas: Vec<(&'static str, Value)>,
}

/// Every noun.
pub(super) fn all() -> Vec<Noun> {
    let mut all = vec![organization::noun()];
    all.extend(reference::nouns());
    all.extend([
        category::noun(),
        folder::noun(),
        password::noun(),
        export::noun(),
    ]);
    all
}

/// Filters of these fields.
fn filters(fields: &[&str]) -> Vec<String> {
    let names = fields.iter().map(|field| format!("filter[{field}]"));
    names.collect()
}

/// Filters by date: as a span, and by each of its ends.
fn spans(fields: &[&str]) -> Vec<String> {
    let names = fields.iter().flat_map(|field| {
        ["", "[gt]", "[gte]", "[lt]", "[lte]"].map(|end| format!("filter[{field}]{end}"))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_nouns_give_a_schema_the_same_name() {
        let all = all();
        let names: Vec<&str> = all
            .iter()
            .flat_map(|noun| noun.schemas.iter().map(|(name, _)| *name))
            .chain(
                super::super::schema::shared()
                    .into_iter()
                    .map(|(name, _)| name),
            )
            .collect();
        let once: BTreeSet<&&str> = names.iter().collect();
        assert_eq!(once.len(), names.len(), "{names:?}");
    }
}
