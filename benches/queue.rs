//! The queue on both databases, with every write durable: bulk orders, due scans, claims and
//! settlements; each beside what a bare transaction costs there in the same round.
//!
//! Invariant: every figure is the median of rounds in one run; a missed target fails the run.
#![cfg(test)]

#[path = "../tests/it/support/database.rs"]
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "made for the tests"
)]
mod database;
#[path = "../tests/it/support/program.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod program;
#[path = "../tests/it/support/queue.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod queue;
#[expect(dead_code, unused_imports, reason = "only the machine is shared")]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use keywheel::clock::{SharedClock, SystemClock};
use keywheel::model::Timestamp;
use keywheel::model::job::Priority;
use keywheel::store::{Backend, Ending, Store, SystemHealth};

use database::Database;
use queue::{NOW, Queue, settled};
use support::{introduce, show_load};

const ROUNDS: i64 = 5;
/// Accounts of one system that are put in quarantine.
const BULK: i64 = 10_000;
const BULK_TARGET_MS: f64 = 250.0;
/// Accounts among which some are due.
const ACCOUNTS: i64 = 1_000_000;
/// Systems that they live on.
const SYSTEMS: i64 = 200;
const DUE: i64 = 1_000;
const SCAN_TARGET_MS: f64 = 50.0;
const SCAN_MAX: i64 = 10_000;
/// Systems and claims of a round of work; a claim has 100 jobs.
const WORKERS: i64 = 4;
const CLAIMS: i64 = 20;
const BATCH: i64 = 100;
/// Ids of the systems of each measurement.
const FIRST_BULK: i64 = 1;
const FIRST_WORK: i64 = 1_001;
const FIRST_DUE: i64 = 2_001;

/// What one database took for one kind of work, in milliseconds a round.
struct Figures {
    what: String,
    target_ms: Option<f64>,
    rounds: Vec<f64>,
    bare: Vec<f64>,
}

impl Figures {
    fn new(what: String, target_ms: Option<f64>) -> Self {
        Self {
            what,
            target_ms,
            rounds: Vec::new(),
            bare: Vec::new(),
        }
    }

    /// Prints the medians; `false` if the target is missed.
    fn close(&self, note: &str) -> bool {
        let (ours, bare) = (median(&self.rounds), median(&self.bare));
        let rounds: Vec<_> = self.rounds.iter().map(|ms| format!("{ms:.1}")).collect();
        let met = self.target_ms.is_none_or(|target| ours <= target);
        let verdict = self.target_ms.map_or_else(String::new, |target| {
            let word = if met { "met" } else { "MISSED" };
            format!("; target {target:.0} ms: {word}")
        });
        println!(
            "  {}: median {ours:.1} ms ({}); a bare transaction {bare:.2} ms, ratio {:.0}{note}{verdict}",
            self.what,
            rounds.join(", "),
            ours / bare,
        );
        met
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

struct Bench {
    clock: SharedClock,
    queue: Queue,
}

impl Bench {
    async fn timed(&self, work: impl Future<Output = ()>) -> f64 {
        let start = self.clock.monotonic();
        work.await;
        self.clock.monotonic().saturating_sub(start).as_secs_f64() * 1e3
    }

    /// The smallest transaction that must reach the disk: the median of eleven.
    async fn bare(&self) -> f64 {
        let mut spans = Vec::new();
        for _ in 0..11 {
            let beat = async {
                let mut tx = self.queue.store.begin().await.unwrap();
                tx.beat(self.queue.node).await.unwrap();
                tx.commit().await.unwrap();
            };
            spans.push(self.timed(beat).await);
        }
        median(&spans)
    }

    async fn round(&self, figures: &mut Figures, work: impl Future<Output = ()>) {
        figures.bare.push(self.bare().await);
        figures.rounds.push(self.timed(work).await);
    }

    /// Orders a change of every account of a system, from the order to its last commit.
    async fn quarantines(&self) -> bool {
        let what = format!("quarantine of {BULK} accounts of one system, ordered");
        let mut figures = Figures::new(what, Some(BULK_TARGET_MS));
        for round in 0..=ROUNDS {
            let system = FIRST_BULK + round;
            self.queue.system(system, 1, BATCH, BULK).await;
            let order = async {
                self.queue.quarantine(system, NOW).await;
            };
            if round == 0 {
                order.await; // plans and pages are warm from here on
            } else {
                self.round(&mut figures, order).await;
            }
        }
        self.queue.is_sound().await;
        figures.close("")
    }

    /// Claims and settles batches, one worker a system.
    async fn work(&self) -> bool {
        for system in FIRST_WORK..FIRST_WORK + WORKERS {
            let accounts = BATCH * CLAIMS * (ROUNDS + 1);
            self.queue.system(system, 1, BATCH, accounts).await;
            self.queue.quarantine(system, NOW).await;
            // The earlier measurement's jobs wait behind these.
        }
        self.queue
            .write("UPDATE jobs SET priority = 2 WHERE system_id > 1000")
            .await;
        self.queue
            .write("UPDATE systems SET head2 = head1 WHERE id > 1000 AND id < 2000")
            .await;
        let jobs = BATCH * CLAIMS * WORKERS;
        let what = format!("claim and settle of {jobs} jobs, {BATCH} a claim, {WORKERS} workers");
        let mut figures = Figures::new(what, None);
        for round in 0..=ROUNDS {
            let work = async {
                let workers = (0..WORKERS).map(|_| self.worker());
                futures::future::join_all(workers).await;
            };
            if round == 0 {
                work.await;
            } else {
                self.round(&mut figures, work).await;
            }
        }
        self.queue.is_sound().await;
        let rate = f64::from(i32::try_from(jobs).unwrap()) / median(&figures.rounds) * 1e3;
        figures.close(&format!("; {rate:.0} jobs a second"))
    }

    async fn worker(&self) {
        let queue = &self.queue;
        for _ in 0..CLAIMS {
            let mut tx = queue.store.begin().await.unwrap();
            let claims = tx
                .claim(queue.node, Priority::Routine, 1, 1_000, NOW)
                .await
                .unwrap();
            tx.commit().await.unwrap();
            for claim in &claims {
                let all = settled(claim, &Ending::Succeeded);
                let mut tx = queue.store.begin().await.unwrap();
                tx.settle(claim, &all, SystemHealth::Answers, true, NOW)
                    .await
                    .unwrap();
                tx.commit().await.unwrap();
            }
        }
    }

    /// Finds what is due among very many accounts, and queues it.
    async fn scans(&self) -> bool {
        let load = async {
            let later = NOW.plus(Duration::from_hours(24));
            for system in FIRST_DUE..FIRST_DUE + SYSTEMS {
                self.queue.system(system, 1, BATCH, 0).await;
                let accounts = ACCOUNTS / SYSTEMS;
                self.queue.accounts_due(system, accounts, Some(later)).await;
            }
            self.queue.store.analyze().await.unwrap();
        };
        let seconds = self.timed(load).await / 1e3;
        println!("  {ACCOUNTS} accounts on {SYSTEMS} systems loaded in {seconds:.0} s");
        let what = format!("scan of {ACCOUNTS} accounts, {DUE} due, queued");
        let mut figures = Figures::new(what, Some(SCAN_TARGET_MS));
        let mut idle = Figures::new(format!("scan of {ACCOUNTS} accounts, none due"), None);
        for round in 0..=ROUNDS {
            self.make_due(round).await;
            let mut found = 0;
            let scan = async { found = scan(&self.queue.store, NOW).await };
            if round == 0 {
                scan.await;
            } else {
                self.round(&mut figures, scan).await;
                let again = async { assert_eq!(scan_again(&self.queue.store).await, 0) };
                self.round(&mut idle, again).await;
            }
            assert_eq!(i64::try_from(found).unwrap(), DUE);
        }
        idle.close("");
        figures.close("")
    }

    /// Some accounts of every system fall due, others each round.
    async fn make_due(&self, round: i64) {
        let each = DUE / SYSTEMS;
        for system in FIRST_DUE..FIRST_DUE + SYSTEMS {
            let first = queue::account_id(system, round * each).0;
            sqlx::query(
                "UPDATE schedule SET next_change_at = $1 WHERE account_id > $2 AND account_id <= $3",
            )
            .bind(NOW.0 - 1)
            .bind(first)
            .bind(first + each)
            .execute(&self.queue.pool)
            .await
            .unwrap();
        }
    }
}

async fn scan(store: &Store, now: Timestamp) -> u64 {
    let mut tx = store.begin().await.unwrap();
    let scanned = tx.scan_stale(now, SCAN_MAX).await.unwrap();
    tx.commit().await.unwrap();
    scanned.changes
}

async fn scan_again(store: &Store) -> u64 {
    scan(store, NOW).await
}

async fn measure(backend: Backend, quick: bool) -> bool {
    let database = Database::durable(backend).await;
    println!("{backend:?}");
    let bench = Bench {
        clock: SystemClock::shared(),
        queue: database.queue().await,
    };
    let mut met = bench.quarantines().await;
    met &= bench.work().await;
    if !quick {
        met &= bench.scans().await;
    }
    show_load("after it");
    met
}

fn main() -> ExitCode {
    introduce(
        "The queue through the store's own calls, synchronous = FULL and fsync = on: bulk orders, \
         claims and settlements, due scans",
    );
    // `cargo bench --bench queue -- sqlite` measures that one alone; `-- quick` no millions.
    let asked: Vec<String> = std::env::args().collect();
    let asks = |name: &str| asked.iter().any(|word| word == name);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut met = true;
    for (backend, other) in [(Backend::Sqlite, "postgres"), (Backend::Postgres, "sqlite")] {
        if !asks(other) {
            met &= runtime.block_on(measure(backend, asks("quick")));
        }
    }
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
