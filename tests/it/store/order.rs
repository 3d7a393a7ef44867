//! Orders of many accounts in one transaction.

use keywheel::model::credential::Parts;
use keywheel::model::id::{AccountId, SystemId};
use keywheel::model::job::{Cause, JobKind, JobState, Priority};
use keywheel::store::NewRotationJob;
use tokio::task::JoinSet;

use super::inventory::conflicts;
use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};

fn rotation(system: i64, nth: i64, priority: Priority) -> NewRotationJob {
    NewRotationJob {
        account: account_id(system, nth),
        system: SystemId(system),
        actor: "ada".to_owned(),
        priority,
        parts: Parts::ALL_THERE_ARE,
    }
}

/// What orders find: account, system, and whether a job is open; by account.
async fn found(queue: &Queue, accounts: &[AccountId]) -> Vec<(i64, i64, i64)> {
    let mut tx = queue.store.begin().await.unwrap();
    let found = tx.take_orderable(accounts).await.unwrap();
    tx.rollback().await.unwrap();
    let mut found: Vec<_> = found
        .into_iter()
        .map(|one| (one.account.id, one.system.system_id, one.has_job))
        .collect();
    found.sort_unstable();
    found
}

on_both!(many_orders_become_jobs_with_heads_and_marks, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 10, 5).await;
    queue.system(2, 1, 10, 5).await;
    queue.order(2, 5, Priority::Routine).await;
    // Twice the same, one that is open, and one that is not there.
    let [one, two, open] = [(1, 1), (2, 1), (2, 5)].map(|(system, nth)| account_id(system, nth));
    let asked = [two, one, one, open, AccountId(77)];
    let mut expected = vec![(one.0, 1, 0), (one.0, 1, 0), (two.0, 2, 0), (open.0, 2, 1)];
    expected.sort_unstable();
    assert_eq!(found(&queue, &asked).await, expected);

    let jobs = [
        rotation(2, 1, Priority::Routine),
        rotation(1, 1, Priority::Immediate),
        rotation(1, 2, Priority::Routine),
        rotation(1, 3, Priority::Routine),
        rotation(1, 4, Priority::Routine),
    ];
    let mut tx = queue.store.begin().await.unwrap();
    let ids = tx.enqueue_rotations(&jobs, NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ids.len(), jobs.len());
    for (id, job) in ids.iter().zip(&jobs) {
        let view = queue.store.job(*id).await.unwrap().unwrap();
        assert_eq!((view.account_id, view.system_id), (job.account, job.system));
        assert_eq!(
            (view.kind, view.cause, view.state, view.actor.as_str()),
            (JobKind::Rotate, Cause::Order, JobState::Queued, "ada")
        );
        assert_eq!((view.priority, view.queued_at), (job.priority, NOW));
    }
    assert_eq!(queue.heads(1).await, [Some(NOW.0), None, Some(NOW.0)]);
    assert_eq!(queue.heads(2).await, [None, None, Some(NOW.0)]);
    assert_eq!(found(&queue, &[one]).await, [(one.0, 1, 1)]);
    queue.is_sound().await;

    // One that has a job already undoes them all.
    let more = [
        rotation(1, 5, Priority::Routine),
        rotation(2, 5, Priority::Routine),
    ];
    let mut tx = queue.store.begin().await.unwrap();
    conflicts(tx.enqueue_rotations(&more, NOW).await);
    tx.rollback().await.unwrap();
    let left = account_id(1, 5);
    assert_eq!(found(&queue, &[left]).await, [(left.0, 1, 0)]);
    assert_eq!(queue.claim(Priority::Routine, NOW).await.len(), 2);
    queue.is_sound().await;
});

on_both!(
    crowds_of_orders_over_the_same_systems_never_deadlock,
    |db| {
        let queue = db.queue().await;
        for system in 1..=4 {
            queue.system(system, 1, 10, 40).await;
        }
        let mut crowds = JoinSet::new();
        for crowd in 0..8 {
            let store = queue.store.clone();
            crowds.spawn(async move {
                for round in 0..5 {
                    let mut jobs: Vec<_> = (1..=4)
                        .map(|system| rotation(system, crowd * 5 + round + 1, Priority::Routine))
                        .collect();
                    if crowd % 2 == 1 {
                        jobs.reverse();
                    }
                    let accounts: Vec<_> = jobs.iter().map(|job| job.account).collect();
                    let mut tx = store.begin().await.unwrap();
                    let found = tx.take_orderable(&accounts).await.unwrap();
                    assert!(found.len() == 4 && found.iter().all(|one| one.has_job == 0));
                    tx.enqueue_rotations(&jobs, NOW).await.unwrap();
                    tx.commit().await.unwrap();
                }
            });
        }
        crowds.join_all().await;
        let queued: Vec<_> = (1..=4)
            .flat_map(|system| (1..=40).map(move |nth| account_id(system, nth)))
            .collect();
        let found = found(&queue, &queued).await;
        assert!(found.len() == 160 && found.iter().all(|(_, _, open)| *open == 1));
        queue.is_sound().await;
    }
);
