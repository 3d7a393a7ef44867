//! What a service that refuses says, and how the command ends that has called it.
//!
//! Invariant: only a problem of Keywheel's own is quoted, without what a terminal obeys.

use reqwest::StatusCode;
use serde::Deserialize;

use super::super::Exit;
use super::super::output::plain;

/// Longest text of a service that is shown.
const SAID_MAX_CHARS: usize = 2_000;

/// What a service says is wrong; RFC 9457.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    trace_id: String,
    #[serde(default)]
    errors: Vec<ProblemFault>,
}

#[derive(Deserialize)]
struct ProblemFault {
    pointer: String,
    detail: String,
}

/// An answer that is none: how the command ends, and one line that says why.
pub(super) fn fault(status: StatusCode, body: &[u8]) -> (Exit, String) {
    let code = status.as_u16();
    let is_later = matches!(code, 429 | 502 | 503 | 504);
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        let exit = if is_later {
            Exit::Unavailable
        } else {
            Exit::Failed
        };
        let why = if status.is_redirection() {
            "a redirect, which is not followed"
        } else {
            "and not as Keywheel does"
        };
        return (exit, format!("the service answered {code}, {why}"));
    };
    let exit = match code {
        401 | 403 => Exit::Denied,
        404 => Exit::NotFound,
        409 | 412 => Exit::Conflict,
        _ if is_later => Exit::Unavailable,
        _ => Exit::Failed,
    };
    let faults = problem.errors.iter();
    let faults = faults.map(|one| format!("; {} {}", one.pointer, one.detail));
    let Problem {
        code,
        detail,
        trace_id,
        ..
    } = &problem;
    let line = format!(
        "{detail} ({code}, trace {trace_id}){}",
        faults.collect::<String>()
    );
    let line = plain(&line).chars().take(SAID_MAX_CHARS).collect();
    (exit, line)
}
