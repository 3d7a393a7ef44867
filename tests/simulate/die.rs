//! Dice: one die for what happens to a world, and the service's own.
//!
//! Invariant: the same seed draws the same numbers, whatever thread asks first.

use std::sync::Mutex;
use std::thread::ThreadId;

use keywheel::generate::{Dice, SeededDice};

/// `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Die(u64);

impl Die {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.draw() % end).unwrap()
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// The service's dice. Threads that draw keys have a stream of their own.
#[derive(Debug)]
pub(crate) struct TwoDice {
    home: ThreadId,
    here: SeededDice,
    elsewhere: Mutex<SeededDice>,
}

impl TwoDice {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            home: std::thread::current().id(),
            here: SeededDice::new(seed),
            elsewhere: Mutex::new(SeededDice::new(!seed)),
        }
    }
}

impl Dice for TwoDice {
    fn fill(&self, bytes: &mut [u8]) {
        if std::thread::current().id() == self.home {
            self.here.fill(bytes);
        } else {
            self.elsewhere.lock().unwrap().fill(bytes);
        }
    }
}
