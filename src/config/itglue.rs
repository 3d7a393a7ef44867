//! `[itglue]`: the IT Glue dialect.
//!
//! Invariant: by default no value leaves that was not asked for.

use serde::{Deserialize, Serialize};

/// `[itglue]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItGlue {
    /// True: a password record is shown with its value unless `show_password=false`, as the vendor
    /// does. Else it must be asked for.
    pub show_password_default: bool,
    /// Calls in five minutes with one key.
    pub requests_per_5_minutes: u32,
}

impl Default for ItGlue {
    fn default() -> Self {
        Self {
            show_password_default: false,
            requests_per_5_minutes: 3_000,
        }
    }
}
