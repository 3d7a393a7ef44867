//! What the store has forgotten, and the accounts that wait for it.

use keywheel::model::Timestamp;
use keywheel::model::credential::Parts;
use keywheel::model::id::{AccountId, SystemId};
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::regression::{Consent, Standing};
use keywheel::model::schedule::Planned;
use keywheel::store::{
    Ending, ForgottenValue, Named, NewJob, NewRegression, NewVersion, SealedSecret, Store,
    SystemHealth,
};

use super::inventory::is_stale;
use crate::support::database::{Database, on_both};
use crate::support::queue::{NOW, Queue, account_id, settled};

const LATER: Timestamp = Timestamp(NOW.0 + 1_000);

/// A system with these many accounts, each with a password, on a store with an identity.
async fn scene(db: &Database, accounts: i64) -> Queue {
    let queue = db.queue().await;
    queue.system(1, 5, 10, accounts).await;
    let mut tx = queue.store.begin().await.unwrap();
    tx.insert_identity("one", b"probe", NOW).await.unwrap();
    for nth in 1..=accounts {
        let account = account_id(1, nth);
        tx.add_version(&version(account, 1), NOW).await.unwrap();
        let row = tx.account_row(account).await.unwrap().unwrap();
        let part = keywheel::model::credential::Part::Password;
        tx.store_current(account, part, row.epoch, 1, NOW)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    queue
}

fn version(account: AccountId, version: i64) -> NewVersion {
    NewVersion {
        account,
        version,
        secret: SealedSecret::Password(b"sealed".to_vec()),
        origin: "generated",
    }
}

fn rotation(account: AccountId, run_at: Timestamp) -> NewJob {
    NewJob {
        account,
        system: SystemId(1),
        kind: JobKind::Rotate,
        cause: Cause::Order,
        actor: "ops".into(),
        priority: Priority::Routine,
        run_at,
        parts: Parts::ALL_THERE_ARE,
        version: None,
        key_version: None,
    }
}

fn forgotten(account: AccountId, version: i64, at: Timestamp) -> ForgottenValue {
    ForgottenValue {
        account,
        version,
        print: format!("print {version}"),
        at,
    }
}

async fn record(store: &Store, new: &NewRegression) -> i64 {
    let mut tx = store.begin().await.unwrap();
    let (_, accounts) = tx.record_regression(new, LATER).await.unwrap();
    tx.commit().await.unwrap();
    accounts
}

fn unnamed(generation: i64, expected: i64) -> NewRegression {
    NewRegression {
        generation,
        expected,
        named: None,
    }
}

async fn marked(store: &Store) -> Vec<(i64, Consent)> {
    let found = store.regressed_accounts(None, 100).await.unwrap();
    found
        .iter()
        .map(|one| (one.account.0, one.consent))
        .collect()
}

async fn agree(store: &Store, accounts: &[AccountId], consent: Consent) -> u64 {
    let mut tx = store.begin().await.unwrap();
    let agreed = tx.agree(accounts, consent, "ops").await.unwrap();
    tx.commit().await.unwrap();
    agreed
}

on_both!(
    the_generation_grows_and_is_lifted_above_what_was_said,
    |db| {
        let store = db.store().await;
        assert_eq!(store.generation().await.unwrap(), 0);
        let mut tx = store.begin().await.unwrap();
        is_stale(tx.raise_generation().await);
        tx.rollback().await.unwrap();
        let queue = db.queue().await;
        let store = &queue.store;
        let mut tx = store.begin().await.unwrap();
        tx.insert_identity("one", b"probe", NOW).await.unwrap();
        for meant in 1..4 {
            assert_eq!(tx.raise_generation().await.unwrap(), meant);
        }
        tx.commit().await.unwrap();
        assert_eq!(record(store, &unnamed(3, 40)).await, 0);
        assert_eq!(store.generation().await.unwrap(), 41);
        assert_eq!(record(store, &unnamed(41, 7)).await, 0);
        assert_eq!(store.generation().await.unwrap(), 41, "it never falls");
        let shown = store.regressions(10).await.unwrap();
        let said: Vec<_> = shown
            .iter()
            .map(|one| (one.generation, one.expected))
            .collect();
        assert_eq!(said, [(41, 7), (3, 40)]);
        // Nobody was concerned: only an operator ends it.
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.end_regressions(false, LATER).await.unwrap(), []);
        assert_eq!(tx.end_regressions(true, LATER).await.unwrap().len(), 2);
        tx.commit().await.unwrap();
        assert_eq!(store.open_regression().await.unwrap(), None);
    }
);

on_both!(
    accounts_that_a_journal_names_are_marked_and_in_doubt,
    |db| {
        let queue = scene(&db, 3).await;
        let store = &queue.store;
        let [first, second, third] = [1, 2, 3].map(|nth| account_id(1, nth));
        let gone = AccountId(77);
        let mut tx = store.begin().await.unwrap();
        tx.add_version(&version(second, 2), NOW).await.unwrap();
        tx.commit().await.unwrap();
        let noted = [
            (second.0, 2, LATER),
            (second.0, 1, Timestamp(1)),
            (9, 1, LATER),
        ];
        let unsent = store.versions_unsent(&noted).await.unwrap();
        assert_eq!(
            unsent,
            [(second.0, 2)],
            "what was staged later was not meant"
        );
        let named = Named {
            values: vec![
                forgotten(first, 2, LATER),
                forgotten(first, 3, LATER),
                // Written before the account was made: its number was another's.
                forgotten(third, 2, Timestamp(1)),
                forgotten(gone, 1, LATER),
            ],
            sent: vec![(second, 2, LATER)],
        };
        let new = NewRegression {
            generation: 5,
            expected: 5,
            named: Some(named),
        };
        assert_eq!(record(store, &new).await, 2);
        let none = Consent::None;
        assert_eq!(marked(store).await, [(first.0, none), (second.0, none)]);
        let open = store.open_regression().await.unwrap().unwrap();
        assert_eq!((open.named, open.accounts, open.missing), (true, 2, 1));
        for (account, doubt) in [(first, 1), (second, 1), (third, 0)] {
            let row = store.account_row(account).await.unwrap().unwrap();
            assert_eq!(row.in_doubt, doubt, "{account}");
            assert_eq!(row.key_in_doubt, 0, "{account} has no key");
        }
        let shown = store.regressed_accounts(Some(first), 1).await.unwrap();
        assert_eq!((shown[0].account, shown[0].forgotten), (second, 0));
        let versions = store.versions(second, 1).await.unwrap();
        assert_eq!(
            versions[0].last_sent_at,
            Some(LATER),
            "what was noted is known"
        );
        assert!(store.versions_unsent(&noted).await.unwrap().is_empty());
        let keys = [
            (first.0, "print 2".to_owned()),
            (first.0, "print 9".to_owned()),
        ];
        let known = store.known_forgotten(&keys).await.unwrap();
        assert_eq!(known, keys[..1], "what is known is not found again");
        let there = store
            .versions_there(&[(second.0, 2), (first.0, 2), (gone.0, 1)])
            .await
            .unwrap();
        assert_eq!(there, [(second.0, 2)]);
    }
);

on_both!(
    what_the_store_forgot_comes_back_as_sent_and_never_twice,
    |db| {
        let queue = scene(&db, 1).await;
        let account = account_id(1, 1);
        let mut tx = queue.store.begin().await.unwrap();
        tx.add_version(&version(account, 4), LATER).await.unwrap();
        tx.note_sent(account, 4, NOW).await.unwrap();
        is_stale(tx.note_sent(account, 4, LATER).await);
        is_stale(tx.note_sent(account, 5, LATER).await);
        tx.commit().await.unwrap();
        let versions = queue.store.versions(account, 1).await.unwrap();
        assert_eq!(
            (versions[0].version, versions[0].last_sent_at),
            (4, Some(NOW))
        );
    }
);

on_both!(nothing_is_due_of_an_account_that_is_marked, |db| {
    let queue = scene(&db, 2).await;
    let store = &queue.store;
    let due = Planned {
        next_change_at: Some(NOW),
        next_test_at: Some(NOW),
        flag_at: None,
    };
    let mut tx = store.begin().await.unwrap();
    for nth in [1, 2] {
        tx.set_schedule(account_id(1, nth), SystemId(1), due)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(record(store, &unnamed(1, 2)).await, 2);
    let scan = async |meant: (u64, u64)| {
        let mut tx = store.begin().await.unwrap();
        let scanned = tx.scan_stale(LATER, 10).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!((scanned.changes, scanned.tests), meant);
    };
    scan((0, 0)).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.unmark(&[account_id(1, 2)], LATER).await.unwrap(), 1);
    assert_eq!(tx.unmark(&[account_id(1, 2)], LATER).await.unwrap(), 0);
    assert_eq!(tx.end_regressions(true, LATER).await.unwrap(), []);
    tx.commit().await.unwrap();
    assert!(store.is_regressed(account_id(1, 1)).await.unwrap());
    assert!(!store.is_regressed(account_id(1, 2)).await.unwrap());
    scan((1, 0)).await;
    scan((0, 0)).await;
});

on_both!(
    a_claim_says_what_was_agreed_to_and_its_settlement_what_came_of_it,
    |db| {
        let queue = scene(&db, 3).await;
        let store = &queue.store;
        let all = [1, 2, 3].map(|nth| account_id(1, nth));
        record(store, &unnamed(1, 2)).await;
        assert_eq!(agree(store, &all[..2], Consent::Test).await, 2);
        assert_eq!(agree(store, &all[1..2], Consent::Reset).await, 1);
        assert_eq!(agree(store, &[AccountId(5)], Consent::Reset).await, 0);
        let due = store.recoveries_due(LATER, 10).await.unwrap();
        let meant = [
            (all[0], SystemId(1), Consent::Test, "ops".to_owned()),
            (all[1], SystemId(1), Consent::Reset, "ops".to_owned()),
        ];
        assert_eq!(due, meant);
        assert_eq!(store.recoveries_due(LATER, 1).await.unwrap(), meant[..1]);
        let counted = store.count_regressed().await.unwrap();
        let one = |word: &str| (word.to_owned(), 1);
        assert_eq!(counted, [one("none"), one("reset"), one("test")]);
        let mut tx = store.begin().await.unwrap();
        tx.lock_queue(SystemId(1)).await.unwrap();
        for account in all {
            // Far ahead: it waits for its account.
            let new = rotation(account, Timestamp(LATER.0 + 3_600_000));
            tx.enqueue(&new, NOW).await.unwrap();
            let has_turn = tx.take_turn(account, LATER).await.unwrap();
            assert_eq!(has_turn, account != all[2]);
            assert!(
                !tx.take_turn(account, LATER).await.unwrap(),
                "a turn is one"
            );
            let queue = (SystemId(1), Priority::Routine);
            tx.wake_job(account, queue, LATER).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(store.recoveries_since(NOW).await.unwrap(), 2);
        assert_eq!(store.recoveries_since(LATER).await.unwrap(), 0);
        let mut tx = store.begin().await.unwrap();
        let claims = tx
            .claim(queue.node, Priority::Routine, 5, 10, LATER)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut claim = claims[0].clone();
        let standings: Vec<_> = claim.jobs.iter().map(|job| job.standing).collect();
        let meant = [Consent::Test, Consent::Reset, Consent::None].map(Standing::Regressed);
        assert_eq!(standings, meant);
        claim.jobs[0].standing = Standing::Recovered;
        claim.jobs[1].standing = Standing::Spent;
        assert!(store.recoveries_due(LATER, 10).await.unwrap().is_empty());
        let mut tx = store.begin().await.unwrap();
        let ended = settled(&claim, &Ending::Failed);
        tx.settle(&claim, &ended, SystemHealth::Unknown, true, LATER)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let none = Consent::None;
        assert_eq!(marked(store).await, [(all[1].0, none), (all[2].0, none)]);
        let event = store.audit_of(&all[0].to_string(), 10).await.unwrap();
        assert!(event.iter().any(|row| row.event == "account.recovered"));
        assert_eq!(
            agree(store, &all, Consent::Test).await,
            2,
            "one is recovered"
        );
        let due = async |now| {
            let due = store.recoveries_due(now, 10).await.unwrap();
            due.iter().map(|one| one.0).collect::<Vec<_>>()
        };
        assert_eq!(due(NOW).await, all[1..], "agreed to anew, they are next");
        // A target that was not heard is left alone for a minute.
        let mut tx = store.begin().await.unwrap();
        assert!(tx.take_turn(all[2], LATER).await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let new = rotation(all[2], LATER);
        tx.lock_queue(SystemId(1)).await.unwrap();
        tx.enqueue(&new, LATER).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let claims = tx.claim(queue.node, Priority::Routine, 5, 10, LATER).await;
        let mut claim = claims.unwrap()[0].clone();
        claim.jobs[0].standing = Standing::Postponed(Consent::Test);
        let ended = settled(&claim, &Ending::Failed);
        tx.settle(&claim, &ended, SystemHealth::Unknown, true, LATER)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(due(LATER).await, all[1..2]);
        assert_eq!(due(Timestamp(LATER.0 + 60_000)).await, all[1..]);
        // The rate counts what has recovered meanwhile too.
        assert_eq!(store.recoveries_since(NOW).await.unwrap(), 3);
    }
);
