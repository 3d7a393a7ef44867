//! Layer 1: every state that the pure machine and a hostile target can reach together.
//!
//! One engine, one account. The target obeys, refuses, says "done" without effect or before it
//! has one, loses the order or the answer, and obeys at any later time. The engine dies at any
//! point, finds what it wrote, gives up, draws another candidate, adopts a kept version; versions
//! are pruned by rule I3; an operator probes and overrides. The search is breadth-first, so a
//! violation comes with the shortest way to it.
//!
//! In every state:
//! - **I1** the target holds a recorded secret;
//! - **I4** current, and whatever counts as verified, was accepted by a login, or an operator said
//!   so;
//! - a rotation that ended without doubt left nothing live and nothing on its way;
//! - doubt is never cleared;
//! - some way leads to an ended rotation, and some way to one whose current secret works.
//!
//! The search takes the rules as a value, so that broken rules can be searched as well: each of
//! them must be found out, or the search would prove nothing.
#![expect(
    clippy::struct_excessive_bools,
    clippy::type_complexity,
    clippy::unnecessary_wraps,
    clippy::too_many_lines,
    reason = "the search's state is made of flags, and its rules stand in one table"
)]

use std::collections::{HashMap, VecDeque};
use std::fmt;

use keywheel::model::rotation::{Effect, InvalidTransition, Outcome, Phase, Rotation};

/// Secrets of an account, the first one included.
const SECRETS: u8 = 4;
/// Orders to the target in one history.
const APPLIES: u8 = 4;

/// What the engine and the store go by.
#[derive(Clone, Copy)]
struct Rules {
    effect: fn(Rotation, bool) -> Option<Effect>,
    after: fn(Rotation, Outcome) -> Result<Rotation, InvalidTransition>,
    give_up: fn(Rotation) -> Rotation,
    /// A candidate is recorded when it is drawn; otherwise when it is promoted.
    records_first: bool,
    /// A refused candidate is forgotten.
    forgets_refused: bool,
    /// An intent that is found is sent anew with another candidate in the place of the first.
    redraws_found: bool,
    /// A kept version may be adopted; otherwise only one that was never accepted.
    adopts_accepted: bool,
    prunes: Prunes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prunes {
    /// I3: its last order is past the horizon, and another version was accepted after that.
    AfterProof,
    /// All but current, when current changes.
    AtCommit,
    /// Once its last order is past the horizon.
    ByTime,
}

const HOUSE: Rules = Rules {
    effect: Rotation::effect,
    after: Rotation::after,
    give_up: Rotation::give_up,
    records_first: true,
    forgets_refused: false,
    redraws_found: false,
    adopts_accepted: true,
    prunes: Prunes::AfterProof,
};

/// A set of secrets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Set(u8);

impl Set {
    const ALL: Self = Self(u8::MAX);

    fn has(self, secret: u8) -> bool {
        self.0 & (1 << secret) != 0
    }

    fn with(self, secret: u8) -> Self {
        Self(self.0 | 1 << secret)
    }

    fn without(self, secret: u8) -> Self {
        Self(self.0 & !(1 << secret))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    rotation: Rotation,
    candidate: u8,
    /// The engine that wrote the phase goes on with it.
    fresh: bool,
    current: u8,
    kept: Set,
    /// Past the horizon of their last order, and: outlived by an accepted login of another one.
    quiet: Set,
    outlived: Set,
    /// Accepted by a login, or declared current by an operator. No rule reads this.
    proved: Set,
    holds: u8,
    /// Orders that may still land, by secret.
    flying: [u8; SECRETS as usize],
    drawn: u8,
    applies: u8,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rotation { phase, doubt } = self.rotation;
        write!(
            f,
            "{phase:?}{}{} candidate {} current {} kept {:04b} target {} flying {:?}",
            if doubt { " in doubt" } else { "" },
            if self.fresh { ", fresh," } else { "" },
            self.candidate,
            self.current,
            self.kept.0,
            self.holds,
            self.flying,
        )
    }
}

impl State {
    /// An account that was verified at onboarding.
    fn first() -> Self {
        Self {
            rotation: Rotation {
                phase: Phase::Committed,
                doubt: false,
            },
            candidate: 0,
            fresh: false,
            current: 0,
            kept: Set::default().with(0),
            quiet: Set::ALL,
            outlived: Set::default(),
            proved: Set::default().with(0),
            holds: 0,
            flying: [0; SECRETS as usize],
            drawn: 1,
            applies: 0,
        }
    }

    fn rests(self) -> bool {
        self.rotation.phase.is_final()
    }

    fn heals(self) -> bool {
        self.rests() && self.holds == self.current
    }

    fn in_flight(self) -> bool {
        self.flying.iter().any(|&orders| orders > 0)
    }

    fn found(self) -> Self {
        Self {
            fresh: false,
            ..self
        }
    }

    /// The candidate's bytes have left.
    fn sends(self) -> Self {
        Self {
            applies: self.applies + 1,
            quiet: self.quiet.without(self.candidate),
            outlived: self.outlived.without(self.candidate),
            ..self
        }
    }

    fn obeyed(self) -> Self {
        Self {
            holds: self.candidate,
            ..self
        }
    }

    fn late(mut self) -> Self {
        self.flying[usize::from(self.candidate)] += 1;
        self
    }

    fn lands(mut self, secret: u8) -> Self {
        self.flying[usize::from(secret)] -= 1;
        self.holds = secret;
        self
    }

    fn accepted(self, secret: u8) -> Self {
        Self {
            proved: self.proved.with(secret),
            outlived: Set(self.outlived.0 | self.quiet.without(secret).0),
            ..self
        }
    }

    /// What no state may be.
    fn broken(self) -> Option<&'static str> {
        let loose = self.flying[usize::from(self.candidate)] > 0 || self.holds == self.candidate;
        if !self.kept.has(self.holds) {
            Some("I1: the target holds a secret that nobody has recorded")
        } else if !self.proved.has(self.current) {
            Some("I4: current was never accepted")
        } else if self.rotation.phase == Phase::Verified && !self.proved.has(self.candidate) {
            Some("I4: an untested candidate counts as verified")
        } else if self.rotation.phase == Phase::Abandoned && !self.rotation.doubt && loose {
            Some("I4: a candidate that may be live was abandoned without doubt")
        } else {
            None
        }
    }
}

type Steps = Vec<(&'static str, State)>;

/// One engine under some rules.
struct Search {
    rules: Rules,
    steps: Steps,
    /// An outcome that the rules call impossible.
    defect: Option<InvalidTransition>,
}

impl Search {
    fn step(&mut self, what: &'static str, to: State) {
        self.steps.push((what, to));
    }

    /// The engine records an outcome; or dies before it does.
    fn record(&mut self, what: &'static str, state: State, outcome: Outcome) {
        let after = match (self.rules.after)(state.rotation, outcome) {
            Ok(after) => after,
            Err(defect) => {
                self.defect = Some(defect);
                return;
            }
        };
        let mut next = State {
            rotation: after,
            fresh: false,
            ..state
        };
        if after.phase == Phase::Committed {
            next.current = state.candidate;
            next.kept = next.kept.with(state.candidate);
            if self.rules.prunes == Prunes::AtCommit {
                next.kept = Set::default().with(state.candidate);
            }
        }
        if outcome == Outcome::Refused && self.rules.forgets_refused {
            next.kept = next.kept.without(state.candidate);
        }
        self.step(what, next);
    }

    fn from(&mut self, state: State) {
        self.target(state);
        self.prune(state);
        if state.rests() {
            self.begin(state);
            return;
        }
        if state.fresh {
            self.step("the engine dies and finds what it wrote", state.found());
        } else {
            let to = State {
                rotation: (self.rules.give_up)(state.rotation),
                ..state
            };
            if to != state {
                self.step("the attempts are used up", to);
            }
        }
        match (self.rules.effect)(state.rotation, state.fresh) {
            Some(effect) => self.perform(state, effect),
            None => self.operator(state),
        }
    }

    /// What happens by itself.
    fn target(&mut self, state: State) {
        for secret in 0..SECRETS {
            if state.flying[usize::from(secret)] > 0 {
                self.step("a late order lands", state.lands(secret));
            }
        }
        if state.in_flight() || state.quiet != Set::ALL {
            let to = State {
                flying: [0; SECRETS as usize],
                quiet: Set::ALL,
                ..state
            };
            self.step("the horizon passes", to);
        }
    }

    fn prune(&mut self, state: State) {
        let ripe = match self.rules.prunes {
            Prunes::AfterProof => state.outlived,
            Prunes::ByTime => state.quiet,
            Prunes::AtCommit => return,
        };
        for secret in 0..SECRETS {
            let in_use = secret == state.current || (!state.rests() && secret == state.candidate);
            if ripe.has(secret) && state.kept.has(secret) && !in_use {
                let to = State {
                    kept: state.kept.without(secret),
                    ..state
                };
                self.step("a version is pruned", to);
            }
        }
    }

    /// A new rotation; or, where a test has refused current, the adoption of a kept version.
    fn begin(&mut self, state: State) {
        if state.drawn < SECRETS {
            let to = State {
                rotation: Rotation::open(),
                candidate: state.drawn, // a number that nothing has yet
                ..state
            };
            self.step("a rotation is opened", to);
        }
        if state.holds == state.current {
            return;
        }
        for secret in 0..state.drawn {
            let doubtful = self.rules.adopts_accepted || !state.proved.has(secret);
            if state.kept.has(secret) && doubtful && secret != state.current {
                let to = State {
                    rotation: Rotation {
                        phase: Phase::Applying,
                        doubt: true,
                    },
                    candidate: secret,
                    ..state
                };
                self.step("current is refused, a kept version is adopted", to);
            }
        }
    }

    fn perform(&mut self, state: State, effect: Effect) {
        match effect {
            Effect::Generate => self.generate(state),
            Effect::Intend => {
                self.record("the intent is not recorded now", state, Outcome::NotNow);
                self.record("the candidate is unfit", state, Outcome::Refused);
                let before = self.steps.len();
                self.record("the intent is recorded", state, Outcome::Done);
                for (_, intended) in &mut self.steps[before..] {
                    intended.fresh = true;
                }
            }
            Effect::Apply => self.apply(state),
            Effect::Probe if self.rules.redraws_found => {
                if state.drawn < SECRETS {
                    let mut to = draw(state);
                    to.kept = to.kept.without(state.candidate).with(to.candidate);
                    to.fresh = true;
                    self.step("the found intent gets another candidate", to);
                }
            }
            Effect::Probe => {
                self.record("the probe says nothing", state, Outcome::Unknown);
                self.probe(state);
            }
            Effect::Verify => {
                self.record("the test gets no answer", state, Outcome::NotNow);
                if state.holds == state.candidate {
                    let accepted = state.accepted(state.candidate);
                    self.step("the engine dies after the accepted test", accepted.found());
                    self.record("the test is accepted", accepted, Outcome::Done);
                } else {
                    self.record("the test is refused", state, Outcome::Refused);
                }
            }
            Effect::Promote => {
                self.record("the promotion's commit is unknown", state, Outcome::Unknown);
                self.record("the candidate is promoted", state, Outcome::Done);
            }
        }
    }

    fn generate(&mut self, state: State) {
        self.record("no candidate is drawn now", state, Outcome::NotNow);
        self.record("the rule makes no candidate", state, Outcome::Refused);
        if state.drawn < SECRETS {
            let mut drawn = draw(state);
            if self.rules.records_first {
                drawn.kept = drawn.kept.with(drawn.candidate);
            }
            self.record("a candidate is staged", drawn, Outcome::Done);
        }
    }

    fn apply(&mut self, state: State) {
        self.record("nothing is sent", state, Outcome::NotNow);
        if state.applies == APPLIES {
            return;
        }
        let sent = state.sends();
        for (landed, dies, to) in [
            ("obeys, says done", "obeys, the engine dies", sent.obeyed()),
            ("says done, no effect", "ignores, the engine dies", sent),
            (
                "says done, obeys late",
                "obeys late, the engine dies",
                sent.late(),
            ),
        ] {
            self.record(landed, to, Outcome::Done);
            self.step(dies, to.found());
        }
        self.record("refuses", sent, Outcome::Refused);
        self.record("the order is lost", sent, Outcome::Unknown);
        self.record("obeys, the reply is lost", sent.obeyed(), Outcome::Unknown);
        self.record(
            "obeys late, the reply is lost",
            sent.late(),
            Outcome::Unknown,
        );
    }

    /// The candidate is tried first, then current; an order may land in between.
    fn probe(&mut self, state: State) {
        if state.holds == state.candidate {
            let accepted = state.accepted(state.candidate);
            self.record(
                "a probe accepts the candidate",
                accepted,
                Outcome::Candidate,
            );
            return;
        }
        if state.holds == state.current {
            let accepted = state.accepted(state.current);
            self.record("a probe accepts current", accepted, Outcome::Current);
        } else {
            self.record("a probe accepts neither", state, Outcome::Neither);
        }
        for secret in 0..SECRETS {
            if state.flying[usize::from(secret)] > 0 {
                let landed = state.lands(secret);
                let outcome = if secret == state.current {
                    Outcome::Current
                } else {
                    Outcome::Neither
                };
                self.record("an order lands within the probe", landed, outcome);
            }
        }
    }

    fn operator(&mut self, state: State) {
        self.record("the operator's probe says nothing", state, Outcome::Unknown);
        self.probe(state);
        let declared = State {
            proved: state.proved.with(state.candidate),
            ..state
        };
        self.record(
            "the operator declares the candidate current",
            declared,
            Outcome::Done,
        );
    }
}

fn draw(state: State) -> State {
    State {
        candidate: state.drawn,
        drawn: state.drawn + 1,
        ..state
    }
}

/// What a search has come to.
struct Found {
    states: usize,
    transitions: usize,
    depth: usize,
    /// The shortest way to a violation, and what it is.
    violation: Option<(String, Vec<String>)>,
}

/// Everything that was reached, with the way back.
#[derive(Default)]
struct Reached {
    states: Vec<State>,
    from: Vec<(u32, &'static str)>,
    depth: Vec<u32>,
    known: HashMap<State, u32>,
    edges: Vec<(u32, u32)>,
}

impl Reached {
    fn add(&mut self, state: State, from: u32, what: &'static str, depth: u32) -> Option<u32> {
        let next = u32::try_from(self.states.len()).unwrap();
        match self.known.entry(state) {
            std::collections::hash_map::Entry::Occupied(known) => {
                self.edges.push((from, *known.get()));
                None
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(next);
                self.states.push(state);
                self.from.push((from, what));
                self.depth.push(depth);
                self.edges.push((from, next));
                Some(next)
            }
        }
    }

    fn way_to(&self, at: u32) -> Vec<String> {
        let mut way = Vec::new();
        let mut at = at as usize;
        while at != 0 {
            let (from, what) = self.from[at];
            way.push(format!("{what}: {:?}", self.states[at]));
            at = from as usize;
        }
        way.reverse();
        way
    }

    /// The first state from which no way leads to a good one.
    fn stuck(&self, good: impl Fn(State) -> bool) -> Option<u32> {
        let mut back: Vec<Vec<u32>> = vec![Vec::new(); self.states.len()];
        for &(from, to) in &self.edges {
            back[to as usize].push(from);
        }
        let mut reaches: Vec<bool> = self.states.iter().map(|&state| good(state)).collect();
        let mut queue: VecDeque<usize> = (0..reaches.len()).filter(|&at| reaches[at]).collect();
        while let Some(at) = queue.pop_front() {
            for &from in &back[at] {
                if !std::mem::replace(&mut reaches[from as usize], true) {
                    queue.push_back(from as usize);
                }
            }
        }
        let stuck = reaches.iter().position(|reaches| !reaches)?;
        Some(u32::try_from(stuck).unwrap())
    }
}

fn search(rules: Rules) -> Found {
    let mut reached = Reached::default();
    reached.add(State::first(), 0, "", 0);
    let mut search = Search {
        rules,
        steps: Vec::new(),
        defect: None,
    };
    let mut violation = None;
    let mut at = 0;
    'all: while at < reached.states.len() {
        let state = reached.states[at];
        search.from(state);
        let from = u32::try_from(at).unwrap();
        if let Some(defect) = search.defect {
            violation = Some((defect.to_string(), reached.way_to(from)));
            break;
        }
        let depth = reached.depth[at] + 1;
        for (what, to) in std::mem::take(&mut search.steps) {
            let same = state.candidate == to.candidate && !state.rests();
            let cleared = same && state.rotation.doubt && !to.rotation.doubt;
            let new = reached.add(to, from, what, depth);
            let broken = cleared.then_some("doubt was cleared").or(to.broken());
            if let (Some(broken), Some(new)) = (broken, new) {
                violation = Some((broken.to_owned(), reached.way_to(new)));
                break 'all;
            }
        }
        at += 1;
    }
    if violation.is_none() {
        let goods: [(&str, fn(State) -> bool); 2] = [
            ("the rotation can never end", State::rests),
            ("current can never work again", State::heals),
        ];
        violation = goods.into_iter().find_map(|(what, good)| {
            let stuck = reached.stuck(good)?;
            Some((what.to_owned(), reached.way_to(stuck)))
        });
    }
    Found {
        states: reached.states.len(),
        transitions: reached.edges.len() - 1,
        depth: reached.depth.iter().copied().max().unwrap_or(0) as usize,
        violation,
    }
}

#[test]
fn no_reachable_state_loses_a_secret_or_believes_an_untested_one() {
    let found = search(HOUSE);
    println!(
        "machine: {SECRETS} secrets, {APPLIES} orders, crashes unbounded: {} states, {} transitions, depth {}",
        found.states, found.transitions, found.depth
    );
    if let Some((what, way)) = found.violation {
        panic!("{what}, after {} steps\n{}", way.len(), way.join("\n"));
    }
    assert!(found.states > 10_000, "the search hardly began");
}

fn with_after(after: fn(Rotation, Outcome) -> Result<Rotation, InvalidTransition>) -> Rules {
    Rules { after, ..HOUSE }
}

fn at(phase: Phase, doubt: bool) -> Result<Rotation, InvalidTransition> {
    Ok(Rotation { phase, doubt })
}

/// Rules that somebody might have written, and what is wrong with them.
fn mutants() -> Vec<(&'static str, Rules)> {
    use Phase::{Abandoned, Applied, Applying, NeedsOperator, Staged, Verified};
    vec![
        (
            "nothing is recorded before it is sent",
            Rules {
                records_first: false,
                ..HOUSE
            },
        ),
        (
            "a refusal forgets the candidate",
            Rules {
                forgets_refused: true,
                ..HOUSE
            },
        ),
        (
            "losers are pruned at commit",
            Rules {
                prunes: Prunes::AtCommit,
                ..HOUSE
            },
        ),
        (
            "versions are pruned by time alone",
            Rules {
                prunes: Prunes::ByTime,
                ..HOUSE
            },
        ),
        (
            "a found intent is sent anew with another candidate",
            Rules {
                redraws_found: true,
                ..HOUSE
            },
        ),
        (
            "a found intent is sent anew, unprobed",
            Rules {
                effect: |rotation, _| rotation.effect(true),
                ..HOUSE
            },
        ),
        (
            "only a version that was never accepted is adopted",
            Rules {
                adopts_accepted: false,
                ..HOUSE
            },
        ),
        (
            "a refusal is proof even in doubt",
            with_after(|from, outcome| match (from.phase, outcome) {
                (Applying, Outcome::Refused) => at(Abandoned, false),
                _ => from.after(outcome),
            }),
        ),
        (
            "no answer means that nothing happened",
            with_after(|from, outcome| match (from.phase, outcome) {
                (Applying, Outcome::Unknown) => at(Abandoned, from.doubt),
                _ => from.after(outcome),
            }),
        ),
        (
            "a probe that finds current ends all doubt",
            with_after(|from, outcome| match (from.phase, outcome) {
                (Applying, Outcome::Current) => at(Staged, false),
                _ => from.after(outcome),
            }),
        ),
        (
            "the target's word is enough to promote",
            with_after(|from, outcome| match (from.phase, outcome) {
                (Applying, Outcome::Done) => at(Verified, from.doubt),
                _ => from.after(outcome),
            }),
        ),
        (
            "a test without an answer counts as passed",
            with_after(|from, outcome| match (from.phase, outcome) {
                (Applied, Outcome::NotNow) => at(Verified, from.doubt),
                _ => from.after(outcome),
            }),
        ),
        (
            "a refused test ends the rotation",
            with_after(|from, outcome| match (from.phase, outcome) {
                (Applied, Outcome::Refused) => at(Abandoned, from.doubt),
                _ => from.after(outcome),
            }),
        ),
        (
            "used-up attempts end a rotation that was sent",
            Rules {
                give_up: |from| Rotation {
                    phase: Abandoned,
                    ..from
                },
                ..HOUSE
            },
        ),
        (
            "an operator can end nothing",
            with_after(|from, outcome| match from.phase {
                NeedsOperator => Ok(from),
                _ => from.after(outcome),
            }),
        ),
        (
            "a found intent is given up without doubt",
            Rules {
                give_up: |from| Rotation {
                    phase: from.give_up().phase,
                    doubt: from.doubt,
                },
                ..HOUSE
            },
        ),
        (
            "a probe that finds neither leaves no doubt",
            with_after(|from, outcome| match (from.phase, outcome) {
                (Applying, Outcome::Neither) => at(NeedsOperator, from.doubt),
                _ => from.after(outcome),
            }),
        ),
    ]
}

#[test]
fn every_broken_rule_is_found_out() {
    let mut survivors = Vec::new();
    for (name, rules) in mutants() {
        match search(rules).violation {
            Some((what, way)) => println!("mutant: {name}: {} steps, {what}", way.len()),
            None => survivors.push(name),
        }
    }
    assert!(survivors.is_empty(), "not found out: {survivors:?}");
}
