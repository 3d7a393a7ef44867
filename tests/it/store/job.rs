//! Jobs: ordered one at a time, and read back.

use std::time::Duration;

use keywheel::model::Timestamp;
use keywheel::model::credential::Parts;
use keywheel::model::id::{AccountId, JobId, SystemId};
use keywheel::model::job::{Cause, JobKind, JobState, Priority};
use keywheel::store::{Ending, NewJob, SystemHealth};

use super::inventory::{conflicts, is_stale};
use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id, settled};

fn new_job(system: i64, account: AccountId, priority: Priority) -> NewJob {
    NewJob {
        account,
        system: SystemId(system),
        kind: JobKind::Rotate,
        cause: Cause::Order,
        actor: "ada".to_owned(),
        priority,
        run_at: NOW,
        parts: Parts::ALL_THERE_ARE,
        version: Some(3),
        key_version: None,
    }
}

async fn hasten(queue: &Queue, job: JobId, priority: Priority, now: Timestamp) {
    let mut tx = queue.store.begin().await.unwrap();
    tx.lock_queue(SystemId(1)).await.unwrap();
    tx.hasten(job, SystemId(1), priority, now).await.unwrap();
    tx.commit().await.unwrap();
}

on_both!(an_order_is_queued_with_head_and_mark, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 2).await;
    let job = queue.order(1, 1, Priority::Quarantine).await;
    assert_eq!(queue.heads(1).await, [None, Some(NOW.0), None]);
    let mut tx = queue.store.begin().await.unwrap();
    let open = tx.open_job(account_id(1, 1)).await.unwrap().unwrap();
    assert_eq!(
        (open.id, open.kind, open.running, open.attempt),
        (job, JobKind::Rotate, false, 0)
    );
    assert_eq!((open.priority, open.version), (Priority::Quarantine, None));
    assert_eq!(tx.open_job(account_id(1, 2)).await.unwrap(), None);
    tx.rollback().await.unwrap();
    let view = queue.store.job(job).await.unwrap().unwrap();
    assert_eq!((view.state, view.cause), (JobState::Queued, Cause::Order));
    assert_eq!((view.actor.as_str(), view.queued_at), ("ada", NOW));
    assert_eq!((view.next_attempt_at, view.ended_at), (Some(NOW), None));
    assert!(view.attempts.is_empty());
    assert_eq!(queue.store.job(JobId(999)).await.unwrap(), None);
    queue.is_sound().await;
});

on_both!(an_account_has_one_open_job_at_most, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 1).await;
    queue.order(1, 1, Priority::Routine).await;
    let again = new_job(1, account_id(1, 1), Priority::Immediate);
    let mut tx = queue.store.begin().await.unwrap();
    conflicts(tx.enqueue(&again, NOW).await);
    tx.rollback().await.unwrap();
    assert_eq!(queue.heads(1).await, [None, None, Some(NOW.0)]);
    assert_eq!(queue.claim(Priority::Routine, NOW).await.len(), 1);
    let mut tx = queue.store.begin().await.unwrap();
    conflicts(tx.enqueue(&again, NOW).await);
    tx.rollback().await.unwrap();
    queue.is_sound().await;
});

on_both!(a_job_needs_an_account_and_a_system, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 1).await;
    let mut tx = queue.store.begin().await.unwrap();
    assert!(!tx.lock_queue(SystemId(9)).await.unwrap());
    is_stale(
        tx.enqueue(&new_job(9, account_id(1, 1), Priority::Routine), NOW)
            .await,
    );
    is_stale(
        tx.enqueue(&new_job(1, account_id(1, 9), Priority::Routine), NOW)
            .await,
    );
    tx.rollback().await.unwrap();
    assert_eq!(queue.number("SELECT COUNT(*) FROM jobs").await, 0);
    queue.is_sound().await;
});

on_both!(a_queued_job_only_becomes_more_urgent, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 1).await;
    let job = queue
        .order_at(
            1,
            1,
            Priority::Routine,
            JobKind::Rotate,
            Timestamp(NOW.0 + 500),
        )
        .await;
    let early = Timestamp(NOW.0 + 100);
    hasten(&queue, job, Priority::Routine, early).await;
    assert_eq!(queue.job_row(job).await, Some((2, NOW.0 + 500, 0, 0)));
    hasten(&queue, job, Priority::Quarantine, early).await;
    assert_eq!(queue.job_row(job).await, Some((1, early.0, 0, 0)));
    hasten(&queue, job, Priority::Routine, NOW).await;
    assert_eq!(queue.job_row(job).await, Some((1, early.0, 0, 0)));
    hasten(&queue, job, Priority::Immediate, early).await;
    assert_eq!(queue.job_row(job).await, Some((0, early.0, 0, 0)));
    queue.is_sound().await;
    let claims = queue.claim(Priority::Immediate, early).await;
    hasten(&queue, job, Priority::Immediate, NOW).await;
    assert_eq!(queue.job_row(job).await, Some((0, early.0, 1, 0)));
    assert_eq!(claims[0].jobs[0].run_at, early);
    queue.is_sound().await;
});

on_both!(an_equal_order_does_not_cancel_a_back_off, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 1).await;
    let job = queue.order(1, 1, Priority::Routine).await;
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let at = Timestamp(NOW.0 + 60_000);
    let retry = Ending::Retry { at, counts: true };
    queue.settle(&claim, &retry, NOW).await;
    hasten(&queue, job, Priority::Routine, NOW).await;
    assert_eq!(queue.job_row(job).await, Some((2, at.0, 1, 0)));
    assert!(queue.claim(Priority::Routine, NOW).await.is_empty());
    hasten(&queue, job, Priority::Immediate, NOW).await;
    let claim = queue.claim(Priority::Immediate, NOW).await.remove(0);
    assert_eq!(claim.jobs[0].attempt, 2);
    queue.is_sound().await;
});

on_both!(
    a_queued_job_takes_another_candidate_a_running_one_does_not,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 10, 1).await;
        let job = queue
            .order_at(1, 1, Priority::Routine, JobKind::Test, NOW)
            .await;
        let mut tx = queue.store.begin().await.unwrap();
        let parts = Parts::PASSWORD.plus(Parts::KEY);
        tx.redirect_job(job, parts, (Some(7), None), "bob", NOW)
            .await
            .unwrap();
        tx.redirect_job(job, parts, (None, Some(8)), "bob", NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
        let claimed = &claim.jobs[0];
        assert_eq!((claimed.kind, claimed.parts), (JobKind::Rotate, parts));
        let versions = (claimed.version, claimed.key_version);
        assert_eq!(versions, (Some(7), Some(8)));
        assert_eq!((claimed.actor.as_str(), claimed.attempt), ("bob", 1));
        let mut tx = queue.store.begin().await.unwrap();
        for job in [job, JobId(999)] {
            is_stale(tx.redirect_job(job, parts, (None, None), "eve", NOW).await);
        }
    }
);

on_both!(a_job_that_needed_no_queue_has_succeeded_already, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 1).await;
    let mut tx = queue.store.begin().await.unwrap();
    let new = new_job(1, account_id(1, 1), Priority::Immediate);
    let job = tx.record_done(&new, "stored", NOW).await.unwrap();
    tx.commit().await.unwrap();
    let view = queue.store.job(job).await.unwrap().unwrap();
    assert_eq!(view.state, JobState::Succeeded);
    assert_eq!((view.ended_at, view.next_attempt_at), (Some(NOW), None));
    assert_eq!(view.attempts[0].log, "stored");
    assert_eq!(queue.heads(1).await, [None; 3]);
    queue.is_sound().await;
});

on_both!(jobs_are_listed_newest_first_open_or_ended, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 3).await;
    let mut jobs = Vec::new();
    for nth in 1..=3 {
        jobs.push(queue.order(1, nth, Priority::Routine).await);
    }
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    queue.settle(&claim, &Ending::Succeeded, NOW).await;
    let ids = async |open, account, before, limit| {
        let found = queue.store.jobs(open, account, before, limit).await;
        let ids: Vec<JobId> = found.unwrap().iter().map(|job| job.id).collect();
        ids
    };
    assert_eq!(ids(true, None, None, 9).await, [jobs[2], jobs[1]]);
    assert_eq!(ids(true, None, None, 1).await, [jobs[2]]);
    assert_eq!(ids(true, None, Some(jobs[2]), 9).await, [jobs[1]]);
    let second = Some(account_id(1, 2));
    assert_eq!(ids(true, second, None, 9).await, [jobs[1]]);
    assert_eq!(ids(false, None, None, 9).await, [jobs[0]]);
    assert_eq!(ids(false, second, None, 9).await, []);
    assert_eq!(ids(false, None, Some(jobs[0]), 9).await, []);
    // A change that a quarantine orders once more has not ended, whatever its first run came to.
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    queue.quarantine(1, NOW).await;
    queue.settle(&claim, &Ending::Succeeded, NOW).await;
    assert_eq!(ids(false, second, None, 9).await, []);
    assert_eq!(ids(true, second, None, 9).await, [jobs[1]]);
});

on_both!(
    the_bell_rings_when_an_order_is_committed_and_not_before,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 1, 2).await;
        let rung = async || {
            let mut bell = std::pin::pin!(queue.store.bell().notified());
            bell.as_mut().enable();
            let mut tx = queue.store.begin().await.unwrap();
            let new = new_job(1, account_id(1, 1), Priority::Immediate);
            tx.enqueue(&new, NOW).await.unwrap();
            tx.rollback().await.unwrap();
            let early = futures::FutureExt::now_or_never(bell.as_mut()).is_some();
            queue.order(1, 2, Priority::Immediate).await;
            let late = tokio::time::timeout(Duration::from_secs(5), bell).await;
            (early, late.is_ok())
        };
        assert_eq!(rung().await, (false, true));
    }
);

on_both!(who_holds_a_queue_holds_it_alone, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let mut first = queue.store.begin().await.unwrap();
    first.lock_queue(SystemId(1)).await.unwrap();
    let store = queue.store.clone();
    let second = async move {
        let mut tx = store.begin().await.unwrap();
        tx.lock_queue(SystemId(1)).await.unwrap();
        tx.open_job(account_id(1, 1)).await.unwrap()
    };
    let mut second = std::pin::pin!(second);
    let waited = tokio::time::timeout(Duration::from_millis(200), second.as_mut()).await;
    assert!(waited.is_err(), "the lock was taken twice");
    let job = new_job(1, account_id(1, 1), Priority::Routine);
    let id = first.enqueue(&job, NOW).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap().id, id);
});

on_both!(clocks_that_differ_do_not_reopen_a_job, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let job = queue.order(1, 1, Priority::Routine).await;
    let later = Timestamp(NOW.0 + 5_000);
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let at = NOW;
    queue
        .settle(&claim, &Ending::Retry { at, counts: true }, later)
        .await;
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let mut tx = queue.store.begin().await.unwrap();
    let settled = settled(&claim, &Ending::Failed);
    tx.settle(&claim, &settled, SystemHealth::Unknown, true, NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let view = queue.store.job(job).await.unwrap().unwrap();
    assert_eq!(view.state, JobState::Failed);
});
