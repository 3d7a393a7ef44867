//! Ids: none is ever given to two rows.

use keywheel::model::audit::Event;
use keywheel::model::credential::Parts;
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::store::{NewJob, Store};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::database::on_both;
use crate::support::queue::{NOW, account_id};

/// Records jobs and audit rows; every fifth transaction is undone.
async fn record(store: Store, task: i64) {
    let job = NewJob {
        account: account_id(1, task),
        system: keywheel::model::id::SystemId(1),
        kind: JobKind::Rotate,
        cause: Cause::Order,
        actor: "ada".to_owned(),
        priority: Priority::Routine,
        run_at: NOW,
        parts: Parts::ALL_THERE_ARE,
        version: None,
        key_version: None,
    };
    for round in 0..40 {
        let mut tx = store.begin().await.unwrap();
        for _ in 0..3 {
            // A double id is a conflict, and fails here.
            tx.record_done(&job, "", NOW).await.unwrap();
            let event = Event::by("ada", "test.ran", "test", json!({}));
            tx.audit(&event, NOW).await.unwrap();
        }
        if round % 5 == 0 {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
        }
    }
}

on_both!(ids_are_never_given_twice_by_two_nodes_at_once, |db| {
    let queue = db.queue().await;
    let other = db.store().await;
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let store = if task % 2 == 0 { &queue.store } else { &other };
        tasks.spawn(record(store.clone(), task));
    }
    tasks.join_all().await;
    let jobs = queue
        .number("SELECT COUNT(DISTINCT job_id) FROM job_history")
        .await;
    let rows = queue.number("SELECT COUNT(DISTINCT id) FROM audit").await;
    assert_eq!((jobs, rows), (8 * 32 * 3, 8 * 32 * 3));
});
