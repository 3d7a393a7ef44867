//! What bounds a world, and the rules by which it is driven: the service's own, or those with one
//! of them broken.
//!
//! The machine, the adoption, the budget's size and what a step writes are the service's own
//! functions. Three rules are SQL, and are told here and in [`super::store`] once more: that a step
//! is a compare-and-swap, that a login is counted within the budget, and when the mark of doubt
//! goes. The rule by which a version retires stands here alone: nothing retires yet.
//!
//! Invariant: a mutant breaks one rule, here or where it is asked for, and never the service's code.

use std::cell::Cell;

use keywheel::model::rotation::{Outcome, Phase, Rotation, lockout_budget};

use super::side::{Row, Side, Worker};

/// A rule, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    /// A candidate is kept only once it is current.
    NothingStaged,
    /// A refusal after doubt forgets the candidate.
    RefusalForgets,
    /// The losers go when another version is promoted.
    PrunedAtCommit,
    /// A version goes when its horizon has passed.
    PrunedByTime,
    /// An accept within the horizon clears a loser, too.
    ClearedTooEarly,
    /// A refusal is proof, doubt or not.
    RefusalIsProof,
    /// A candidate that the target says it took is promoted without a login.
    PromotedUntested,
    /// Logins are not counted.
    LoginsUncounted,
    /// A login is counted when it has failed.
    CountedAfterwards,
    /// A candidate whose apply had no answer is forgotten.
    ErrorForgets,
    /// A step is written whatever the store has meanwhile.
    NoCompareAndSwap,
    /// What was found in the store is taken for not sent, and ends as such.
    FoundIsUnsent,
    /// Attempts are never used up.
    NeverGivesUp,
}

impl Mutant {
    pub(super) const ALL: [Self; 13] = [
        Self::NothingStaged,
        Self::RefusalForgets,
        Self::PrunedAtCommit,
        Self::PrunedByTime,
        Self::ClearedTooEarly,
        Self::RefusalIsProof,
        Self::PromotedUntested,
        Self::LoginsUncounted,
        Self::CountedAfterwards,
        Self::ErrorForgets,
        Self::NoCompareAndSwap,
        Self::FoundIsUnsent,
        Self::NeverGivesUp,
    ];
}

/// What bounds a world. Faults are not bounded: any step may crash, any reply may be lost.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each tells one thing")]
pub(super) struct Scope {
    /// Secrets that there are, the first one included.
    pub(super) secrets: u8,
    /// Workers at once: more than one where a lease may end too early.
    pub(super) workers: usize,
    pub(super) attempts: u8,
    /// The target's lockout threshold, as the system's row has it.
    pub(super) threshold: Option<i64>,
    /// Tests are ordered, not changes alone.
    pub(super) tests: bool,
    /// The horizon passes.
    pub(super) elapses: bool,
    /// Versions retire, and so many generations always stay.
    pub(super) keeps: Option<u32>,
    /// The target loses no reply and is never late.
    pub(super) is_steady: bool,
    /// The target takes a replaced secret for a while.
    pub(super) overlaps: bool,
    /// The account changes itself, by its own login.
    pub(super) own: bool,
    /// The target may show what it holds without a login.
    pub(super) looks: bool,
}

/// The rules of one search.
pub(super) struct Rules {
    pub(super) scope: Scope,
    pub(super) mutant: Option<Mutant>,
    /// The rows of the machine's table that were asked for, a bit for phase and outcome.
    rows: Cell<u64>,
}

impl Rules {
    pub(super) fn new(scope: Scope, mutant: Option<Mutant>) -> Self {
        Self {
            scope,
            mutant,
            rows: Cell::new(0),
        }
    }

    pub(super) fn breaks(&self, rule: Mutant) -> bool {
        self.mutant == Some(rule)
    }

    /// Failing logins that a probe may cause.
    pub(super) fn budget(&self) -> u8 {
        u8::try_from(lockout_budget(self.scope.threshold)).unwrap()
    }

    /// The same of a test and a verification: one always, or nothing could ever be tested.
    pub(super) fn test_budget(&self) -> u8 {
        self.budget().max(1)
    }

    /// Where a rotation stands after an outcome, and whether the candidate is forgotten.
    pub(super) fn after(&self, from: Rotation, outcome: Outcome) -> (Rotation, bool) {
        let row = from.phase as u32 * 8 + outcome as u32;
        self.rows.set(self.rows.get() | 1 << row);
        let abandoned = Rotation {
            phase: Phase::Abandoned,
            doubt: false,
        };
        let applying = from.phase == Phase::Applying;
        match (self.mutant, outcome) {
            (Some(Mutant::RefusalForgets), Outcome::Refused) if applying && from.doubt => {
                return (abandoned, true);
            }
            (Some(Mutant::RefusalIsProof), Outcome::Refused) if applying => {
                return (abandoned, false);
            }
            (Some(Mutant::ErrorForgets), Outcome::Unknown) if applying => {
                return (abandoned, true);
            }
            _ => {}
        }
        (from.after(outcome).unwrap(), false)
    }

    /// How many rows of the machine's table were asked for.
    pub(super) fn rows(&self) -> u64 {
        self.rows.get()
    }

    /// True if a step may be written: nobody has moved the account since it was decided.
    pub(super) fn may_write(&self, side: &mut Side, worker: &Worker) -> bool {
        let same = !worker.behind && side.open == worker.row;
        if !same && self.breaks(Mutant::NoCompareAndSwap) {
            side.overwritten = true;
            return true;
        }
        same
    }

    /// True if a version may retire (I3). Told here alone, for nothing retires yet: whoever has
    /// versions retire moves it into the service, and has this call it.
    pub(super) fn may_retire(&self, side: &Side, version: u8) -> bool {
        let candidate = |row: Option<Row>| row.is_some_and(|row| row.version == version);
        if !side.kept.has(version) || side.current == version || candidate(side.open) {
            return false;
        }
        if self.breaks(Mutant::PrunedByTime) {
            return !side.fresh.has(version) && side.sent.has(version);
        }
        let generations = self.scope.keeps.unwrap_or(u32::MAX);
        side.cleared.has(version) && side.kept.len() > generations
    }
}
