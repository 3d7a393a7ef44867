#![cfg(test)]
//! The LDAP connector on a real slapd: every trap that it promises to avoid.

mod ds389;
mod hostile;
mod key;
mod log;
mod middle;
mod own;
mod policy;
mod reset;
mod samba;
mod scripted;
mod shared;
mod slapd;
mod trust;
