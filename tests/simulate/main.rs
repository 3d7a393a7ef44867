#![cfg(test)]
//! The service's own engine, queue and scheduler on a clock, targets and a store that fail by the
//! seed: one seed, one history.
//!
//! A run breaks whatever can break: the store at any statement, workers at any step, clocks,
//! targets, and somebody else at work on the accounts. Then everything is mended, and each account
//! must be verified, or say that it needs an operator. What the targets themselves saw is compared
//! with what the store has.
//!
//! `KEYWHEEL_SEEDS=50000` runs as many; `KEYWHEEL_SEED=17` replays one and prints what happened.

mod clock;
mod die;
mod end;
mod hurdle;
mod place;
mod run;
mod shape;
mod stage;
mod tally;
mod target;
mod trouble;
mod witness;
mod world;

#[path = "../it/support/database.rs"]
#[expect(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "other tests use the rest"
)]
mod database;
#[path = "../it/support/plant.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod plant;
#[path = "../it/support/program.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod program;
#[path = "../it/support/queue.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod queue;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keywheel::store::Backend;

use crate::place::Place;
use crate::run::{Outcome, run};
use crate::tally::Tally;

/// Seeds of a run that nobody asked more of.
const SEEDS: u64 = 10_000;
/// The same on PostgreSQL, where each costs more.
const POSTGRES_SEEDS: u64 = 60;
/// More than there are cores: a seed mostly waits for the thread of its database.
const THREADS: usize = 4;
/// Seeds that are played twice, to be compared.
const TWICE: u64 = 50;
/// Real time that one seed may take.
const SEED_MAX: Duration = Duration::from_mins(2);
/// Broken seeds that are shown.
const SHOWN_MAX: usize = 5;

#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// One seed on a runtime of its own.
fn play(place: &Place, seed: u64, is_traced: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let ended = runtime.block_on(tokio::task::unconstrained(async {
        tokio::time::timeout(SEED_MAX, run(place, seed, is_traced)).await
    }));
    ended.unwrap_or_else(|_| panic!("seed {seed} hangs"))
}

/// Many seeds on a few threads.
fn play_all(backend: Backend, seeds: u64) -> (Tally, Vec<(u64, Vec<String>)>) {
    let next = AtomicU64::new(0);
    let work = || {
        let place = Place::new(backend);
        let (mut tally, mut broken) = (Tally::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return (tally, broken);
            }
            let outcome = play(&place, seed, false);
            tally.add(&outcome.tally);
            if !outcome.faults.is_empty() {
                broken.push((seed, outcome.faults));
            }
        }
    };
    let (mut tally, mut broken) = (Tally::default(), Vec::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let (some, faults) = thread.join().unwrap();
            tally.add(&some);
            broken.extend(faults);
        }
    });
    broken.sort_unstable();
    (tally, broken)
}

fn play_and_report(backend: Backend, seeds: u64) -> Tally {
    let (tally, broken) = play_all(backend, seeds);
    println!("{backend:?}\n{}", tally.report(seeds));
    let shown: Vec<_> = broken.iter().take(SHOWN_MAX).collect();
    assert!(
        broken.is_empty(),
        "{} seeds break a promise; replay one with KEYWHEEL_SEED: {shown:#?}",
        broken.len()
    );
    tally
}

#[test]
fn no_seed_loses_a_credential() {
    if let Some(seed) = asked("KEYWHEEL_SEED") {
        let outcome = play(&Place::new(Backend::Sqlite), seed, true);
        for line in outcome.trace.lines.unwrap() {
            println!("{line}");
        }
        assert!(outcome.faults.is_empty(), "{:#?}", outcome.faults);
        return;
    }
    let tally = play_and_report(Backend::Sqlite, asked("KEYWHEEL_SEEDS").unwrap_or(SEEDS));
    let never = tally.never_met();
    assert!(never.is_empty(), "never met: {never:?}");
}

#[test]
fn no_seed_loses_a_credential_on_postgres() {
    let seeds = asked("KEYWHEEL_SEEDS").map_or(POSTGRES_SEEDS, |seeds| seeds / 100);
    play_and_report(Backend::Postgres, seeds);
}

#[test]
fn the_same_seed_has_the_same_history() {
    let place = Place::new(Backend::Sqlite);
    for seed in 0..TWICE {
        let (one, two) = (play(&place, seed, true), play(&place, seed, true));
        let (one, two) = (one.trace.lines.unwrap(), two.trace.lines.unwrap());
        let mut both = one.iter().zip(&two).enumerate();
        let differs = both.find(|(_, (one, two))| one != two);
        assert!(differs.is_none(), "seed {seed}: {differs:?}");
        assert_eq!(one.len(), two.len(), "seed {seed}");
    }
}
