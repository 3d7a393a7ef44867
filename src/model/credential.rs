//! What an account logs in with: the parts of its credential.
//!
//! Invariant: each part is a line of its own; nothing ever moves two parts in one step.

use serde::Serialize;

use super::Timestamp;

/// One part of an account's credential. Each has its own current version and its own rotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A password.
    Password,
    /// An SSH key pair.
    Key,
}

impl Part {
    /// Every part, in the order in which a job moves them.
    pub const ALL: [Self; 2] = [Self::Password, Self::Key];

    /// As it stands in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Key => "key",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == raw)
    }
}

/// What a job still has to do: parts of a credential, and the removal of superseded keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts(i64);

impl Parts {
    /// Not decided: all the parts that the account has when its job is taken up.
    pub const ALL_THERE_ARE: Self = Self(0);
    /// Nothing; stored, it would mean all there are.
    pub const NONE: Self = Self(0);
    /// The password.
    pub const PASSWORD: Self = Self(1);
    /// The key pair, and after it the removal of the ones before.
    pub const KEY: Self = Self(2);
    /// Superseded keys are to be removed from the target.
    pub const REMOVAL: Self = Self(4);

    /// The set that holds one part.
    pub const fn of(part: Part) -> Self {
        match part {
            Part::Password => Self::PASSWORD,
            Part::Key => Self::KEY,
        }
    }

    /// As it stands in the database.
    pub const fn bits(self) -> i64 {
        self.0
    }

    /// Reads it back.
    pub const fn from_bits(bits: i64) -> Option<Self> {
        if bits & !7 == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// True if the account decides.
    pub const fn is_undecided(self) -> bool {
        self.0 == 0
    }

    /// True if all of `other` is in it.
    pub const fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With all of `other`; what is not decided stays so, because it is all there is.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        if self.is_undecided() || other.is_undecided() {
            Self::ALL_THERE_ARE
        } else {
            Self(self.0 | other.0)
        }
    }

    /// These two, of which either may be empty.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without all of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Decides: all the parts that an account has. One that has neither gets a password.
    #[must_use]
    pub const fn resolve(self, has_password: bool, wants_key: bool) -> Self {
        if !self.is_undecided() {
            return self;
        }
        match (has_password, wants_key) {
            (true, true) => Self(3),
            (false, true) => Self::KEY,
            (true | false, false) => Self::PASSWORD,
        }
    }
}

/// What is known of a kept version, as far as decisions need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub version: i64,
    /// When it was last on its way to the target.
    pub last_sent_at: Option<Timestamp>,
    /// Last conclusive accept.
    pub accepted_at: Option<Timestamp>,
}

/// The version that a target likeliest holds that refuses current and shows nothing: one that was
/// sent and never accepted, or else one whose order may land, or land again.
///
/// `kept` has the newest first. What was sent after `since` may still land.
pub fn likeliest_live(kept: &[Kept], current: Option<i64>, since: Timestamp) -> Option<i64> {
    let unproved = |one: &&Kept| one.last_sent_at.is_some() && one.accepted_at.is_none();
    let late = |one: &&Kept| one.last_sent_at.is_some_and(|at| at > since);
    let others = || kept.iter().filter(|one| Some(one.version) != current);
    let found = others().find(unproved).or_else(|| others().find(late));
    found.map(|one| one.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_the_database() {
        for part in Part::ALL {
            assert_eq!(Part::parse(part.as_str()), Some(part));
        }
        for bits in 0..8 {
            assert_eq!(Parts::from_bits(bits).map(Parts::bits), Some(bits));
        }
        assert_eq!((Parts::from_bits(8), Parts::from_bits(-1)), (None, None));
    }

    #[test]
    fn an_account_decides_what_nobody_has() {
        let all = Parts::ALL_THERE_ARE;
        assert_eq!(all.resolve(true, false), Parts::PASSWORD);
        assert_eq!(all.resolve(false, false), Parts::PASSWORD);
        assert_eq!(all.resolve(false, true), Parts::KEY);
        assert!(all.resolve(true, true).holds(Parts::PASSWORD));
        assert!(all.resolve(true, true).holds(Parts::KEY));
        assert_eq!(Parts::REMOVAL.resolve(true, true), Parts::REMOVAL);
    }

    #[test]
    fn what_was_never_accepted_is_likelier_live_than_what_may_land_again() {
        let kept = |version, last_sent_at: Option<i64>, accepted_at: Option<i64>| Kept {
            version,
            last_sent_at: last_sent_at.map(Timestamp),
            accepted_at: accepted_at.map(Timestamp),
        };
        let unsent = kept(5, None, None);
        let late = kept(4, Some(40), Some(41));
        let unproved = kept(3, Some(10), None);
        let older = kept(2, Some(9), None);
        let old = kept(1, Some(8), Some(9));
        let likeliest = |all: &[Kept], current| likeliest_live(all, current, Timestamp(30));
        let all = [unsent, late, unproved, older, old];
        assert_eq!(likeliest(&all, Some(1)), Some(3));
        assert_eq!(likeliest(&all, Some(3)), Some(2));
        assert_eq!(likeliest(&[unsent, late, old], Some(1)), Some(4));
        assert_eq!(likeliest(&[unsent, late, old], Some(4)), None);
        assert_eq!(likeliest(&[], None), None);
    }

    #[test]
    fn an_order_for_everything_stays_one() {
        assert_eq!(Parts::KEY.with(Parts::ALL_THERE_ARE), Parts::ALL_THERE_ARE);
        assert!(Parts::KEY.with(Parts::PASSWORD).holds(Parts::PASSWORD));
    }
}
