//! What is drawn of a round: which fault, when, on whom.
//!
//! Invariant: the same seed draws the same; only the moments are physical.

use std::time::Duration;

use keywheel::generate::{Dice as _, SeededDice};

#[derive(Debug)]
pub(crate) struct Draws(SeededDice);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededDice::new(seed))
    }

    /// From 0 to `end`, without it.
    pub(crate) fn below(&self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        let end = u64::try_from(end).unwrap().max(1);
        usize::try_from(u64::from_be_bytes(bytes) % end).unwrap()
    }

    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// True `times` out of a hundred.
    pub(crate) fn percent(&self, times: usize) -> bool {
        self.below(100) < times
    }

    pub(crate) fn span(&self, from_ms: usize, to_ms: usize) -> Duration {
        let ms = from_ms + self.below(to_ms - from_ms + 1);
        Duration::from_millis(u64::try_from(ms).unwrap())
    }

    pub(crate) fn shuffle<T>(&self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at + 1));
        }
    }
}
