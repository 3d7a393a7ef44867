//! What the interfaces count.
//!
//! Invariant: labels come from closed sets; no path, name or key becomes one.

use std::time::Duration;

use axum::http::StatusCode;

/// Counts calls and failed authentications.
#[derive(Clone, Debug, Default)]
pub struct Meter {}

impl Meter {
    /// A call was answered.
    pub(crate) fn call(
        &self,
        _api: &'static str,
        _route: &'static str,
        _status: StatusCode,
        _spent: Duration,
    ) {
    }

    /// A credential was handed over in the clear.
    pub(crate) fn reveal(&self) {}

    /// Somebody was not let in.
    pub(crate) fn auth_failure(&self, _method: &'static str, _reason: &'static str) {}
}
