#![cfg(test)]
//! SSH on real servers.
