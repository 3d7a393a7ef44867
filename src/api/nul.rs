//! Refuses U+0000: no text means it, and PostgreSQL stores none that has it.
//!
//! Invariant: no text that a client sent reaches the store with U+0000 in it, whichever database
//! that is.

use serde_json::Value;

use super::error::ApiError;

/// U+0000 in a text of JSON: there is no other way to write it there.
const ESCAPE: &[u8] = b"\\u0000";

fn refused(field: String) -> ApiError {
    ApiError::field(field, "holds the character U+0000; leave it out")
}

/// Which text of a document it is, by a JSON pointer; the first one.
fn place(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let below = place(item)?;
            Some(format!("/{index}{below}"))
        }),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            let below = place(field)?;
            let name = name.replace('~', "~0").replace('/', "~1");
            Some(format!("/{name}{below}"))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Refuses texts with U+0000.
///
/// # Errors
/// [`ApiError::Invalid`].
pub(super) fn none_in<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<(), ApiError> {
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(refused(String::new()));
    }
    Ok(())
}

/// Refuses JSON that names U+0000, in a text or in a field's name.
///
/// # Errors
/// [`ApiError::Invalid`].
pub(super) fn none_in_json(json: &[u8]) -> Result<(), ApiError> {
    let mut escaped = false;
    for (at, byte) in json.iter().enumerate() {
        if escaped || *byte != b'\\' {
            escaped = false;
        } else if json.get(at..).is_some_and(|rest| rest.starts_with(ESCAPE)) {
            let parsed = serde_json::from_slice(json).ok();
            let found = parsed.as_ref().and_then(place);
            return Err(refused(found.unwrap_or_default()));
        } else {
            // A backslash behind this one is a character, and begins nothing.
            escaped = true;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::{check, mutant_texts, text};

    #[test]
    fn the_text_at_fault_is_pointed_to() {
        let found = none_in_json(br#"{"ids": [1], "a/b": ["x", "y\u0000"]}"#);
        let Err(ApiError::Invalid(faults)) = found else {
            panic!("{found:?}");
        };
        assert_eq!(faults[0].field, "/a~1b/1");
    }

    mod fuzz {
        use super::*;

        #[test]
        fn json_names_u_0000_exactly_if_one_of_its_texts_holds_it() {
            let seeds = [
                r#"{"a\\u0000": "b\u0000"}"#,
                r#"["\\\u0000", "\u0001"]"#,
                r#"["\\u0000"]"#,
            ];
            let texts = prop_oneof![
                3 => mutant_texts(&seeds, &["\\u0000", "\\", "\\\\", "\\\""]),
                2 => text(6).prop_map(|text| Value::from(text).to_string()),
            ];
            check("api::nul", &texts, |json| {
                let Ok(value) = serde_json::from_str::<Value>(&json) else {
                    return Ok(());
                };
                let held = value.to_string().replace("\\\\", "").contains("\\u0000");
                let refused = none_in_json(json.as_bytes()).is_err();
                // A name that comes twice hides what its first text held.
                prop_assert!(
                    refused == held || (refused && json.contains(':')),
                    "{}",
                    json
                );
                prop_assert_eq!(
                    none_in([value.as_str().unwrap_or_default()]).is_err(),
                    held && value.is_string()
                );
                Ok(())
            });
        }
    }
}
