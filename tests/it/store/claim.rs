//! Claims: the cap, the order, heads, the breaker.

use keywheel::model::Timestamp;
use keywheel::model::id::SystemId;
use keywheel::model::job::{JobKind, Priority};
use keywheel::store::{Claim, Ending, StoreError, SystemHealth};

use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};

fn later(ms: i64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

fn accounts(claim: &Claim) -> Vec<i64> {
    let jobs = claim.jobs.iter();
    jobs.map(|job| job.account.0 - account_id(claim.system.0, 0).0)
        .collect()
}

/// Opens the breaker of system 1 until `until`.
async fn open_breaker(queue: &Queue, until: Timestamp) {
    for nth in 1..=3 {
        queue.order(1, nth, Priority::Routine).await;
        let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
        let health = SystemHealth::Faulty { pause_until: until };
        queue
            .settle_healthy(&claim, &Ending::Failed, health, NOW)
            .await;
    }
    let breaker = queue.store.breaker(SystemId(1)).await.unwrap();
    assert_eq!(breaker, Some((3, until)));
}

on_both!(a_claim_takes_due_jobs_of_one_class_in_order, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 3, 6).await;
    for (nth, at) in [(1, 30), (2, 10), (3, 20), (4, 10), (5, 99)] {
        queue
            .order_at(1, nth, Priority::Routine, JobKind::Rotate, later(at))
            .await;
    }
    queue.order(1, 6, Priority::Quarantine).await;
    let claim = queue.claim(Priority::Routine, later(50)).await.remove(0);
    assert_eq!(accounts(&claim), [2, 4, 3]);
    assert_eq!((claim.system, claim.node), (SystemId(1), queue.node));
    assert_eq!(claim.claimed_at, later(50));
    assert!(claim.jobs.iter().all(|job| job.attempt == 1));
    assert_eq!(queue.heads(1).await, [None, Some(NOW.0), Some(later(30).0)]);
    queue.is_sound().await;
});

on_both!(a_claim_holds_no_more_accounts_than_its_node_allows, |db| {
    let queue = db.queue().await;
    queue.system(1, 2, 3, 6).await;
    for nth in 1..=6 {
        queue.order(1, nth, Priority::Routine).await;
    }
    for (batch_max, held) in [(2, 2), (9, 3)] {
        let mut tx = queue.store.begin().await.unwrap();
        let claims = tx.claim(queue.node, Priority::Routine, 1, batch_max, NOW);
        assert_eq!(claims.await.unwrap()[0].jobs.len(), held);
        tx.commit().await.unwrap();
    }
    queue.is_sound().await;
});

on_both!(a_system_never_has_more_claims_than_sessions, |db| {
    let queue = db.queue().await;
    queue.system(1, 2, 1, 4).await;
    for nth in 1..=4 {
        queue.order(1, nth, Priority::Routine).await;
    }
    let first = queue.claim(Priority::Routine, NOW).await;
    let second = queue.claim(Priority::Routine, NOW).await;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert!(queue.claim(Priority::Routine, NOW).await.is_empty());
    queue.is_sound().await;
    queue.settle(&first[0], &Ending::Succeeded, NOW).await;
    assert_eq!(queue.claim(Priority::Routine, NOW).await.len(), 1);
    queue.is_sound().await;
});

on_both!(the_cap_holds_among_many_who_claim_at_once, |db| {
    let queue = db.queue().await;
    for system in 1..=3 {
        queue.system(system, 3, 2, 20).await;
        for nth in 1..=20 {
            queue.order(system, nth, Priority::Routine).await;
        }
    }
    let claims = (0..12).map(|_| queue.claim(Priority::Routine, NOW));
    let claims: Vec<Claim> = futures::future::join_all(claims).await.concat();
    for system in 1..=3 {
        let of_it = claims.iter().filter(|claim| claim.system.0 == system);
        assert!(of_it.count() <= 3, "{claims:?}");
    }
    let mut jobs: Vec<_> = claims.iter().flat_map(|c| &c.jobs).map(|j| j.id).collect();
    let all = jobs.len();
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!(jobs.len(), all, "a job was claimed twice");
    queue.is_sound().await;
});

on_both!(work_of_the_future_waits, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 3, 1).await;
    queue
        .order_at(1, 1, Priority::Immediate, JobKind::Test, later(10))
        .await;
    assert!(queue.claim(Priority::Immediate, later(9)).await.is_empty());
    let claim = queue.claim(Priority::Immediate, later(10)).await.remove(0);
    assert_eq!(claim.jobs[0].kind, JobKind::Test);
});

on_both!(a_head_that_is_too_urgent_hides_nobody, |db| {
    let queue = db.queue().await;
    for system in 1..=3 {
        queue.system(system, 1, 1, 1).await;
    }
    queue
        .write("UPDATE systems SET head2 = 5 WHERE id < 3")
        .await;
    queue.order(3, 1, Priority::Routine).await;
    let mut tx = queue.store.begin().await.unwrap();
    let claims = tx
        .claim(queue.node, Priority::Routine, 1, 1_000, NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].system, SystemId(3));
    assert_eq!(queue.heads(1).await, [None; 3]);
    queue.is_sound().await;
});

on_both!(a_broken_system_rests_but_for_whoever_waits, |db| {
    let queue = db.queue().await;
    queue.system(1, 5, 10, 9).await;
    open_breaker(&queue, later(1_000)).await;
    queue.order(1, 4, Priority::Routine).await;
    queue.order(1, 5, Priority::Quarantine).await;
    queue.order(1, 6, Priority::Immediate).await;
    queue.order(1, 7, Priority::Immediate).await;
    assert!(queue.claim(Priority::Routine, NOW).await.is_empty());
    assert!(queue.claim(Priority::Quarantine, NOW).await.is_empty());
    let claim = queue.claim(Priority::Immediate, NOW).await.remove(0);
    assert_eq!(accounts(&claim), [6]);
    queue.is_sound().await;
    queue.settle(&claim, &Ending::Succeeded, NOW).await;
    // The pause is folded into the heads.
    let until = Some(later(1_000).0);
    assert_eq!(queue.heads(1).await, [Some(NOW.0), until, until]);
});

on_both!(
    after_its_pause_one_claim_of_one_job_tries_a_broken_system,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 5, 10, 9).await;
        open_breaker(&queue, later(1_000)).await;
        for nth in 4..=9 {
            queue.order(1, nth, Priority::Routine).await;
        }
        let now = later(1_000);
        let claim = queue.claim(Priority::Routine, now).await.remove(0);
        assert_eq!(claim.jobs.len(), 1);
        assert!(queue.claim(Priority::Routine, now).await.is_empty());
        let health = SystemHealth::Faulty {
            pause_until: later(9_000),
        };
        queue
            .settle_healthy(&claim, &Ending::GivenBack, health, now)
            .await;
        assert!(queue.claim(Priority::Routine, now).await.is_empty());
        let now = later(9_000);
        let claim = queue.claim(Priority::Routine, now).await.remove(0);
        assert_eq!(claim.jobs.len(), 1);
        queue
            .settle_healthy(&claim, &Ending::Succeeded, SystemHealth::Answers, now)
            .await;
        let breaker = queue.store.breaker(SystemId(1)).await.unwrap();
        assert_eq!(breaker, Some((0, Timestamp(0))));
        assert_eq!(queue.claim(Priority::Routine, now).await[0].jobs.len(), 5);
        queue.is_sound().await;
    }
);

on_both!(old_jobs_of_broken_systems_are_claimed_to_be_ended, |db| {
    let queue = db.queue().await;
    // System 2 is sound, and its job is older than all of system 1.
    queue.system(2, 1, 1, 1).await;
    queue.order(2, 1, Priority::Routine).await;
    queue.system(1, 1, 10, 6).await;
    open_breaker(&queue, later(1_000_000)).await;
    for (nth, class) in [(4, Priority::Immediate), (5, Priority::Routine)] {
        queue.order(1, nth, class).await;
    }
    queue
        .write("UPDATE jobs SET queued_at = queued_at + 100 WHERE system_id = 1")
        .await;
    let expired = async |cutoff| {
        let mut tx = queue.store.begin().await.unwrap();
        let claim = tx.claim_expired(queue.node, cutoff, NOW).await.unwrap();
        tx.commit().await.unwrap();
        claim
    };
    assert_eq!(expired(later(100)).await, None);
    let claim = expired(later(101)).await.unwrap();
    assert_eq!(
        (claim.system, claim.priority),
        (SystemId(1), Priority::Routine)
    );
    assert_eq!(accounts(&claim), [4, 5]);
    assert!(claim.jobs.iter().all(|job| job.attempt == 1));
    queue.is_sound().await;
    queue.order(1, 6, Priority::Routine).await;
    assert_eq!(expired(later(101)).await, None, "the only session is taken");
    queue.settle(&claim, &Ending::Failed, NOW).await;
    let claim = expired(later(101)).await.unwrap();
    queue.settle(&claim, &Ending::Failed, NOW).await;
    assert_eq!(expired(later(101)).await, None);
    queue.is_sound().await;
});

on_both!(lazy_heads_are_found_and_repaired, |db| {
    let queue = db.queue().await;
    for system in 1..=4 {
        queue.system(system, 1, 1, 3).await;
        for (nth, class) in [(1, Priority::Immediate), (2, Priority::Quarantine)] {
            queue.order(system, nth, class).await;
        }
        queue.order(system, 3, Priority::Routine).await;
    }
    let repair = async |limit| {
        let mut tx = queue.store.begin().await.unwrap();
        let repaired = tx.repair_heads(limit).await.unwrap();
        tx.commit().await.unwrap();
        repaired
    };
    assert_eq!(repair(10).await, 0);
    queue
        .write("UPDATE systems SET head0 = NULL WHERE id = 1")
        .await;
    queue
        .write("UPDATE systems SET head1 = head1 + 1 WHERE id = 2")
        .await;
    // Paused, and its head is later than even the pause.
    queue
        .write("UPDATE systems SET paused_until = head2 + 50, head2 = head2 + 51 WHERE id = 3")
        .await;
    queue.write("UPDATE systems SET paused_until = head2 + 50, head2 = head2 + 50, head1 = head1 + 50 WHERE id = 4").await;
    assert_eq!(queue.unsound().await.lazy, 3);
    assert_eq!(repair(2).await, 2);
    assert_eq!(repair(10).await, 1);
    assert_eq!(repair(10).await, 0);
    assert_eq!(queue.heads(3).await[2], Some(later(50).0));
    queue.is_sound().await;
});

on_both!(only_its_holder_holds_a_claim, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    queue.order(1, 1, Priority::Routine).await;
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let mut tx = queue.store.begin().await.unwrap();
    tx.hold(claim.id, claim.node).await.unwrap();
    let other = keywheel::model::id::NodeId(claim.node.0 + 1);
    let stranger = tx.hold(claim.id, other).await;
    assert!(
        matches!(stranger, Err(StoreError::LeaseLost)),
        "{stranger:?}"
    );
    tx.rollback().await.unwrap();
    queue.settle(&claim, &Ending::Succeeded, NOW).await;
    let mut tx = queue.store.begin().await.unwrap();
    let late = tx.hold(claim.id, claim.node).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
});

on_both!(a_look_says_whether_a_claim_may_find_work, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 2).await;
    queue.system(2, 1, 10, 1).await;
    let later = later(60_000);
    let may = async |now| queue.store.may_claim(now).await.unwrap();
    assert!(!may(later).await);
    for (nth, priority) in (1..).zip([Priority::Immediate, Priority::Routine]) {
        queue
            .order_at(1, nth, priority, JobKind::Rotate, later)
            .await;
        assert!(!may(NOW).await && may(later).await);
    }
    // Its one session is taken; then another system has work, too.
    let claims = queue.claim(Priority::Immediate, later).await;
    assert_eq!(claims.len(), 1);
    assert!(!may(later).await);
    queue.order(2, 1, Priority::Quarantine).await;
    assert!(may(NOW).await);
    queue
        .write("UPDATE systems SET head1 = NULL, trips = 3 WHERE id = 2")
        .await;
    assert!(may(NOW).await, "what a broken system holds may be too old");
    queue.write("UPDATE systems SET trips = 2").await;
    assert!(!may(NOW).await);
});
