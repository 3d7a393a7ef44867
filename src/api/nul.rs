//! Refuses U+0000: no text means it, and PostgreSQL stores none that has it.
//!
//! Invariant: no text that a client sent reaches the store with U+0000 in it, whichever database
//! that is.

use super::error::ApiError;

/// U+0000 in a text of JSON: there is no other way to write it there.
const ESCAPE: &[u8] = b"\\u0000";

fn refused() -> ApiError {
    ApiError::bad("a text holds the character U+0000; leave it out")
}

/// Refuses texts with U+0000.
///
/// # Errors
/// [`ApiError::Invalid`].
pub(super) fn none_in<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<(), ApiError> {
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(refused());
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
            return Err(refused());
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
    use serde_json::Value;

    use super::*;
    use crate::fuzz::{check, mutant_texts, text};

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
