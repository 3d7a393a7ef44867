#![cfg(test)]
//! The real program on both databases, killed amid its work on real servers: the service, its nodes
//! and connector processes, the targets, the lines to them and the database.
//!
//! After every round each account is logged in to by the target's own clients, with what the store
//! calls current or, where it says that this is in doubt, with one of what it keeps; and no target
//! has counted more failed logins than the budget allows. A seed decides what is drawn; the moments
//! are physical.
//!
//! `KEYWHEEL_KILL=soak` goes on until 500 kills, and puts what came of it on record.

mod base;
mod blow;
#[path = "../it/support/client.rs"]
#[expect(dead_code, reason = "made for the tests of every room")]
mod client;
#[path = "../it/support/daemon.rs"]
#[expect(dead_code, reason = "made for the tests of every room")]
mod daemon;
mod dice;
#[path = "../it/support/directory.rs"]
#[expect(dead_code, reason = "made for the tests of every room")]
mod directory;
#[path = "../it/support/fleet.rs"]
#[expect(dead_code, reason = "made for the tests of every room")]
mod fleet;
mod kept;
mod line;
mod node;
mod oracle;
mod postgres;
#[path = "../it/support/program.rs"]
mod program;
mod round;
mod tally;
mod target;
#[path = "../it/support/wait.rs"]
mod wait;
mod world;

use tally::{Blow, table};
use world::{Plan, World};

#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn seed() -> u64 {
    let given = setting("KEYWHEEL_KILL_SEED").map(|text| text.parse().expect("a number"));
    given.unwrap_or(20_250_101)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_kill_loses_a_credential() {
    let seed = seed();
    println!("seed {seed}");
    let plan = Plan {
        seed,
        shares: false,
        host: 6,
        host_settings: &[],
        directory: 0,
        domain: None,
    };
    let mut world = World::begin(plan).await;
    for _ in 0..5 {
        let (work, when) = (world.work(), world.moment());
        println!("{work:?} {when:?}");
        world.round(work, &[(Blow::Kill, when)]).await;
    }
    let tally = world.end().await;
    println!("{}", table(&[("SQLite", tally.clone())]));
    println!("{}", tally.summary());
    assert_eq!(tally.lost, 0);
    assert!(tally.faults.is_empty());
}
