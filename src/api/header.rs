//! Headers that every answer has, whichever interface gives it.
//!
//! Invariant: what a route says of itself stays; the rest gets the strictest that there is.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

/// For answers that are data: a browser that shows one runs nothing, loads nothing, frames nothing,
/// guesses no type, keeps no copy and tells nobody where it was.
const STRICT: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// A year: browsers that were here once do not speak plain HTTP with this host again (RFC 6797).
const ONLY_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The answer with what it lacks. `tls`: it leaves by our own TLS.
pub(super) fn secured(mut answer: Response, tls: bool) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in STRICT {
        headers.entry(name).or_insert(value);
    }
    if tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, ONLY_TLS);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_route_says_stays_and_the_rest_is_strict() {
        let mut own = Response::default();
        let policy = HeaderValue::from_static("default-src 'self'");
        own.headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        let plain = secured(own, false);
        assert_eq!(plain.headers()[header::CONTENT_SECURITY_POLICY], policy);
        assert_eq!(plain.headers()[header::CACHE_CONTROL], "no-store");
        let alone = header::STRICT_TRANSPORT_SECURITY;
        assert!(!plain.headers().contains_key(&alone));
        let encrypted = secured(Response::default(), true);
        assert!(encrypted.headers().contains_key(&alone));
        assert_eq!(encrypted.headers().len(), STRICT.len() + 1);
    }
}
