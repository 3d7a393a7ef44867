//! What the evidence names is there.
//!
//! Invariant: a test that is renamed or removed takes its line of the table with it.

use super::source::{root, text_files};

/// Every test that a text names, as `room::name`.
fn named(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|quoted| quoted.rsplit_once("::"));
    named
        .filter(|(room, name)| !room.is_empty() && name.contains('_'))
        .collect()
}

/// True if a source has a test of this name: a function, or the first word of an `on_both!`.
fn has(source: &str, name: &str) -> bool {
    source.match_indices(name).any(|(at, _)| {
        let before = source[..at].trim_end();
        let after = source[at + name.len()..].chars().next();
        let is_test = before.ends_with("fn") || before.ends_with("on_both!(");
        is_test && matches!(after, Some('(' | ','))
    })
}

#[test]
fn every_test_that_the_table_of_faults_names_is_there() {
    let table = std::fs::read_to_string(root().join("docs/evidence/faults.md")).unwrap();
    let all = text_files(&["tests", "connectors", "src"]);
    let named = named(&table);
    assert!(named.len() > 50, "the table names {} tests", named.len());
    let gone: Vec<_> = named
        .into_iter()
        .filter(|(_, name)| !all.iter().any(|(_, source)| has(source, name)))
        .collect();
    assert!(gone.is_empty(), "no such test: {gone:?}");
    assert!(!has("fn a_test_of() {}", "a_test"));
}
