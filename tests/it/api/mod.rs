//! The HTTP interfaces, asked through their router.
//!
//! Invariant: every test has its own database and moves its own clock.

mod access_policy;
mod at_risk;
mod audit;
mod browser;
mod credential;
mod description;
mod dialect;
mod discovery;
mod doubt;
mod functional_account;
mod functional_link;
mod identity;
mod import;
mod injection;
mod key;
mod key_edit;
mod key_life;
mod limits;
mod native;
mod oauth;
mod password;
mod password_import;
mod password_record;
mod permission;
mod platform;
mod policy;
mod precedence;
mod principal;
mod report;
mod session;
mod synced;
mod told;
mod totp;
mod workflow;
pub(crate) mod world;
