//! What the store does in one transaction.
//!
//! What a step writes is asked of the store's own [`Step`]; the SQL behind it is told once more.
//!
//! Invariant: one call is one commit.

use keywheel::model::Timestamp;
use keywheel::model::credential::{Kept, Part, likeliest_live};
use keywheel::model::id::{AccountId, RotationId};
use keywheel::model::rotation::{Outcome, Phase, Rotation};
use keywheel::store::Step;

use super::rules::{Mutant, Rules};
use super::side::{Row, Set, Side};

/// When a version was sent that may have landed since current was accepted, and one that cannot.
const FRESH: Timestamp = Timestamp(1_780_000_000_000);
const OLD: Timestamp = Timestamp(1);

impl Side {
    /// Keeps a candidate and opens its rotation. All who read the account before are behind.
    pub(super) fn stage(&mut self, rules: &Rules) -> Row {
        self.last += 1;
        if !rules.breaks(Mutant::NothingStaged) {
            self.kept = self.kept.with(self.last);
        }
        let state = Rotation::open().after(Outcome::Done).unwrap();
        self.open_rotation(self.last, state)
    }

    /// Opens a rotation to a version.
    pub(super) fn open_rotation(&mut self, version: u8, state: Rotation) -> Row {
        let row = Row { state, version };
        self.open = Some(row);
        self.in_doubt |= state.in_doubt();
        if state.doubt {
            self.doubted = self.doubted.with(version);
        }
        self.committed = false;
        self.previous = None;
        for worker in &mut self.workers {
            worker.behind = !worker.is_idle();
        }
        row
    }

    /// Writes a step.
    pub(super) fn advance(&mut self, rules: &Rules, row: Row, to: Rotation) {
        let version = row.version;
        let step = Step {
            rotation: RotationId(1),
            account: AccountId(1),
            part: Part::Password,
            epoch: 1,
            version: i64::from(version),
            from: row.state,
            to,
            why: String::new(),
        };
        self.open = (!to.phase.is_final()).then_some(Row { state: to, version });
        if step.sends() {
            self.sent = self.sent.with(version);
            self.fresh = self.fresh.with(version);
            self.cleared = self.cleared.without(version);
            self.disproved = self.disproved.without(version);
        }
        if to.doubt {
            self.doubted = self.doubted.with(version);
        }
        if to.phase == Phase::Abandoned {
            self.lingers |= to.doubt;
            self.committed = false;
            if !to.doubt {
                self.disproved = self.disproved.with(version);
            }
        }
        if step.promotes() {
            self.previous = Some(self.current);
            self.current = version;
            self.proved = self.proved.with(version);
            self.kept = if rules.breaks(Mutant::PrunedAtCommit) {
                Set::of(version)
            } else {
                self.kept.with(version)
            };
            (self.lingers, self.out_of_sync) = (false, false);
            self.in_doubt = !self.may_land().is_empty();
            self.committed = true;
        }
        if step.moves_doubt() {
            self.in_doubt = to.in_doubt() || self.lingers || !self.may_land().is_empty();
        }
    }

    /// A conclusive accept is on record: it clears what could not land any more when it began.
    pub(super) fn clear_losers(&mut self, rules: &Rules, accepted: u8) {
        let late = if rules.breaks(Mutant::ClearedTooEarly) {
            Set::NONE
        } else {
            self.fresh
        };
        self.cleared = self.cleared.plus(self.kept.minus(late)).without(accepted);
    }

    /// Current has passed a test.
    pub(super) fn record_passed(&mut self, rules: &Rules, version: u8) {
        if self.current != version {
            return; // it was replaced meanwhile: it has no verdict any more
        }
        self.out_of_sync = false;
        self.proved = self.proved.with(version);
        self.clear_losers(rules, version);
        if self.open.is_none() && self.may_land().is_empty() {
            self.in_doubt = false;
        }
    }

    /// Counts a login that may fail. `false`: the budget is spent.
    pub(super) fn spend(&mut self, rules: &Rules, budget: u8) -> bool {
        if rules.breaks(Mutant::LoginsUncounted) || rules.breaks(Mutant::CountedAfterwards) {
            return self.spent < budget || rules.breaks(Mutant::LoginsUncounted);
        }
        let granted = self.spent < budget;
        self.spent += u8::from(granted);
        granted
    }

    pub(super) fn refund(&mut self) {
        self.spent = self.spent.saturating_sub(1);
    }

    /// The version that is likeliest live, where the target shows none.
    pub(super) fn likeliest_live(&self) -> Option<u8> {
        let open = self.open.filter(|row| row.state.in_doubt());
        let open = open.map(|row| row.version);
        let kept: Vec<Kept> = self
            .kept
            .newest()
            .map(|version| {
                let sent_at = if self.cleared.has(version) {
                    OLD
                } else {
                    FRESH
                };
                Kept {
                    version: i64::from(version),
                    last_sent_at: self.sent.has(version).then_some(sent_at),
                    accepted_at: self.proved.has(version).then_some(FRESH),
                    is_doubtful: self.doubted.has(version) || open == Some(version),
                }
            })
            .collect();
        let found = likeliest_live(&kept, Some(i64::from(self.current)));
        found.map(|version| u8::try_from(version).unwrap())
    }
}
