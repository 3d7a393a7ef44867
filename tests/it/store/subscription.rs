//! Synced accounts: who is behind is read off the versions, on both databases.

use keywheel::model::Timestamp;
use keywheel::model::credential::Part;
use keywheel::model::id::{AccountId, SystemId};
use keywheel::model::job::{Cause, Priority};
use keywheel::store::{Ending, NewVersion, Page, SealedSecret, StoreError};

use super::inventory::{conflicts, is_stale};
use crate::support::database::{Database, on_both};
use crate::support::queue::{NOW, Queue, account_id};

/// Accounts 1 to 3 of system 1, and 1 of system 2.
async fn queue(db: &Database) -> (Queue, [AccountId; 3], AccountId) {
    let queue = db.queue().await;
    queue.system(1, 2, 10, 3).await;
    queue.system(2, 2, 10, 1).await;
    (
        queue,
        [1, 2, 3].map(|nth| account_id(1, nth)),
        account_id(2, 1),
    )
}

async fn sync(queue: &Queue, parent: AccountId, account: AccountId) -> Result<bool, StoreError> {
    let mut tx = queue.store.begin().await.unwrap();
    tx.lock_both(parent, account).await?;
    let is_new = tx.subscribe(account, parent, NOW).await?;
    tx.commit().await?;
    Ok(is_new)
}

/// Stores a password as the account's current one; of a subscriber: a copy of its parent's.
async fn store(queue: &Queue, account: AccountId, copy_of: Option<(AccountId, i64)>) -> i64 {
    let mut tx = queue.store.begin().await.unwrap();
    let row = tx.account_row(account).await.unwrap().unwrap();
    let version = row.last_version + 1;
    let new = NewVersion {
        account,
        version,
        secret: SealedSecret::Password(vec![1]),
        origin: "synced",
    };
    tx.add_version(&new, NOW).await.unwrap();
    tx.store_current(account, Part::Password, row.epoch, version, NOW)
        .await
        .unwrap();
    if let Some(parent) = copy_of {
        tx.record_synced(account, version, parent).await.unwrap();
    }
    tx.commit().await.unwrap();
    version
}

async fn behind(queue: &Queue, told_since: Timestamp) -> Vec<AccountId> {
    let found = queue.store.stragglers(told_since, 10).await.unwrap();
    found.into_iter().map(|one| one.account).collect()
}

on_both!(a_set_has_one_parent_and_one_level, |db| {
    let (queue, [parent, one, two], far) = queue(&db).await;
    assert!(sync(&queue, parent, one).await.unwrap());
    assert!(!sync(&queue, parent, one).await.unwrap());
    assert!(sync(&queue, parent, far).await.unwrap());
    conflicts(sync(&queue, two, one).await);
    conflicts(sync(&queue, one, two).await);
    conflicts(sync(&queue, two, parent).await);
    is_stale(sync(&queue, parent, AccountId(99)).await);
    let members = queue
        .store
        .subscribers(parent, Page::first(9))
        .await
        .unwrap();
    let members: Vec<_> = members
        .iter()
        .map(|one| (one.account, one.system))
        .collect();
    assert_eq!(members, [(one, SystemId(1)), (far, SystemId(2))]);
    let row = queue.store.account_row(one).await.unwrap().unwrap();
    assert_eq!(row.parent_id, Some(parent.0));
    let mut tx = queue.store.begin().await.unwrap();
    assert_eq!(tx.parent_of(one).await.unwrap(), Some(parent));
    assert_eq!(tx.parent_of(two).await.unwrap(), None);
    tx.not_synced(two).await.unwrap();
    conflicts(tx.not_synced(one).await);
    conflicts(tx.not_synced(parent).await);
    assert!(!tx.unsubscribe(one, two).await.unwrap());
    assert!(tx.unsubscribe(one, parent).await.unwrap());
    assert!(!tx.unsubscribe(one, parent).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(queue.store.subscription(one).await.unwrap(), None);
    assert!(queue.store.subscription(far).await.unwrap().is_some());
});

on_both!(a_parent_stays_while_others_share_its_password, |db| {
    let (queue, [parent, one, _], far) = queue(&db).await;
    sync(&queue, parent, one).await.unwrap();
    sync(&queue, parent, far).await.unwrap();
    let mut tx = queue.store.begin().await.unwrap();
    conflicts(tx.delete_account(parent, NOW).await);
    tx.rollback().await.unwrap();
    // All of a system go together, but for one elsewhere.
    let mut tx = queue.store.begin().await.unwrap();
    conflicts(tx.delete_accounts(SystemId(1), NOW).await);
    tx.rollback().await.unwrap();
    let mut tx = queue.store.begin().await.unwrap();
    tx.delete_account(far, NOW).await.unwrap();
    assert_eq!(tx.delete_accounts(SystemId(1), NOW).await.unwrap(), 3);
    tx.commit().await.unwrap();
    assert_eq!(queue.number("SELECT COUNT(*) FROM subscriptions").await, 0);
});

on_both!(who_is_behind_is_read_off_the_versions, |db| {
    let (queue, [parent, one, _], _) = queue(&db).await;
    let first = store(&queue, parent, None).await;
    sync(&queue, parent, one).await.unwrap();
    // What the parent had when it joined is nothing to take over.
    assert_eq!(behind(&queue, NOW).await, []);
    let second = store(&queue, parent, None).await;
    assert_eq!(behind(&queue, NOW).await, [one]);
    let found = queue.store.subscription(one).await.unwrap().unwrap();
    assert!(found.is_behind());
    assert_eq!(
        (found.followed, found.parent_version),
        (Some(first), Some(second))
    );
    store(&queue, one, Some((parent, second))).await;
    assert_eq!(behind(&queue, NOW).await, []);
    // Whoever leaves and joins again finds what the parent has by then, and takes over nothing.
    let mut tx = queue.store.begin().await.unwrap();
    assert!(tx.unsubscribe(one, parent).await.unwrap());
    tx.commit().await.unwrap();
    store(&queue, parent, None).await;
    sync(&queue, parent, one).await.unwrap();
    assert_eq!(behind(&queue, NOW).await, []);
    let third = store(&queue, parent, None).await;
    store(&queue, one, Some((parent, third))).await;
    assert_eq!(behind(&queue, NOW).await, []);
    // A password of its own is none of the parent's.
    store(&queue, one, None).await;
    assert_eq!(behind(&queue, NOW).await, [one]);
});

on_both!(a_straggler_is_told_once_and_again_later, |db| {
    let (queue, [parent, one, _], _) = queue(&db).await;
    sync(&queue, parent, one).await.unwrap();
    store(&queue, parent, None).await;
    let found = queue.store.subscription(one).await.unwrap().unwrap();
    let mut tx = queue.store.begin().await.unwrap();
    tx.lock_queue(SystemId(1)).await.unwrap();
    let ordered = ("keywheel", Priority::Routine);
    let job = tx.order_sync(&found, ordered, NOW).await.unwrap().unwrap();
    assert_eq!(tx.order_sync(&found, ordered, NOW).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(behind(&queue, NOW).await, [], "it has a job");
    let claims = queue.claim(Priority::Routine, NOW).await;
    assert_eq!(
        (claims[0].jobs[0].id, claims[0].jobs[0].cause),
        (job, Cause::Sync)
    );
    let of_claim = queue
        .store
        .subscriptions_of_claim(claims[0].id)
        .await
        .unwrap();
    assert_eq!(of_claim, std::slice::from_ref(&found));
    let mut tx = queue.store.begin().await.unwrap();
    tx.wait_for_parent(one, job, job).await.unwrap();
    is_stale(tx.wait_for_parent(parent, job, job).await);
    tx.commit().await.unwrap();
    let waiting = queue.store.subscription(one).await.unwrap().unwrap();
    assert_eq!(waiting.waited, Some((job, job)));
    queue.settle(&claims[0], &Ending::Failed, NOW).await;
    assert_eq!(
        behind(&queue, Timestamp(NOW.0 - 1)).await,
        [],
        "it was told just now"
    );
    assert_eq!(behind(&queue, NOW).await, [one]);
    // The parent's next password is told at once.
    store(&queue, parent, None).await;
    assert_eq!(behind(&queue, Timestamp(NOW.0 - 1)).await, [one]);
    // Once it has it, it waits for nothing.
    store(&queue, one, Some((parent, 2))).await;
    let found = queue.store.subscription(one).await.unwrap().unwrap();
    assert_eq!((found.is_behind(), found.waited), (false, None));
    queue.is_sound().await;
});
