//! Whatever native clients send.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fuzz::{canary, check, mutant_texts, mutants, noise, text};

#[test]
fn a_fault_points_somewhere_and_repeats_no_value() {
    let bodies = canary().prop_flat_map(|canary| {
        let seeds = [
            format!(r#"{{"name": "{canary}", "limit": 9, "rows": [{{"port": 1}}]}}"#),
            format!(r#"{{"name": ["{canary}"], "rows": [{{"port": "{canary}"}}]}}"#),
            format!(r#"{{"name": "a", "limit": "{canary}", "rows": "{canary}"}}"#),
        ];
        let seeds = seeds.into_iter().map(String::into_bytes).collect();
        let tokens = &[
            "\"limit\":",
            "null",
            "\"rows\":[",
            "{\"port\":",
            "]}",
            "\\u0000",
            "[[[[",
            "1e999",
        ];
        (
            Just(canary),
            prop_oneof![9 => mutants(seeds, tokens), 1 => noise(60)],
        )
    });
    check("native::input of bodies", &bodies, |(canary, body)| {
        if let Err(error) = read::<Sample>(&body) {
            let ApiError::Invalid(faults) = &error else {
                return Err(TestCaseError::fail(error.to_string()));
            };
            prop_assert_eq!(faults.len(), 1);
            let fault = &faults[0];
            prop_assert!(!fault.text.contains(&canary), "{}", fault.text);
            prop_assert!(fault.text.len() < 200);
            prop_assert!(fault.field.is_empty() || fault.field.starts_with('/'));
        }
        Ok(())
    });
}

#[test]
fn if_match_names_the_stored_revision_or_nothing_is_written() {
    let tag = prop_oneof![
        (0_i64..9).prop_map(etag),
        mutant_texts(&["\"5\"", "W/\"5\"", "*"], &["\"", ",", "*"]),
    ];
    check(
        "native::IfMatch",
        &(vec(tag, 0..4), 0_i64..9),
        |(tags, stored)| {
            let sent = tags.join(", ");
            let matches = IfMatch(sent.clone()).revision(stored, "it").is_ok();
            let named = sent
                .split(',')
                .any(|tag| tag.trim() == format!("\"{stored}\""));
            prop_assert_eq!(matches, named || sent == "*", "{}", sent);
            Ok(())
        },
    );
}

#[test]
fn a_moment_is_read_as_it_is_written() {
    let moments = prop_oneof![
        (-62_135_596_800_000_i64..253_402_300_800_000).prop_map(|at| Timestamp(at).rfc3339()),
        mutant_texts(
            &["2026-06-01T00:00:00Z", "2026-06-01T00:00:00.123+02:00"],
            &["T", "Z", "+24:00", ":60"]
        ),
    ];
    check("native::At", &moments, |raw| {
        let Ok(At(at)) = serde_json::from_value(serde_json::Value::from(raw.clone())) else {
            return Ok(());
        };
        let again: At = serde_json::from_value(serde_json::json!(At(at)))
            .map_err(|error| TestCaseError::fail(format!("{raw}: {error}")))?;
        prop_assert_eq!(again, At(at), "{}", raw);
        Ok(())
    });
}

#[test]
fn a_content_type_is_json_or_it_is_not() {
    let kinds = prop_oneof![
        select(vec!["application/json", "application/ld+json;x=y"])
            .prop_map(|kind| kind.as_bytes().to_vec()),
        mutants(
            vec![b"application/problem+json; charset=utf-8".to_vec()],
            &["+json", "/"]
        ),
        text(5).prop_map(String::into_bytes),
    ];
    check("native::is_json", &kinds, |kind| {
        let Ok(value) = HeaderValue::from_bytes(&kind) else {
            return Ok(());
        };
        let lower = String::from_utf8_lossy(&kind).to_ascii_lowercase();
        let head = lower.split(';').next().unwrap().trim();
        prop_assert!(
            !is_json(&value) || (head.starts_with("application/") && head.ends_with("json"))
        );
        Ok(())
    });
}
