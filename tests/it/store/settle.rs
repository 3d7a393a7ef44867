//! Settling: what becomes of jobs, claims and breakers; and what is taken from the dead.

use keywheel::model::Timestamp;
use keywheel::model::id::{ClaimId, JobId, NodeId, SystemId};
use keywheel::model::job::{Cause, JobKind, JobState, Priority};
use keywheel::store::{Claim, Ending, StoreError, SystemHealth};

use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id, settled};

fn later(ms: i64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "results are handed over as they come"
)]
fn lease_is_lost<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::LeaseLost)), "{result:?}");
}

/// System 1 with a job that is running.
async fn one_running(queue: &Queue, priority: Priority, kind: JobKind) -> (JobId, Claim) {
    queue.system(1, 2, 10, 1).await;
    let job = queue.order_at(1, 1, priority, kind, NOW).await;
    (job, queue.claim(priority, NOW).await.remove(0))
}

async fn state(queue: &Queue, job: JobId) -> JobState {
    queue.store.job(job).await.unwrap().unwrap().state
}

on_both!(a_settled_job_leaves_its_history_alone, |db| {
    let queue = db.queue().await;
    let (job, claim) = one_running(&queue, Priority::Immediate, JobKind::Rotate).await;
    assert_eq!(state(&queue, job).await, JobState::Running);
    queue.write("UPDATE schedule SET stale_at = 5").await;
    queue.settle(&claim, &Ending::Succeeded, later(7)).await;
    let view = queue.store.job(job).await.unwrap().unwrap();
    assert_eq!(view.state, JobState::Succeeded);
    assert_eq!(
        (view.ended_at, view.next_attempt_at),
        (Some(later(7)), None)
    );
    let attempt = &view.attempts[0];
    assert_eq!((attempt.attempt, attempt.started_at), (1, NOW));
    assert_eq!(attempt.outcome, "succeeded");
    assert_eq!(queue.number("SELECT COUNT(*) FROM jobs").await, 0);
    assert_eq!(
        queue
            .number("SELECT COUNT(*) FROM schedule WHERE stale_at IS NULL")
            .await,
        1
    );
    assert_eq!(queue.heads(1).await, [None; 3]);
    queue.is_sound().await;
});

on_both!(every_ending_plans_the_account_for_later, |db| {
    let queue = db.queue().await;
    queue.system(1, 2, 10, 3).await;
    queue
        .write("UPDATE accounts SET auto_management = 1, change_frequency_type = 'xdays', change_frequency_days = 1, created_at = 0")
        .await;
    let endings = [Ending::Succeeded, Ending::Failed, Ending::NeedsOperator];
    for (nth, ending) in (1..).zip(&endings) {
        queue
            .write("UPDATE schedule SET next_change_at = 5, stale_at = 5")
            .await;
        queue.order(1, nth, Priority::Routine).await;
        let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
        queue.settle(&claim, ending, NOW).await;
        let due = queue
            .store
            .account(account_id(1, nth))
            .await
            .unwrap()
            .unwrap()
            .due;
        match ending {
            Ending::Succeeded => {
                assert!(due.next_change_at > Some(NOW), "{due:?}");
                assert_eq!(due.stale_at, None);
            }
            Ending::Failed => {
                assert!(due.next_change_at >= Some(later(3_600_000)), "{due:?}");
                assert_eq!(due.stale_at, Some(Timestamp(5)));
            }
            _ => assert_eq!(due.next_change_at, None, "a person decides first"),
        }
    }
    queue.is_sound().await;
});

on_both!(a_failed_attempt_is_tried_again_later, |db| {
    let queue = db.queue().await;
    let (job, claim) = one_running(&queue, Priority::Quarantine, JobKind::Rotate).await;
    let at = later(60_000);
    let retry = Ending::Retry { at, counts: true };
    queue.settle(&claim, &retry, NOW).await;
    assert_eq!(queue.job_row(job).await, Some((1, at.0, 1, 0)));
    assert_eq!(queue.heads(1).await, [None, Some(at.0), None]);
    let view = queue.store.job(job).await.unwrap().unwrap();
    assert_eq!(
        (view.state, view.next_attempt_at),
        (JobState::Retrying, Some(at))
    );
    assert_eq!(view.attempts[0].outcome, "retried");
    queue.is_sound().await;
    // The next attempt was the system's fault, and does not count.
    let claim = queue.claim(Priority::Quarantine, at).await.remove(0);
    assert_eq!(claim.jobs[0].attempt, 2);
    let retry = Ending::Retry { at, counts: false };
    queue.settle(&claim, &retry, at).await;
    let claim = queue.claim(Priority::Quarantine, at).await.remove(0);
    assert_eq!(claim.jobs[0].attempt, 2);
    queue.settle(&claim, &Ending::NeedsOperator, at).await;
    let view = queue.store.job(job).await.unwrap().unwrap();
    assert_eq!(view.state, JobState::NeedsOperator);
    assert_eq!(view.attempts.len(), 3);
    queue.is_sound().await;
});

on_both!(whoever_waited_is_answered_and_the_rest_is_routine, |db| {
    let queue = db.queue().await;
    let (job, claim) = one_running(&queue, Priority::Immediate, JobKind::Rotate).await;
    queue.settle(&claim, &Ending::GivenBack, NOW).await;
    assert_eq!(queue.job_row(job).await, Some((0, NOW.0, 0, 0)));
    assert_eq!(state(&queue, job).await, JobState::Queued);
    let claim = queue.claim(Priority::Immediate, NOW).await.remove(0);
    let at = later(9);
    queue
        .settle(&claim, &Ending::Retry { at, counts: true }, NOW)
        .await;
    assert_eq!(queue.job_row(job).await, Some((2, at.0, 1, 0)));
    assert_eq!(queue.heads(1).await, [None, None, Some(at.0)]);
    queue.is_sound().await;
});

on_both!(a_claim_ends_once_and_for_its_holder_alone, |db| {
    let queue = db.queue().await;
    let (_, claim) = one_running(&queue, Priority::Routine, JobKind::Rotate).await;
    let stranger = Claim {
        node: NodeId(claim.node.0 + 1),
        ..claim.clone()
    };
    let settle = async |claim: &Claim| {
        let mut tx = queue.store.begin().await.unwrap();
        let all = settled(claim, &Ending::Succeeded);
        tx.settle(claim, &all, SystemHealth::Unknown, true, NOW)
            .await?;
        tx.commit().await
    };
    lease_is_lost(settle(&stranger).await);
    queue.is_sound().await;
    settle(&claim).await.unwrap();
    lease_is_lost(settle(&claim).await);
    assert_eq!(queue.number("SELECT COUNT(*) FROM job_history").await, 1);
    queue.is_sound().await;
});

on_both!(a_claim_is_settled_in_parts_and_the_same_part_twice, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 3, 3).await;
    for nth in 1..=3 {
        queue.order(1, nth, Priority::Routine).await;
    }
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let all = settled(&claim, &Ending::Succeeded);
    let part = async |jobs: &[keywheel::store::Settled], last| {
        let mut tx = queue.store.begin().await.unwrap();
        let health = SystemHealth::Faulty { pause_until: NOW };
        tx.settle(&claim, jobs, health, last, NOW).await.unwrap();
        tx.commit().await.unwrap();
    };
    part(&all[..2], false).await;
    assert_eq!(queue.number("SELECT running FROM systems").await, 1);
    queue.is_sound().await;
    // The answer to the commit was lost.
    part(&all[..2], false).await;
    assert_eq!(queue.number("SELECT trips FROM systems").await, 1);
    assert_eq!(queue.number("SELECT COUNT(*) FROM job_history").await, 2);
    part(&all, true).await;
    assert_eq!(queue.number("SELECT COUNT(*) FROM job_history").await, 3);
    assert_eq!(queue.number("SELECT COUNT(*) FROM jobs").await, 0);
    queue.is_sound().await;
});

on_both!(
    a_change_that_ran_while_the_quarantine_came_runs_again,
    |db| {
        let queue = db.queue().await;
        let (job, claim) = one_running(&queue, Priority::Routine, JobKind::Test).await;
        queue.quarantine(1, later(1)).await;
        assert_eq!(queue.job_row(job).await, Some((2, NOW.0, 1, 1)));
        queue.settle(&claim, &Ending::Failed, later(2)).await;
        assert_eq!(queue.job_row(job).await, Some((1, later(2).0, 0, 0)));
        assert_eq!(state(&queue, job).await, JobState::Queued);
        queue.is_sound().await;
        let claim = queue.claim(Priority::Quarantine, later(2)).await.remove(0);
        assert_eq!(
            (claim.jobs[0].kind, claim.jobs[0].attempt),
            (JobKind::Rotate, 1)
        );
        queue.settle(&claim, &Ending::Succeeded, later(3)).await;
        let view = queue.store.job(job).await.unwrap().unwrap();
        assert_eq!(
            (view.state, view.cause),
            (JobState::Succeeded, Cause::Quarantine)
        );
        assert_eq!(view.attempts.len(), 2);
        queue.is_sound().await;
    }
);

on_both!(
    a_quarantine_that_met_a_running_job_is_not_left_in_its_back_off,
    |db| {
        let queue = db.queue().await;
        let (job, claim) = one_running(&queue, Priority::Immediate, JobKind::Rotate).await;
        queue.quarantine(1, later(1)).await;
        let at = later(60_000);
        let retry = Ending::Retry { at, counts: true };
        queue.settle(&claim, &retry, later(2)).await;
        assert_eq!(queue.job_row(job).await, Some((1, later(2).0, 1, 1)));
        queue.is_sound().await;
        // An equal order does not cancel the next back-off.
        let claim = queue.claim(Priority::Quarantine, later(2)).await.remove(0);
        queue.settle(&claim, &retry, later(3)).await;
        assert_eq!(queue.job_row(job).await, Some((1, at.0, 2, 1)));
        // The first run may have begun before the order, so that one more follows.
        let claim = queue.claim(Priority::Quarantine, at).await.remove(0);
        queue.settle(&claim, &Ending::Succeeded, at).await;
        let claim = queue.claim(Priority::Quarantine, at).await.remove(0);
        queue.settle(&claim, &Ending::Succeeded, at).await;
        assert_eq!(state(&queue, job).await, JobState::Succeeded);
        queue.is_sound().await;
    }
);

on_both!(jobs_of_the_dead_are_queued_again_and_stay_counted, |db| {
    let queue = db.queue().await;
    let (job, claim) = one_running(&queue, Priority::Routine, JobKind::Rotate).await;
    queue.quarantine(1, later(1)).await;
    let orphans = async |alive| queue.store.orphaned_claims(alive).await.unwrap();
    assert_eq!(orphans(queue.node).await, []);
    assert_eq!(orphans(NodeId(99)).await, [], "its node lives");
    let mut tx = queue.store.begin().await.unwrap();
    tx.sign_off(queue.node).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(orphans(queue.node).await, [], "one does not reap oneself");
    assert_eq!(orphans(NodeId(99)).await, [(claim.id, SystemId(1))]);
    let reap = async || {
        let mut tx = queue.store.begin().await.unwrap();
        let reaped = tx.reap(claim.id, claim.system).await.unwrap();
        tx.commit().await.unwrap();
        reaped
    };
    assert!(reap().await);
    assert!(!reap().await);
    queue.is_sound().await;
    // The order that came meanwhile takes the job along.
    assert_eq!(queue.job_row(job).await, Some((1, NOW.0, 1, 1)));
    let mut tx = queue.store.begin().await.unwrap();
    let late = settled(&claim, &Ending::Succeeded);
    lease_is_lost(
        tx.settle(&claim, &late, SystemHealth::Answers, true, NOW)
            .await,
    );
    tx.rollback().await.unwrap();
    let claim = queue.claim(Priority::Quarantine, later(1)).await.remove(0);
    assert_eq!(claim.jobs[0].attempt, 2);
    assert_eq!(orphans(NodeId(99)).await, [(claim.id, SystemId(1))]);
});

on_both!(three_faults_in_a_row_open_the_breaker, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 1).await;
    let breaker = async || queue.store.breaker(SystemId(1)).await.unwrap();
    let fault = async |health| {
        queue.order(1, 1, Priority::Immediate).await;
        let claim = queue.claim(Priority::Immediate, NOW).await.remove(0);
        queue
            .settle_healthy(&claim, &Ending::Failed, health, NOW)
            .await;
    };
    let faulty = SystemHealth::Faulty {
        pause_until: later(30),
    };
    fault(faulty).await;
    fault(SystemHealth::Unknown).await;
    fault(faulty).await;
    assert_eq!(breaker().await, Some((2, Timestamp(0))));
    fault(SystemHealth::Answers).await;
    assert_eq!(breaker().await, Some((0, Timestamp(0))));
    for _ in 0..3 {
        fault(faulty).await;
    }
    assert_eq!(breaker().await, Some((3, later(30))));
    assert_eq!(queue.store.breaker(SystemId(9)).await.unwrap(), None);
    queue.is_sound().await;
});

on_both!(what_was_never_claimed_cannot_be_reaped, |db| {
    let queue = db.queue().await;
    let (_, claim) = one_running(&queue, Priority::Routine, JobKind::Rotate).await;
    let mut tx = queue.store.begin().await.unwrap();
    assert!(!tx.reap(ClaimId(claim.id.0 + 1), SystemId(1)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(queue.number("SELECT running FROM systems").await, 1);
    queue.is_sound().await;
});

on_both!(a_refused_scheduled_test_changes_whoever_wants_it, |db| {
    let queue = db.queue().await;
    queue.system(1, 2, 10, 4).await;
    // The first has asked for it, the second has not, the third was tested by order, and of the
    // fourth the target said nothing.
    queue
        .write("UPDATE accounts SET auto_management = 1, reset_on_mismatch = 1 WHERE id <> 1000002")
        .await;
    queue
        .write("UPDATE accounts SET last_test = 'out_of_sync' WHERE id <> 1000004")
        .await;
    queue
        .write("UPDATE schedule SET next_test_at = 5 WHERE account_id <> 1000003")
        .await;
    let mut tx = queue.store.begin().await.unwrap();
    assert_eq!(tx.scan_stale(NOW, 9).await.unwrap().tests, 3);
    tx.commit().await.unwrap();
    queue
        .order_at(1, 3, Priority::Routine, JobKind::Test, NOW)
        .await;
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let mut all = settled(&claim, &Ending::Failed);
    for one in &mut all {
        one.class = "denied";
    }
    let mut tx = queue.store.begin().await.unwrap();
    tx.settle(&claim, &all, SystemHealth::Answers, true, later(1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let open = queue.store.jobs(true, None, None, 9).await.unwrap();
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0].account_id, account_id(1, 1));
    assert_eq!(
        (open[0].kind, open[0].cause),
        (JobKind::Rotate, Cause::Mismatch)
    );
    queue.is_sound().await;
});
