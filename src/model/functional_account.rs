//! Functional accounts: the privileged logins that connectors use.
//!
//! Invariant: nothing here holds a secret; whether there is one is all that is told.

pub use keywheel_connectors::Elevation;
use keywheel_connectors::Login;

use super::Timestamp;
use super::fault::{Fault, Faults};
use super::id::{FunctionalAccountId, PlatformId};
use super::platform::Platforms;
use super::rotation::Phase;

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
    pub fn faults(&self, platforms: &Platforms) -> Vec<Fault> {
        let mut faults = Faults::default();
        match platforms.find(self.platform_id) {
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

/// What is known of the credential that a linked functional account logs in with.
#[derive(Clone, Copy, Debug)]
pub struct LinkedLogin {
    /// The managed account's current version.
    pub current: Option<i64>,
    /// The candidate of its open rotation, where the target may hold it, and the phase.
    pub candidate: Option<(i64, Phase)>,
    /// The version that was current before, while it may still be held somewhere.
    pub previous: Option<i64>,
    /// True if nothing speaks against the current one.
    pub is_trusted: bool,
    /// Where nobody knows which of two is held, they take turns; true: the candidate's.
    pub candidates_turn: bool,
}

/// A version that the target may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginTry {
    /// The version.
    pub version: i64,
    /// What it is, in the log.
    pub which: &'static str,
    /// True if the login is counted before it is sent: it may fail.
    pub is_counted: bool,
}

impl LinkedLogin {
    /// The version to log in with next: the current one, and where it may have been replaced, the
    /// candidate, the likelier of the two first. Last the one before, which a server may still
    /// hold that has not heard of the change.
    pub fn next(&self, refused: &[i64]) -> Option<LoginTry> {
        let candidate_first = self.candidate.is_some_and(|(_, phase)| match phase {
            // The target has said that it took it.
            Phase::Applied | Phase::Verified => true,
            // A budget of one login never reaches the second, so they take turns.
            Phase::Ready
            | Phase::Staged
            | Phase::Applying
            | Phase::Committed
            | Phase::Abandoned
            | Phase::NeedsOperator => self.candidates_turn,
        });
        let candidate = self.candidate.map(|(version, _)| version);
        let early = candidate.filter(|_| candidate_first);
        let tries = [
            (early, "the candidate"),
            (self.current, "the current credential"),
            (candidate, "the candidate"),
            (self.previous, "the one before"),
        ];
        tries.into_iter().find_map(|(version, which)| {
            let version = version.filter(|version| !refused.contains(version))?;
            // A current one that nothing speaks against is as good as any tested credential.
            let trusted = Some(version) == self.current && self.is_trusted;
            Some(LoginTry {
                version,
                which,
                is_counted: !trusted || !refused.is_empty(),
            })
        })
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
            .faults(&Platforms::default())
            .into_iter()
            .map(|fault| fault.field)
            .collect();
        assert_eq!(fields, ["elevation", "account_name", "display_name"]);
    }

    #[test]
    fn a_login_is_trusted_counted_or_gone_as_what_is_known_says() {
        let known = LinkedLogin {
            current: Some(2),
            candidate: None,
            previous: Some(1),
            is_trusted: true,
            candidates_turn: true,
        };
        let next = |known: LinkedLogin, refused: &[i64]| {
            let next = known.next(refused);
            next.map(|next| (next.version, next.is_counted))
        };
        assert_eq!(next(known, &[]), Some((2, false)));
        assert_eq!(next(known, &[2]), Some((1, true)));
        assert_eq!(next(known, &[2, 1]), None);
        let doubtful = |phase, candidates_turn| LinkedLogin {
            candidate: Some((3, phase)),
            is_trusted: false,
            candidates_turn,
            ..known
        };
        let turns = doubtful(Phase::Applying, false);
        assert_eq!(next(turns, &[]), Some((2, true)));
        assert_eq!(next(turns, &[2]), Some((3, true)));
        assert_eq!(next(turns, &[2, 3]), Some((1, true)));
        assert_eq!(next(doubtful(Phase::Applying, true), &[]), Some((3, true)));
        assert_eq!(next(doubtful(Phase::Applied, false), &[]), Some((3, true)));
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
