//! What becomes of an account at rest, once its target answers: a test, and then a change.
//!
//! Invariant: from wherever the faults have left it, an account ends verified or needs an operator.

use std::collections::HashSet;

use keywheel::model::job::JobKind;
use keywheel::model::rotation::Phase;

use super::account::OneAccount;
use super::rules::{Rules, Scope};
use super::search::World;
use super::side::{Job, Side};
use super::worker::{Does, What};

/// How many accounts at rest came to what.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// All there were, whose late writes have landed or never will.
    pub(super) at_rest: usize,
    /// A test alone verifies current, or a kept version as current.
    pub(super) by_test: usize,
    /// A test or a change ends as needs operator.
    pub(super) by_operator: usize,
    /// A test finds nothing, and a change verifies a new version.
    pub(super) by_change: usize,
    /// Neither: what is kept and works was not found. By the index of their states.
    pub(super) out_of_sight: Vec<usize>,
    /// Those of them whose live version was never accepted, or may have landed a moment ago.
    pub(super) missed: usize,
    /// Current does not work, and neither a doubt nor a test says so yet.
    pub(super) untold: Vec<usize>,
}

/// Orders a test of every account at rest, and a change of those that it does not verify.
pub(super) fn settle(scope: Scope, states: &[Side]) -> Ends {
    let scope = Scope {
        secrets: 8,
        workers: 1,
        ..scope
    };
    let world = OneAccount {
        rules: Rules::new(scope, None),
    };
    let mut ends = Ends::default();
    let mut seen = HashSet::new();
    for (at, state) in states.iter().enumerate() {
        let quiet = Side {
            spent: 0,
            failed: 0,
            ..*state
        };
        if !state.is_at_rest() || !state.in_flight.is_empty() || !seen.insert(quiet) {
            continue;
        }
        ends.at_rest += 1;
        if !quiet.takes.has(quiet.current) && !quiet.in_doubt && !quiet.out_of_sync {
            ends.untold.push(at);
        }
        let tested = come_to(&world, &quiet, JobKind::Test);
        if tested.iter().all(is_verified) {
            ends.by_test += 1;
            continue;
        }
        let settled = |end: &Side| is_verified(end) || needs_operator(end);
        if tested.iter().all(settled) {
            ends.by_operator += 1;
            continue;
        }
        let rest = tested.iter().filter(|end| !settled(end));
        let changed: Vec<Side> = rest
            .flat_map(|end| come_to(&world, end, JobKind::Rotate))
            .collect();
        if changed.iter().all(settled) {
            ends.by_change += 1;
        } else {
            ends.out_of_sight.push(at);
            let live = quiet.set;
            ends.missed += usize::from(!quiet.proved.has(live) || quiet.fresh.has(live));
        }
    }
    ends
}

fn is_verified(side: &Side) -> bool {
    let doubt = side.open.is_some_and(|row| row.state.in_doubt());
    side.takes.has(side.current) && !side.out_of_sync && !doubt
}

fn needs_operator(side: &Side) -> bool {
    side.open
        .is_some_and(|row| row.state.phase == Phase::NeedsOperator)
}

/// Every rest that a job leads to, where nothing fails and the target obeys.
fn come_to(world: &OneAccount, from: &Side, kind: JobKind) -> Vec<Side> {
    let job = Job {
        kind,
        attempt: 0,
        staged: false,
    };
    let start = Side {
        job: Some(job),
        ..*from
    };
    let mut found = vec![start];
    let mut seen = HashSet::from([start]);
    let mut ends = Vec::new();
    let mut steps = Vec::new();
    while let Some(state) = found.pop() {
        if state.is_at_rest() {
            ends.push(state);
            continue;
        }
        steps.clear();
        world.steps(&state, &mut steps);
        for next in &steps {
            let obeys = match next.label {
                What::Sent(_, does) => matches!(does, Does::Obeys | Does::DeniesTheLogin),
                _ => true,
            };
            if next.is_fair && obeys && seen.insert(next.state) {
                found.push(next.state);
            }
        }
    }
    ends
}
