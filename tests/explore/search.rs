//! Breadth first over every state, then what the answering target leads to.
//!
//! Invariant: a trace is a shortest one, and each of its steps is one of the world's.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// States that a search keeps at most: beyond, its scope is wrong, and it says so.
const STATES_MAX: usize = 5_000_000;

/// One step of a world.
#[derive(Clone, Copy)]
pub(super) struct Next<S, L> {
    pub(super) label: L,
    /// True if it needs no fault and no order: it is taken where the target answers from now on.
    pub(super) is_fair: bool,
    pub(super) state: S,
}

/// What is searched.
pub(super) trait World {
    type State: Copy + Eq + Hash;
    type Label: Copy + Debug;

    fn starts(&self) -> Vec<Self::State>;

    /// Every step from a state.
    fn steps(&self, from: &Self::State, steps: &mut Vec<Next<Self::State, Self::Label>>);

    /// Which promise a state breaks.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;

    /// True if nothing is under way or left to do.
    fn is_at_rest(&self, state: &Self::State) -> bool;
}

/// A broken promise, and the steps to it.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) promise: &'static str,
    pub(super) trace: Vec<String>,
}

/// What a search has found.
pub(super) struct Found<S, L> {
    pub(super) states: Vec<S>,
    /// From where each was reached first, and how.
    parents: Vec<Option<(u32, L)>>,
    pub(super) transitions: usize,
    pub(super) depth: usize,
    /// The longest way to rest where the target answers.
    pub(super) bound: usize,
    pub(super) broken: Option<Broken>,
}

impl<S, L: Debug> Found<S, L> {
    /// A shortest way to a state.
    pub(super) fn trace(&self, state: usize) -> Vec<String> {
        let mut trace = Vec::new();
        let mut at = state;
        while let Some((from, label)) = &self.parents[at] {
            trace.push(format!("{label:?}"));
            at = *from as usize;
        }
        trace.reverse();
        trace
    }
}

/// Multiplies and rotates, as the compiler's own does: the states are no adversary's.
#[derive(Default)]
pub(super) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

struct Search<W: World> {
    states: Vec<W::State>,
    index: HashMap<W::State, u32, BuildHasherDefault<Fold>>,
    parents: Vec<Option<(u32, W::Label)>>,
    /// The fair steps, by where they begin.
    fair: Vec<Vec<u32>>,
    transitions: usize,
}

/// Searches a world until it has no more states, or one that breaks a promise.
pub(super) fn search<W: World>(world: &W) -> Found<W::State, W::Label> {
    let mut search = Search::<W> {
        states: Vec::new(),
        index: HashMap::default(),
        parents: Vec::new(),
        fair: Vec::new(),
        transitions: 0,
    };
    for start in world.starts() {
        search.add(start, None);
    }
    let mut steps = Vec::new();
    let (mut at, mut depth, mut level_ends) = (0, 0, search.states.len());
    while let Some(state) = search.states.get(at).copied() {
        if at == level_ends {
            depth += 1;
            level_ends = search.states.len();
        }
        if let Some(promise) = world.broken(&state) {
            return search.found(depth, 0, Some((promise, at)));
        }
        steps.clear();
        world.steps(&state, &mut steps);
        search.transitions += steps.len();
        let from = u32::try_from(at).unwrap();
        let mut fair = Vec::new();
        for next in &steps {
            let to = search.add(next.state, Some((from, next.label)));
            if next.is_fair && to != from && !fair.contains(&to) {
                fair.push(to);
            }
        }
        let stuck = fair.is_empty() && !world.is_at_rest(&state);
        search.fair.push(fair);
        if stuck {
            let promise = "I9: nothing moves, and it is not at rest";
            return search.found(depth, 0, Some((promise, at)));
        }
        at += 1;
        assert!(at < STATES_MAX, "the scope is too wide");
    }
    match search.longest() {
        Ok(bound) => search.found(depth, bound, None),
        Err(at) => {
            let promise = "I9: it may go on for ever, though the target answers";
            search.found(depth, 0, Some((promise, at)))
        }
    }
}

impl<W: World> Search<W> {
    fn add(&mut self, state: W::State, parent: Option<(u32, W::Label)>) -> u32 {
        let next = u32::try_from(self.states.len()).unwrap();
        let at = *self.index.entry(state).or_insert(next);
        if at == next {
            self.states.push(state);
            self.parents.push(parent);
        }
        at
    }

    /// The longest way of fair steps; or a state from where they come back to it.
    fn longest(&self) -> Result<usize, usize> {
        const UNSEEN: u32 = u32::MAX;
        const OPEN: u32 = u32::MAX - 1;
        let mut length = vec![UNSEEN; self.states.len()];
        let mut way: Vec<(usize, usize)> = Vec::new();
        for start in 0..self.states.len() {
            if length[start] != UNSEEN {
                continue;
            }
            length[start] = OPEN;
            way.push((start, 0));
            while let Some((at, tried)) = way.pop() {
                if let Some(next) = self.fair[at].get(tried) {
                    way.push((at, tried + 1));
                    let next = *next as usize;
                    if length[next] == OPEN {
                        return Err(next);
                    }
                    if length[next] == UNSEEN {
                        length[next] = OPEN;
                        way.push((next, 0));
                    }
                } else {
                    let after = self.fair[at].iter().map(|next| length[*next as usize] + 1);
                    length[at] = after.max().unwrap_or(0);
                }
            }
        }
        Ok(length.into_iter().max().unwrap_or(0) as usize)
    }

    fn found(
        self,
        depth: usize,
        bound: usize,
        broken: Option<(&'static str, usize)>,
    ) -> Found<W::State, W::Label> {
        let mut found = Found {
            states: self.states,
            parents: self.parents,
            transitions: self.transitions,
            depth,
            bound,
            broken: None,
        };
        found.broken = broken.map(|(promise, at)| Broken {
            promise,
            trace: found.trace(at),
        });
        found
    }
}
