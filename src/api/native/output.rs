//! What native answers have in common: lists with a cursor, `ETag`, `Location`.
//!
//! Invariant: a list says how to get on, or has ended.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::input::{ListQuery, etag};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed<T> {
    /// At most `limit` of them.
    items: Vec<T>,
    /// Give it as `cursor` to get on; null at the end. Opaque.
    next_cursor: Option<String>,
}

/// A page, with `Link: rel="next"` unless it is the last. `next` is the next page's cursor.
pub(super) fn page<T: Serialize>(query: &ListQuery, items: Vec<T>, next: Option<i64>) -> Response {
    let next_cursor = next.map(|next| next.to_string());
    let link = next_cursor.as_ref().map(|cursor| {
        let path = &query.path;
        format!(
            "<{path}?{}>; rel=\"next\"",
            query.filters.with("cursor", cursor)
        )
    });
    let mut response = Json(Listed { items, next_cursor }).into_response();
    set(&mut response, header::LINK, link);
    response
}

/// One thing with its revision.
pub(super) fn revised<T: Serialize>(status: StatusCode, revision: i64, body: &T) -> Response {
    let mut response = (status, Json(body)).into_response();
    set(&mut response, header::ETAG, Some(etag(revision)));
    response
}

/// Something that was made, or whose making was ordered.
pub(super) fn made<T: Serialize>(status: StatusCode, location: String, body: &T) -> Response {
    let mut response = (status, Json(body)).into_response();
    set(&mut response, header::LOCATION, Some(location));
    response
}

/// Adds a header.
pub(super) fn set(response: &mut Response, name: HeaderName, value: Option<String>) {
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        response.headers_mut().insert(name, value);
    }
}
