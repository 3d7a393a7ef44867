//! What a rotation asks for: the engine's loop, effect by effect.
//!
//! Invariant: nothing is sent that was not counted, or put on record, in a step before.

use keywheel::model::job::JobKind;
use keywheel::model::rotation::{Effect, Outcome, Phase};

use super::rules::Mutant;
use super::side::{Doing, Row, Set, Side, Worker};
use super::worker::{Does, Login, Turn, What, end};

impl Turn<'_> {
    /// Asks the rotation for its effect, and performs it.
    pub(super) fn rotate(&mut self, worker: Worker) {
        let Some(row) = worker.row else {
            return self.to(What::Ended, true, end);
        };
        let fresh = worker.asked == Some(Effect::Intend);
        let operators = row.state.phase == Phase::NeedsOperator
            && worker.asked.is_none()
            && worker.kind == JobKind::Test;
        let effect = row.state.effect(fresh);
        match effect.or(operators.then_some(Effect::Probe)) {
            None => self.follow_up(worker, row),
            Some(Effect::Generate) => unreachable!("a rotation is stored with its candidate"),
            Some(Effect::Intend) if worker.kind == JobKind::Test => self.conclude(worker),
            Some(Effect::Intend) => {
                self.record(worker, Effect::Intend, Outcome::Done);
                if !self.rules.scope.is_steady {
                    // The connector says that the target could misread it.
                    self.record(worker, Effect::Intend, Outcome::Refused);
                }
            }
            Some(Effect::Promote) => self.record(worker, Effect::Promote, Outcome::Done),
            Some(Effect::Apply) => self.apply(worker, row),
            Some(Effect::Probe) => self.probe(worker, row),
            Some(Effect::Verify) => self.verify(row),
        }
    }

    /// A rotation has ended: another candidate, where the refusal was proof.
    fn follow_up(&mut self, worker: Worker, row: Row) {
        let refused = worker.asked == Some(Effect::Apply)
            && row.state.phase == Phase::Abandoned
            && !row.state.doubt;
        if !refused || self.side.last + 1 >= self.rules.scope.secrets {
            return self.conclude(worker);
        }
        // It reads the account anew.
        let at = self.at;
        self.side.workers[at].behind = false;
        self.side.workers[at].current = self.side.current;
        self.stage();
    }

    fn apply(&mut self, worker: Worker, row: Row) {
        let rules = self.rules;
        let version = row.version;
        let records = |outcome| Doing::Records(Effect::Apply, outcome);
        let (own, authorised) = (rules.scope.own, self.authorised);
        let mut side = self.side;
        if own {
            if !side.spend(rules, rules.test_budget()) {
                let label = What::LoggedIn(worker.current, Login::NotSent);
                return self.to(label, true, |_, worker| {
                    worker.doing = records(Outcome::NotNow);
                });
            }
            if !side.takes.has(worker.current) {
                side.failed += 1;
                let label = What::Sent(version, Does::DeniesTheLogin);
                return self.to(label, true, |after, worker| {
                    let workers = after.workers;
                    *after = Side { workers, ..side };
                    worker.doing = records(Outcome::NotNow);
                });
            }
        }
        let mut answer = |does, fair: bool, outcome, lands: bool| {
            self.to(What::Sent(version, does), fair, |after, worker| {
                let workers = after.workers;
                *after = Side { workers, ..side };
                if lands {
                    after.land(version);
                }
                if does == Does::WillObeyLate {
                    after.in_flight = after.in_flight.with(version);
                }
                if own && matches!(outcome, Outcome::Done | Outcome::Refused) {
                    after.refund();
                }
                worker.doing = records(outcome);
            });
        };
        if authorised {
            answer(Does::Obeys, true, Outcome::Done, true);
        }
        if authorised && !rules.scope.is_steady {
            answer(Does::ObeysUnheard, false, Outcome::Unknown, true);
            answer(Does::HearsNothing, false, Outcome::Unknown, false);
            answer(Does::WillObeyLate, false, Outcome::Unknown, false);
        }
        answer(Does::Refuses, true, Outcome::Refused, false);
        answer(Does::SaysNotNow, true, Outcome::NotNow, false);
    }

    /// A look where the target offers one; else one login, and if that is refused the other.
    fn probe(&mut self, worker: Worker, row: Row) {
        if self.rules.breaks(Mutant::FoundIsUnsent) && worker.asked.is_none() && !row.state.doubt {
            return self.record(worker, Effect::Probe, Outcome::Refused);
        }
        if self.rules.scope.looks && self.authorised {
            let seen = if self.side.takes.has(row.version) {
                (Outcome::Candidate, Set::of(row.version))
            } else if self.side.takes.has(worker.current) {
                (Outcome::Current, Set::of(worker.current))
            } else {
                (Outcome::Neither, Set::NONE)
            };
            self.to(What::Looked(seen.0), true, |side, worker| {
                side.accepted = side.accepted.plus(seen.1);
                worker.doing = Doing::Records(Effect::Probe, seen.0);
            });
        }
        // Attempts take turns. An operator's windows do, too, and may be either.
        let turns: &[bool] = match (row.state.phase, worker.attempt % 2) {
            (Phase::NeedsOperator, _) => &[true, false],
            (_, 1) => &[true],
            _ => &[false],
        };
        self.probe_by_login(worker, turns, false);
    }

    /// One login of a probe, for each that it may be: true is the candidate's.
    pub(super) fn probe_by_login(&mut self, worker: Worker, turns: &[bool], is_second: bool) {
        let Some(row) = worker.row else { return };
        for candidates in turns {
            let (version, accepted) = if *candidates {
                (row.version, Outcome::Candidate)
            } else {
                (worker.current, Outcome::Current)
            };
            let budget = self.rules.budget();
            let tell = |outcome| Doing::Records(Effect::Probe, outcome);
            self.login(version, budget, true, |login, _, worker| {
                worker.doing = match login {
                    Login::Accepted => tell(accepted),
                    Login::Refused if is_second => tell(Outcome::Neither),
                    Login::Refused => Doing::ProbesOn(*candidates),
                    Login::Unanswered | Login::NotSent => tell(Outcome::Unknown),
                };
            });
        }
    }

    fn verify(&mut self, row: Row) {
        let tell = |outcome| Doing::Records(Effect::Verify, outcome);
        if self.rules.breaks(Mutant::PromotedUntested) {
            return self.to(What::Looked(Outcome::Done), true, |_, worker| {
                worker.doing = tell(Outcome::Done);
            });
        }
        let budget = self.rules.test_budget();
        self.login(row.version, budget, false, |login, _, worker| {
            worker.granted = false;
            worker.doing = match login {
                Login::Accepted => tell(Outcome::Done),
                Login::Refused => tell(Outcome::Refused),
                Login::Unanswered | Login::NotSent => tell(Outcome::NotNow),
            };
        });
    }

    /// Counts a login, sends it, and takes the count back if it succeeded and nothing else does.
    pub(super) fn login(
        &mut self,
        version: u8,
        budget: u8,
        refunds: bool,
        then: impl Fn(Login, &mut Side, &mut Worker),
    ) {
        let rules = self.rules;
        let granted = self.side.workers[self.at].granted;
        let mut counted = self.side;
        if !granted && !counted.spend(rules, budget) {
            let label = What::LoggedIn(version, Login::NotSent);
            return self.to(label, true, |side, worker| {
                then(Login::NotSent, side, worker);
            });
        }
        let held = counted.takes.has(version);
        let mut come = |login, fails: bool, crashes: bool| {
            let label = if crashes {
                What::LoggedInAndCrashed(version)
            } else {
                What::LoggedIn(version, login)
            };
            let fair = login != Login::Unanswered && !crashes;
            self.to(label, fair, |side, worker| {
                let workers = side.workers;
                *side = Side { workers, ..counted };
                side.failed += u8::from(fails);
                if crashes {
                    *worker = Worker::IDLE;
                    return;
                }
                if fails && rules.breaks(Mutant::CountedAfterwards) {
                    side.spent += 1;
                }
                if login == Login::Accepted {
                    side.accepted = side.accepted.with(version);
                    if refunds {
                        side.refund();
                    }
                }
                then(login, side, worker);
            });
        };
        if held {
            come(Login::Accepted, false, false);
        } else {
            come(Login::Refused, true, false);
        }
        if rules.scope.is_steady {
            return;
        }
        if !held {
            come(Login::Unanswered, true, false);
        }
        come(Login::Unanswered, false, false);
        come(Login::Unanswered, !held, true);
    }

    /// Commits what came of an effect, with all that belongs to it.
    pub(super) fn record(&mut self, worker: Worker, effect: Effect, outcome: Outcome) {
        let rules = self.rules;
        let Some(row) = worker.row else { return };
        let (next, forgets) = rules.after(row.state, outcome);
        let mut side = self.side;
        let writes = next != row.state || effect == Effect::Apply;
        if writes && !rules.may_write(&mut side, &worker) {
            return self.overtaken();
        }
        // The engine commits a verified candidate's promotion with it. The machine allows for two
        // commits, so both ways are gone.
        let verified = next.phase == Phase::Verified && row.state.phase != Phase::Verified;
        let promoted = verified.then(|| rules.after(next, Outcome::Done).0);
        let is_fair = (effect, outcome) != (Effect::Intend, Outcome::Refused);
        for last in [Some(next), promoted].into_iter().flatten() {
            self.to(What::Recorded(last), is_fair, |after, worker| {
                let workers = after.workers;
                *after = Side { workers, ..side };
                worker.granted = false;
                // Current is refused as well.
                after.out_of_sync |= outcome == Outcome::Neither && after.current == worker.current;
                if writes {
                    after.advance(rules, row, next);
                    if last != next {
                        let row = Row { state: next, ..row };
                        after.advance(rules, row, last);
                    }
                    if verified {
                        after.clear_losers(rules, row.version);
                        after.refund();
                    }
                    if forgets {
                        after.kept = after.kept.without(row.version);
                    }
                    let applied = next.phase == Phase::Applied;
                    if applied && row.state.phase != Phase::Applied {
                        worker.granted = after.spend(rules, rules.test_budget());
                    }
                }
                worker.row = Some(Row { state: last, ..row });
                worker.asked = Some(effect);
                worker.doing = if row.state.moves_on(last, outcome) {
                    Doing::Rotates
                } else {
                    Doing::Concludes
                };
            });
        }
    }
}
