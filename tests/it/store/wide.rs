//! Several accounts in one statement: all of them, or none.

use std::collections::HashSet;

use keywheel::model::audit::Event;
use keywheel::model::credential::Part;
use keywheel::model::id::{AccountId, RotationId};
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::store::{NewRotation, NewVersion, SealedSecret, Step, Store, StoreError};
use serde_json::json;

use super::inventory::{conflicts, is_stale};
use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};

/// Fills one statement, another with padding, and one row more.
const COUNT: i64 = 64 + 12 + 1;

const fn at(phase: Phase) -> Rotation {
    Rotation {
        phase,
        doubt: false,
    }
}

fn accounts() -> Vec<AccountId> {
    (1..=COUNT).map(|nth| account_id(1, nth)).collect()
}

fn new_version((account, part): (AccountId, Part)) -> NewVersion {
    let secret = match part {
        Part::Password => SealedSecret::Password(account.0.to_be_bytes().to_vec()),
        Part::Key => SealedSecret::Key {
            private: account.0.to_be_bytes().to_vec(),
            passphrase: None,
            public: format!("ssh-ed25519 {}", account.0),
        },
    };
    NewVersion {
        account,
        version: 1,
        secret,
        origin: "generated",
    }
}

/// Every third account has a key, the others a password.
fn lines() -> Vec<(AccountId, Part)> {
    let part = |account: &AccountId| match account.0 % 3 {
        0 => Part::Key,
        _ => Part::Password,
    };
    let line = |account| (account, part(&account));
    accounts().into_iter().map(line).collect()
}

fn new_rotation((account, part): (AccountId, Part)) -> NewRotation {
    NewRotation {
        account,
        part,
        epoch: 1,
        version: 1,
        state: at(Phase::Staged),
    }
}

async fn staged(store: &Store) -> Result<Vec<RotationId>, StoreError> {
    let mut tx = store.begin().await?;
    let versions: Vec<_> = lines().into_iter().map(new_version).collect();
    tx.add_versions(&versions, NOW).await?;
    let rotations: Vec<_> = lines().into_iter().map(new_rotation).collect();
    let ids = tx.open_rotations(&Vec::from_iter(&rotations), NOW).await?;
    tx.commit().await?;
    Ok(ids)
}

async fn with_accounts(queue: &Queue) {
    queue.system(1, 1, 100, COUNT).await;
}

fn steps(ids: &[RotationId], from: Phase, to: Phase) -> Vec<Step> {
    let step = |((account, part), id): ((AccountId, Part), &RotationId)| Step {
        rotation: *id,
        account,
        part,
        epoch: 1,
        version: 1,
        from: at(from),
        to: at(to),
        why: format!("because of {}", account.0),
    };
    lines().into_iter().zip(ids).map(step).collect()
}

async fn advance(store: &Store, steps: &[Step]) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.advance_all(&Vec::from_iter(steps), NOW).await?;
    tx.commit().await
}

on_both!(
    every_account_gets_its_own_candidate_and_its_own_steps,
    |db| {
        let queue = db.queue().await;
        with_accounts(&queue).await;
        let store = &queue.store;
        let ids = staged(store).await.unwrap();
        let sent = steps(&ids, Phase::Staged, Phase::Applying);
        advance(store, &sent).await.unwrap();
        for ((account, part), id) in lines().into_iter().zip(&ids) {
            let row = store
                .open_rotation_of(account, part)
                .await
                .unwrap()
                .unwrap();
            assert_eq!((row.id, row.applies), (*id, 1));
            assert_eq!(row.why, format!("because of {}", account.0));
            let kept = store.sealed_version(account, 1).await.unwrap();
            assert!(kept == Some(new_version((account, part)).secret));
            let version = store.versions(account, 9).await.unwrap().remove(0);
            assert_eq!(
                (version.last_sent_at, version.accepted_at),
                (Some(NOW), None)
            );
            let found = store.account_row(account).await.unwrap().unwrap();
            let doubts = (found.in_doubt, found.key_in_doubt);
            assert_eq!(doubts, if part == Part::Key { (0, 1) } else { (1, 0) });
        }
        advance(store, &steps(&ids, Phase::Applying, Phase::Committed))
            .await
            .unwrap();
        for (account, part) in lines() {
            let found = store.account_row(account).await.unwrap().unwrap();
            assert_eq!(found.current(part), Some(1));
            assert_eq!((found.in_doubt, found.key_in_doubt), (0, 0));
            let version = store.versions(account, 9).await.unwrap().remove(0);
            assert_eq!(version.accepted_at, Some(NOW));
        }
    }
);

on_both!(one_account_that_has_moved_on_stops_all_of_them, |db| {
    let queue = db.queue().await;
    with_accounts(&queue).await;
    let store = &queue.store;
    let ids = staged(store).await.unwrap();
    conflicts(staged(store).await);
    let mut sent = steps(&ids, Phase::Staged, Phase::Applying);
    let (last, others) = sent.split_last_mut().unwrap();
    advance(store, std::slice::from_ref(last)).await.unwrap();
    is_stale(
        advance(
            store,
            others
                .iter()
                .chain([&*last])
                .cloned()
                .collect::<Vec<_>>()
                .as_slice(),
        )
        .await,
    );
    assert_eq!(
        queue
            .number("SELECT COUNT(*) FROM rotations WHERE phase = 'applying'")
            .await,
        1
    );
    assert_eq!(queue.number("SELECT COUNT(*) FROM rotations").await, COUNT);
});

on_both!(logins_are_counted_each_by_its_own_account, |db| {
    let queue = db.queue().await;
    with_accounts(&queue).await;
    let all = accounts();
    let (few, rest) = all.split_at(20);
    let spend = async |accounts: &[AccountId], budget| {
        let mut tx = queue.store.begin().await.unwrap();
        let granted = tx.spend_logins(accounts, budget, 1_000, NOW).await.unwrap();
        tx.commit().await.unwrap();
        granted
    };
    let set = |accounts: &[AccountId]| accounts.iter().copied().collect::<HashSet<_>>();
    assert_eq!(spend(few, 1).await, set(few));
    assert_eq!(spend(&all, 1).await, set(rest));
    assert_eq!(spend(&all, 0).await, HashSet::new());
    assert_eq!(spend(few, 2).await, set(few));
    let mut tx = queue.store.begin().await.unwrap();
    tx.refund_logins(rest).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(spend(&all, 1).await, set(rest));
});

on_both!(events_are_recorded_in_their_order, |db| {
    let queue = db.queue().await;
    let events: Vec<Event> = (0..COUNT)
        .map(|nth| Event::by("ada", "test.ran", "test", json!({"nth": nth})))
        .collect();
    let mut tx = queue.store.begin().await.unwrap();
    tx.audit_all(&Vec::from_iter(&events), NOW).await.unwrap();
    tx.commit().await.unwrap();
    let rows = queue.store.audit_of("test", 100).await.unwrap();
    let newest_first: Vec<String> = rows.into_iter().map(|row| row.body).collect();
    let meant = events.iter().rev().map(|event| event.body.to_string());
    assert_eq!(newest_first, meant.collect::<Vec<_>>());
});

on_both!(ids_that_a_transaction_did_not_use_serve_the_next, |db| {
    let queue = db.queue().await;
    let event = Event::by("ada", "test.ran", "test", json!({}));
    for undone in [false, true, false, false] {
        let mut tx = queue.store.begin().await.unwrap();
        tx.audit(&event, NOW).await.unwrap();
        if undone {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
        }
    }
    let rows = queue.store.audit_of("test", 9).await.unwrap();
    let ids: Vec<i64> = rows.into_iter().map(|row| row.id.0).collect();
    assert_eq!(ids.len(), 3);
    assert!(
        ids.iter().all(|id| (ids[2]..=ids[2] + 3).contains(id)),
        "{ids:?}"
    );
});
