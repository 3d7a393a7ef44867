//! Reads what native clients send: JSON bodies, `If-Match`, cursors and waiting times.
//!
//! Bodies are strict: an unknown field is an error, since a misspelt one would silently do
//! nothing.
//!
//! Invariant: an error points to a field, and never repeats its value.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use chrono::{DateTime, Utc};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_path_to_error::Segment;

use crate::api::Api;
use crate::api::error::{ApiError, Fault};
use crate::api::nul;
use crate::api::passwordsafe::{Params, Segments};
use crate::model::Timestamp;
use crate::store::Page;

/// Rows of a list, at most and where nobody said.
pub(super) const LIMIT_MAX: i64 = 200;
const LIMIT_DEFAULT: i64 = 50;
/// Seconds a GET may wait; proxies cut longer ones.
pub(super) const WAIT_MAX_S: i64 = 60;
/// Jobs, quarantines and audit rows: what a JSON number holds exactly.
pub(super) const LONG_ID_MAX: i64 = 9_007_199_254_740_991;

/// A JSON body; an empty one stands for `{}`.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE);
        // Whoever hung up reads no answer, so the one error left is the limit.
        let bytes = axum::body::to_bytes(body, api.settings.body_max_bytes)
            .await
            .map_err(|_| ApiError::TooLarge)?;
        let body = bytes.trim_ascii();
        if body.is_empty() {
            return read(b"{}").map(Self);
        }
        if !kind.is_none_or(is_json) {
            return Err(ApiError::MediaType);
        }
        read(body).map(Self)
    }
}

fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    nul::none_in_json(body)?;
    // A list of values would be taken for the record whose fields have that order.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::bad("must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let mut pointer = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => {
                    pointer.push('/');
                    pointer.push_str(&index.to_string());
                }
                Segment::Map { key } => {
                    pointer.push('/');
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                }
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        ApiError::Invalid(vec![Fault {
            field: pointer,
            text: fault(error.inner(), body),
        }])
    })?;
    json.end()
        .map_err(|_| ApiError::bad("one JSON document is wanted"))?;
    Ok(value)
}

/// What a parser found, in words of our own: its words may quote the body.
fn fault(error: &serde_json::Error, body: &[u8]) -> String {
    // The parser also calls it bad syntax where a name is wanted and something else stands there.
    let is_json = || serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if !error.is_data() && !is_json() {
        return format!("is no well-formed JSON at line {}", error.line());
    }
    let words = error.to_string();
    let quoted = |prefix: &str| {
        let name = words.strip_prefix(prefix)?.split('`').next()?;
        Some(name.to_owned())
    };
    if let Some(name) = quoted("missing field `") {
        format!("{name} is required")
    } else if words.starts_with("unknown field `") {
        "is no field that is known here".to_owned()
    } else {
        "has a wrong type, or a value that is not known here".to_owned()
    }
}

/// A field of an edit: absent keeps, `null` clears, a value sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Patch<T> {
    /// Absent.
    #[default]
    Keep,
    /// `null`.
    Clear,
    /// A value.
    Set(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<T>::deserialize(deserializer)?;
        Ok(value.map_or(Self::Clear, Self::Set))
    }
}

impl<T> Patch<T> {
    /// Edits what may be empty.
    pub(super) fn edit(self, into: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *into = None,
            Self::Set(value) => *into = Some(value),
        }
    }

    /// Edits what must have a value.
    pub(super) fn edit_value(self, field: &'static str, into: &mut T) -> Result<(), ApiError> {
        match self {
            Self::Keep => Ok(()),
            Self::Clear => Err(ApiError::field(field, "must not be null")),
            Self::Set(value) => {
                *into = value;
                Ok(())
            }
        }
    }
}

/// `If-Match`: which revision an edit is based on.
#[derive(Clone, Debug)]
pub(super) struct IfMatch(String);

impl IfMatch {
    /// The revision, if it is the one that is stored.
    pub(super) fn revision(&self, stored: i64, what: &'static str) -> Result<i64, ApiError> {
        if self.0 == "*" || self.0.split(',').any(|tag| tag.trim() == etag(stored)) {
            Ok(stored)
        } else {
            Err(ApiError::Stale { what })
        }
    }
}

impl FromRequestParts<Api> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        let value = parts
            .headers
            .get(header::IF_MATCH)
            .ok_or(ApiError::MatchMissing)?;
        Ok(Self(value.to_str().unwrap_or_default().trim().to_owned()))
    }
}

/// A revision as an `ETag`.
pub(super) fn etag(revision: i64) -> String {
    format!("\"{revision}\"")
}

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub(super) struct ListQuery {
    /// Rows, 1 to 200.
    pub(super) limit: i64,
    /// Where the last page ended.
    pub(super) cursor: Option<i64>,
    /// The list's own filters.
    pub(super) filters: Params,
    pub(super) path: String,
}

impl ListQuery {
    /// The page of a list whose rows are counted from its beginning.
    pub(super) fn rows(&self) -> Page {
        Page {
            limit: self.limit,
            offset: self.cursor.unwrap_or(0),
        }
    }
}

impl FromRequestParts<Api> for ListQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let path = parts.uri.path().to_owned();
        let filters = Params::from_request_parts(parts, api).await?;
        Ok(Self {
            limit: filters
                .int("limit", 1..=LIMIT_MAX)?
                .unwrap_or(LIMIT_DEFAULT),
            cursor: filters.int("cursor", 0..=LONG_ID_MAX)?,
            filters,
            path,
        })
    }
}

/// `?wait=`: how long an answer may be held back for something to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait(pub(super) Duration);

impl FromRequestParts<Api> for Wait {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let params = Params::from_request_parts(parts, api).await?;
        let seconds = params.int("wait", 0..=WAIT_MAX_S)?.unwrap_or(0);
        Ok(Self(Duration::from_secs(seconds.unsigned_abs())))
    }
}

/// The `{id}` of a job, a quarantine or an audit row.
pub(super) fn long_id<T: From<i64>>(
    segments: &Segments,
    what: &'static str,
) -> Result<T, ApiError> {
    let raw = segments.text("id")?;
    let digits = raw.bytes().all(|byte| byte.is_ascii_digit());
    let id = raw
        .parse()
        .ok()
        .filter(|id| digits && (1..=LONG_ID_MAX).contains(id));
    id.map(T::from).ok_or(ApiError::NotFound { what })
}

/// A point in time, RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub(super) struct At(#[schema(inline)] pub(super) Timestamp);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.rfc3339())
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let at = DateTime::<chrono::FixedOffset>::deserialize(deserializer)?;
        Ok(Self(Timestamp::from_utc(at.with_timezone(&Utc))))
    }
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(default)]
        limit: Patch<i64>,
        #[serde(default)]
        rows: Vec<Row>,
        #[serde(default)]
        #[expect(dead_code, reason = "read by the parser alone")]
        colour: Option<Colour>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        #[expect(dead_code, reason = "read by the parser alone")]
        port: u16,
    }

    fn faults(body: &str) -> (String, String) {
        match read::<Sample>(body.as_bytes()).unwrap_err() {
            ApiError::Invalid(mut faults) => {
                let fault = faults.remove(0);
                (fault.field, fault.text)
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_list_is_no_record_whose_fields_have_its_order() {
        for body in ["[]", " [\"a\"]"] {
            assert_eq!(faults(body).1, "must be a JSON object", "{body}");
        }
    }

    #[test]
    fn a_fault_points_to_its_field_and_never_repeats_the_value() {
        for (body, pointer) in [
            (r#"{"name": 7731}"#, "/name"),
            (
                r#"{"name": "a", "rows": [{"port": 1}, {"port": "7731"}]}"#,
                "/rows/1/port",
            ),
            (r#"{"name": "a", "limit": "7731"}"#, "/limit"),
            (r#"{"name": "a", "colour": 7731}"#, "/colour"),
            (r#"{"name": "7731"#, ""),
        ] {
            let (field, text) = faults(body);
            assert!(!text.contains("7731"), "{text}");
            if !pointer.is_empty() {
                assert_eq!(field, pointer, "{text}");
            }
        }
        for value in ["7731", "false", "[]", "\"blue\""] {
            assert_eq!(
                faults(&format!(r#"{{"name": "a", "colour": {value}}}"#)).1,
                "has a wrong type, or a value that is not known here"
            );
        }
        assert_eq!(
            faults(r#"{"name": "a", "colour": "#).1,
            "is no well-formed JSON at line 1"
        );
        assert_eq!(faults("{}").1, "name is required");
        assert_eq!(
            faults(r#"{"name": "a", "nmae": 1}"#).1,
            "is no field that is known here"
        );
    }

    #[test]
    fn absent_keeps_null_clears_and_a_value_sets() {
        for (body, before, after) in [
            (r#"{"name": "a"}"#, Some(1), Some(1)),
            (r#"{"name": "a", "limit": null}"#, Some(1), None),
            (r#"{"name": "a", "limit": 9}"#, None, Some(9)),
        ] {
            let sample: Sample = read(body.as_bytes()).unwrap();
            assert_eq!((sample.name.as_str(), sample.rows.len()), ("a", 0));
            let mut value = before;
            sample.limit.edit(&mut value);
            assert_eq!(value, after, "{body}");
        }
    }

    #[test]
    fn an_edit_is_based_on_the_stored_revision_or_refused() {
        assert_eq!(IfMatch("\"5\"".into()).revision(5, "it").unwrap(), 5);
        assert_eq!(IfMatch("\"4\", \"5\"".into()).revision(5, "it").unwrap(), 5);
        assert_eq!(IfMatch("*".into()).revision(5, "it").unwrap(), 5);
        for tag in ["\"4\"", "5", "W/\"5\"", ""] {
            assert!(IfMatch(tag.into()).revision(5, "it").is_err(), "{tag}");
        }
    }
}
