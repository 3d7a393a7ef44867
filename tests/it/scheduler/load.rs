//! Two days down, and everything is due at once: on a system that is dead, on one that is put in
//! quarantine meanwhile, and on the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use keywheel::clock::{Clock, ManualClock};
use keywheel::model::Timestamp;
use keywheel::model::id::SystemId;
use keywheel::model::job::Priority;
use keywheel::scheduler::Tick;
use keywheel::store::{Ending, SystemHealth};

use super::Node;
use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue};

const DEAD: i64 = 1;
const LEAKED: i64 = 2;
const SYSTEMS: i64 = 10;
/// Of each system.
const ACCOUNTS: i64 = 5_000;
/// As long as a breaker's longest pause.
const PAUSE: Duration = Duration::from_mins(15);
/// Looks at the queue after which the work would not be done by looking.
const LOOKS_MAX: usize = 200;

/// Claims of one class, settled as their systems are: jobs that were tried, by system.
async fn work(
    queue: &Queue,
    class: Priority,
    now: Timestamp,
    answers: impl Fn(SystemId) -> bool,
) -> BTreeMap<i64, usize> {
    let mut tried = BTreeMap::new();
    for claim in queue.claim(class, now).await {
        *tried.entry(claim.system.0).or_default() += claim.jobs.len();
        let (ending, health) = if answers(claim.system) {
            (Ending::Succeeded, SystemHealth::Answers)
        } else {
            let pause_until = now.plus(PAUSE);
            let again = Ending::Retry {
                at: pause_until,
                counts: false,
            };
            (again, SystemHealth::Faulty { pause_until })
        };
        queue.settle_healthy(&claim, &ending, health, now).await;
    }
    tried
}

on_both!(
    fifty_thousand_that_are_due_a_dead_system_and_a_quarantine_are_done_once_each,
    |db| {
        let queue = db.queue().await;
        let clock = ManualClock::at(NOW);
        for system in 1..=SYSTEMS {
            queue.system(system, 5, 1_000, 0).await;
            let two_days_ago = Timestamp(NOW.0 - 172_800_000);
            queue
                .accounts_due(system, ACCOUNTS, Some(two_days_ago))
                .await;
        }
        let node = Node::new(&queue.store, &clock, queue.node);
        node.tick(Tick::StaleScan).await;
        let jobs = "SELECT COUNT(*) FROM jobs";
        assert_eq!(queue.number(jobs).await, SYSTEMS * ACCOUNTS);
        // One tick finds them all; the next finds nobody twice.
        clock.advance(Duration::from_mins(1));
        node.tick(Tick::StaleScan).await;
        assert_eq!(queue.number(jobs).await, SYSTEMS * ACCOUNTS);

        queue.quarantine(LEAKED, clock.now()).await;
        let lives = |system: SystemId| system.0 != DEAD;
        let (mut tried, mut looks) = (BTreeMap::new(), 0);
        let left = "SELECT COUNT(*) FROM jobs WHERE system_id > 1";
        let leaked = "SELECT COUNT(*) FROM jobs WHERE system_id = 2";
        while queue.number(left).await > 0 {
            looks += 1;
            assert!(looks < LOOKS_MAX, "work is left, and nobody takes it");
            let urgent = work(&queue, Priority::Quarantine, clock.now(), lives).await;
            if queue.number(leaked).await > 0 {
                assert!(urgent.contains_key(&LEAKED), "the quarantine waits");
            }
            let routine = work(&queue, Priority::Routine, clock.now(), lives).await;
            for (system, jobs) in urgent.into_iter().chain(routine) {
                *tried.entry(system).or_insert(0) += jobs;
            }
            clock.advance(Duration::from_secs(1));
        }
        for system in LEAKED..=SYSTEMS {
            assert_eq!(tried[&system], usize::try_from(ACCOUNTS).unwrap());
        }
        // Three of its sessions fail, and then it rests.
        assert!(tried[&DEAD] <= 3_000, "{tried:?}");
        let (failures, until) = queue.store.breaker(SystemId(DEAD)).await.unwrap().unwrap();
        assert!(failures >= 3 && until > clock.now(), "{failures} {until:?}");
        assert!(
            work(&queue, Priority::Routine, clock.now(), lives)
                .await
                .is_empty()
        );
        queue.is_sound().await;

        // It answers again: one job tries, the rest follow.
        clock.advance(PAUSE);
        let first = work(&queue, Priority::Routine, clock.now(), |_| true).await;
        assert_eq!(first, BTreeMap::from([(DEAD, 1)]));
        while queue.number(jobs).await > 0 {
            looks += 1;
            assert!(looks < LOOKS_MAX, "work is left, and nobody takes it");
            clock.advance(Duration::from_secs(1));
            work(&queue, Priority::Routine, clock.now(), |_| true).await;
        }
        let done = "SELECT COUNT(DISTINCT account_id) FROM job_history WHERE outcome = 'succeeded'";
        assert_eq!(queue.number(done).await, SYSTEMS * ACCOUNTS);
        let all = "SELECT COUNT(*) FROM job_history WHERE outcome = 'succeeded'";
        assert_eq!(queue.number(all).await, SYSTEMS * ACCOUNTS);
        queue.is_sound().await;
    }
);
