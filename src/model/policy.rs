//! When a credential is due: the vendor's change frequency and Keywheel's own policies.
//!
//! Invariant: the same policy, account and instant always give the same answer.
