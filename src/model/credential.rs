//! What an account logs in with: the parts of its credential.
//!
//! Invariant: each part is a line of its own; nothing ever moves two parts in one step.

use std::time::Duration;

use serde::Serialize;

use super::Timestamp;
use super::rotation::{HORIZON, Phase};

/// Between the beginning of a login and the record of its accept.
const RECORDED_WITHIN: Duration = Duration::from_hours(1);

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

/// How sure it is that one part of an account's credential is what the target holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Nothing is stored.
    Empty,
    /// Stored, and never seen to work.
    Untested,
    /// The last that was seen of it is that it works.
    Sure,
    /// An order of ours had no answer: the target may hold another version that is kept.
    InDoubt,
    /// The target refuses what is current and whatever else of ours it may hold: somebody else has
    /// changed it.
    Drifted,
}

impl Certainty {
    /// What is known of one part. `refused`: the last test of the account was. `open`: the phase of
    /// the part's open rotation; `others`: [`candidates`] beside that rotation's.
    pub fn of(
        current: Option<&Kept>,
        in_doubt: bool,
        refused: bool,
        open: Option<Phase>,
        others: usize,
    ) -> Self {
        let undecided = open.is_some_and(|phase| phase != Phase::NeedsOperator);
        match current {
            _ if refused && !undecided && others == 0 => Self::Drifted,
            _ if in_doubt || others > 0 => Self::InDoubt,
            None => Self::Empty,
            Some(_) if refused => Self::InDoubt,
            Some(current) if current.accepted_at.is_none() => Self::Untested,
            Some(_) => Self::Sure,
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
    /// Last conclusive accept, when it was put on record.
    pub accepted_at: Option<Timestamp>,
    /// An order of it has had no answer, so far or for good.
    pub is_doubtful: bool,
}

/// Versions that the target may hold instead of current, the likeliest first: orders without an
/// answer that were never seen to work, or that may have landed after current was last accepted.
///
/// `kept` has the newest first.
pub fn candidates(kept: &[Kept], current: Option<i64>) -> Vec<i64> {
    let since = horizon_of(kept, current);
    let others = || kept.iter().filter(|one| Some(one.version) != current);
    let doubtful = |one: &&Kept| one.is_doubtful && one.last_sent_at.is_some();
    let unproved = others().filter(|one| doubtful(one) && one.accepted_at.is_none());
    let late = others().filter(|one| doubtful(one) && one.accepted_at.is_some() && one.late(since));
    unproved.chain(late).map(|one| one.version).collect()
}

/// The version that a target likeliest holds that refuses current and shows nothing: the first of
/// its [`candidates`], or else one whose order was answered and may have landed again.
///
/// `kept` has the newest first.
pub fn likeliest_live(kept: &[Kept], current: Option<i64>) -> Option<i64> {
    let since = horizon_of(kept, current);
    let mut others = kept.iter().filter(|one| Some(one.version) != current);
    // What was sent, refused with proof and never accepted is not among them.
    let again = others.find(|one| one.accepted_at.is_some() && one.late(since));
    let found = candidates(kept, current).first().copied();
    found.or(again.map(|one| one.version))
}

/// What was sent after this may have landed since current was last accepted; `None`: whatever was
/// sent may.
///
/// The accept is put on record a little after its login began, never as much as an hour.
fn horizon_of(kept: &[Kept], current: Option<i64>) -> Option<Timestamp> {
    let current = kept.iter().find(|one| Some(one.version) == current)?;
    let accepted = current.accepted_at?;
    Some(accepted.minus(HORIZON).minus(RECORDED_WITHIN))
}

impl Kept {
    fn late(&self, since: Option<Timestamp>) -> bool {
        self.last_sent_at
            .is_some_and(|at| since.is_none_or(|since| at > since))
    }
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

    const HOUR: i64 = 3_600_000;

    /// Times are in hours.
    fn kept(version: i64, sent: Option<i64>, accepted: Option<i64>, is_doubtful: bool) -> Kept {
        Kept {
            version,
            last_sent_at: sent.map(|at| Timestamp(at * HOUR)),
            accepted_at: accepted.map(|at| Timestamp(at * HOUR)),
            is_doubtful,
        }
    }

    #[test]
    fn what_was_never_accepted_is_likelier_live_than_what_may_land_again() {
        let unsent = kept(6, None, None, false);
        let disproved = kept(5, Some(40), None, false);
        let late = kept(4, Some(40), Some(41), true);
        let unproved = kept(3, Some(10), None, true);
        let older = kept(2, Some(9), None, true);
        let current = kept(1, Some(8), Some(50), false);
        let all = [unsent, disproved, late, unproved, older, current];
        assert_eq!(candidates(&all, Some(1)), [3, 2, 4]);
        assert_eq!(likeliest_live(&all, Some(1)), Some(3));
        assert_eq!(likeliest_live(&all, Some(3)), Some(2));
        assert_eq!(candidates(&[], None), [0; 0]);
        assert_eq!(likeliest_live(&[], None), None);
    }

    #[test]
    fn a_refusal_that_is_proof_is_not_live() {
        let disproved = kept(3, Some(40), None, false);
        let before = kept(2, Some(39), Some(39), false);
        let all = [disproved, before, kept(1, Some(8), Some(50), false)];
        assert_eq!(candidates(&all, Some(1)), [0; 0]);
        assert_eq!(likeliest_live(&all, Some(1)), Some(2));
    }

    #[test]
    fn an_order_may_land_again_until_current_was_accepted_after_its_horizon() {
        let late = |accepted| {
            let all = [
                kept(2, Some(100), Some(accepted), false),
                kept(1, Some(10), Some(11), true),
            ];
            (candidates(&all, Some(2)), likeliest_live(&all, Some(2)))
        };
        assert_eq!(late(34), (vec![1], Some(1)));
        assert_eq!(late(36), (vec![], None));
        // Nobody knows when a current one that was never accepted came there.
        let all = [
            kept(2, None, None, false),
            kept(1, Some(10), Some(11), true),
        ];
        assert_eq!(candidates(&all, Some(2)), [1]);
    }

    #[test]
    fn an_order_for_everything_stays_one() {
        assert_eq!(Parts::KEY.with(Parts::ALL_THERE_ARE), Parts::ALL_THERE_ARE);
        assert!(Parts::KEY.with(Parts::PASSWORD).holds(Parts::PASSWORD));
    }
}
