//! The shape of every native error, for the API's description.
//!
//! Invariant: `ApiError`'s rendering has these fields and no others.

use serde::Serialize;
use utoipa::ToSchema;

/// Why a call was refused; RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `urn:keywheel:problem:` and the code.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Stable; what programs look at.
    code: String,
    /// What people read.
    detail: String,
    /// The call's place in the service's log.
    trace_id: String,
    /// Faults of the request, with `code` `invalid`.
    errors: Option<Vec<ProblemFault>>,
    /// What is there already, where a call would have added it a second time.
    existing: Option<ProblemExisting>,
}

/// What is there already.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemExisting {
    /// Its id.
    id: i64,
    /// Where it is.
    href: String,
}

/// One fault of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemFault {
    /// JSON pointer to the field; empty for the request as a whole. RFC 6901.
    pointer: String,
    /// What is wrong with it.
    detail: String,
}
