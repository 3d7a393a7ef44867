//! Real clients of the interfaces, unmodified, against the real service and real targets.
//!
//! Invariant: what a client prints is never taken for the effect: that is looked at where it is.

mod ps_cli;
