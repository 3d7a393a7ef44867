//! The queue under everybody at once: orders, quarantines, scans, nodes that work and die.
//!
//! Invariant: whatever the timing, the counts of [`Unsound`](crate::support::queue::Unsound) are
//! zero, the databases report no deadlock, and all that was ordered ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywheel::clock::{SharedClock, SystemClock};
use keywheel::model::Timestamp;
use keywheel::model::credential::Parts;
use keywheel::model::id::{NodeId, SystemId};
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::schedule::Planned;
use keywheel::store::{Backend, Claim, Ending, NewJob, Settled, Store, StoreError, SystemHealth};
use tokio::task::JoinSet;

use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};

const SYSTEMS: i64 = 6;
const ACCOUNTS: i64 = 150;
const SESSIONS_MAX: i64 = 3;
const LASTS: Duration = Duration::from_secs(5);

/// Dice with a seed: the same orders each time, if not the same timing.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 33).unwrap() % end
    }
}

/// What everybody shares.
#[derive(Clone)]
struct World {
    clock: SharedClock,
    /// Claims of nodes that died with them.
    lost: Arc<Mutex<Vec<Claim>>>,
    busy: Arc<AtomicU64>,
    settled: Arc<AtomicU64>,
    quarantines: Arc<Mutex<Vec<i64>>>,
}

impl World {
    fn over(&self) -> bool {
        self.clock.monotonic() > LASTS
    }

    fn now(&self) -> Timestamp {
        NOW.plus(self.clock.monotonic())
    }

    /// Busy is the one answer that may be met, and it must be rare.
    fn counts<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(StoreError::Busy) => {
                self.busy.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

async fn order_one(store: &Store, dice: &mut Dice, now: Timestamp) -> Result<(), StoreError> {
    let system = SystemId(1 + dice.below(SYSTEMS));
    let account = account_id(system.0, 1 + dice.below(ACCOUNTS));
    let priority = Priority::ALL[usize::try_from(dice.below(3)).unwrap()];
    let mut tx = store.begin().await?;
    tx.lock_queue(system).await?;
    if let Some(open) = tx.open_job(account).await? {
        if open.running {
            return tx.rollback().await;
        }
        if dice.below(2) == 0 {
            tx.redirect_job(open.id, Parts::ALL_THERE_ARE, (None, None), "bob", now)
                .await?;
        }
        tx.hasten(open.id, system, priority, now).await?;
        return tx.commit().await;
    }
    let ahead = Duration::from_millis(u64::try_from(dice.below(300)).unwrap());
    let job = NewJob {
        account,
        system,
        kind: JobKind::ALL[usize::try_from(dice.below(2)).unwrap()],
        cause: Cause::Order,
        actor: "ada".to_owned(),
        priority,
        run_at: now.plus(ahead),
        parts: Parts::ALL_THERE_ARE,
        version: None,
        key_version: None,
    };
    tx.enqueue(&job, now).await?;
    tx.commit().await
}

async fn order(world: World, store: Store, mut dice: Dice) {
    while !world.over() {
        world.counts(order_one(&store, &mut dice, world.now()).await);
    }
}

async fn plan_one(store: &Store, dice: &mut Dice, now: Timestamp) -> Result<(), StoreError> {
    let system = SystemId(1 + dice.below(SYSTEMS));
    let mut tx = store.begin().await?;
    tx.lock_queue(system).await?;
    for _ in 0..5 {
        let planned = Planned {
            next_change_at: (dice.below(2) == 0).then_some(now),
            next_test_at: (dice.below(2) == 0).then_some(now),
            flag_at: Some(now),
        };
        let account = account_id(system.0, 1 + dice.below(ACCOUNTS));
        tx.set_schedule(account, system, planned).await?;
    }
    tx.commit().await
}

async fn plan_and_scan(world: World, store: Store, mut dice: Dice) {
    while !world.over() {
        world.counts(plan_one(&store, &mut dice, world.now()).await);
        let scan = async {
            let mut tx = store.begin().await?;
            let scanned = tx.scan_stale(world.now(), 40).await?;
            tx.commit().await?;
            Ok(scanned)
        };
        world.counts(scan.await);
        let repair = async {
            let mut tx = store.begin().await?;
            let repaired = tx.repair_heads(100).await?;
            tx.commit().await?;
            Ok(repaired)
        };
        if let Some(repaired) = world.counts(repair.await) {
            assert_eq!(repaired, 0, "a head was lazy");
        }
    }
}

async fn plan(world: World, store: Store, mut dice: Dice) {
    while !world.over() {
        world.counts(plan_one(&store, &mut dice, world.now()).await);
    }
}

async fn put_in_quarantine(world: World, queue: Arc<Queue>, mut dice: Dice) {
    while !world.over() {
        let id = queue.quarantine(1 + dice.below(SYSTEMS), world.now()).await;
        world.quarantines.lock().unwrap().push(id);
        world.clock.sleep(Duration::from_millis(150)).await;
    }
}

fn ending(dice: &mut Dice, now: Timestamp) -> Ending {
    let at = now.plus(Duration::from_millis(
        u64::try_from(dice.below(400)).unwrap(),
    ));
    let counts = dice.below(2) == 0;
    match dice.below(8) {
        0 => Ending::Failed,
        1 => Ending::NeedsOperator,
        2 => Ending::Retry { at, counts },
        3 => Ending::GivenBack,
        _ => Ending::Succeeded,
    }
}

async fn settle_one(
    world: &World,
    store: &Store,
    claim: &Claim,
    dice: &mut Dice,
) -> Result<(), StoreError> {
    let now = world.now();
    let health = match dice.below(12) {
        0 | 1 => SystemHealth::Faulty {
            pause_until: now.plus(Duration::from_millis(100)),
        },
        2 => SystemHealth::Unknown,
        _ => SystemHealth::Answers,
    };
    let all: Vec<Settled> = claim
        .jobs
        .iter()
        .map(|job| Settled {
            job: job.clone(),
            ending: ending(dice, now),
            class: "",
            log: String::new(),
        })
        .collect();
    let half = all.len() / 2;
    let mut tx = store.begin().await?;
    tx.settle(claim, &all[..half], health, false, now).await?;
    tx.commit().await?;
    let mut tx = store.begin().await?;
    tx.settle(claim, &all[half..], health, true, now).await?;
    tx.commit().await?;
    world.settled.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn work(world: World, store: Store, node: NodeId, mut dice: Dice) {
    while !world.over() {
        let claim = async {
            let mut tx = store.begin().await?;
            let mut claims = Vec::new();
            claims.extend(
                tx.claim_expired(node, world.now().minus(LASTS), world.now())
                    .await?,
            );
            for class in Priority::ALL {
                claims.extend(tx.claim(node, class, 2, 1_000, world.now()).await?);
            }
            tx.commit().await?;
            Ok(claims)
        };
        for claim in world.counts(claim.await).unwrap_or_default() {
            if dice.below(20) == 0 {
                world.lost.lock().unwrap().push(claim);
                continue;
            }
            // A busy database is asked again, or the claim would stay for ever.
            while world
                .counts(settle_one(&world, &store, &claim, &mut dice).await)
                .is_none()
            {}
        }
    }
}

async fn reap(world: World, store: Store) {
    loop {
        let lost = world.lost.lock().unwrap().pop();
        match lost {
            Some(claim) => {
                let take = async {
                    let mut tx = store.begin().await?;
                    assert!(tx.reap(claim.id, claim.system).await?);
                    tx.commit().await
                };
                if world.counts(take.await).is_none() {
                    world.lost.lock().unwrap().push(claim);
                }
            }
            None if world.over() => return,
            None => world.clock.sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The cap must hold at every instant, and so must the rest in every snapshot.
async fn watch(world: World, queue: Arc<Queue>) {
    while !world.over() {
        queue.is_sound().await;
        world.clock.sleep(Duration::from_millis(40)).await;
    }
}

/// Works until nothing is left.
async fn drain(world: &World, queue: &Queue) {
    let end = world.now().plus(Duration::from_secs(100_000));
    let lost = std::mem::take(&mut *world.lost.lock().unwrap());
    for claim in lost {
        queue.settle(&claim, &Ending::Failed, end).await;
    }
    loop {
        let mut found = 0;
        for class in Priority::ALL {
            for claim in queue.claim(class, end).await {
                found += 1;
                queue
                    .settle_healthy(&claim, &Ending::Succeeded, SystemHealth::Answers, end)
                    .await;
            }
        }
        if found == 0 {
            return;
        }
    }
}

on_both!(the_queue_stays_sound_under_everybody_at_once, |db| {
    let queue = Arc::new(db.queue().await);
    for system in 1..=SYSTEMS {
        queue.system(system, SESSIONS_MAX, 7, ACCOUNTS).await;
    }
    let clock = SystemClock::shared();
    let world = World {
        clock,
        lost: Arc::default(),
        busy: Arc::default(),
        settled: Arc::default(),
        quarantines: Arc::default(),
    };
    // PostgreSQL is shared by two nodes; SQLite has one process.
    let other = match db.backend {
        Backend::Sqlite => queue.store.clone(),
        Backend::Postgres => db.store().await,
    };
    let mut tasks = JoinSet::new();
    for seed in 1..=2 {
        tasks.spawn(order(world.clone(), queue.store.clone(), Dice(seed * 977)));
        tasks.spawn(work(
            world.clone(),
            queue.store.clone(),
            queue.node,
            Dice(seed * 7_919),
        ));
        tasks.spawn(work(
            world.clone(),
            other.clone(),
            NodeId(99),
            Dice(seed * 104_729),
        ));
        tasks.spawn(plan(world.clone(), other.clone(), Dice(seed * 31)));
    }
    tasks.spawn(plan_and_scan(
        world.clone(),
        other.clone(),
        Dice(15_485_863),
    ));
    tasks.spawn(put_in_quarantine(
        world.clone(),
        queue.clone(),
        Dice(32_452_843),
    ));
    tasks.spawn(reap(world.clone(), other.clone()));
    tasks.spawn(watch(world.clone(), queue.clone()));
    tasks.join_all().await;
    queue.is_sound().await;
    let ran = world.settled.load(Ordering::Relaxed);
    assert!(ran > 50, "only {ran} claims were settled");
    drain(&world, &queue).await;
    queue.is_sound().await;
    assert_eq!(queue.number("SELECT COUNT(*) FROM jobs").await, 0);
    let quarantines = world.quarantines.lock().unwrap().clone();
    assert!(quarantines.len() > 3);
    for id in quarantines {
        let id = keywheel::model::id::QuarantineId(id);
        let view = queue.store.quarantine(id).await.unwrap().unwrap();
        let counts = view.counts;
        assert!(view.finished_at.is_some(), "{view:?}");
        assert_eq!(
            counts.succeeded + counts.failed + counts.needs_operator,
            view.accounts,
            "{view:?}"
        );
    }
    other.close().await;
    queue.store.close().await;
    if db.backend == Backend::Postgres {
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        assert_eq!(queue.number(deadlocks).await, 0);
    }
    assert_eq!(
        world.busy.load(Ordering::Relaxed),
        0,
        "nobody waited too long"
    );
});
