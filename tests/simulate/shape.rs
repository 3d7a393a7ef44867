//! What a seed makes of a world before anything happens.
//!
//! Invariant: drawn in one go, so that what happens later changes nothing of it.

use std::time::Duration;

use keywheel::engine::Limits;

use crate::die::Die;
use crate::plant::Like;
use crate::witness::WINDOW;

#[expect(clippy::struct_excessive_bools, reason = "each tells one thing")]
pub(crate) struct Shape {
    pub(crate) likes: Vec<Like>,
    /// The only system's first account is what its functional account logs in as.
    pub(crate) is_linked: bool,
    pub(crate) nodes: usize,
    pub(crate) batch_max: i64,
    pub(crate) limits: Limits,
    /// Calls on targets of a hundred that go wrong.
    pub(crate) wild: usize,
    /// How many disturbances come.
    pub(crate) troubles: usize,
    /// One disturbance in so many steps.
    pub(crate) rarity: usize,
    /// Orders that are there from the beginning.
    pub(crate) orders: usize,
    /// Somebody else changes passwords.
    pub(crate) has_somebody: bool,
    pub(crate) has_keys: bool,
    /// Targets refuse passwords that they have had.
    pub(crate) remembers: bool,
}

impl Shape {
    pub(crate) fn draw(die: &mut Die) -> Self {
        let systems = if die.percent(75) { 1 } else { 2 };
        let likes: Vec<Like> = (0..systems).map(|_| system(die)).collect();
        let has_keys = likes.iter().any(|like| like.key);
        let is_linked = systems == 1 && !likes[0].own && die.percent(30);
        Self {
            is_linked,
            nodes: if die.percent(60) { 1 } else { 2 },
            batch_max: die.pick(&[1, 2, 100]),
            limits: Limits {
                attempts_max: die.pick(&[2, 3, 5]),
                give_up_after: Duration::from_hours(24),
                retry_base: Duration::from_mins(1),
                intended_max: die.pick(&[1, 2, 16]),
                lockout_window: WINDOW,
                ..Limits::default()
            },
            wild: die.pick(&[0, 8, 20, 40]),
            troubles: 2 + die.below(7),
            rarity: die.pick(&[3, 6, 12]),
            orders: 1 + die.below(3),
            has_somebody: die.percent(20),
            remembers: die.percent(40),
            has_keys,
            likes,
        }
    }
}

fn system(die: &mut Die) -> Like {
    let own = die.percent(15);
    Like {
        accounts: die.pick(&[1, 1, 1, 2, 3]),
        lockout_threshold: die.pick(&[Some(0), None, Some(3), Some(3), Some(4), Some(5)]),
        evidence: die.percent(50),
        max_batch: die.pick(&[1, 100]),
        key: die.percent(20),
        own,
        ..Like::default()
    }
}
