//! Functional accounts: the privileged logins that connectors use.
//!
//! Invariant: nothing here holds a secret; whether there is one is all that is told.

pub use keywheel_connectors::Elevation;
use keywheel_connectors::Login;

use super::Timestamp;
use super::fault::{Fault, Faults};
use super::id::{FunctionalAccountId, PlatformId};
use super::platform::Platform;

/// One functional account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionalAccount {
    /// Its id.
    pub id: FunctionalAccountId,
    /// What people set.
    pub settings: FunctionalSettings,
    /// True if a password is stored.
    pub has_password: bool,
    /// Of the private key, if one is stored: algorithm and base64, without a comment.
    pub public_key: Option<String>,
    /// True if an enable secret is stored.
    pub has_enable: bool,
    /// How many systems use it.
    pub systems: i64,
    /// Counts edits.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What people set on a functional account, but for its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionalSettings {
    /// The platform of the systems that may use it.
    pub platform_id: PlatformId,
    /// Up to 500 characters.
    pub domain_name: Option<String>,
    /// Login name, or DN in a directory; 1 to 245 characters.
    pub account_name: String,
    /// What people read; up to 100 characters. The login name where nobody gave one.
    pub display_name: String,
    /// Up to 1000 characters.
    pub description: Option<String>,
    /// How it gains the right to change others, unless the system says so.
    pub elevation: Elevation,
}

impl FunctionalSettings {
    /// Every bad field.
    ///
    /// Source: Password Safe API, `POST FunctionalAccounts`.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        match Platform::find(self.platform_id) {
            None => faults.add("platform_id", "is no platform of this service"),
            Some(platform) => {
                if !platform.supports_elevation && self.elevation != Elevation::None {
                    faults.add("elevation", "is not available on this platform");
                }
            }
        }
        if let Err(error) = Login::parse(&self.account_name) {
            faults.add("account_name", login_problem(error));
        }
        faults.line("display_name", &self.display_name, 100);
        faults.optional("domain_name", self.domain_name.as_ref(), 500);
        faults.prose("description", self.description.as_ref(), 1_000);
        faults.found()
    }
}

/// What is wrong with a login name; reads on after the field's name.
pub(super) fn login_problem(error: keywheel_connectors::LoginError) -> &'static str {
    use keywheel_connectors::LoginError;
    match error {
        LoginError::Empty => "is required",
        LoginError::TooLong => "must have at most 245 characters",
        LoginError::Character => "must not hold control characters or colons",
    }
}

/// The database's word for an elevation; `None` for none.
pub const fn elevation_word(elevation: Elevation) -> Option<&'static str> {
    match elevation {
        Elevation::None => None,
        Elevation::Sudo => Some("sudo"),
        Elevation::Doas => Some("doas"),
        Elevation::Pbrun => Some("pbrun"),
        Elevation::Pmrun => Some("pmrun"),
    }
}

/// From that word; `None` for one that is not known.
pub fn elevation_of(word: Option<&str>) -> Option<Elevation> {
    match word {
        None | Some("") => Some(Elevation::None),
        Some("sudo") => Some(Elevation::Sudo),
        Some("doas") => Some(Elevation::Doas),
        Some("pbrun") => Some(Elevation::Pbrun),
        Some("pmrun") => Some(Elevation::Pmrun),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_of_a_functional_account_is_named() {
        let settings = FunctionalSettings {
            platform_id: PlatformId(32),
            domain_name: None,
            account_name: "root:x".to_owned(),
            display_name: "d".repeat(101),
            description: None,
            elevation: Elevation::Sudo,
        };
        let fields: Vec<_> = settings
            .faults()
            .into_iter()
            .map(|fault| fault.field)
            .collect();
        assert_eq!(fields, ["elevation", "account_name", "display_name"]);
    }

    #[test]
    fn elevations_survive_their_words() {
        for elevation in [
            Elevation::None,
            Elevation::Sudo,
            Elevation::Doas,
            Elevation::Pbrun,
            Elevation::Pmrun,
        ] {
            assert_eq!(elevation_of(elevation_word(elevation)), Some(elevation));
        }
        assert_eq!(elevation_of(Some("su")), None);
    }
}
