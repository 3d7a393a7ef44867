//! The Password Safe dialect: BeyondTrust's public API v3, as its clients use it.
//!
//! Paths and parameter names match in any case, a trailing slash is ignored, and both of the
//! vendor's bases answer alike. `normalise` makes one spelling of them all before routing:
//! every path below a base is lower-cased, names in it included, since names match in any case.
//!
//! Invariant: no rule of Keywheel's lives here; this room parses, asks and renders.

mod asset;
mod auth;
mod credential;
mod functional_account;
mod input;
mod key_pair;
mod managed_account;
mod managed_system;
mod openapi;
mod password_rule;
mod permission;
mod platform;
mod quick_rule;
mod request;
mod role;
mod smart_rule;
mod wire;
mod workgroup;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use super::route::{Routes, nothing_here};
use super::{Api, Dialect};

pub(super) use input::read as read_body;
pub(super) use key_pair::GivenKeys;

pub(super) use platform::EITHER;

pub use input::{Fields, Page, Params, Records, Segments};
pub use openapi::description;

/// Where the dialect answers.
pub const BASE: &str = "/BeyondTrust/api/public/v3";
/// The vendor's former base, still in use.
const LEGACY_BASE: &str = "/eEye.RetinaCS.Server/api/public/v3";

/// Every route of the dialect.
pub fn routes() -> Routes {
    auth::routes()
        .and(credential::routes())
        .and(workgroup::routes())
        .and(asset::routes())
        .and(functional_account::routes())
        .and(managed_system::routes())
        .and(managed_account::routes())
        .and(platform::routes())
        .and(password_rule::routes())
        .and(permission::routes())
        .and(role::routes())
        .and(smart_rule::routes())
        .and(quick_rule::routes())
        .and(request::routes())
}

/// The dialect's router, to be nested at [`BASE`].
pub(super) fn router() -> Router<Api> {
    routes()
        .into_router()
        .fallback(async |State(api): State<Api>, request: Request| {
            nothing_here(api, Dialect::PasswordSafe, request).await
        })
}

/// Rewrites a dialect's path to the spelling of the routes; leaves every other path alone.
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
    let below = [BASE, LEGACY_BASE].iter().find_map(|base| {
        let (head, below) = path.split_at_checked(base.len())?;
        let whole = below.is_empty() || below.starts_with('/');
        (whole && head.eq_ignore_ascii_case(base)).then_some(below)
    })?;
    let below = below.strip_suffix('/').unwrap_or(below);
    Some(format!("{BASE}{}", below.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use super::*;

    #[test]
    fn every_spelling_of_a_path_becomes_one() {
        for path in [
            "/BeyondTrust/api/public/v3/ManagedAccounts/7/Credentials/Change",
            "/beyondtrust/API/Public/V3/managedaccounts/7/credentials/change/",
            "/eEye.RetinaCS.Server/api/public/v3/ManagedAccounts/7/Credentials/Change",
            "/EEYE.retinacs.server/api/public/v3/MANAGEDACCOUNTS/7/credentials/change",
        ] {
            assert_eq!(
                canonical(path).as_deref(),
                Some("/BeyondTrust/api/public/v3/managedaccounts/7/credentials/change")
            );
        }
    }

    #[test]
    fn other_paths_stay_as_they_are() {
        for path in [
            "/api/v1/Jobs",
            "/BeyondTrust/api/public/v33/x",
            "/BeyondTrust",
            "/",
            "/é",
        ] {
            assert_eq!(canonical(path), None, "{path}");
        }
    }

    #[test]
    fn the_query_is_kept_to_the_letter() {
        let uri = "/EEYE.RetinaCS.Server/api/public/v3/ManagedAccounts/?AccountName=Ab%2Bc&x";
        let request = Request::builder()
            .uri(uri)
            .body(axum::body::Body::empty())
            .unwrap();
        assert_eq!(
            normalise(request).uri().to_string(),
            "/BeyondTrust/api/public/v3/managedaccounts?AccountName=Ab%2Bc&x"
        );
    }
}
