//! What native answers have in common: lists with a cursor, `ETag`, `Location`.
//!
//! Invariant: a list says how to get on, or has ended.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::input::{ListQuery, etag};
use crate::store::Page;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed<T> {
    /// At most `limit` of them.
    items: Vec<T>,
    /// Give it as `cursor` to get on; null at the end. Opaque.
    next_cursor: Option<String>,
}

/// A page of rows in the order of their ids; the next one begins behind the last row's id.
pub(super) fn page<T: Serialize + From<R>, R>(
    query: &ListQuery,
    rows: Vec<R>,
    id: impl Fn(&R) -> i64,
) -> Response {
    let last = rows.last().map(id);
    linked::<T, R>(query, rows, last)
}

/// A page of rows that are counted from the list's beginning.
pub(super) fn counted<T: Serialize + From<R>, R>(query: &ListQuery, rows: Vec<R>) -> Response {
    let Page { limit, offset } = query.rows();
    linked::<T, R>(query, rows, Some(offset + limit))
}

/// A page, with `Link: rel="next"` if it is full, so that another may follow. `next` is that
/// one's cursor.
fn linked<T: Serialize + From<R>, R>(
    query: &ListQuery,
    rows: Vec<R>,
    next: Option<i64>,
) -> Response {
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == query.limit);
    let next = next.filter(|_| is_full);
    until(query, rows.into_iter().map(T::from).collect(), next)
}

/// A page that knows itself where the next one begins, if there is one.
pub(super) fn until<T: Serialize>(query: &ListQuery, items: Vec<T>, next: Option<i64>) -> Response {
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
