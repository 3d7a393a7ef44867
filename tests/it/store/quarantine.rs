//! Quarantines: every account of a system, counted until the last is settled.

use keywheel::model::Timestamp;
use keywheel::model::id::{AccountId, QuarantineId, SystemId};
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::quarantine::{QuarantineCounts, QuarantineView};
use keywheel::store::{Ending, QUARANTINE_CHUNK};

use super::inventory::is_stale;
use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};

async fn view(queue: &Queue, id: i64) -> QuarantineView {
    let view = queue.store.quarantine(QuarantineId(id)).await;
    let view = view.unwrap().unwrap();
    let counts = view.counts;
    let all = counts.queued
        + counts.running
        + counts.retrying
        + counts.succeeded
        + counts.failed
        + counts.needs_operator;
    assert_eq!(all, view.accounts, "{view:?}");
    view
}

async fn settle_next(queue: &Queue, ending: &Ending, now: Timestamp) {
    let claim = queue.claim(Priority::Quarantine, now).await.remove(0);
    queue.settle(&claim, ending, now).await;
}

on_both!(a_quarantine_changes_every_active_account, |db| {
    let queue = db.queue().await;
    queue.system(1, 9, 1, 6).await;
    queue.system(2, 9, 1, 2).await;
    queue
        .write("UPDATE accounts SET active = 0 WHERE id = 1000006")
        .await;
    let id = queue.quarantine(1, NOW).await;
    let ordered = view(&queue, id).await;
    assert_eq!((ordered.accounts, ordered.counts.queued), (5, 5));
    assert_eq!((ordered.system_id, ordered.ordered_at), (SystemId(1), NOW));
    assert_eq!(
        (ordered.reason.as_str(), ordered.actor.as_str()),
        ("leak", "ada")
    );
    assert_eq!(ordered.incident.as_deref(), Some("INC-1"));
    assert_eq!(queue.heads(1).await, [None, Some(NOW.0), None]);
    assert_eq!(queue.heads(2).await, [None; 3]);
    queue.is_sound().await;
    let jobs = queue.store.jobs(true, None, None, 9).await.unwrap();
    assert_eq!(jobs.len(), 5);
    assert!(jobs.iter().all(|job| job.cause == Cause::Quarantine
        && job.kind == JobKind::Rotate
        && job.priority == Priority::Quarantine
        && job.actor == "ada"));
    let first = queue.claim(Priority::Quarantine, NOW).await.remove(0);
    assert_eq!(view(&queue, id).await.counts.running, 1);
    queue.settle(&first, &Ending::Succeeded, NOW).await;
    settle_next(&queue, &Ending::Failed, NOW).await;
    settle_next(&queue, &Ending::NeedsOperator, NOW).await;
    let at = Timestamp(NOW.0 + 9);
    settle_next(&queue, &Ending::Retry { at, counts: true }, NOW).await;
    let halfway = view(&queue, id).await;
    let meant = QuarantineCounts {
        queued: 1,
        running: 0,
        retrying: 1,
        succeeded: 1,
        failed: 1,
        needs_operator: 1,
    };
    assert_eq!(halfway.counts, meant);
    assert_eq!(halfway.finished_at, None);
    settle_next(&queue, &Ending::Succeeded, NOW).await;
    assert_eq!(view(&queue, id).await.finished_at, None);
    let last = queue.claim(Priority::Quarantine, at).await.remove(0);
    assert_eq!(view(&queue, id).await.counts.running, 1);
    queue.settle(&last, &Ending::Succeeded, at).await;
    let done = view(&queue, id).await;
    assert_eq!((done.finished_at, done.counts.succeeded), (Some(at), 3));
    queue.is_sound().await;
});

on_both!(a_quarantine_of_nothing_is_finished_at_once, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 0).await;
    let id = queue.quarantine(1, NOW).await;
    let view = view(&queue, id).await;
    assert_eq!((view.accounts, view.finished_at), (0, Some(NOW)));
    assert_eq!(view.counts, QuarantineCounts::default());
    assert_eq!(queue.heads(1).await, [None; 3]);
});

on_both!(
    a_quarantine_joins_what_is_queued_and_repeats_what_is_running,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 9, 1, 6).await;
        let now = Timestamp(NOW.0 + 5);
        let running = queue.order(1, 1, Priority::Immediate).await;
        let claim = queue.claim(Priority::Immediate, NOW).await.remove(0);
        let waited_for = queue.order(1, 2, Priority::Immediate).await;
        let routine = queue.order(1, 3, Priority::Routine).await;
        let test = queue
            .order_at(1, 4, Priority::Routine, JobKind::Test, NOW)
            .await;
        let later = Timestamp(NOW.0 + 500);
        let backed_off = queue
            .order_at(1, 5, Priority::Quarantine, JobKind::Rotate, later)
            .await;
        let id = queue.quarantine(1, now).await;
        queue.is_sound().await;
        let counts = view(&queue, id).await.counts;
        assert_eq!((counts.queued, counts.running), (5, 1));
        assert_eq!(queue.job_row(running).await, Some((0, NOW.0, 1, 1)));
        assert_eq!(queue.job_row(waited_for).await, Some((0, NOW.0, 0, 0)));
        assert_eq!(queue.job_row(routine).await, Some((1, now.0, 0, 0)));
        assert_eq!(queue.job_row(test).await, Some((1, now.0, 0, 0)));
        assert_eq!(queue.job_row(backed_off).await, Some((1, later.0, 0, 0)));
        let tests = "SELECT COUNT(*) FROM jobs WHERE kind = 'test'";
        assert_eq!(queue.number(tests).await, 0);
        // What was running counts only once it has run again.
        queue.settle(&claim, &Ending::Succeeded, now).await;
        let counts = view(&queue, id).await.counts;
        assert_eq!((counts.queued, counts.succeeded), (6, 0));
        for class in [Priority::Immediate, Priority::Quarantine] {
            while let Some(claim) = queue.claim(class, later).await.pop() {
                assert_eq!(view(&queue, id).await.finished_at, None);
                queue.settle(&claim, &Ending::Succeeded, later).await;
            }
        }
        let done = view(&queue, id).await;
        assert_eq!((done.finished_at, done.counts.succeeded), (Some(later), 6));
        queue.is_sound().await;
    }
);

on_both!(two_quarantines_share_what_is_queued, |db| {
    let queue = db.queue().await;
    queue.system(1, 9, 1, 3).await;
    let first = queue.quarantine(1, NOW).await;
    let claim = queue.claim(Priority::Quarantine, NOW).await.remove(0);
    let second = queue.quarantine(1, NOW).await;
    queue.is_sound().await;
    assert_eq!(queue.number("SELECT COUNT(*) FROM jobs").await, 3);
    queue.settle(&claim, &Ending::Succeeded, NOW).await;
    for _ in 0..3 {
        assert_eq!(view(&queue, first).await.accounts, 3);
        assert_eq!(view(&queue, second).await.finished_at, None);
        settle_next(&queue, &Ending::Succeeded, NOW).await;
    }
    for id in [first, second] {
        let done = view(&queue, id).await;
        assert_eq!((done.finished_at, done.counts.succeeded), (Some(NOW), 3));
    }
    queue.is_sound().await;
});

on_both!(an_attempt_of_another_node_hides_no_end, |db| {
    let queue = db.queue().await;
    queue.system(1, 9, 1, 1).await;
    let id = queue.quarantine(1, NOW).await;
    let claim = queue.claim(Priority::Quarantine, NOW).await.remove(0);
    let retry = Ending::Retry {
        at: NOW,
        counts: true,
    };
    queue.settle(&claim, &retry, NOW).await;
    // Nodes take claim ids in blocks of their own: the later attempt may have the lower id.
    queue
        .write("UPDATE job_history SET claim_id = claim_id + 5000")
        .await;
    settle_next(&queue, &Ending::Succeeded, NOW).await;
    assert_eq!(view(&queue, id).await.counts.succeeded, 1);
});

on_both!(a_large_quarantine_is_ordered_in_chunks_and_resumed, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 100, QUARANTINE_CHUNK + 1).await;
    let mut tx = queue.store.begin().await.unwrap();
    tx.lock_queue(SystemId(1)).await.unwrap();
    let id = tx
        .open_quarantine(SystemId(1), "", None, "ada", NOW)
        .await
        .unwrap();
    let first = tx
        .quarantine_chunk(id, SystemId(1), AccountId(0), "ada", NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(first, Some(account_id(1, QUARANTINE_CHUNK)));
    // Here its node dies; all that was ordered is settled.
    queue.write("DELETE FROM jobs").await;
    queue.write("UPDATE schedule SET open_job = 0").await;
    let mut tx = queue.store.begin().await.unwrap();
    tx.finish_quarantines(SystemId(1), NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        queue
            .store
            .quarantine(id)
            .await
            .unwrap()
            .unwrap()
            .finished_at,
        None
    );
    let open = queue.store.unordered_quarantines().await.unwrap();
    let resumed = (id, SystemId(1), first.unwrap(), "ada".to_owned());
    assert_eq!(open, [resumed]);
    let mut tx = queue.store.begin().await.unwrap();
    tx.lock_queue(SystemId(1)).await.unwrap();
    is_stale(
        tx.quarantine_chunk(id, SystemId(1), AccountId(0), "ada", NOW)
            .await,
    );
    tx.rollback().await.unwrap();
    let mut tx = queue.store.begin().await.unwrap();
    tx.lock_queue(SystemId(1)).await.unwrap();
    let second = tx
        .quarantine_chunk(id, SystemId(1), first.unwrap(), "ada", NOW)
        .await
        .unwrap();
    assert_eq!(second, Some(account_id(1, QUARANTINE_CHUNK + 1)));
    let third = tx
        .quarantine_chunk(id, SystemId(1), second.unwrap(), "ada", NOW)
        .await
        .unwrap();
    assert_eq!(third, None);
    tx.commit().await.unwrap();
    assert_eq!(queue.store.unordered_quarantines().await.unwrap(), []);
    let view = queue.store.quarantine(id).await.unwrap().unwrap();
    assert_eq!(view.accounts, QUARANTINE_CHUNK + 1);
    assert_eq!((view.counts.queued, view.finished_at), (1, None));
    settle_next(&queue, &Ending::Succeeded, NOW).await;
    let view = queue.store.quarantine(id).await.unwrap().unwrap();
    assert_eq!(view.finished_at, Some(NOW));
    queue.is_sound().await;
});

on_both!(quarantines_are_listed_newest_first, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 0).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(QuarantineId(queue.quarantine(1, NOW).await));
    }
    let listed = async |before, limit| {
        let found = queue.store.quarantines(before, limit).await.unwrap();
        found.iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, 2).await, [ids[2], ids[1]]);
    assert_eq!(listed(Some(ids[1]), 9).await, [ids[0]]);
    let none = queue.store.quarantine(QuarantineId(99)).await.unwrap();
    assert_eq!(none, None);
});
