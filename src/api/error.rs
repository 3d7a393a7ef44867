//! Why a call was refused, and how each interface says so.
//!
//! Handlers return [`ApiError`] and know nothing of its rendering: [`super::route`] renders it in
//! the interface's form once the handler is done.
//!
//! | cause | answer | why |
//! |---|---|---|
//! | a key asks too much, or sign-ins failed too often | 429, `Retry-After` | clients wait that long |
//! | the database is busy | 429, `Retry-After: 1` | clients repeat 5xx at once, and load is no fault |
//! | the disk is full | 507 | clients repeat 500, 502, 503 and 504; only a person can make room |
//! | the database failed | 500 | a repeat is safe, since orders join, and may well succeed |
//! | a target failed | 400 | a repeat would only knock at the target again |
//!
//! Invariant: no answer holds a secret, a bound value, or the text of an internal fault; those
//! go to the log, under the answer's trace id.

mod jsonapi;
mod problem;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::queue::OrderError;
use crate::store::StoreError;
use crate::vault::{PasswordError, VaultError};

pub use jsonapi::Refusal;
use store::of_store;

const TOKEN_MISSING: &str = "Send the session's csrf_token as X-CSRF-Token, from this site";
const SIGN_IN_AGAIN: &str = "Sign in again: this needs a sign-in younger than five minutes";
const FAILED: &str = "The service failed; its log has the reason";

/// Which interface answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Password Safe: a JSON string, or a bare number.
    PasswordSafe,
    /// IT Glue: JSON:API.
    ItGlue,
    /// Native: problem details, RFC 9457.
    Native,
}

impl Dialect {
    /// As the metrics call it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::PasswordSafe => "passwordsafe",
            Self::ItGlue => "itglue",
            Self::Native => "native",
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field or parameter; empty for the request as a whole.
    pub field: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Sign in first.
    #[error("Unauthorized")]
    Unauthorized,
    /// The cookie of a user's session came without the token that goes with it.
    #[error("the session's token is missing")]
    TokenMissing,
    /// Sign in again: what was asked for needs a young sign-in.
    #[error("the sign-in is too old")]
    SignInAgain,
    /// The caller lacks a permission.
    #[error("not permitted")]
    Forbidden,
    /// Only a requestor may: the dialect's number 4032.
    #[error("requestors only")]
    RequestorOnly,
    /// Only an approver may: the dialect's number 4033.
    #[error("approvers only")]
    ApproverOnly,
    /// The request waits for approval: the dialect's number 4034.
    #[error("not yet approved")]
    NotApproved,
    /// There are fewer approvers than must approve: the dialect's number 4035.
    #[error("too few approvers")]
    TooFewApprovers,
    /// There is no such thing, or it was deleted.
    #[error("{what} not found")]
    NotFound {
        /// The noun, as the vendor capitalises it: `Managed Account`.
        what: &'static str,
    },
    /// Correct the request.
    #[error("invalid request")]
    Invalid(Vec<Fault>),
    /// What the IT Glue dialect has titles of its own for; the first one's status is the answer's.
    #[error("refused")]
    Refused(Vec<Refusal>),
    /// The target did not take the change, and nothing is lost.
    #[error("the change failed")]
    ChangeFailed {
        /// The attempt's log, already without secrets.
        log: String,
        /// Path of the job.
        location: String,
    },
    /// The change goes on; ask again to wait further.
    #[error("the change is still running")]
    StillRunning {
        /// Path of the job.
        location: String,
    },
    /// Something is in the way.
    #[error("{text}")]
    Conflict {
        /// What is in the way, and what to do.
        text: String,
    },
    /// It is there already, under this name or another.
    #[error("it is {what} {id} already")]
    Duplicate {
        /// The noun, as the vendor capitalises it.
        what: &'static str,
        /// Of the one that is there.
        id: i64,
        /// Where the native interface has it.
        href: String,
        /// What makes it the same, and what to do.
        why: &'static str,
    },
    /// Another request of the caller is in the way: the dialect's number 4091.
    #[error("conflicting request")]
    ConflictingRequest,
    /// Somebody changed it meanwhile: get it again.
    #[error("{what} has changed meanwhile")]
    Stale {
        /// What.
        what: &'static str,
    },
    /// An edit must say what it was based on.
    #[error("If-Match is missing")]
    MatchMissing,
    /// This path takes other methods; the router adds `Allow`.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body is of a type that nobody reads here.
    #[error("unsupported media type")]
    MediaType,
    /// The body is longer than the limit.
    #[error("the body is too long")]
    TooLarge,
    /// Ask again after that long.
    #[error("too many requests")]
    TooMany {
        /// How long.
        wait: Duration,
    },
    /// The service gave up; the fault is in the log.
    #[error("internal fault: {0}")]
    Internal(&'static str),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sealed value did not open or seal.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl ApiError {
    /// One fault of one field.
    pub fn field(field: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault {
            field: field.into(),
            text: text.into(),
        }])
    }

    /// A fault of the request as a whole.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::field("", text)
    }

    /// Something is in the way.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::Conflict { text: text.into() }
    }
}

impl From<Refusal> for ApiError {
    fn from(one: Refusal) -> Self {
        Self::Refused(vec![one])
    }
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::NotFound => Self::NotFound {
                what: "Managed Account",
            },
            OrderError::AlreadyRunning => Self::conflict("A change is already running"),
            OrderError::Refused(why) => Self::bad(why),
            OrderError::InTheWay(why) => Self::conflict(why),
            OrderError::Vault(error) => Self::Vault(error),
            OrderError::Store(error) => Self::Store(error),
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::TooMany {
                wait: Duration::from_secs(1),
            },
            PasswordError::Library => Self::Internal("a password could not be hashed"),
        }
    }
}

/// An error that waits in a response for its rendering.
#[derive(Clone)]
pub(crate) struct Unrendered(pub(crate) Arc<ApiError>);

impl IntoResponse for ApiError {
    /// A bare status that carries the error along; `route` renders it.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Unrendered(Arc::new(self)));
        response
    }
}

/// What an interface says about an error.
struct Said {
    code: &'static str,
    text: String,
}

impl ApiError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden
            | Self::RequestorOnly
            | Self::ApproverOnly
            | Self::NotApproved
            | Self::TooFewApprovers
            | Self::TokenMissing
            | Self::SignInAgain => StatusCode::FORBIDDEN,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Refused(refusals) => refusals
                .first()
                .map_or(StatusCode::UNPROCESSABLE_ENTITY, |one| one.status),
            Self::Invalid(_) | Self::ChangeFailed { .. } => StatusCode::BAD_REQUEST,
            Self::Conflict { .. } | Self::Duplicate { .. } | Self::ConflictingRequest => {
                StatusCode::CONFLICT
            }
            Self::Stale { .. } => StatusCode::PRECONDITION_FAILED,
            Self::MatchMissing => StatusCode::PRECONDITION_REQUIRED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::StillRunning { .. } | Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Store(error) => match error {
                StoreError::Stale { .. } => StatusCode::PRECONDITION_FAILED,
                StoreError::Conflict { .. } => StatusCode::CONFLICT,
                StoreError::Busy => StatusCode::TOO_MANY_REQUESTS,
                StoreError::Full(_) | StoreError::Escrow(_) => StatusCode::INSUFFICIENT_STORAGE,
                StoreError::CommitUnknown(_)
                | StoreError::LeaseLost
                | StoreError::Corrupt { .. }
                | StoreError::Schema(_)
                | StoreError::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Internal(_) | Self::Vault(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn said(&self) -> Said {
        let (code, text) = match self {
            Self::Unauthorized => ("unauthorized", "Unauthorized".to_owned()),
            Self::TokenMissing => ("csrf_token", TOKEN_MISSING.to_owned()),
            Self::SignInAgain => ("sign_in_again", SIGN_IN_AGAIN.to_owned()),
            Self::Forbidden => (
                "forbidden",
                "You lack the permission for this call".to_owned(),
            ),
            Self::ApproverOnly => ("forbidden", "Only an approver may do this".to_owned()),
            Self::RequestorOnly => ("forbidden", "Only a requestor may do this".to_owned()),
            Self::NotApproved => ("not_approved", "The request waits for approval".to_owned()),
            Self::TooFewApprovers => (
                "too_few_approvers",
                "There are fewer approvers than must approve".to_owned(),
            ),
            Self::NotFound { what } => ("not_found", format!("{what} not found")),
            Self::Invalid(faults) => ("invalid", in_words(faults)),
            Self::Refused(refusals) => {
                let words = refusals.iter().map(|one| one.text.as_str());
                ("refused", words.collect::<Vec<_>>().join("; "))
            }
            Self::ChangeFailed { log, .. } => ("change_failed", log.clone()),
            Self::StillRunning { .. } => (
                "still_running",
                "The change is still running; repeat the call to wait for its end".to_owned(),
            ),
            Self::Conflict { text } => ("conflict", text.clone()),
            Self::Duplicate { what, id, why, .. } => {
                ("conflict", format!("This is {what} {id} already: {why}"))
            }
            Self::ConflictingRequest => ("conflict", "A conflicting request exists".to_owned()),
            Self::Stale { what } => return of_store(&StoreError::Stale { what }),
            Self::Store(error) => return of_store(error),
            Self::MatchMissing => (
                "if_match_missing",
                "Send If-Match with the ETag you have read".to_owned(),
            ),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                "Method not allowed; see the Allow header".to_owned(),
            ),
            Self::MediaType => (
                "unsupported_media_type",
                "Send the body as application/json".to_owned(),
            ),
            Self::TooMany { .. } => (
                "rate_limited",
                "Too many requests; try again after the seconds in Retry-After".to_owned(),
            ),
            Self::TooLarge => ("too_large", "The body is too long".to_owned()),
            Self::Internal(_) | Self::Vault(_) => ("internal", FAILED.to_owned()),
        };
        Said { code, text }
    }

    /// Seconds after which a repeat makes sense.
    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Store(StoreError::Busy) => Some(1),
            Self::StillRunning { .. } => Some(5),
            // Rounded up: a client that comes too early is refused once more.
            Self::TooMany { wait } => Some(
                wait.as_secs()
                    .saturating_add(u64::from(wait.subsec_nanos() > 0))
                    .max(1),
            ),
            _ => None,
        }
    }

    fn location(&self) -> Option<&str> {
        match self {
            Self::ChangeFailed { location, .. } | Self::StillRunning { location } => Some(location),
            _ => None,
        }
    }

    /// The answer in the interface's form.
    pub(crate) fn render(&self, dialect: Dialect, trace_id: &str) -> Response {
        let status = match (dialect, self.status()) {
            // The dialect has no preconditions: an edit that came second is a conflict.
            (Dialect::PasswordSafe, StatusCode::PRECONDITION_FAILED) => StatusCode::CONFLICT,
            (Dialect::ItGlue, _) => self.jsonapi_status(),
            (_, status) => status,
        };
        if status.is_server_error() {
            tracing::error!(trace_id, error = %self, "a call failed");
        }
        let (kind, body) = match dialect {
            Dialect::PasswordSafe => ("application/json", self.password_safe()),
            Dialect::ItGlue => ("application/vnd.api+json", self.jsonapi()),
            Dialect::Native => ("application/problem+json", self.problem(status, trace_id)),
        };
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let extra: [(HeaderName, Option<String>); 3] = [
            (
                header::RETRY_AFTER,
                self.retry_after_s().map(|s| s.to_string()),
            ),
            (header::LOCATION, self.location().map(str::to_owned)),
            (
                header::WWW_AUTHENTICATE,
                (dialect == Dialect::Native && status == StatusCode::UNAUTHORIZED)
                    .then(|| "Bearer".to_owned()),
            ),
        ];
        for (name, value) in extra {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }

    fn password_safe(&self) -> Value {
        match self {
            Self::Forbidden => json!(4031),
            Self::RequestorOnly => json!(4032),
            Self::ApproverOnly => json!(4033),
            Self::NotApproved => json!(4034),
            Self::TooFewApprovers => json!(4035),
            Self::ConflictingRequest => json!(4091),
            other => Value::String(other.said().text),
        }
    }
}

/// `Name: must be …; Port: …`.
fn in_words(faults: &[Fault]) -> String {
    let words = faults.iter().map(|Fault { field, text }| {
        if field.is_empty() {
            text.clone()
        } else {
            format!("{field}: {text}")
        }
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<ApiError> {
        vec![
            ApiError::Unauthorized,
            ApiError::TokenMissing,
            ApiError::SignInAgain,
            ApiError::Forbidden,
            ApiError::RequestorOnly,
            ApiError::ApproverOnly,
            ApiError::NotApproved,
            ApiError::TooFewApprovers,
            PasswordError::Busy.into(),
            PasswordError::Library.into(),
            ApiError::NotFound {
                what: "Managed Account",
            },
            ApiError::field("Port", "must be a number"),
            Refusal::unprocessable("Invalid folder", "there is no such folder").into(),
            ApiError::ChangeFailed {
                log: "refused".into(),
                location: "/api/v1/jobs/3".into(),
            },
            ApiError::StillRunning {
                location: "/api/v1/jobs/3".into(),
            },
            ApiError::conflict("A change is already running"),
            ApiError::ConflictingRequest,
            ApiError::Stale { what: "the policy" },
            ApiError::MatchMissing,
            ApiError::MethodNotAllowed,
            ApiError::MediaType,
            ApiError::TooLarge,
            ApiError::TooMany {
                wait: Duration::from_millis(1_001),
            },
            ApiError::Internal("canary-7731"),
            StoreError::Busy.into(),
            StoreError::Full(sqlx::Error::Protocol("canary-7731".into())).into(),
            StoreError::Database(sqlx::Error::Protocol("canary-7731".into())).into(),
            StoreError::CommitUnknown(sqlx::Error::Protocol("canary-7731".into())).into(),
            VaultError::NoActiveKey.into(),
        ]
    }

    #[test]
    fn no_answer_shows_what_happened_inside() {
        for error in every_kind() {
            for dialect in [Dialect::PasswordSafe, Dialect::ItGlue, Dialect::Native] {
                let body = match dialect {
                    Dialect::PasswordSafe => error.password_safe(),
                    Dialect::ItGlue => error.jsonapi(),
                    Dialect::Native => error.problem(error.status(), "t"),
                };
                assert!(!body.to_string().contains("canary-7731"), "{body}");
            }
        }
    }

    #[test]
    fn load_and_a_full_disk_are_never_answered_by_a_code_that_clients_repeat() {
        let repeated = [408, 500, 502, 503, 504];
        for error in [
            StoreError::Busy,
            StoreError::Full(sqlx::Error::WorkerCrashed),
        ] {
            let response = ApiError::from(error).render(Dialect::PasswordSafe, "t");
            assert!(!repeated.contains(&response.status().as_u16()));
        }
        let busy = ApiError::from(StoreError::Busy).render(Dialect::PasswordSafe, "t");
        assert_eq!(busy.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(busy.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn who_asks_too_much_is_told_how_many_whole_seconds_to_wait() {
        for (millis, seconds) in [(0, "1"), (1_000, "1"), (1_001, "2"), (59_999, "60")] {
            let wait = Duration::from_millis(millis);
            for dialect in [Dialect::PasswordSafe, Dialect::ItGlue, Dialect::Native] {
                let response = ApiError::TooMany { wait }.render(dialect, "t");
                assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
                assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
            }
        }
    }

    #[test]
    fn the_dialect_answers_with_strings_and_bare_numbers() {
        for (number, error) in [
            (4031, ApiError::Forbidden),
            (4032, ApiError::RequestorOnly),
            (4033, ApiError::ApproverOnly),
            (4034, ApiError::NotApproved),
            (4035, ApiError::TooFewApprovers),
        ] {
            assert_eq!(error.status(), StatusCode::FORBIDDEN);
            assert_eq!(error.password_safe(), json!(number));
        }
        assert_eq!(ApiError::ConflictingRequest.password_safe(), json!(4091));
        assert_eq!(
            ApiError::Unauthorized.password_safe(),
            json!("Unauthorized")
        );
        assert_eq!(
            ApiError::NotFound {
                what: "Managed Account"
            }
            .password_safe(),
            json!("Managed Account not found")
        );
        let faults = ApiError::field("Port", "must be a number");
        assert_eq!(faults.password_safe(), json!("Port: must be a number"));
    }

    #[test]
    fn a_problem_names_fields_by_json_pointers() {
        let problem = ApiError::field("windows.0.cron", "never matches")
            .problem(StatusCode::BAD_REQUEST, "trace");
        assert_eq!(problem["errors"][0]["pointer"], "/windows/0/cron");
        assert_eq!(problem["code"], "invalid");
        assert_eq!(problem["trace_id"], "trace");
    }
}
