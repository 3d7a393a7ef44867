//! Credential versions: kept for good.

use keywheel::model::id::AccountId;
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::store::{NewJob, NewVersion, Store, StoreError};

use super::inventory::{conflicts, is_stale};
use crate::support::database::on_both;
use crate::support::queue::{NOW, account_id};

fn account() -> AccountId {
    account_id(1, 1)
}

async fn add(store: &Store, version: i64, sealed: &[u8]) -> Result<(), StoreError> {
    let mut tx = store.begin().await.unwrap();
    let new = NewVersion {
        account: account(),
        version,
        sealed: sealed.to_vec(),
        origin: "supplied",
    };
    tx.add_version(&new, NOW).await?;
    tx.commit().await
}

on_both!(a_secret_is_never_overwritten, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    add(store, 1, b"one").await.unwrap();
    add(store, 3, b"three").await.unwrap();
    conflicts(add(store, 3, b"other").await);
    is_stale(add(store, 2, b"late").await);
    let sealed = async |version| store.sealed_version(account(), version).await.unwrap();
    assert_eq!(sealed(1).await.as_deref(), Some(&b"one"[..]));
    assert_eq!(sealed(3).await.as_deref(), Some(&b"three"[..]));
    assert_eq!(sealed(2).await, None);
    let row = store.account_row(account()).await.unwrap().unwrap();
    assert_eq!((row.last_version, row.current_version), (3, None));
    let listed = store.versions(account(), 9).await.unwrap();
    let numbers: Vec<_> = listed.iter().map(|one| one.version).collect();
    assert_eq!(numbers, [3, 1]);
    assert_eq!(listed[0].origin, "supplied");
    assert_eq!((listed[0].staged_at, listed[0].last_sent_at), (NOW, None));
    assert_eq!(store.versions(account(), 1).await.unwrap().len(), 1);
});

on_both!(a_version_needs_its_account, |db| {
    let queue = db.queue().await;
    conflicts(add(&queue.store, 1, b"one").await);
});

on_both!(
    a_claim_gets_the_versions_its_jobs_may_need_and_no_others,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 9, 2).await;
        let store = &queue.store;
        for version in 1..=5 {
            add(store, version, &[u8::try_from(version).unwrap()])
                .await
                .unwrap();
        }
        // 2 is current, 4 an open rotation's candidate, 5 was supplied with the order.
        let mut tx = store.begin().await.unwrap();
        tx.store_current(account(), 0, 2, NOW).await.unwrap();
        let state = Rotation {
            phase: Phase::Staged,
            doubt: false,
        };
        tx.open_rotation(account(), 1, 4, state, NOW).await.unwrap();
        tx.lock_queue(keywheel::model::id::SystemId(1))
            .await
            .unwrap();
        let job = NewJob {
            account: account(),
            system: keywheel::model::id::SystemId(1),
            kind: JobKind::Rotate,
            cause: Cause::Order,
            actor: "ada".to_owned(),
            priority: Priority::Routine,
            run_at: NOW,
            version: Some(5),
        };
        tx.enqueue(&job, NOW).await.unwrap();
        tx.commit().await.unwrap();
        queue.order(1, 2, Priority::Routine).await;
        let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
        let found = store.versions_of_claim(claim.id).await.unwrap();
        let meant = [2u8, 4, 5].map(|version| (account(), i64::from(version), vec![version]));
        assert_eq!(found, meant);
    }
);

on_both!(
    versions_that_were_sent_and_never_accepted_are_doubtful,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 1, 1).await;
        let store = &queue.store;
        for version in 1..=7 {
            add(store, version, b"x").await.unwrap();
        }
        queue
            .write("UPDATE credential_versions SET last_sent_at = 1 WHERE version > 1")
            .await;
        queue
            .write("UPDATE credential_versions SET accepted_at = 1 WHERE version = 7")
            .await;
        queue
            .write("UPDATE credential_versions SET retired_at = 1 WHERE version = 6")
            .await;
        let found = store.doubtful_versions(account()).await.unwrap();
        let numbers: Vec<_> = found.iter().map(|one| one.0).collect();
        assert_eq!(numbers, [5, 4, 3]);
    }
);
