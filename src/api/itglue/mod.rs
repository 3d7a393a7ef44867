//! The IT Glue dialect: the vendor's API around passwords, as its clients use it.
//!
//! Hyphens and underscores are equal in paths, a trailing slash is ignored: `normalise` makes one
//! spelling of them all before routing. What else clients vary, `query` and `body` read.
//! A call shows its key in `x-api-key`, or as a bearer, and keeps no session.
//!
//! Invariant: no rule of Keywheel's lives here; this room parses, asks and renders.

mod ask;
mod body;
mod category;
mod export;
mod folder;
mod openapi;
mod organization;
mod password;
mod query;
mod reference;
mod wire;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use super::route::{Routes, nothing_here};
use super::{Api, Dialect};

pub use openapi::description;

/// Where the dialect answers.
pub const BASE: &str = "/itglue";

/// Every route of the dialect.
pub fn routes() -> Routes {
    organization::routes()
        .and(reference::routes())
        .and(category::routes())
        .and(folder::routes())
        .and(password::routes())
        .and(export::routes())
}

/// The dialect's router, to be nested at [`BASE`].
pub(super) fn router() -> Router<Api> {
    routes()
        .into_router()
        .fallback(async |State(api): State<Api>, request: Request| {
            nothing_here(api, Dialect::ItGlue, request).await
        })
}

/// Rewrites a path of the dialect to the spelling of the routes; leaves every other path alone.
pub(super) fn normalise(mut request: Request) -> Request {
    if let Some(path) = canonical(request.uri().path()) {
        let query = request
            .uri()
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let mut parts = request.uri().clone().into_parts();
        if let Ok(path) = PathAndQuery::try_from(format!("{path}{query}")) {
            parts.path_and_query = Some(path);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    request
}

fn canonical(path: &str) -> Option<String> {
    let below = path.strip_prefix(BASE)?;
    if !below.is_empty() && !below.starts_with('/') {
        return None;
    }
    let below = below.strip_suffix('/').unwrap_or(below);
    Some(format!("{BASE}{}", below.replace('-', "_")))
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use super::*;

    #[test]
    fn hyphens_and_trailing_slashes_make_no_difference() {
        for path in [
            "/itglue/organizations/2/relationships/password_folders",
            "/itglue/organizations/2/relationships/password-folders",
            "/itglue/organizations/2/relationships/password-folders/",
        ] {
            assert_eq!(
                canonical(path).as_deref(),
                Some("/itglue/organizations/2/relationships/password_folders")
            );
        }
        assert_eq!(canonical("/itglue").as_deref(), Some("/itglue"));
        assert_eq!(canonical("/itglue/").as_deref(), Some("/itglue"));
    }

    #[test]
    fn other_paths_stay_as_they_are() {
        for path in [
            "/itglues/a-b",
            "/ITGLUE/a-b",
            "/api/v1/password-rules",
            "/",
            "/é",
        ] {
            assert_eq!(canonical(path), None, "{path}");
        }
    }

    #[test]
    fn the_query_is_kept_to_the_letter() {
        let uri = "/itglue/password-folders/?filter[a-b]=%20&x";
        let request = Request::builder()
            .uri(uri)
            .body(axum::body::Body::empty())
            .unwrap();
        assert_eq!(
            normalise(request).uri().to_string(),
            "/itglue/password_folders?filter[a-b]=%20&x"
        );
    }
}
