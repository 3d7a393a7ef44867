//! Errors as the native API says them: problem details, RFC 9457.
//!
//! Invariant: a problem's code is one of a closed set; clients match it, never the words.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::ApiError;

impl ApiError {
    /// The body of the answer.
    pub(super) fn problem(&self, status: StatusCode, trace_id: &str) -> Value {
        let said = self.said();
        let mut problem = json!({
            "type": format!("urn:keywheel:problem:{}", said.code),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "code": said.code,
            "detail": said.text,
            "trace_id": trace_id,
        });
        if let (Self::Invalid(faults), Some(problem)) = (self, problem.as_object_mut()) {
            let errors = faults
                .iter()
                .map(|fault| json!({"pointer": pointer(&fault.field), "detail": fault.text}));
            problem.insert("errors".to_owned(), errors.collect());
        }
        if let (Self::Duplicate { id, href, .. }, Some(problem)) = (self, problem.as_object_mut()) {
            problem.insert("existing".to_owned(), json!({"id": id, "href": href}));
        }
        if let (Self::Refused(refusals), Some(problem)) = (self, problem.as_object_mut()) {
            let errors = refusals.iter().map(|one| {
                let pointer = one.pointer.as_deref().unwrap_or_default();
                json!({"pointer": pointer, "title": one.title, "detail": one.text})
            });
            problem.insert("errors".to_owned(), errors.collect());
        }
        problem
    }
}

/// A field's name, or a dotted path, as a JSON pointer; RFC 6901.
fn pointer(field: &str) -> String {
    if field.is_empty() {
        return String::new();
    }
    if field.starts_with('/') {
        return field.to_owned();
    }
    let escaped = field.replace('~', "~0").replace('/', "~1");
    format!("/{}", escaped.replace('.', "/"))
}
