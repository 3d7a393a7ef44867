//! What the metrics count, and the bell of other nodes.

use std::time::Duration;

use keywheel::model::Timestamp;
use keywheel::model::id::{PlatformId, SystemId};
use keywheel::model::job::{JobKind, Priority};
use keywheel::store::{Backend, Ending};
use tokio::task::JoinSet;

use crate::support::database::on_both;
use crate::support::queue::{NOW, account_id};

fn words<const N: usize>(rows: [(&str, &str, i64); N]) -> Vec<(String, String, i64)> {
    rows.map(|(a, b, count)| (a.to_owned(), b.to_owned(), count))
        .to_vec()
}

on_both!(accounts_are_counted_by_state_and_verdict, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 5).await;
    queue
        .write("UPDATE accounts SET auto_management = 1 WHERE id <= 1000002")
        .await;
    queue
        .write("UPDATE accounts SET active = 0, last_test = 'passed' WHERE id = 1000002")
        .await;
    queue
        .write("UPDATE accounts SET last_test = 'out_of_sync' WHERE id = 1000003")
        .await;
    let mut tx = queue.store.begin().await.unwrap();
    tx.delete_account(account_id(1, 5), NOW).await.unwrap();
    tx.commit().await.unwrap();
    let linux = PlatformId(2);
    let row = |state: &str, count| (linux, state.to_owned(), count);
    let counted = queue.store.count_accounts().await.unwrap();
    let meant = [row("managed", 1), row("suspended", 1), row("unmanaged", 2)];
    assert_eq!(counted, meant);
    let counted = queue.store.count_unverified().await.unwrap();
    assert_eq!(counted, [row("never_tested", 2), row("out_of_sync", 1)]);
});

on_both!(accounts_are_counted_by_how_near_their_change_is, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 6).await;
    let day = 86_400_000;
    for (nth, at) in [(1, -2 * day), (2, -1), (3, 2 * day), (4, 20 * day)] {
        let planned = keywheel::model::schedule::Planned {
            next_change_at: Some(Timestamp(NOW.0 + at)),
            ..Default::default()
        };
        let mut tx = queue.store.begin().await.unwrap();
        let system = keywheel::model::id::SystemId(1);
        tx.set_schedule(account_id(1, nth), system, planned)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    queue
        .write("UPDATE schedule SET stale_at = 1750000000000 WHERE account_id = 1000005")
        .await;
    let counted = queue.store.count_due(NOW).await.unwrap();
    let meant = [
        ("vendor", "due", 2),
        ("vendor", "due_soon", 1),
        ("vendor", "ok", 1),
        ("vendor", "overdue", 1),
    ];
    assert_eq!(counted, words(meant));
    let flagged = queue.store.flagged_at(NOW).await.unwrap();
    assert_eq!(flagged, [("vendor".to_owned(), 1)]);
    assert_eq!(queue.store.next_runs().await.unwrap(), []);
});

on_both!(the_queue_is_counted_by_kind_class_and_breaker, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 4).await;
    queue.order(1, 1, Priority::Routine).await;
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let at = Timestamp(NOW.0 + 60_000);
    queue
        .settle(&claim, &Ending::Retry { at, counts: true }, NOW)
        .await;
    queue.order(1, 2, Priority::Immediate).await;
    let early = Timestamp(NOW.0 - 5);
    queue
        .order_at(1, 3, Priority::Quarantine, JobKind::Test, early)
        .await;
    let counted = queue.store.count_jobs().await.unwrap();
    let meant = [
        ("rotate", "queued", 1),
        ("rotate", "retrying", 1),
        ("test", "queued", 1),
    ];
    assert_eq!(counted, words(meant));
    let oldest = queue.store.oldest_runnable(NOW).await.unwrap();
    assert_eq!(oldest, [(0, NOW), (1, early)]);
    assert_eq!(queue.store.count_broken().await.unwrap(), []);
    queue.write("UPDATE systems SET trips = 3").await;
    let broken = queue.store.count_broken().await.unwrap();
    assert_eq!(broken, [(PlatformId(2), 1)]);
    assert_eq!(queue.store.open_quarantines().await.unwrap(), []);
    let id = queue.quarantine(1, NOW).await;
    let mut tx = queue.store.begin().await.unwrap();
    for _ in 0..100 {
        let newer = tx.open_quarantine(SystemId(1), "leak", None, "ada", NOW);
        newer.await.unwrap();
    }
    tx.commit().await.unwrap();
    queue
        .write(
            "UPDATE quarantines SET finished_at = ordered_at
             WHERE id > (SELECT MIN(id) FROM quarantines)",
        )
        .await;
    // However many have come and ended since.
    let open = queue.store.open_quarantines().await.unwrap();
    assert_eq!(open.iter().map(|one| one.id.0).collect::<Vec<_>>(), [id]);
});

on_both!(a_node_hears_what_another_has_enqueued, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    // SQLite has one process, and its bell needs nobody to listen.
    let other = match db.backend {
        Backend::Sqlite => queue.store.clone(),
        Backend::Postgres => db.store().await,
    };
    let mut heard = std::pin::pin!(other.bell().notified());
    heard.as_mut().enable();
    let listening = other.clone();
    let mut ear = JoinSet::new(); // ends with the test
    ear.spawn(async move { listening.listen().await });
    if db.backend == Backend::Postgres {
        // It rings once when it has begun to listen.
        heard.as_mut().await;
        heard.set(other.bell().notified());
    }
    heard.as_mut().enable();
    queue.order(1, 1, Priority::Immediate).await;
    let rung = tokio::time::timeout(Duration::from_secs(10), heard).await;
    assert!(rung.is_ok(), "nobody rang");
});
