//! The native API below `/api/v1`, and what every service has: health, metrics, its description.
//!
//! Invariant: errors are problem details (RFC 9457), and no answer but a reveal and a new key
//! holds a secret.

use axum::Router;

use super::route::Routes;
use super::{Api, Dialect};

/// Every native route.
pub fn routes() -> Routes {
    Routes::new(Dialect::Native)
}

/// The native router.
pub(super) fn router() -> Router<Api> {
    routes().into_router()
}
