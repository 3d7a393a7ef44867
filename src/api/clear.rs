//! The interfaces' one door to plaintext: what is handed to its owner, once.
//!
//! Invariant: what leaves here goes into the answer of a sign-in, a new key or second factor, or an
//! audited reveal, and nowhere else.

use axum::http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::error::ApiError;

/// The `Set-Cookie` line of a new session; `more` are attributes such as `; SameSite=Strict`.
#[expect(
    clippy::disallowed_methods,
    reason = "the cookie is handed to its owner once"
)]
pub(crate) fn set_cookie(
    (name, more): (&str, &str),
    cookie: &SecretString,
    tls: bool,
) -> Result<HeaderValue, ApiError> {
    let secure = if tls { "; Secure" } else { "" };
    // Path=/ because cookie paths tell cases apart, and the dialect's paths do not.
    let line = format!(
        "{name}={}; Path=/; HttpOnly{more}{secure}",
        cookie.expose_secret()
    );
    let mut value =
        HeaderValue::try_from(line).map_err(|_| ApiError::Internal("an unprintable cookie"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A secret as a JSON string, for the answer that hands it over.
#[expect(
    clippy::disallowed_methods,
    reason = "a reveal or a new key is handed over once"
)]
pub(crate) fn handed_over(secret: &SecretString) -> Value {
    Value::String(secret.expose_secret().to_owned())
}
