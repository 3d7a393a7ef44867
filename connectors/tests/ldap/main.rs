#![cfg(test)]
//! The LDAP connector on a real slapd: every trap that it promises to avoid.

mod hostile;
mod log;
mod middle;
mod policy;
mod reset;
mod scripted;
mod slapd;
mod trust;
