//! A world of one account: its target, its time, its orders and its workers.
//!
//! The target holds what was set last, or for a while what it replaced as well. It obeys, refuses,
//! is busy, loses a reply before or after it obeyed, or obeys late; a late write lands at any later
//! step within the horizon, more than once where its connection repeats it. It lies about nothing.
//!
//! Not in it: keys that are added and removed line by line, supplied candidates, an operator who
//! stores a credential without the target, and a store that forgets.
//!
//! Invariant: no fault is bounded; what bounds the world is the number of secrets and attempts.

use keywheel::model::job::JobKind;
use keywheel::model::rotation::Phase;

use super::rules::Rules;
use super::search::{Next, World};
use super::side::{Doing, Job, Set, Side, Worker};
use super::worker::{Turn, What};

/// One account, by some rules.
pub(super) struct OneAccount {
    pub(super) rules: Rules,
}

impl World for OneAccount {
    type State = Side;
    type Label = What;

    fn starts(&self) -> Vec<Side> {
        vec![Side::onboarded(self.rules.scope.overlaps)]
    }

    fn steps(&self, from: &Side, steps: &mut Vec<Next<Side, What>>) {
        let rules = &self.rules;
        order(rules, from, steps);
        elapse(rules, from, steps);
        target_moves(from, steps);
        work(rules, from, true, steps);
    }

    fn broken(&self, state: &Side) -> Option<&'static str> {
        broken(&self.rules, state)
    }

    fn is_at_rest(&self, state: &Side) -> bool {
        state.is_at_rest()
    }
}

fn step(steps: &mut Vec<Next<Side, What>>, label: What, is_fair: bool, state: Side) {
    steps.push(Next {
        label,
        is_fair,
        state,
    });
}

/// A change, where a secret is left for it or one is under way; a test.
pub(super) fn order(rules: &Rules, from: &Side, steps: &mut Vec<Next<Side, What>>) {
    if from.job.is_some() {
        return;
    }
    let changes = from.open.is_some() || from.last + 1 < rules.scope.secrets;
    let kinds = [
        (JobKind::Rotate, changes),
        (JobKind::Test, rules.scope.tests),
    ];
    for (kind, _) in kinds.into_iter().filter(|(_, ordered)| *ordered) {
        let job = Job {
            kind,
            attempt: 0,
            staged: false,
        };
        let job = Some(job);
        step(steps, What::Ordered(kind), false, Side { job, ..*from });
    }
}

/// Time, and what it allows. Every call on a target has ended long before a window has.
pub(super) fn elapse(rules: &Rules, from: &Side, steps: &mut Vec<Next<Side, What>>) {
    if !from.is_quiet() {
        return;
    }
    let window = Side {
        spent: 0,
        failed: 0,
        ..*from
    };
    if window != *from {
        // Whoever has run out of logins waits for it.
        step(steps, What::WindowPassed, from.job.is_some(), window);
    }
    let horizon = Side {
        fresh: Set::NONE,
        in_flight: Set::NONE,
        takes: Set::of(from.set),
        previous: None,
        ..window
    };
    if rules.scope.elapses && horizon != window {
        step(steps, What::HorizonPassed, false, horizon);
    }
    if rules.scope.keeps.is_some() {
        for version in from.kept.newest() {
            if rules.may_retire(from, version) {
                let kept = from.kept.without(version);
                step(steps, What::Retired(version), false, Side { kept, ..*from });
            }
        }
    }
}

/// Late writes land; what was replaced ends.
pub(super) fn target_moves(from: &Side, steps: &mut Vec<Next<Side, What>>) {
    for version in from.in_flight.newest() {
        let mut landed = *from;
        landed.land(version);
        if landed != *from {
            let label = What::LandedNotForTheLastTime(version);
            step(steps, label, false, landed);
        }
        landed.in_flight = landed.in_flight.without(version);
        step(steps, What::Landed(version), true, landed);
    }
    let takes = Set::of(from.set);
    if from.takes != takes {
        step(steps, What::ReplacedEnded, true, Side { takes, ..*from });
    }
}

/// The steps of those who work on an account, or may begin to.
pub(super) fn work(
    rules: &Rules,
    from: &Side,
    authorised: bool,
    steps: &mut Vec<Next<Side, What>>,
) {
    let held = from.workers.iter().any(|worker| worker.holds);
    let idle = from.workers.iter().take(rules.scope.workers);
    let idle = idle.into_iter().position(Worker::is_idle);
    if let Some(at) = idle.filter(|_| from.job.is_some()) {
        let mut side = *from;
        for worker in &mut side.workers {
            worker.holds = false;
        }
        let (label, is_fair) = if held {
            (What::TakenOver, false)
        } else {
            (What::Claimed, true)
        };
        turn(rules, side, at, authorised, steps).claim(label, is_fair);
    }
    for (at, worker) in from.workers.iter().enumerate() {
        if !worker.is_idle() {
            turn(rules, *from, at, authorised, steps).steps();
        }
    }
}

fn turn<'a>(
    rules: &'a Rules,
    side: Side,
    at: usize,
    authorised: bool,
    steps: &'a mut Vec<Next<Side, What>>,
) -> Turn<'a> {
    Turn {
        rules,
        side,
        at,
        authorised,
        steps,
    }
}

/// Which promise a state breaks, by its invariant's number.
pub(super) fn broken(rules: &Rules, side: &Side) -> Option<&'static str> {
    let sending = side.workers.iter().filter_map(|worker| {
        let row = worker.row?;
        let sends = row.state.phase == Phase::Applying && worker.doing == Doing::Rotates;
        sends.then_some(row.version)
    });
    let may_set = sending.fold(side.in_flight, Set::with);
    let known = Set::of(0).plus(side.sent);
    let candidate = side.open.map_or(Set::NONE, |row| Set::of(row.version));
    // What it replaced may go while the target takes it for a while yet.
    let needed = may_set.with(side.set).plus(candidate).with(side.current);
    let in_doubt = side.open.is_some_and(|row| row.state.in_doubt());
    let promises = [
        (
            side.takes.meets(side.kept),
            "I1: no kept secret works on the target",
        ),
        (
            may_set.minus(side.kept).is_empty(),
            "I1: a write may land whose secret is not kept",
        ),
        (
            side.takes.plus(may_set).minus(known).is_empty(),
            "I2: a secret was sent before that was on record",
        ),
        (
            needed.minus(side.kept).is_empty(),
            "I3: a version was forgotten that may be live",
        ),
        (
            !side.disproved.meets(side.takes.plus(side.in_flight)),
            "I3: a candidate was taken for dead that may be live",
        ),
        (
            side.accepted.has(side.current) && side.proved.minus(side.accepted).is_empty(),
            "I4: current was never accepted",
        ),
        (
            !in_doubt || side.in_doubt,
            "I4: readers are not told of a doubt",
        ),
        (
            side.in_doubt || side.in_flight.minus(Set::of(side.current)).is_empty(),
            "I4: readers are not told that another version may land",
        ),
        (
            !side.overwritten,
            "I5: a step was written that was decided upon another state",
        ),
        (
            side.failed <= rules.test_budget(),
            "I6: more logins failed than the budget allows",
        ),
    ];
    let broken = promises.into_iter().find(|(holds, _)| !holds);
    broken.map(|(_, promise)| promise)
}
