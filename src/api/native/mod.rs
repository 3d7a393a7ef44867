//! The native API below `/api/v1`, and what every service has: health, metrics, its description.
//!
//! Invariant: errors are problem details (RFC 9457), and no answer but a reveal, a new key, a new
//! signing secret, a sign-in and a new second factor holds a secret.

mod access_policy;
mod account;
mod audit;
mod delivery;
mod discovery;
mod doubt;
mod functional_account;
mod functional_link;
mod group;
mod health;
mod import;
mod input;
mod job;
mod key;
mod openapi;
mod output;
mod password;
mod password_export;
mod password_import;
mod password_list;
mod password_reader;
mod password_record;
mod platform;
mod policy;
mod problem;
mod quarantine;
mod regression;
mod report;
mod reveal;
mod session;
mod system;
mod totp;
mod user;
mod workflow;

use axum::Router;

use super::route::Routes;
use super::{Api, Dialect};

pub use openapi::description;

/// Every native route.
pub fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .and(access_policy::routes())
        .and(account::routes())
        .and(reveal::routes())
        .and(audit::routes())
        .and(functional_account::routes())
        .and(functional_link::routes())
        .and(discovery::routes())
        .and(doubt::routes())
        .and(group::routes())
        .and(health::routes())
        .and(import::routes())
        .and(job::routes())
        .and(key::routes())
        .and(password::routes())
        .and(password_import::routes())
        .and(password_export::routes())
        .and(password_list::routes())
        .and(password_reader::routes())
        .and(password_record::routes())
        .and(platform::routes())
        .and(policy::routes())
        .and(quarantine::routes())
        .and(regression::routes())
        .and(report::routes())
        .and(session::routes())
        .and(system::routes())
        .and(totp::routes())
        .and(user::routes())
        .and(workflow::routes())
        .and(delivery::routes())
}

/// The native router.
pub(super) fn router() -> Router<Api> {
    routes().into_router().merge(openapi::router())
}
