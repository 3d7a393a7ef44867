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

/// Rows of texts with a secret each, as CSV: heads, then rows whose cell `at` is the secret, as it
/// is: a spreadsheet's quoting would change it.
pub(crate) fn as_csv<'a>(
    heads: &[String],
    at: usize,
    rows: impl Iterator<Item = (Vec<String>, &'a Option<SecretString>)>,
) -> Result<Vec<u8>, ApiError> {
    const BROKEN: ApiError = ApiError::Internal("an export could not be written");
    let mut file = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    file.write_record(heads).map_err(|_| BROKEN)?;
    for (mut cells, secret) in rows {
        if let (Some(cell), Some(secret)) = (cells.get_mut(at), secret) {
            #[expect(
                clippy::disallowed_methods,
                reason = "an export is handed over once, on record"
            )]
            cell.push_str(secret.expose_secret());
        }
        let cells = zeroize::Zeroizing::new(cells);
        file.write_record(cells.iter()).map_err(|_| BROKEN)?;
    }
    file.into_inner().map_err(|_| BROKEN)
}
