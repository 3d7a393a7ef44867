//! The key line of an account, searched whole: keys are added beside each other, and superseded
//! ones are removed once their successor has been promoted.
//!
//! The pure machine is the one that moves passwords. The target holds a set of keys; it adds and
//! removes at once, later, or never, and loses orders and answers. The engine dies at any point,
//! gives up, and an operator overrides what it cannot know. In every state the target holds a
//! recorded key, and a rotation that went through leaves a current key that works.
//!
//! The rules are a value here as well: each broken one must be found out.

use std::collections::{HashSet, VecDeque};

use keywheel::model::rotation::{Effect, Outcome, Phase, Rotation};

/// Keys in one history, the first one included.
const KEYS: u8 = 4;
/// Orders to add, and to remove, in one history.
const ORDERS: u8 = 4;

#[derive(Clone, Copy)]
struct Rules {
    /// Superseded keys are removed only where the current one has logged in, in this attempt.
    proof_first: bool,
    /// They are removed only after the promotion of their successor.
    promoted_first: bool,
    /// A superseded key is never given once more.
    never_again: bool,
}

const OURS: Rules = Rules {
    proof_first: true,
    promoted_first: true,
    never_again: true,
};

/// Sets of keys are bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    recorded: u8,
    held: u8,
    sent: u8,
    late_adds: u8,
    late_removals: u8,
    current: u8,
    /// Phase, doubt, candidate, and whether this engine has just written the phase.
    rotation: Option<(Phase, bool, u8, bool)>,
    /// The current key has logged in, in this attempt.
    proved: bool,
    /// An operator has said what is current, and may be wrong.
    overridden: bool,
    drawn: u8,
    orders: u8,
}

const fn bit(key: u8) -> u8 {
    1 << key
}

fn start() -> State {
    State {
        recorded: 1,
        held: 1,
        sent: 1,
        late_adds: 0,
        late_removals: 0,
        current: 0,
        rotation: None,
        proved: false,
        overridden: false,
        drawn: 1,
        orders: 0,
    }
}

/// Where a state leads once its rotation's effect had this outcome.
fn after(state: State, outcome: Outcome) -> Option<State> {
    let (phase, doubt, key, _) = state.rotation?;
    let next = Rotation { phase, doubt }.after(outcome).ok()?;
    Some(settle(state, next, key))
}

fn settle(mut state: State, next: Rotation, key: u8) -> State {
    state.rotation = match next.phase {
        Phase::Committed => {
            state.current = key;
            None
        }
        Phase::Abandoned => None,
        phase => Some((phase, next.doubt, key, true)),
    };
    state
}

fn steps(state: State, rules: Rules) -> Vec<State> {
    let mut next = Vec::new();
    // Late orders land.
    for key in 0..KEYS {
        if state.late_adds & bit(key) != 0 {
            next.push(State {
                held: state.held | bit(key),
                late_adds: state.late_adds & !bit(key),
                ..state
            });
        }
        if state.late_removals & bit(key) != 0 {
            next.push(State {
                held: state.held & !bit(key),
                late_removals: state.late_removals & !bit(key),
                ..state
            });
        }
    }
    // The engine dies; another one finds what it wrote.
    next.push(State {
        proved: false,
        rotation: state
            .rotation
            .map(|(phase, doubt, key, _)| (phase, doubt, key, false)),
        ..state
    });
    match state.rotation {
        None => between(state, rules, &mut next),
        Some(rotation) => within(state, rotation, rules, &mut next),
    }
    next
}

fn between(state: State, rules: Rules, next: &mut Vec<State>) {
    if state.drawn < KEYS {
        next.push(State {
            recorded: state.recorded | bit(state.drawn),
            rotation: Some((Phase::Staged, false, state.drawn, true)),
            drawn: state.drawn + 1,
            ..state
        });
    }
    for key in 0..state.current {
        if !rules.never_again {
            next.push(State {
                rotation: Some((Phase::Staged, false, key, true)),
                ..state
            });
        }
    }
    if state.held & bit(state.current) != 0 {
        next.push(State {
            proved: true,
            ..state
        });
    }
    remove(state, rules, state.current, next);
}

/// Removal of what was sent and is not kept.
fn remove(state: State, rules: Rules, kept: u8, next: &mut Vec<State>) {
    if state.orders >= ORDERS || (rules.proof_first && !state.proved) {
        return;
    }
    for key in (0..KEYS).filter(|key| *key != kept && state.sent & bit(*key) != 0) {
        let ordered = State {
            orders: state.orders + 1,
            ..state
        };
        next.push(State {
            held: state.held & !bit(key),
            ..ordered
        });
        next.push(State {
            late_removals: state.late_removals | bit(key),
            ..ordered
        });
    }
}

fn within(state: State, rotation: (Phase, bool, u8, bool), rules: Rules, next: &mut Vec<State>) {
    let (phase, doubt, key, fresh) = rotation;
    let machine = Rotation { phase, doubt };
    let (has, has_current) = (
        state.held & bit(key) != 0,
        state.held & bit(state.current) != 0,
    );
    let given_up = machine.give_up();
    if given_up != machine {
        next.push(settle(state, given_up, key));
    }
    match machine.effect(fresh) {
        Some(Effect::Intend) => {
            next.extend(after(state, Outcome::Done));
            next.extend(after(state, Outcome::Refused));
        }
        Some(Effect::Apply) if state.orders < ORDERS => sent(state, key, rules, next),
        Some(Effect::Probe) => {
            let outcome = match (has, has_current) {
                (true, _) => Outcome::Candidate,
                (false, true) => Outcome::Current,
                (false, false) => Outcome::Neither,
            };
            next.extend(after(state, outcome));
        }
        Some(Effect::Verify) => {
            let outcome = if has { Outcome::Done } else { Outcome::Refused };
            next.extend(after(state, outcome));
            next.extend(after(state, Outcome::NotNow));
        }
        Some(Effect::Promote) => {
            // Verified is written with the promotion, or found after a crash between the two.
            let promoted = after(state, Outcome::Done);
            next.extend(promoted.map(|state| State {
                proved: fresh,
                overridden: false,
                ..state
            }));
        }
        Some(Effect::Generate | Effect::Apply) => {}
        None => {
            // An operator: a probe, or an override that may be wrong.
            let said = after(state, Outcome::Done);
            next.extend(said.map(|state| State {
                proved: false,
                overridden: true,
                ..state
            }));
            if has {
                next.extend(after(state, Outcome::Candidate));
            } else if has_current {
                next.extend(after(state, Outcome::Current));
            }
        }
    }
}

/// An order to add a key, and all that a target may make of it.
fn sent(state: State, key: u8, rules: Rules, next: &mut Vec<State>) {
    let sent = State {
        sent: state.sent | bit(key),
        orders: state.orders + 1,
        ..state
    };
    let landed = State {
        held: state.held | bit(key),
        ..sent
    };
    let late = State {
        late_adds: state.late_adds | bit(key),
        ..sent
    };
    for (target, outcomes) in [
        (
            sent,
            &[
                Outcome::Done,
                Outcome::Refused,
                Outcome::NotNow,
                Outcome::Unknown,
            ][..],
        ),
        (landed, &[Outcome::Done, Outcome::Unknown]),
        (late, &[Outcome::Done, Outcome::Unknown]),
    ] {
        next.extend(
            outcomes
                .iter()
                .filter_map(|outcome| after(target, *outcome)),
        );
    }
    if !rules.promoted_first {
        remove(landed, rules, key, next);
        remove(late, rules, key, next);
    }
}

/// What is wrong with a state, if anything.
fn wrong(state: State) -> Option<&'static str> {
    if state.held & state.recorded == 0 {
        return Some("no recorded key stands on the target");
    }
    let current = state.held & bit(state.current) != 0;
    (!current && !state.overridden).then_some("the current key does not stand on the target")
}

/// States, and the first wrong one with its distance from the start.
fn search(rules: Rules) -> (usize, Option<(usize, &'static str)>) {
    let mut seen = HashSet::from([start()]);
    let mut queue = VecDeque::from([(start(), 0)]);
    while let Some((state, depth)) = queue.pop_front() {
        if let Some(why) = wrong(state) {
            return (seen.len(), Some((depth, why)));
        }
        for next in steps(state, rules) {
            if seen.insert(next) {
                queue.push_back((next, depth + 1));
            }
        }
    }
    (seen.len(), None)
}

#[test]
fn a_recorded_key_stands_on_the_target_in_every_state() {
    let (states, wrong) = search(OURS);
    println!("key line: {states} states");
    assert_eq!(wrong, None);
    assert!(states > 10_000, "only {states} states");
}

#[test]
fn every_broken_rule_about_removal_is_found_out() {
    for (name, rules) in [
        (
            "removed without a login of the current key",
            Rules {
                proof_first: false,
                ..OURS
            },
        ),
        (
            "the old key removed before the new one is promoted",
            Rules {
                promoted_first: false,
                proof_first: false,
                ..OURS
            },
        ),
        (
            "a superseded key given once more",
            Rules {
                never_again: false,
                ..OURS
            },
        ),
    ] {
        let (_, wrong) = search(rules);
        let (depth, why) = wrong.unwrap_or_else(|| panic!("{name}: nothing was found"));
        println!("key line, {name}: {why} after {depth} steps");
    }
}
