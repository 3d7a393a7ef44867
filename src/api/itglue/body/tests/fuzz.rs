//! Whatever bodies come.

use std::fmt::Write;

use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;
use crate::fuzz::{canary, check, mutants, noise, text};

const SEEDS: [&str; 4] = [
    r#"{"data":{"type":"passwords","attributes":{"name":"n","password":"p","organization-id":2}}}"#,
    r#"{"data":[{"type":"passwords","attributes":{"id":54,"password-category-id":"5"}},{"id":"7"}]}"#,
    r#"{"data":{"attributes":{"name":"n"},"relationships":{"password_category":{"data":[{"attributes":{"name":"Cloud"}}]}}}}"#,
    r#"{"name":"n","otpSecret":"GEZDGNBV","archived":1}"#,
];

const TOKENS: &[&str] = &[
    "\"data\":",
    "\"type\":",
    "\"id\":",
    "\"attributes\":",
    "{\"",
    "\":",
    "},{",
    "[[[[",
    "null",
    "\\u0000",
    "\\ud800",
    "1e999",
    "\"\"",
    "[]",
    "{}",
];

const NAMES: [&str; 5] = [
    "name",
    "password",
    "organization_id",
    "otp_secret",
    "archived",
];

#[test]
fn whatever_comes_is_read_or_refused_without_its_words() {
    let bodies = prop_oneof![
        5 => mutants(SEEDS.map(|seed| seed.as_bytes().to_vec()).into(), TOKENS),
        1 => noise(60),
    ];
    check("itglue::body", &bodies, |body| {
        let Ok(document) = Document::parse(Some("application/vnd.api+json"), &body) else {
            return Ok(());
        };
        let Ok((items, _)) = document.all("passwords") else {
            return Ok(());
        };
        prop_assert!(
            !items.is_empty() || body.windows(2).any(|two| two == b"[]") || body.contains(&b'[')
        );
        prop_assert!(items.len() <= ITEMS_MAX);
        for item in &items {
            for name in NAMES {
                let known = has(item, name);
                let text = item.text(name, 64).map(|text| text != Sent::Absent);
                prop_assert_eq!(text.unwrap_or(true), known);
                prop_assert!(item.flag(name).is_err() || item.pointer(name).ends_with(name));
            }
        }
        Ok(())
    });
}

/// The name in another spelling.
fn other(name: &str, spelling: u8) -> String {
    match spelling % 3 {
        0 => name.to_owned(),
        1 => name.replace('_', "-"),
        _ => {
            let mut parts = name.split('_');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |mut whole, part| {
                let (head, tail) = part.split_at(1);
                whole.push_str(&head.to_ascii_uppercase());
                whole.push_str(tail);
                whole
            })
        }
    }
}

#[test]
fn a_resource_says_what_its_attributes_say_in_every_form() {
    let words = text(5).prop_map(|text| text.replace('\0', ""));
    let value = prop_oneof![words.prop_map(Value::from), Just(Value::Null)];
    let given = (
        btree_map(select(NAMES.to_vec()), value, 0..5),
        any::<u8>(),
        any::<u8>(),
    );
    check(
        "itglue::body of every form",
        &given,
        |(given, spelling, form)| {
            let sent: Map<String, Value> = given
                .iter()
                .map(|(name, value)| (other(name, spelling), value.clone()))
                .collect();
            let body = match form % 3 {
                0 => json!({"data": {"type": "passwords", "attributes": sent}}),
                1 => json!({"data": sent}),
                _ => json!({"type": "passwords", "attributes": sent}),
            };
            let document = Document::parse(None, body.to_string().as_bytes()).unwrap();
            let item = document.one("passwords").unwrap();
            for (name, value) in &given {
                let want = match value.as_str() {
                    None | Some("") => Sent::Null,
                    Some(text) => Sent::Value(text.to_owned()),
                };
                prop_assert_eq!(item.text(name, 10_000).unwrap(), want);
            }
            prop_assert_eq!(item.attributes.0.len(), given.len());
            Ok(())
        },
    );
}

#[test]
fn no_fault_and_no_debug_shows_a_value() {
    let values = (canary(), select(NAMES.to_vec()), any::<bool>());
    check(
        "itglue::body of secrets",
        &values,
        |(secret, name, array)| {
            let value = if array {
                json!([secret])
            } else {
                json!(secret)
            };
            let body = json!({"data": {"attributes": {name: value}}}).to_string();
            let item = Document::parse(None, body.as_bytes())
                .unwrap()
                .one("passwords")
                .unwrap();
            let mut said = format!("{item:?}");
            for error in [
                item.text(name, 1).map(|_| ()),
                item.flag(name).map(|_| ()),
                item.id_of(name).map(|_| ()),
                item.moment(name).map(|_| ()),
                item.secret(name, 1).map(|_| ()),
            ] {
                write!(said, "{error:?}").unwrap();
            }
            prop_assert!(!said.contains(&secret), "{}", said);
            Ok(())
        },
    );
}
