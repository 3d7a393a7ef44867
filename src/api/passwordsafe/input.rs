//! Reads what the dialect's clients send: path segments, query parameters and lenient bodies.
//!
//! Bodies are JSON with or without a content type, forms, `{}`, or nothing at all. Names match in
//! any case, unknown ones are ignored, and `null` and `""` mean "not given".
//!
//! Invariant: an error names a field, never its value: values hold passwords.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::header;
use axum::http::request::Parts;
use secrecy::SecretString;
use serde_json::Value;
use zeroize::Zeroize;

use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::nul;

/// Ids on the wire are positive and fit 32 bits.
const ID_MAX: i64 = 2_147_483_647;

/// The variable segments of the path, lower-cased and percent-decoded.
#[derive(Clone, Debug)]
pub struct Segments(Vec<(String, String)>);

impl Segments {
    /// The segment of this name in the route's template.
    ///
    /// # Errors
    /// [`ApiError::Internal`] if the template has no such segment.
    pub fn text(&self, name: &str) -> Result<&str, ApiError> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or(ApiError::Internal("the route's template lacks a segment"))
    }

    /// The segment as an id; `what` is the noun of the error, for example `Managed Account`.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if it is no positive 32-bit integer.
    pub fn id<T: From<i64>>(&self, name: &str, what: &'static str) -> Result<T, ApiError> {
        Self::parse_id(self.text(name)?)
            .map(T::from)
            .ok_or(ApiError::NotFound { what })
    }

    /// Reads an id: digits alone.
    pub fn parse_id(raw: &str) -> Option<i64> {
        if !raw.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        raw.parse().ok().filter(|id| (1..=ID_MAX).contains(id))
    }
}

impl FromRequestParts<Api> for Segments {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        // A segment that is no UTF-8 names nothing.
        let params = RawPathParams::from_request_parts(parts, api)
            .await
            .map_err(|_| ApiError::NotFound { what: "Resource" })?;
        nul::none_in(params.iter().map(|(_, value)| value))
            .map_err(|_| ApiError::NotFound { what: "Resource" })?;
        Ok(Self(
            params
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        ))
    }
}

/// Query parameters; unknown ones are ignored, and an empty one was not given.
#[derive(Clone, Debug)]
pub struct Params(Vec<(String, String)>);

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many.
    pub limit: i64,
    /// After so many.
    pub offset: i64,
    /// True if the client asked for a limit: some lists then answer in an envelope.
    pub limited: bool,
}

impl Params {
    /// A parameter; the first one if it is repeated.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming it.
    pub fn required(&self, name: &'static str) -> Result<&str, ApiError> {
        self.text(name)
            .ok_or_else(|| ApiError::field(name, "is required"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the parameter.
    pub fn int(
        &self,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(raw) = self.text(name) else {
            return Ok(None);
        };
        let parsed = raw.parse().ok().filter(|int| range.contains(int));
        parsed.map(Some).ok_or_else(|| not_in(name, &range))
    }

    /// `limit` and `offset`.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the parameter.
    pub fn page(&self, default_limit: i64) -> Result<Page, ApiError> {
        let limit = self.int("limit", 0..=ID_MAX)?;
        let offset = self.int("offset", 0..=ID_MAX)?.unwrap_or(0);
        Ok(Page {
            limit: limit.unwrap_or(default_limit),
            offset,
            limited: limit.is_some(),
        })
    }
}

impl Params {
    /// The query string again, with one parameter replaced.
    pub fn with(&self, name: &str, value: &str) -> String {
        let mut pairs: Vec<(&str, &str)> = self
            .0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .filter(|(key, _)| !key.eq_ignore_ascii_case(name))
            .collect();
        pairs.push((name, value));
        // Pairs of texts can always be encoded.
        serde_urlencoded::to_string(pairs).unwrap_or_default()
    }
}

impl FromRequestParts<Api> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|_| ApiError::bad("the query string is malformed"))?;
        nul::none_in(pairs.iter().map(|(_, value)| value.as_str()))?;
        Ok(Self(pairs))
    }
}

/// The fields of a body.
#[derive(Default)]
pub struct Fields {
    /// By lower-cased name.
    values: BTreeMap<String, Value>,
    /// True if the body was a form: then all values are strings.
    form: bool,
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fields").field(&self.values.keys()).finish()
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        for value in self.values.values_mut() {
            if let Value::String(text) = value {
                text.zeroize(); // it may be a password
            }
        }
    }
}

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError::MediaType`], or [`ApiError::Invalid`] for malformed bodies.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, ApiError> {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Ok(Self::default());
        }
        let kind = content_type
            .and_then(|kind| kind.split(';').next())
            .unwrap_or_default()
            .trim();
        match kind.to_ascii_lowercase().as_str() {
            // `curl -d '{…}'` calls JSON a form. No form's first name begins with a brace.
            "application/x-www-form-urlencoded" if !body.starts_with(b"{") => Self::form(body),
            "" | "application/json" | "text/json" | "application/x-www-form-urlencoded" => {
                Self::json(body)
            }
            other if other.starts_with("application/") && other.ends_with("+json") => {
                Self::json(body)
            }
            _ => Err(ApiError::MediaType),
        }
    }

    fn json(body: &[u8]) -> Result<Self, ApiError> {
        nul::none_in_json(body)?;
        // The parser's own words may quote the body: they are dropped.
        let parsed = serde_json::from_slice(body)
            .map_err(|_| ApiError::bad("The body is not well-formed JSON"))?;
        Self::of(parsed)
    }

    fn of(parsed: Value) -> Result<Self, ApiError> {
        match parsed {
            Value::Null => Ok(Self::default()),
            Value::Object(fields) => Ok(Self {
                values: fields
                    .into_iter()
                    .map(|(key, v)| (key.to_lowercase(), v))
                    .collect(),
                form: false,
            }),
            _ => Err(ApiError::bad("The body must be a JSON object")),
        }
    }

    fn form(body: &[u8]) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body)
            .map_err(|_| ApiError::bad("The body is not a well-formed form"))?;
        nul::none_in(pairs.iter().map(|(_, value)| value.as_str()))?;
        let values = pairs
            .into_iter()
            .map(|(key, v)| (key.to_lowercase(), Value::String(v)))
            .collect();
        Ok(Self { values, form: true })
    }

    fn given(&self, name: &str) -> Option<&Value> {
        let value = self.values.get(&name.to_lowercase())?;
        match value {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            value => Some(value),
        }
    }

    /// True if the field has a value.
    pub fn has(&self, name: &str) -> bool {
        self.given(name).is_some()
    }

    /// A text of at most `chars_max` characters.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the field.
    pub fn text(&self, name: &'static str, chars_max: usize) -> Result<Option<String>, ApiError> {
        match self.given(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= chars_max => {
                Ok(Some(text.clone()))
            }
            Some(Value::String(_)) => Err(ApiError::field(
                name,
                format!("is longer than {chars_max} characters"),
            )),
            Some(_) => Err(ApiError::field(name, "must be a string")),
        }
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the field.
    pub fn required_text(&self, name: &'static str, chars_max: usize) -> Result<String, ApiError> {
        self.text(name, chars_max)?
            .ok_or_else(|| ApiError::field(name, "is required"))
    }

    /// A secret of at most `chars_max` characters.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the field.
    pub fn secret(
        &self,
        name: &'static str,
        chars_max: usize,
    ) -> Result<Option<SecretString>, ApiError> {
        Ok(self.text(name, chars_max)?.map(SecretString::from))
    }

    /// A boolean; in a form `true` or `false` in any case.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the field.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, ApiError> {
        let flag = match self.given(name) {
            None => return Ok(None),
            Some(Value::Bool(flag)) => Some(*flag),
            Some(Value::String(word)) if self.form => word.to_ascii_lowercase().parse().ok(),
            Some(_) => None,
        };
        flag.map(Some)
            .ok_or_else(|| ApiError::field(name, "must be true or false"))
    }

    /// A whole number; in a form digits.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the field.
    pub fn int(
        &self,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let int = match self.given(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(digits)) if self.form => digits.parse().ok(),
            Some(_) => None,
        };
        let int = int.filter(|int| range.contains(int));
        int.map(Some).ok_or_else(|| not_in(name, &range))
    }

    /// A whole number that must be there.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the field.
    pub fn required_int(
        &self,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<i64, ApiError> {
        self.int(name, range)?
            .ok_or_else(|| ApiError::field(name, "is required"))
    }

    /// The field as it was sent, for those that are kept and shown but not understood.
    pub fn raw(&self, name: &str) -> Option<&Value> {
        self.given(name)
    }
}

impl FromRequest<Api> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        read(request, api, Self::parse).await
    }
}

/// A body that is a list of records; one record alone is a list of one.
#[derive(Debug)]
pub struct Records(pub Vec<Fields>);

impl Records {
    fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, ApiError> {
        if !body.trim_ascii_start().starts_with(b"[") {
            return Ok(Self(vec![Fields::parse(content_type, body)?]));
        }
        nul::none_in_json(body)?;
        let records: Vec<Value> = serde_json::from_slice(body)
            .map_err(|_| ApiError::bad("The body is not well-formed JSON"))?;
        let records = records.into_iter().map(Fields::of);
        Ok(Self(records.collect::<Result<_, _>>()?))
    }
}

impl FromRequest<Api> for Records {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        read(request, api, Self::parse).await
    }
}

pub(in crate::api) async fn read<T>(
    request: Request,
    api: &Api,
    parse: fn(Option<&str>, &[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    let kind = parts
        .headers
        .get(header::CONTENT_TYPE)
        .map(|kind| kind.to_str());
    let kind = kind.transpose().map_err(|_| ApiError::MediaType)?;
    // Whoever hung up reads no answer, so the one error left is the limit.
    let bytes = axum::body::to_bytes(body, api.settings.body_max_bytes)
        .await
        .map_err(|_| ApiError::TooLarge)?;
    let parsed = parse(kind, &bytes);
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.as_mut().zeroize(); // it may hold a password
    }
    parsed
}

fn not_in(name: &'static str, range: &RangeInclusive<i64>) -> ApiError {
    let (least, most) = (range.start(), range.end());
    ApiError::field(
        name,
        format!("must be a whole number from {least} to {most}"),
    )
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use super::*;

    fn json(body: &str) -> Fields {
        Fields::parse(Some("application/json"), body.as_bytes()).unwrap()
    }

    fn form(body: &str) -> Fields {
        Fields::parse(Some("application/x-www-form-urlencoded"), body.as_bytes()).unwrap()
    }

    fn words(error: &ApiError) -> String {
        match error {
            ApiError::Invalid(faults) => format!("{faults:?}"),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn nothing_at_all_is_a_body_without_fields() {
        for (kind, body) in [
            (None, ""),
            (Some("application/json"), ""),
            (Some("text/plain"), "  \n"),
            (Some("application/json; charset=utf-8"), "{}"),
            (None, "null"),
        ] {
            let fields = Fields::parse(kind, body.as_bytes()).unwrap();
            assert!(!fields.has("Queue"), "{kind:?} {body:?}");
        }
    }

    #[test]
    fn names_match_in_any_case_and_empty_values_are_not_given() {
        let fields = json(r#"{"qUEUE": true, "Password": "", "PublicKey": null, "Extra": [1]}"#);
        assert_eq!(fields.flag("Queue").unwrap(), Some(true));
        assert!(fields.text("Password", 10).unwrap().is_none());
        assert!(fields.text("PublicKey", 10).unwrap().is_none());
    }

    #[test]
    fn json_needs_no_content_type_and_may_be_called_a_form() {
        for kind in [
            None,
            Some("application/x-www-form-urlencoded"),
            Some("application/ld+json"),
        ] {
            let fields = Fields::parse(kind, br#" {"Queue": true}"#).unwrap();
            assert_eq!(fields.flag("Queue").unwrap(), Some(true), "{kind:?}");
        }
    }

    #[test]
    fn forms_hold_booleans_and_numbers_as_words() {
        let fields = form("Queue=TRUE&Port=22&Name=a+b%26");
        assert_eq!(fields.flag("queue").unwrap(), Some(true));
        assert_eq!(fields.int("Port", 1..=65_535).unwrap(), Some(22));
        assert_eq!(fields.text("Name", 10).unwrap().as_deref(), Some("a b&"));
        assert!(form("Queue=yes").flag("Queue").is_err());
    }

    #[test]
    fn a_wrong_type_names_the_field_and_never_the_value() {
        let fields = json(r#"{"Password": 7731, "Queue": "true", "Port": "22", "Name": "7731"}"#);
        for (name, error) in [
            ("Password", fields.text("Password", 10).unwrap_err()),
            ("Queue", fields.flag("Queue").unwrap_err()),
            ("Port", fields.int("Port", 1..=9).unwrap_err()),
            ("Name", fields.text("Name", 3).unwrap_err()),
        ] {
            let words = words(&error);
            assert!(words.contains(name) && !words.contains("7731"), "{words}");
        }
        assert!(!format!("{fields:?}").contains("7731"));
    }

    #[test]
    fn malformed_bodies_and_strange_types_are_told_apart() {
        let malformed = Fields::parse(None, b"{\"Password\": 7731").unwrap_err();
        assert!(!words(&malformed).contains("7731"));
        assert!(Fields::parse(None, b"[1]").is_err());
        let strange = Fields::parse(Some("text/xml"), b"<a/>").unwrap_err();
        assert!(matches!(strange, ApiError::MediaType));
    }

    #[test]
    fn ids_are_positive_32_bit_digits() {
        assert_eq!(Segments::parse_id("7"), Some(7));
        assert_eq!(Segments::parse_id("2147483647"), Some(2_147_483_647));
        for raw in [
            "0",
            "-1",
            "+1",
            "1.0",
            "",
            "x",
            "2147483648",
            "99999999999999999999",
        ] {
            assert_eq!(Segments::parse_id(raw), None, "{raw}");
        }
    }
}
