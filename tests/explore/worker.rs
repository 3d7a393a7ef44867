//! A worker at one account: what the engine's loop does next, whatever the target answers.
//!
//! The loop itself is told once more, effect by effect: which one is asked for, where it leads, and
//! whether the attempt goes on are answers of the service's machine.
//!
//! Invariant: a commit is one step, and so is a word with the target; between any two of them the
//! worker may die, be overtaken, or wait until a late write has landed.

use keywheel::model::job::JobKind;
use keywheel::model::rotation::{Outcome, Phase, Rotation};

use super::rules::{Mutant, Rules};
use super::search::Next;
use super::side::{Doing, Job, Row, Side, Worker};

/// What a target makes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Obeys,
    ObeysUnheard,
    HearsNothing,
    WillObeyLate,
    Refuses,
    SaysNotNow,
    DeniesTheLogin,
}

/// What came of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    Accepted,
    Refused,
    Unanswered,
    NotSent,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Ordered(JobKind),
    Claimed,
    TakenOver,
    Crashed,
    GaveUp,
    Ended,
    Waits,
    Overtaken,
    Staged(u8),
    Adopted(u8),
    NothingFound,
    Sent(u8, Does),
    LoggedIn(u8, Login),
    /// The worker died after the login, before what was counted for it was taken back.
    LoggedInAndCrashed(u8),
    Looked(Outcome),
    Recorded(Rotation),
    Landed(u8),
    LandedNotForTheLastTime(u8),
    ReplacedEnded,
    WindowPassed,
    HorizonPassed,
    Retired(u8),
    LeaseEnded,
    /// No version is left for the functional login, or no login that may fail.
    NotOpened,
    /// A functional login, by a version of its account.
    Opened(u8, Login),
}

/// One worker's turn.
pub(super) struct Turn<'a> {
    pub(super) rules: &'a Rules,
    pub(super) side: Side,
    /// Which worker.
    pub(super) at: usize,
    /// False: its session may change nothing (any more).
    pub(super) authorised: bool,
    pub(super) steps: &'a mut Vec<Next<Side, What>>,
}

impl Turn<'_> {
    /// Every step of an active worker.
    pub(super) fn steps(&mut self) {
        let worker = self.side.workers[self.at];
        self.to(What::Crashed, false, |_, worker| *worker = Worker::IDLE);
        match worker.doing {
            Doing::Idle => {}
            Doing::Begins => self.begin(worker),
            Doing::Looks => self.look_further(),
            Doing::Rotates => self.rotate(worker),
            Doing::ProbesOn(first) => self.probe_by_login(worker, &[!first], true),
            Doing::Records(effect, outcome) => self.record(worker, effect, outcome),
            Doing::Concludes => self.conclude(worker),
        }
    }

    pub(super) fn to(
        &mut self,
        label: What,
        is_fair: bool,
        change: impl FnOnce(&mut Side, &mut Worker),
    ) {
        let mut side = self.side;
        let mut worker = side.workers[self.at];
        change(&mut side, &mut worker);
        side.workers[self.at] = if worker.is_idle() {
            Worker::IDLE
        } else {
            worker
        };
        let state = side.in_order();
        self.steps.push(Next {
            label,
            is_fair,
            state,
        });
    }

    /// Takes up the job: another attempt, unless there is none left or nothing to do.
    pub(super) fn claim(&mut self, label: What, is_fair: bool) {
        let rules = self.rules;
        let Some(job) = self.side.job else { return };
        let attempt = job.attempt + 1;
        let rotates = job.kind == JobKind::Rotate;
        let open = self.side.open;
        let waits = open.is_some_and(|row| row.state.phase == Phase::NeedsOperator);
        let made = job.attempt > 0 && job.staged && open.is_none() && self.side.committed;
        if rotates && (waits || made) {
            self.to(What::Ended, is_fair, |side, _| side.job = None);
        } else if attempt > rules.scope.attempts {
            self.to(What::GaveUp, is_fair, |side, _| {
                if let Some(row) = side.open {
                    side.advance(rules, row, row.state.give_up());
                }
                side.job = None;
            });
        } else {
            self.to(label, is_fair, |side, worker| {
                side.job = Some(Job { attempt, ..job });
                *worker = Worker {
                    doing: Doing::Begins,
                    row: side.open,
                    current: side.current,
                    holds: true,
                    kind: job.kind,
                    attempt,
                    ..Worker::IDLE
                };
            });
        }
    }

    fn begin(&mut self, worker: Worker) {
        let rules = self.rules;
        let phase = worker.row.map(|row| row.state.phase);
        match (worker.kind, phase) {
            (JobKind::Rotate, None) => self.stage(),
            (JobKind::Rotate, Some(_))
            | (
                JobKind::Test,
                Some(Phase::Applying | Phase::Applied | Phase::Verified | Phase::NeedsOperator),
            ) => self.rotate(Worker {
                doing: Doing::Rotates,
                ..worker
            }),
            (
                JobKind::Test,
                None | Some(Phase::Ready | Phase::Staged | Phase::Committed | Phase::Abandoned),
            ) => {
                let budget = rules.test_budget();
                let version = worker.current;
                self.login(version, budget, true, |login, side, worker| match login {
                    Login::Accepted => {
                        side.record_passed(rules, version);
                        end(side, worker);
                    }
                    Login::Refused => {
                        side.out_of_sync |= side.current == version;
                        match worker.row {
                            None => worker.doing = Doing::Looks,
                            Some(_) => end(side, worker),
                        }
                    }
                    Login::Unanswered | Login::NotSent => end(side, worker),
                });
            }
        }
    }

    /// A candidate for a part that has no rotation, in the attempt's first commit or after a
    /// refusal that is proof.
    pub(super) fn stage(&mut self) {
        let rules = self.rules;
        let side = &self.side;
        let worker = side.workers[self.at];
        if side.last + 1 >= rules.scope.secrets {
            // No secret is left in this world: the job ends as one whose rule makes none.
            self.to(What::Ended, true, end);
        } else if worker.behind || side.open.is_some() {
            self.overtaken();
        } else {
            self.to(What::Staged(side.last + 1), true, |side, worker| {
                let row = side.stage(rules);
                worker.row = Some(row);
                worker.doing = Doing::Rotates;
                worker.asked = None;
                if worker.holds {
                    side.job = side.job.map(|job| Job {
                        staged: true,
                        ..job
                    });
                }
            });
        }
    }

    /// The store has moved on: the attempt stops, and the next one reads what is there.
    pub(super) fn overtaken(&mut self) {
        let attempts = self.rules.scope.attempts;
        self.to(What::Overtaken, true, |side, worker| {
            if worker.attempt >= attempts {
                end(side, worker);
            } else {
                *worker = Worker::IDLE;
            }
        });
    }

    /// Current was refused: the version that the target shows, or the likeliest.
    fn look_further(&mut self) {
        let side = &self.side;
        let mut others = side
            .kept
            .newest()
            .filter(|version| *version != side.current);
        // The first one that it shows; none, if it shows the one that it refused a moment ago.
        let shown = others
            .find(|version| side.takes.has(*version) || side.takes.has(side.current))
            .filter(|version| side.takes.has(*version));
        let guessed = side.likeliest_live();
        let looks = self.rules.scope.looks && self.authorised;
        if looks {
            self.adopt(shown);
        }
        if !looks || guessed != shown {
            self.adopt(guessed);
        }
    }

    fn adopt(&mut self, version: Option<u8>) {
        let worker = self.side.workers[self.at];
        let Some(version) = version else {
            return self.to(What::NothingFound, true, end);
        };
        if worker.behind || self.side.open.is_some() {
            return self.overtaken();
        }
        self.to(What::Adopted(version), true, |side, worker| {
            worker.row = Some(side.open_rotation(version, Rotation::adopt()));
            worker.doing = Doing::Rotates;
        });
    }

    /// What becomes of the job after the attempt.
    pub(super) fn conclude(&mut self, worker: Worker) {
        let rules = self.rules;
        let Some(row) = worker.row else {
            return self.to(What::Ended, true, end);
        };
        let test = worker.kind == JobKind::Test;
        match row.state.phase {
            // A test has sent nothing: a probe has found current working.
            Phase::Abandoned if test => self.to(What::Ended, true, |side, worker| {
                side.record_passed(rules, worker.current);
                end(side, worker);
            }),
            Phase::Committed | Phase::Abandoned | Phase::NeedsOperator => {
                self.to(What::Ended, true, end);
            }
            Phase::Ready | Phase::Staged if test => self.give_up(worker, row, true),
            Phase::Ready | Phase::Staged | Phase::Applying | Phase::Applied | Phase::Verified => {
                let used_up = worker.attempt >= rules.scope.attempts;
                if used_up && !rules.breaks(Mutant::NeverGivesUp) {
                    return self.give_up(worker, row, true);
                }
                self.to(What::Waits, true, |side, worker| {
                    if used_up && worker.holds {
                        let job = side.job.map(|job| Job { attempt: 0, ..job });
                        side.job = job;
                    }
                    *worker = Worker::IDLE;
                });
                // Somebody waits for it, or it has waited for too long.
                self.give_up(worker, row, false);
            }
        }
    }

    fn give_up(&mut self, worker: Worker, row: Row, is_fair: bool) {
        let rules = self.rules;
        let mut side = self.side;
        if !rules.may_write(&mut side, &worker) {
            return self.overtaken();
        }
        let to = row.state.give_up();
        for ends in [true, false] {
            self.to(What::GaveUp, is_fair && ends, |after, worker| {
                let workers = after.workers;
                *after = Side { workers, ..side };
                after.advance(rules, row, to);
                let staged = matches!(row.state.phase, Phase::Ready | Phase::Staged);
                if ends && staged && worker.kind == JobKind::Test {
                    after.record_passed(rules, worker.current);
                }
                if ends {
                    end(after, worker);
                } else {
                    *worker = Worker::IDLE; // it died before it could settle
                }
            });
        }
    }
}

/// The job ends, if it is still this worker's.
pub(super) fn end(side: &mut Side, worker: &mut Worker) {
    if worker.holds {
        side.job = None;
    }
    *worker = Worker::IDLE;
}
