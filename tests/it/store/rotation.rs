//! Rotations: each step a compare-and-swap; and logins that are counted before they are sent.

use std::time::Duration;

use keywheel::model::Timestamp;
use keywheel::model::account::LastTest;
use keywheel::model::credential::Part;
use keywheel::model::id::{AccountId, RotationId, SystemId};
use keywheel::model::job::Priority;
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::store::{
    AccountRow, Backend, NewRotation, NewVersion, RotationRow, SealedSecret, Step, Store,
    StoreError, Tx,
};

use super::inventory::{conflicts, is_stale};
use crate::support::database::{Database, on_both};
use crate::support::queue::{NOW, account_id};

const fn at(phase: Phase, doubt: bool) -> Rotation {
    Rotation { phase, doubt }
}

const STAGED: Rotation = at(Phase::Staged, false);
const APPLYING: Rotation = at(Phase::Applying, false);

fn account() -> AccountId {
    account_id(1, 1)
}

async fn stage(tx: &mut Tx, version: i64, epoch: i64) -> Result<RotationId, StoreError> {
    let new = NewVersion {
        account: account(),
        version,
        secret: SealedSecret::Password(vec![u8::try_from(version).unwrap()]),
        origin: "generated",
    };
    tx.add_version(&new, NOW).await?;
    tx.open_rotation(
        &NewRotation {
            account: account(),
            part: Part::Password,
            epoch,
            version,
            state: STAGED,
        },
        NOW,
    )
    .await
}

/// Stages version and epoch 1.
async fn staged(store: &Store) -> RotationId {
    let mut tx = store.begin().await.unwrap();
    let id = stage(&mut tx, 1, 1).await.unwrap();
    tx.commit().await.unwrap();
    id
}

fn step(rotation: RotationId, from: Rotation, to: Rotation) -> Step {
    Step {
        rotation,
        account: account(),
        part: Part::Password,
        epoch: 1,
        version: 1,
        from,
        to,
        why: "because".to_owned(),
    }
}

async fn advance(store: &Store, step: &Step, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = store.begin().await.unwrap();
    tx.advance(step, now).await?;
    tx.commit().await
}

async fn open(store: &Store) -> RotationRow {
    store
        .open_rotation_of(account(), Part::Password)
        .await
        .unwrap()
        .unwrap()
}

async fn row(store: &Store) -> AccountRow {
    store.account_row(account()).await.unwrap().unwrap()
}

on_both!(a_rotation_opens_with_its_candidate, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    assert_eq!(
        store
            .open_rotation_of(account(), Part::Password)
            .await
            .unwrap(),
        None
    );
    let id = staged(store).await;
    let found = open(store).await;
    assert_eq!((found.id, found.account, found.epoch), (id, account(), 1));
    assert_eq!((found.state, found.version), (STAGED, 1));
    assert_eq!((found.base_version, found.applies), (None, 0));
    assert_eq!((found.opened_at, found.moved_at), (NOW, NOW));
    let row = row(store).await;
    assert_eq!((row.epoch, row.in_doubt, row.last_version), (1, 0, 1));
    assert_eq!(row.current_version, None);
});

on_both!(an_account_has_one_open_rotation_and_each_epoch_once, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    staged(store).await;
    let mut tx = store.begin().await.unwrap();
    conflicts(stage(&mut tx, 2, 2).await);
    tx.rollback().await.unwrap();
    for epoch in [1, 3] {
        let mut tx = store.begin().await.unwrap();
        is_stale(stage(&mut tx, 2, epoch).await);
    }
    assert_eq!(row(store).await.epoch, 1);
    // One that needs an operator is open as well.
    let id = open(store).await.id;
    let broken = at(Phase::NeedsOperator, true);
    advance(store, &step(id, STAGED, broken), NOW)
        .await
        .unwrap();
    let mut tx = store.begin().await.unwrap();
    conflicts(stage(&mut tx, 2, 2).await);
    tx.rollback().await.unwrap();
    let given_up = step(id, broken, at(Phase::Abandoned, true));
    advance(store, &given_up, NOW).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    stage(&mut tx, 2, 2).await.unwrap();
    tx.commit().await.unwrap();
    let all = store.rotations(account(), 9).await.unwrap();
    let epochs: Vec<_> = all.iter().map(|one| one.epoch).collect();
    assert_eq!(epochs, [2, 1]);
    assert_eq!(store.rotations(account(), 1).await.unwrap().len(), 1);
    let last = store.last_rotation(account(), Part::Password).await;
    assert_eq!(last.unwrap().map(|row| row.epoch), Some(2));
    let key = store.last_rotation(account(), Part::Key).await;
    assert_eq!(key.unwrap(), None);
});

on_both!(a_step_counts_only_from_where_it_was_decided, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    let id = staged(store).await;
    let good = step(id, STAGED, APPLYING);
    let wrong_phase = step(id, APPLYING, at(Phase::Applied, false));
    let wrong_doubt = step(id, at(Phase::Staged, true), APPLYING);
    let wrong_epoch = Step {
        epoch: 2,
        ..good.clone()
    };
    let wrong_part = Step {
        part: Part::Key,
        ..good.clone()
    };
    let wrong_account = Step {
        account: account_id(1, 9),
        ..good.clone()
    };
    let wrong_version = Step {
        version: 9,
        ..good.clone()
    };
    for wrong in [
        wrong_phase,
        wrong_doubt,
        wrong_epoch,
        wrong_part,
        wrong_account,
        wrong_version,
    ] {
        is_stale(advance(store, &wrong, NOW).await);
        assert_eq!(open(store).await.state, STAGED, "{wrong:?}");
    }
    advance(store, &good, NOW).await.unwrap();
    is_stale(advance(store, &good, NOW).await);
    assert_eq!(open(store).await.applies, 1);
});

on_both!(an_intent_is_on_record_before_anything_is_sent, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    let id = staged(store).await;
    let later = Timestamp(NOW.0 + 5);
    assert_eq!(
        store.versions(account(), 9).await.unwrap()[0].last_sent_at,
        None
    );
    advance(store, &step(id, STAGED, APPLYING), later)
        .await
        .unwrap();
    let found = open(store).await;
    assert_eq!((found.state, found.applies), (APPLYING, 1));
    assert_eq!((found.why.as_str(), found.moved_at), ("because", later));
    assert_eq!(row(store).await.in_doubt, 1);
    let version = store.versions(account(), 9).await.unwrap().remove(0);
    assert_eq!(
        (version.last_sent_at, version.accepted_at),
        (Some(later), None)
    );
    // Proof that nothing changed; the candidate is sent once more.
    advance(store, &step(id, APPLYING, STAGED), later)
        .await
        .unwrap();
    assert_eq!(row(store).await.in_doubt, 0);
    advance(store, &step(id, STAGED, APPLYING), later)
        .await
        .unwrap();
    assert_eq!(open(store).await.applies, 2);
});

on_both!(
    a_verified_candidate_becomes_current_with_its_last_step,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 1, 1).await;
        let store = &queue.store;
        queue
            .write("UPDATE accounts SET next_override_at = 5")
            .await;
        let id = staged(store).await;
        let later = Timestamp(NOW.0 + 5);
        let phases = [
            Phase::Staged,
            Phase::Applying,
            Phase::Applied,
            Phase::Verified,
        ];
        for pair in phases.windows(2) {
            let step = step(id, at(pair[0], false), at(pair[1], false));
            advance(store, &step, NOW).await.unwrap();
            assert_eq!(row(store).await.current_version, None);
        }
        let last = step(id, at(Phase::Verified, false), at(Phase::Committed, false));
        advance(store, &last, later).await.unwrap();
        let found = row(store).await;
        assert_eq!((found.current_version, found.in_doubt), (Some(1), 0));
        let account = store.account(account()).await.unwrap().unwrap();
        assert_eq!(account.credential.changed_at, Some(later));
        assert_eq!(account.credential.last_test, LastTest::Passed);
        assert_eq!(account.settings.next_override_at, None);
        assert_eq!(
            store
                .open_rotation_of(account.id, Part::Password)
                .await
                .unwrap(),
            None
        );
        let version = store.versions(account.id, 9).await.unwrap().remove(0);
        assert_eq!(version.accepted_at, Some(later));
        is_stale(advance(store, &last, later).await);
        // The next rotation begins from it.
        let mut tx = store.begin().await.unwrap();
        stage(&mut tx, 2, 2).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(open(store).await.base_version, Some(1));
    }
);

on_both!(open_rotations_are_found_by_their_claim, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 9, 2).await;
    let id = staged(&queue.store).await;
    for nth in 1..=2 {
        queue.order(1, nth, Priority::Routine).await;
    }
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let found = queue.store.rotations_of_claim(claim.id).await.unwrap();
    assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), [id]);
    let lost = step(id, STAGED, at(Phase::Abandoned, false));
    advance(&queue.store, &lost, NOW).await.unwrap();
    let found = queue.store.rotations_of_claim(claim.id).await.unwrap();
    assert_eq!(found, []);
});

on_both!(a_stored_credential_gives_way_to_a_rotation, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    staged(store).await;
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.store_current(account(), Part::Password, 0, 1, NOW).await);
    tx.rollback().await.unwrap();
    assert_eq!(row(store).await.current_version, None);
    let mut tx = store.begin().await.unwrap();
    tx.store_current(account(), Part::Password, 1, 1, NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(row(store).await.current_version, Some(1));
});

on_both!(a_test_speaks_of_the_version_it_tried, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    staged(store).await;
    let test = async |version, verdict| {
        let mut tx = store.begin().await.unwrap();
        let later = Timestamp(NOW.0 + 5);
        tx.record_test(account(), Part::Password, version, verdict, later)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let credential = store.account(account()).await.unwrap().unwrap().credential;
        let version = store.versions(account(), 9).await.unwrap().remove(0);
        (credential.last_test, version.accepted_at.is_some())
    };
    // Not current yet: no verdict about the account.
    assert_eq!(test(1, "out_of_sync").await, (LastTest::NeverTested, false));
    let mut tx = store.begin().await.unwrap();
    tx.store_current(account(), Part::Password, 1, 1, NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(test(1, "out_of_sync").await, (LastTest::OutOfSync, false));
    assert_eq!(test(2, "passed").await, (LastTest::OutOfSync, false));
    assert_eq!(test(1, "passed").await, (LastTest::Passed, true));
    assert_eq!(test(1, "unreachable").await, (LastTest::Unreachable, true));
});

on_both!(accounts_that_may_hold_something_else_are_found, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 4).await;
    let unsure = async |after: i64, limit| -> Vec<i64> {
        let found = queue.store.unsure_accounts(AccountId(after), limit).await;
        found.unwrap().into_iter().map(|one| one.id.0).collect()
    };
    assert_eq!(unsure(0, 9).await, [0; 0]);
    let ids = [1, 2, 3].map(|nth| account_id(1, nth));
    for sql in [
        "UPDATE accounts SET in_doubt = 2 WHERE id = 1000001",
        "UPDATE accounts SET key_in_doubt = 1 WHERE id = 1000002",
        "UPDATE accounts SET last_test = 'out_of_sync' WHERE id = 1000003",
    ] {
        queue.write(sql).await;
    }
    assert_eq!(unsure(0, 9).await, ids.map(|id| id.0));
    assert_eq!(unsure(0, 2).await, [ids[0].0, ids[1].0]);
    assert_eq!(unsure(ids[1].0, 2).await, [ids[2].0]);
    queue.write("UPDATE accounts SET deleted_at = 1").await;
    assert_eq!(unsure(0, 9).await, [0; 0]);
});

on_both!(logins_that_may_fail_are_counted_within_a_window, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 2).await;
    let spend = async |nth, ms| {
        let mut tx = queue.store.begin().await.unwrap();
        let now = Timestamp(NOW.0 + ms);
        let may = tx
            .spend_login(account_id(1, nth), 2, 1_000, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        may
    };
    let refund = async || {
        let mut tx = queue.store.begin().await.unwrap();
        tx.refund_login(account()).await.unwrap();
        tx.commit().await.unwrap();
    };
    refund().await;
    assert_eq!((spend(1, 0).await, spend(1, 500).await), (true, true));
    assert!(!spend(1, 999).await, "two within a window are all");
    assert!(spend(2, 999).await, "each account has its own");
    refund().await;
    assert_eq!((spend(1, 999).await, spend(1, 999).await), (true, false));
    assert!(!spend(1, 1_998).await, "the window follows the last login");
    assert!(spend(1, 1_999).await, "nothing was counted for a window");
    assert_eq!(
        (spend(1, 2_500).await, spend(1, 2_998).await),
        (true, false)
    );
    let counted = "SELECT spent FROM login_budget WHERE account_id = 1000001";
    assert_eq!(queue.number(counted).await, 2);
    let spent = async |ms| {
        let now = Timestamp(NOW.0 + ms);
        let spent = queue.store.logins_spent(account_id(1, 1), 1_000, now);
        spent.await.unwrap()
    };
    assert_eq!((spent(3_499).await, spent(3_500).await), (2, 0));
    refund().await;
    refund().await;
    refund().await;
    assert_eq!(queue.number(counted).await, 0);
});

on_both!(
    a_login_that_is_not_committed_is_not_counted_as_allowed,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 1, 1).await;
        let spends = (0..8).map(|_| async {
            let mut tx = queue.store.begin().await.unwrap();
            let may = tx.spend_login(account(), 3, 1_000, NOW).await.unwrap();
            tx.commit().await.unwrap();
            may
        });
        let allowed = futures::future::join_all(spends).await;
        assert_eq!(allowed.iter().filter(|may| **may).count(), 3);
    }
);

on_both!(each_part_moves_by_itself, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    let password = staged(store).await;
    let mut tx = store.begin().await.unwrap();
    let secret = SealedSecret::Key {
        private: vec![1],
        passphrase: None,
        public: "ssh-ed25519 AAAA".to_owned(),
    };
    let new = NewVersion {
        account: account(),
        version: 2,
        secret,
        origin: "generated",
    };
    tx.add_version(&new, NOW).await.unwrap();
    let key = tx
        .open_rotation(
            &NewRotation {
                account: account(),
                part: Part::Key,
                epoch: 2,
                version: 2,
                state: STAGED,
            },
            NOW,
        )
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // The older rotation goes on although the account's epoch has moved.
    advance(store, &step(password, STAGED, APPLYING), NOW)
        .await
        .unwrap();
    let doubts = async || {
        let row = row(store).await;
        (row.in_doubt, row.key_in_doubt)
    };
    assert_eq!(doubts().await, (1, 0));
    let key_step = |from, to| Step {
        part: Part::Key,
        epoch: 2,
        version: 2,
        ..step(key, from, to)
    };
    for (from, to) in [
        (STAGED, APPLYING),
        (APPLYING, at(Phase::Applied, false)),
        (at(Phase::Applied, false), at(Phase::Verified, false)),
    ] {
        advance(store, &key_step(from, to), NOW).await.unwrap();
    }
    assert_eq!(doubts().await, (1, 1));
    let last = key_step(at(Phase::Verified, false), at(Phase::Committed, false));
    advance(store, &last, NOW).await.unwrap();
    assert_eq!(doubts().await, (1, 0));
    let found = row(store).await;
    assert_eq!(
        (found.current_version, found.current_key_version),
        (None, Some(2))
    );
    assert_eq!(
        open(store).await.state,
        APPLYING,
        "the password's stands where it stood"
    );
    let open_key = store.open_rotation_of(account(), Part::Key).await.unwrap();
    assert_eq!(open_key, None);
});

/// SQLite has one writer: nothing there waits for a row.
#[tokio::test]
async fn steps_of_a_claim_do_not_wait_for_whoever_holds_its_system_on_postgres() {
    let db = Database::new(Backend::Postgres).await;
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    let id = staged(store).await;
    advance(store, &step(id, STAGED, APPLYING), NOW)
        .await
        .unwrap();
    let mut holder = store.begin().await.unwrap();
    assert!(holder.lock_queue(SystemId(1)).await.unwrap());
    // Twice the same account in one transaction, as a candidate that is verified and promoted.
    let (applied, verified) = (at(Phase::Applied, false), at(Phase::Verified, false));
    let steps = async {
        let mut tx = store.begin().await.unwrap();
        tx.advance(&step(id, APPLYING, applied), NOW).await.unwrap();
        tx.advance(&step(id, applied, verified), NOW).await.unwrap();
        let committed = at(Phase::Committed, false);
        tx.advance(&step(id, verified, committed), NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    // A settlement holds the system and waits for the claim, which the steps hold.
    tokio::time::timeout(Duration::from_secs(5), steps)
        .await
        .expect("the steps wait for the system");
    holder.rollback().await.unwrap();
}
