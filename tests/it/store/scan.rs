//! The stale scan.

use keywheel::model::Timestamp;
use keywheel::model::id::SystemId;
use keywheel::model::job::{Cause, JobKind, JobState, Priority};
use keywheel::model::schedule::Planned;
use keywheel::store::{Ending, Scanned};

use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};

async fn scan(queue: &Queue, limit: i64) -> Scanned {
    let mut tx = queue.store.begin().await.unwrap();
    let scanned = tx.scan_stale(NOW, limit).await.unwrap();
    tx.commit().await.unwrap();
    scanned
}

/// Plans an account; times are given against now.
async fn plan(queue: &Queue, system: i64, nth: i64, times: [Option<i64>; 3]) {
    let [change, test, flag] = times.map(|time| time.map(|ms| Timestamp(NOW.0 + ms)));
    let planned = Planned {
        next_change_at: change,
        next_test_at: test,
        flag_at: flag,
    };
    let mut tx = queue.store.begin().await.unwrap();
    tx.set_schedule(account_id(system, nth), SystemId(system), planned)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn stale(queue: &Queue, system: i64, nth: i64) -> Option<Timestamp> {
    let account = queue.store.account(account_id(system, nth)).await;
    account.unwrap().unwrap().due.stale_at
}

on_both!(what_is_due_is_queued_once_and_flagged, |db| {
    let queue = db.queue().await;
    queue.system(1, 5, 10, 4).await;
    queue.system(2, 5, 10, 1).await;
    plan(&queue, 1, 1, [Some(0), None, None]).await;
    plan(&queue, 1, 2, [Some(1), None, None]).await;
    plan(&queue, 1, 3, [None, Some(-5), None]).await;
    plan(&queue, 2, 1, [Some(-9), Some(-9), None]).await;
    assert_eq!(queue.store.due_now(NOW).await.unwrap(), 2);
    let first = scan(&queue, 100).await;
    let meant = Scanned {
        flagged: 0,
        changes: 2,
        tests: 1,
        more: false,
    };
    assert_eq!(first, meant);
    assert_eq!(queue.store.due_now(NOW).await.unwrap(), 0);
    assert_eq!(scan(&queue, 100).await, Scanned::default());
    queue.is_sound().await;
    assert_eq!(queue.heads(1).await, [None, None, Some(NOW.0)]);
    assert_eq!(queue.heads(2).await, [None, None, Some(NOW.0)]);
    // A change tests as well: the account has one job.
    let found = queue
        .store
        .jobs(true, Some(account_id(2, 1)), None, 9)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    let job = &found[0];
    assert_eq!((job.kind, job.cause), (JobKind::Rotate, Cause::Schedule));
    assert_eq!(
        (job.priority, job.state),
        (Priority::Routine, JobState::Queued)
    );
    assert_eq!((job.actor.as_str(), job.queued_at), ("keywheel", NOW));
    assert_eq!(stale(&queue, 1, 1).await, Some(NOW));
    assert_eq!(stale(&queue, 1, 2).await, None);
    assert_eq!(stale(&queue, 1, 3).await, None, "a test flags nothing");
    let claims = queue.claim(Priority::Routine, NOW).await;
    let jobs: Vec<_> = claims.iter().flat_map(|claim| &claim.jobs).collect();
    let tests = jobs.iter().filter(|job| job.kind == JobKind::Test);
    assert_eq!((jobs.len(), tests.count()), (3, 1));
    queue.is_sound().await;
});

on_both!(an_account_with_an_open_job_is_not_due, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 2).await;
    for nth in 1..=2 {
        plan(&queue, 1, nth, [Some(-5), Some(-5), None]).await;
        queue.order(1, nth, Priority::Immediate).await;
    }
    let claim = queue.claim(Priority::Immediate, NOW).await.remove(0);
    assert_eq!(queue.store.due_now(NOW).await.unwrap(), 0);
    assert_eq!(scan(&queue, 100).await, Scanned::default());
    // Back in its back-off, it still has its job.
    let at = Timestamp(NOW.0 + 60_000);
    queue
        .settle(&claim, &Ending::Retry { at, counts: true }, NOW)
        .await;
    assert_eq!(scan(&queue, 100).await, Scanned::default());
    queue.is_sound().await;
});

on_both!(what_nobody_changes_by_itself_is_flagged_once, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 3).await;
    plan(&queue, 1, 1, [None, None, Some(0)]).await;
    plan(&queue, 1, 2, [None, None, Some(1)]).await;
    plan(&queue, 1, 3, [None, None, Some(-7)]).await;
    let flagged = scan(&queue, 100).await;
    assert_eq!((flagged.flagged, flagged.changes), (2, 0));
    assert!(!flagged.more);
    assert_eq!(stale(&queue, 1, 1).await, Some(NOW));
    assert_eq!(stale(&queue, 1, 2).await, None);
    assert_eq!(scan(&queue, 100).await, Scanned::default());
    assert_eq!(queue.number("SELECT COUNT(*) FROM jobs").await, 0);
});

on_both!(a_scan_stops_at_its_limit_and_says_so, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 30).await;
    for nth in 1..=10 {
        // Equal times: the account's id decides.
        plan(&queue, 1, nth, [Some(-5), None, None]).await;
        plan(&queue, 1, nth + 10, [None, Some(-5), None]).await;
        plan(&queue, 1, nth + 20, [None, None, Some(-5)]).await;
    }
    let mut counts = Vec::new();
    loop {
        let scanned = scan(&queue, 4).await;
        counts.push((scanned.changes, scanned.tests, scanned.flagged));
        if !scanned.more {
            break;
        }
    }
    assert_eq!(counts, [(4, 4, 4), (4, 4, 4), (2, 2, 2)]);
    queue.is_sound().await;
});

on_both!(a_scan_whose_flags_alone_reach_the_limit_has_more, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 3).await;
    for nth in 1..=3 {
        plan(&queue, 1, nth, [None, None, Some(-5)]).await;
    }
    assert!(scan(&queue, 2).await.more);
    assert!(!scan(&queue, 2).await.more);
});

on_both!(two_scans_at_once_queue_nothing_twice, |db| {
    let queue = db.queue().await;
    for system in 1..=3 {
        queue.system(system, 1, 10, 20).await;
    }
    queue
        .write("UPDATE schedule SET next_change_at = 5, flag_at = 5")
        .await;
    let scans = (0..4).map(|_| async {
        let mut tx = queue.store.begin().await.unwrap();
        let done = async {
            let scanned = tx.scan_stale(NOW, 1_000).await?;
            tx.commit().await?;
            Ok::<_, keywheel::store::StoreError>(scanned.changes)
        };
        match done.await {
            Ok(changes) => changes,
            Err(keywheel::store::StoreError::Busy) => 0,
            Err(other) => panic!("{other:?}"),
        }
    });
    let queued: u64 = futures::future::join_all(scans).await.into_iter().sum();
    assert_eq!(queued, 60);
    assert_eq!(queue.number("SELECT COUNT(*) FROM jobs").await, 60);
    queue.is_sound().await;
});
