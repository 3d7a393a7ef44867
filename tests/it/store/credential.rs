//! Credential versions: kept for good.

use keywheel::model::credential::{Part, Parts};
use keywheel::model::id::AccountId;
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::store::{NewJob, NewRotation, NewVersion, SealedSecret, Store, StoreError};

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
        secret: SealedSecret::Password(sealed.to_vec()),
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
    let password = |bytes: &[u8]| Some(SealedSecret::Password(bytes.to_vec()));
    assert_eq!(sealed(1).await, password(b"one"));
    assert_eq!(sealed(3).await, password(b"three"));
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
        tx.store_current(account(), Part::Password, 0, 2, NOW)
            .await
            .unwrap();
        let state = Rotation {
            phase: Phase::Staged,
            doubt: false,
        };
        tx.open_rotation(
            &NewRotation {
                account: account(),
                part: Part::Password,
                epoch: 1,
                version: 4,
                state,
            },
            NOW,
        )
        .await
        .unwrap();
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
            parts: Parts::ALL_THERE_ARE,
            version: Some(5),
            key_version: None,
        };
        tx.enqueue(&job, NOW).await.unwrap();
        tx.commit().await.unwrap();
        queue.order(1, 2, Priority::Routine).await;
        let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
        let found = store.versions_of_claim(claim.id).await.unwrap();
        let meant = [2u8, 4, 5].map(|version| {
            let secret = SealedSecret::Password(vec![version]);
            (account(), i64::from(version), secret)
        });
        assert_eq!(found, meant);
    }
);

const KEY_NEXT: &str = "ssh-ed25519 AAAA";

async fn add_key(store: &Store, version: i64, public: &str) {
    let mut tx = store.begin().await.unwrap();
    let new = NewVersion {
        account: account(),
        version,
        secret: key(public),
        origin: "supplied",
    };
    tx.add_version(&new, NOW).await.unwrap();
    tx.commit().await.unwrap();
}

fn key(public: &str) -> SealedSecret {
    SealedSecret::Key {
        private: vec![7],
        passphrase: Some(vec![8]),
        public: public.to_owned(),
    }
}

async fn current_key(store: &Store, version: i64) {
    let mut tx = store.begin().await.unwrap();
    tx.store_current(account(), Part::Key, 0, version, NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

on_both!(a_key_pair_is_kept_beside_a_password, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    add(store, 1, b"one").await.unwrap();
    add_key(store, 2, KEY_NEXT).await;
    assert_eq!(
        store.sealed_version(account(), 2).await.unwrap(),
        Some(key(KEY_NEXT))
    );
    let keys = store.versions_of_part(account(), Part::Key, 9).await;
    let keys = keys.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!((keys[0].version, keys[0].part), (2, Part::Key));
    assert_eq!(keys[0].public_key.as_deref(), Some(KEY_NEXT));
    let mut tx = store.begin().await.unwrap();
    tx.store_current(account(), Part::Password, 0, 1, NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    current_key(store, 2).await;
    let row = store.account_row(account()).await.unwrap().unwrap();
    assert_eq!(
        (row.current_version, row.current_key_version),
        (Some(1), Some(2))
    );
});

on_both!(
    superseded_keys_stand_until_they_are_known_to_be_gone,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 1, 1).await;
        let store = &queue.store;
        for (version, public) in [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "b")] {
            add_key(store, version, public).await;
        }
        queue
            .write("UPDATE credential_versions SET last_sent_at = 1 WHERE version <> 3")
            .await;
        let standing = async || {
            let found = store.standing_keys(account(), 9).await.unwrap();
            found.iter().map(|one| one.0).collect::<Vec<_>>()
        };
        assert!(standing().await.is_empty(), "none is current");
        current_key(store, 5).await;
        // 2 is the current key once more, 3 was never sent.
        assert_eq!(standing().await, [4, 1]);
        let remove = async |version, now| {
            let mut tx = store.begin().await.unwrap();
            let gone = tx.record_removed(account(), version, now).await.unwrap();
            tx.commit().await.unwrap();
            gone
        };
        assert!(remove(1, NOW).await);
        assert!(!remove(1, NOW).await, "once");
        assert!(!remove(5, NOW).await, "never the current one");
        assert_eq!(standing().await, [4]);
        // While an order to add it may land, nobody knows that it is gone.
        let mut tx = store.begin().await.unwrap();
        let doubt = Rotation {
            phase: Phase::Abandoned,
            doubt: true,
        };
        tx.open_rotation(
            &NewRotation {
                account: account(),
                part: Part::Key,
                epoch: 1,
                version: 4,
                state: doubt,
            },
            NOW,
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        queue
            .write("UPDATE credential_versions SET last_sent_at = 1780000000000 WHERE version = 4")
            .await;
        let sent = keywheel::model::Timestamp(1_780_000_000_000);
        assert!(!remove(4, sent).await);
        let horizon = keywheel::model::rotation::HORIZON;
        assert!(remove(4, sent.plus(horizon)).await);
        assert!(standing().await.is_empty());
        let used = async |public| {
            let mut tx = store.begin().await.unwrap();
            let used = tx.key_was_used(account(), public).await.unwrap();
            tx.rollback().await.unwrap();
            used
        };
        assert!(used("a").await && !used("b").await && !used("z").await);
    }
);

on_both!(no_key_is_removed_while_another_change_is_open, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 1).await;
    let store = &queue.store;
    for (version, public) in [(1, "a"), (2, "b"), (3, "c")] {
        add_key(store, version, public).await;
    }
    queue
        .write("UPDATE credential_versions SET last_sent_at = 1")
        .await;
    current_key(store, 2).await;
    let mut tx = store.begin().await.unwrap();
    let state = Rotation {
        phase: Phase::Staged,
        doubt: false,
    };
    tx.open_rotation(
        &NewRotation {
            account: account(),
            part: Part::Key,
            epoch: 1,
            version: 3,
            state,
        },
        NOW,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.standing_keys(account(), 9).await.unwrap(), []);
});
