//! Whatever bodies and query strings come.

use std::fmt::Write;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fuzz::{canary, check, mutants, noise, text};

const KINDS: [Option<&str>; 8] = [
    None,
    Some("application/json"),
    Some("text/json; charset=utf-8"),
    Some("application/x-www-form-urlencoded"),
    Some("application/vnd.api+json"),
    Some("text/plain"),
    Some(";"),
    Some("APPLICATION/JSON"),
];

const TOKENS: &[&str] = &[
    "\"Password\":",
    "Password=",
    "&",
    "%zz",
    "%",
    "+",
    "{\"",
    "\":",
    "},{",
    "[[[[",
    "{\"a\":{\"a\":",
    "true",
    "\\u0000",
    "\\ud800",
    "1e999",
    "\"\"",
];

fn kinds() -> impl Strategy<Value = Option<&'static str>> {
    select(KINDS.to_vec())
}

/// The names in another case.
fn mixed(name: &str, bits: u8) -> String {
    let turn = |(at, sign): (usize, char)| {
        if bits >> (at % 8) & 1 == 1 {
            sign.to_ascii_uppercase()
        } else {
            sign.to_ascii_lowercase()
        }
    };
    name.chars().enumerate().map(turn).collect()
}

/// Text without U+0000, which is refused before anything is read.
fn words() -> impl Strategy<Value = String> + Clone {
    text(5).prop_map(|text| text.replace('\0', ""))
}

const NAMES: [&str; 5] = ["Password", "Queue", "Port", "AccountName", "Extra"];

#[test]
fn a_json_body_says_what_its_fields_say() {
    let value = prop_oneof![
        words().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(serde_json::json!([1])),
    ];
    let bodies = (btree_map(select(NAMES.to_vec()), value, 0..5), any::<u8>());
    check("passwordsafe::input of JSON", &bodies, |(given, bits)| {
        let sent: serde_json::Map<String, Value> = given
            .iter()
            .map(|(name, value)| (mixed(name, bits), value.clone()))
            .collect();
        let fields = Fields::parse(None, Value::from(sent).to_string().as_bytes());
        let fields = fields.map_err(|error| TestCaseError::fail(error.to_string()))?;
        for name in NAMES {
            let value = given
                .get(name)
                .filter(|value| !value.is_null() && value.as_str() != Some(""));
            prop_assert_eq!(fields.has(name), value.is_some());
            prop_assert_eq!(fields.raw(&name.to_uppercase()), value);
            match value {
                None => prop_assert!(fields.text(name, 9).is_ok_and(|text| text.is_none())),
                Some(Value::String(text)) => {
                    let short = text.chars().count() <= 9;
                    prop_assert_eq!(
                        fields.text(name, 9).ok().flatten(),
                        short.then(|| text.clone())
                    );
                    prop_assert!(fields.flag(name).is_err() && fields.int(name, 0..=9).is_err());
                }
                Some(Value::Number(number)) => {
                    let int = number.as_i64().unwrap();
                    let fits = (0..=65_535).contains(&int);
                    prop_assert_eq!(
                        fields.int(name, 0..=65_535).ok().flatten(),
                        fits.then_some(int)
                    );
                }
                Some(Value::Bool(flag)) => {
                    prop_assert_eq!(fields.flag(name).ok().flatten(), Some(*flag));
                }
                Some(_) => prop_assert!(fields.text(name, 9).is_err()),
            }
        }
        Ok(())
    });
}

#[test]
fn a_form_says_the_same_in_words() {
    let bodies = (
        btree_map(select(NAMES.to_vec()), words(), 0..5),
        any::<u8>(),
    );
    check("passwordsafe::input of forms", &bodies, |(given, bits)| {
        let pairs: Vec<(String, &String)> = given
            .iter()
            .map(|(name, value)| (mixed(name, bits), value))
            .collect();
        let body = serde_urlencoded::to_string(pairs).unwrap();
        // A form that begins with a brace is taken for JSON, and no name of ours begins so.
        let fields = Fields::parse(Some("application/x-www-form-urlencoded"), body.as_bytes());
        let fields = fields.map_err(|error| TestCaseError::fail(error.to_string()))?;
        for name in NAMES {
            let value = given.get(name).filter(|value| !value.is_empty());
            prop_assert_eq!(&fields.text(name, 1_000).unwrap(), &value.cloned());
            let int = value.and_then(|value| value.parse::<i64>().ok());
            let int = int.filter(|int| (0..=9).contains(int));
            prop_assert_eq!(fields.int(name, 0..=9).ok().flatten(), int);
            let flag = value.and_then(|value| value.to_ascii_lowercase().parse::<bool>().ok());
            prop_assert_eq!(fields.flag(name).ok().flatten(), flag);
        }
        Ok(())
    });
}

fn said(error: &ApiError) -> String {
    let mut said = format!("{error} {error:?}");
    if let ApiError::Invalid(faults) = error {
        for fault in faults {
            write!(said, "{} {}", fault.field, fault.text).unwrap();
        }
    }
    said
}

#[test]
fn no_error_repeats_a_value_of_the_body() {
    let bodies = canary().prop_flat_map(|canary| {
        let seeds = [
            format!(r#"{{"Password": "{canary}", "Queue": true, "Port": 22}}"#),
            format!(r#"[{{"Password": "{canary}"}}, {{"Password": ["{canary}"]}}]"#),
            format!("Password={canary}&Queue=true&Port=22"),
            format!(r#"{{"Queue": "{canary}", "Port": "{canary}"}}"#),
        ];
        let seeds = seeds.into_iter().map(String::into_bytes).collect();
        (Just(canary), mutants(seeds, TOKENS), kinds())
    });
    check(
        "passwordsafe::input of mutants",
        &bodies,
        |(canary, body, kind)| {
            let mut told = Vec::new();
            match Fields::parse(kind, &body) {
                Ok(fields) => {
                    told.push(format!(
                        "{:?}",
                        fields
                            .values
                            .keys()
                            .filter(|key| key.len() < 9)
                            .collect::<Vec<_>>()
                    ));
                    told.extend(fields.text("Password", 3).err().as_ref().map(said));
                    told.extend(fields.flag("Queue").err().as_ref().map(said));
                    told.extend(fields.int("Port", 0..=9).err().as_ref().map(said));
                    told.extend(fields.required_int("Port", 0..=9).err().as_ref().map(said));
                }
                Err(error) => told.push(said(&error)),
            }
            match Records::parse(kind, &body) {
                Ok(records) => prop_assert!(records.0.len() <= body.len() + 1),
                Err(error) => told.push(said(&error)),
            }
            prop_assert!(!told.concat().contains(&canary), "{:?}", told);
            Ok(())
        },
    );
    check(
        "passwordsafe::input of noise",
        &(noise(60), kinds()),
        |(body, kind)| {
            drop((Fields::parse(kind, &body), Records::parse(kind, &body)));
            Ok(())
        },
    );
}

#[test]
fn a_query_string_says_what_was_put_into_it() {
    let pair = ("[a-z]{1,6}", text(5));
    let given = (vec(pair, 0..5), "[a-z]{1,6}", text(5));
    check("passwordsafe::Params", &given, |(pairs, name, value)| {
        let query = serde_urlencoded::to_string(&pairs).unwrap();
        let params = Params(serde_urlencoded::from_str(&query).unwrap());
        for (name, _) in &pairs {
            let first = pairs
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, value)| value.as_str());
            prop_assert_eq!(
                params.text(&name.to_uppercase()),
                first.filter(|value| !value.is_empty())
            );
        }
        let again = Params(serde_urlencoded::from_str(&params.with(&name, &value)).unwrap());
        prop_assert_eq!(
            again.text(&name),
            Some(value.as_str()).filter(|value| !value.is_empty())
        );
        let others = pairs.iter().filter(|(other, _)| *other != name).count();
        prop_assert_eq!(again.0.len(), others + 1, "the others stay");
        Ok(())
    });
}

#[test]
fn an_id_is_digits_that_fit() {
    let raw = prop_oneof![
        any::<u64>().prop_map(|id| id.to_string()),
        (0_i64..3_000_000_000).prop_map(|id| id.to_string()),
        text(3),
    ];
    check("passwordsafe::Segments::parse_id", &raw, |raw| {
        let digits = !raw.is_empty() && raw.chars().all(|sign| sign.is_ascii_digit());
        let meant = raw
            .parse::<u128>()
            .ok()
            .filter(|id| digits && (1..=2_147_483_647).contains(id));
        prop_assert_eq!(
            Segments::parse_id(&raw).map(i128::from),
            meant.map(|id| i128::try_from(id).unwrap())
        );
        let params = Params(vec![("limit".to_owned(), raw.clone())]);
        if let Ok(page) = params.page(9) {
            prop_assert!(page.limit >= 0 && (page.limited || raw.is_empty()));
        }
        Ok(())
    });
}
