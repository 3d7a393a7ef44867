//! What a clock that ran far ahead has left behind.

use std::time::Duration;

use keywheel::model::id::{NodeId, SystemId};
use keywheel::model::job::{JobKind, Priority};
use keywheel::store::{Ending, SystemHealth};

use crate::support::database::on_both;
use crate::support::queue::{NOW, account_id};

const DECADE: Duration = Duration::from_hours(10 * 365 * 24);
const HOUR: Duration = Duration::from_hours(1);
const HOUR_MS: i64 = 3_600_000;

on_both!(what_a_clock_that_ran_ahead_has_planned_comes_back, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 100, 3).await;
    let (ahead, farthest) = (NOW.plus(DECADE), NOW.plus(HOUR));
    let late = queue.order_at(1, 1, Priority::Routine, JobKind::Rotate, ahead);
    let late = late.await;
    assert!(queue.claim(Priority::Routine, NOW).await.is_empty());
    // A system that was at fault three times rests, until then.
    for nth in 2..=3 {
        queue.order(1, nth, Priority::Immediate).await;
    }
    let claims = queue.claim(Priority::Immediate, NOW).await;
    let pause = SystemHealth::Faulty { pause_until: ahead };
    queue
        .write("UPDATE systems SET trips = 2 WHERE id = 1")
        .await;
    queue
        .settle_healthy(&claims[0], &Ending::Failed, pause, NOW)
        .await;
    let account = account_id(1, 2);
    let mut tx = queue.store.begin().await.unwrap();
    assert!(tx.spend_login(account, 1, HOUR_MS, ahead).await.unwrap());
    tx.commit().await.unwrap();
    assert!(queue.store.is_ahead(farthest).await.unwrap());
    let mut tx = queue.store.begin().await.unwrap();
    tx.bring_back(farthest, NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!queue.store.is_ahead(farthest).await.unwrap());
    let claims = queue.claim(Priority::Routine, NOW).await;
    assert_eq!(claims[0].jobs[0].id, late);
    queue.is_sound().await;
    // What was counted stays so for a window, and no longer.
    let mut tx = queue.store.begin().await.unwrap();
    assert!(!tx.spend_login(account, 1, HOUR_MS, NOW).await.unwrap());
    let later = NOW.plus(HOUR);
    assert!(tx.spend_login(account, 1, HOUR_MS, later).await.unwrap());
    tx.rollback().await.unwrap();
    assert_eq!(claims[0].system, SystemId(1));
});

on_both!(
    a_turn_that_was_put_off_by_a_clock_that_ran_ahead_comes,
    |db| {
        let queue = db.queue().await;
        let take = async |now: keywheel::model::Timestamp| {
            let next = now.plus(Duration::from_mins(1));
            let mut tx = queue.store.begin().await.unwrap();
            let mine = tx.take_tick("stale_scan", NodeId(1), next, now).await;
            tx.commit().await.unwrap();
            mine.unwrap()
        };
        assert!(take(NOW.plus(DECADE)).await);
        assert!(take(NOW).await);
        // Nodes whose clocks differ a little do not both take it.
        assert!(!take(NOW).await);
        assert!(!take(NOW.minus(Duration::from_mins(2))).await);
    }
);
