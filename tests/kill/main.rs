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
mod books;
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
mod itself;
mod kept;
mod line;
mod node;
mod nt_hash;
mod oracle;
mod plan;
mod postgres;
#[path = "../it/support/program.rs"]
mod program;
mod round;
mod tally;
mod target;
#[path = "../it/support/wait.rs"]
mod wait;
mod world;

use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::SystemClock;
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock};

use directory::Directory;
use plan::Quota;
use tally::{Tally, summary_of, table};
use target::Domain;
use world::{Plan, World};

/// What the words below mean.
const LEGEND: &str = "\
The real program on SQLite and on PostgreSQL against OpenSSH with faillock and pwhistory, OpenLDAP with
ppolicy and Samba's Active Directory, as `make soak-kill` last ran it; the head of `tests/kill/main.rs` tells how.
After every round each account was logged in to by the target's own clients. Lost: no kept version did.

";

/// What came of the latest soak.
const RECORD: &str = "docs/evidence/kills.txt";
/// A run of CI ends then in any case, and fails.
const SPAN_MAX: Duration = Duration::from_mins(12);

#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    setting(name).map(|text| text.parse().expect("a number"))
}

/// What both worlds are told.
#[derive(Clone)]
struct Run {
    seed: u64,
    is_soak: bool,
    span_max: Duration,
    domain: Arc<OnceCell<Arc<Domain>>>,
}

impl Run {
    fn read() -> Self {
        let is_soak = setting("KEYWHEEL_KILL").is_some_and(|how| how == "soak");
        let minutes = number("KEYWHEEL_KILL_MINUTES").map(Duration::from_mins);
        let span_max = if is_soak {
            Duration::from_hours(4)
        } else {
            SPAN_MAX
        };
        Self {
            seed: number("KEYWHEEL_KILL_SEED").unwrap_or(20_250_101),
            is_soak,
            span_max: minutes.unwrap_or(span_max),
            domain: Arc::default(),
        }
    }

    /// The domain that both worlds share: to make one takes long.
    async fn domain(&self) -> Arc<Domain> {
        let made = self.domain.get_or_init(|| async {
            let directory = tokio::task::spawn_blocking(Directory::samba).await.unwrap();
            Arc::new(Domain {
                directory,
                gate: RwLock::new(()),
            })
        });
        made.await.clone()
    }

    /// One database's share.
    async fn world(self, shares: bool) -> (&'static str, Tally) {
        let clock = SystemClock::shared();
        let host_settings: &[(&str, &str)] = if shares {
            &[("WRAPPER", "1")]
        } else {
            // Nothing shows what the host holds: logins have to tell.
            &[]
        };
        let begun = World::begin(Plan {
            seed: self.seed + u64::from(shares),
            shares,
            host: 5,
            host_settings,
            directory: 5,
        });
        let (mut world, domain) = tokio::join!(begun, self.domain());
        world.join(domain, if shares { 4..8 } else { 0..4 }).await;
        let quota = Quota::of(shares, self.is_soak, self.span_max);
        world.run(&quota, &clock).await;
        tokio::task::block_in_place(|| world.counters_count());
        world.check().await;
        let name = world.base.name();
        let tally = world.end().await;
        for fault in quota.faults(&tally) {
            println!("{name}, short of its quota: {fault}");
            assert!(self.is_soak, "{name}: {fault}");
        }
        (name, tally)
    }
}

#[test]
fn nothing_is_lost_whatever_is_killed() {
    let run = Run::read();
    println!("seed {}", run.seed);
    let clock = SystemClock::shared();
    // A runtime each: neither waits for what the other one starts and ends.
    let mut tallies = std::thread::scope(|scope| {
        let worlds = [false, true].map(|shares| {
            let run = run.clone();
            scope.spawn(move || {
                let runtime = Runtime::new().unwrap();
                runtime.block_on(run.world(shares))
            })
        });
        worlds.map(|world| world.join().expect("the world has come to its end"))
    });
    tallies.sort_by_key(|(name, _)| std::cmp::Reverse(*name));
    let line = summary_of(&tallies);
    let text = format!(
        "{LEGEND}{line}\n\nseed {}, {} s\n\n{}",
        run.seed,
        clock.monotonic().as_secs(),
        table(&tallies),
    );
    println!("{text}");
    if run.is_soak {
        let path = program::root().join(RECORD);
        std::fs::write(path, &text).unwrap();
    }
    for (name, tally) in &tallies {
        assert_eq!(tally.lost, 0, "{name}");
        assert!(tally.faults.is_empty(), "{name}: {:?}", tally.faults);
    }
}
