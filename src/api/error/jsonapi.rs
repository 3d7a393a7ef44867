//! Errors as the IT Glue dialect says them: JSON:API's, with titles that clients know.
//!
//! Invariant: each error has its status, title, detail and source, whatever happened.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{ApiError, Fault};
use crate::store::StoreError;

/// One thing in the way, with the title that clients of the IT Glue dialect know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 403 or 422.
    pub status: StatusCode,
    /// Its title.
    pub title: &'static str,
    /// What is wrong, and what would be right; no value.
    pub text: String,
    /// Where: `data/attributes/name`.
    pub pointer: Option<String>,
    /// Path of the job that is still at it.
    pub location: Option<String>,
}

impl Refusal {
    /// Understood, but it cannot be done.
    pub fn unprocessable(title: &'static str, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            title,
            text: text.into(),
            pointer: None,
            location: None,
        }
    }

    /// Something that must be there is not.
    pub fn missing(title: &'static str, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            ..Self::unprocessable(title, text)
        }
    }

    /// The same, of this attribute.
    #[must_use]
    pub fn at(self, attribute: &str) -> Self {
        Self {
            pointer: pointer(attribute),
            ..self
        }
    }
}

/// `data/attributes/name` of a field; what names its place already is left alone.
fn pointer(field: &str) -> Option<String> {
    let field = field.trim_start_matches('/');
    if field.is_empty() {
        None
    } else if field.contains('/') || matches!(field, "id" | "data") {
        Some(field.to_owned())
    } else {
        Some(format!("data/attributes/{}", field.replace('.', "/")))
    }
}

/// One error of the answer.
fn error(status: StatusCode, title: &str, detail: &str, pointer: Option<&str>) -> Value {
    json!({
        "status": status.as_u16(), "title": title, "detail": detail,
        "source": {"pointer": pointer},
    })
}

/// Number of the job that a path names.
fn job(location: &str) -> Option<i64> {
    location.rsplit('/').next()?.parse().ok()
}

impl ApiError {
    /// The status in the IT Glue dialect, whose clients repeat 5xx and 429 by themselves, and know
    /// no precondition.
    pub(super) fn jsonapi_status(&self) -> StatusCode {
        match self {
            Self::StillRunning { .. } | Self::ChangeFailed { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Stale { .. } | Self::Store(StoreError::Stale { .. }) => StatusCode::CONFLICT,
            other => other.status(),
        }
    }

    fn jsonapi_title(&self, status: StatusCode) -> String {
        match self {
            Self::Unauthorized => "Invalid API key".to_owned(),
            Self::NotFound { what } => format!("{what} not found"),
            Self::StillRunning { .. } => "Rotation pending".to_owned(),
            Self::ChangeFailed { .. } => "Rotation failed".to_owned(),
            _ if status == StatusCode::FORBIDDEN => "Access denied".to_owned(),
            _ => status.canonical_reason().unwrap_or("Error").to_owned(),
        }
    }

    /// The body of the answer.
    pub(super) fn jsonapi(&self) -> Value {
        let status = self.jsonapi_status();
        let title = self.jsonapi_title(status);
        let errors: Vec<Value> = match self {
            Self::Invalid(faults) => faults
                .iter()
                .map(|Fault { field, text }| error(status, &title, text, pointer(field).as_deref()))
                .collect(),
            Self::Refused(refusals) => refusals.iter().map(refused).collect(),
            Self::Unauthorized => {
                let detail = "The API key is missing, unknown or revoked";
                vec![error(status, &title, detail, None)]
            }
            other => vec![error(status, &title, &other.said().text, None)],
        };
        let first = errors.first().and_then(|error| error.get("title")).cloned();
        let mut body = serde_json::Map::new();
        body.insert("errors".to_owned(), errors.into());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            body.insert("message".to_owned(), first.into());
        }
        let refused = match self {
            Self::Refused(refusals) => match refusals.as_slice() {
                [one] => one.location.as_deref(),
                _ => None,
            },
            other => other.location(),
        };
        if let Some(job) = refused.and_then(job) {
            body.insert("meta".to_owned(), json!({"job-id": job}));
        }
        body.into()
    }
}

fn refused(one: &Refusal) -> Value {
    let mut error = error(one.status, one.title, &one.text, one.pointer.as_deref());
    if let Some(job) = one.location.as_deref().and_then(job)
        && let Some(members) = error.as_object_mut()
    {
        members.insert("meta".to_owned(), json!({"job-id": job}));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::Dialect;

    #[test]
    fn every_error_says_its_four_members_and_401_and_403_a_message_too() {
        for (error, status, title) in [
            (ApiError::Unauthorized, 401, "Invalid API key"),
            (ApiError::Forbidden, 403, "Access denied"),
            (
                ApiError::NotFound { what: "Password" },
                404,
                "Password not found",
            ),
            (ApiError::field("name", "is too long"), 400, "Bad Request"),
            (ApiError::MediaType, 415, "Unsupported Media Type"),
            (ApiError::Stale { what: "the key" }, 409, "Conflict"),
            (StoreError::Busy.into(), 429, "Too Many Requests"),
        ] {
            assert_eq!(error.jsonapi_status().as_u16(), status);
            let body = error.jsonapi();
            let first = &body["errors"][0];
            assert_eq!(first["status"], status);
            assert_eq!(first["title"], title);
            assert!(first["detail"].is_string());
            assert!(first["source"].as_object().unwrap().contains_key("pointer"));
            let told = matches!(status, 401 | 403).then_some(title);
            assert_eq!(body.get("message").and_then(Value::as_str), told);
        }
    }

    #[test]
    fn pointers_name_attributes() {
        let body = ApiError::field("organization_id", "is no id").jsonapi();
        assert_eq!(
            body["errors"][0]["source"]["pointer"],
            "data/attributes/organization_id"
        );
        assert_eq!(
            pointer("data/1/attributes/password").as_deref(),
            Some("data/1/attributes/password")
        );
        assert_eq!(pointer("/data/3").as_deref(), Some("data/3"));
        assert_eq!(pointer(""), None);
        let whole = ApiError::bad("no JSON").jsonapi();
        assert_eq!(whole["errors"][0]["source"]["pointer"], Value::Null);
    }

    #[test]
    fn a_rotation_that_runs_names_its_job_and_is_no_5xx() {
        let running = ApiError::StillRunning {
            location: "/api/v1/jobs/31".into(),
        };
        let answer = running.render(Dialect::ItGlue, "t");
        assert_eq!(answer.status(), 422);
        let body = running.jsonapi();
        assert_eq!(body["errors"][0]["title"], "Rotation pending");
        assert_eq!(body["meta"]["job-id"], 31);
        let one = Refusal {
            location: Some("/api/v1/jobs/32".into()),
            ..Refusal::unprocessable("Rotation pending", "it goes on")
                .at("data/1/attributes/password")
        };
        let two = Refusal::unprocessable("Rotation failed", "nothing was changed");
        let body = ApiError::Refused(vec![one, two]).jsonapi();
        assert_eq!(body["errors"][0]["meta"]["job-id"], 32);
        assert!(body.get("meta").is_none());
    }
}
