//! Changes accounts of a host over SSH.
