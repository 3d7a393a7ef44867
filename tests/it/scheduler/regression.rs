//! A database that forgets while a node runs, and recoveries that are ordered at a bounded rate.

use std::path::Path;

use age::x25519::Identity;
use keywheel::clock::Clock;
use keywheel::escrow::{Echo, Journal, Kept, Owner, Print};
use keywheel::model::id::AccountId;
use keywheel::model::regression::Consent;
use keywheel::scheduler::{Ground, Memory};
use keywheel::store::{NewVersion, SealedSecret};

use super::*;

async fn identified(queue: &Queue) {
    let mut tx = queue.store.begin().await.unwrap();
    tx.insert_identity("one", b"probe", NOW).await.unwrap();
    tx.commit().await.unwrap();
}

fn memory(folder: &Path, journal: Option<Arc<Journal>>) -> SchedulerOptions {
    SchedulerOptions {
        memory: Some(Memory {
            store: "one".to_owned(),
            echo: Echo::at(folder.join("echo")),
            names: journal.is_some(),
            journal,
        }),
        ..SchedulerOptions::default()
    }
}

fn journal(folder: &Path, clock: &Arc<ManualClock>) -> Arc<Journal> {
    let clock = clock.clone();
    let recipient = Identity::generate().to_public().to_string();
    let now = Box::new(move || clock.now());
    let (journal, _) = Journal::open(&folder.join("journal"), &recipient, now).unwrap();
    journal.begin("one");
    Arc::new(journal)
}

/// Stores a version as the vault and the engine do.
async fn stage(store: &Store, journal: &Journal, account: AccountId, version: i64, at: Timestamp) {
    let sealed = format!("sealed {} {version}", account.0).into_bytes();
    let kept = Kept {
        owner: Owner::Account(account.0),
        part: "sealed",
        version,
        print: Print::of(&sealed),
    };
    journal.keep(kept, "secret").unwrap();
    let mut tx = store.begin().await.unwrap();
    let new = NewVersion {
        account,
        version,
        secret: SealedSecret::Password(sealed),
        origin: "generated",
    };
    tx.add_version(&new, at).await.unwrap();
    tx.commit().await.unwrap();
}

async fn execute(queue: &Queue, statement: &'static str) {
    let done = sqlx::query(statement).execute(&queue.pool).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement} changed nothing");
}

async fn marked(store: &Store) -> Vec<AccountId> {
    let found = store.regressed_accounts(None, 1_000).await.unwrap();
    found.into_iter().map(|one| one.account).collect()
}

on_both!(commits_of_the_last_minute_that_are_gone_are_missed, |db| {
    let mut queue = db.queue().await;
    identified(&queue).await;
    queue.system(1, 5, 10, 3).await;
    let clock = ManualClock::at(NOW);
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), &clock);
    queue.store = queue.store.clone().escrowing(journal.clone());
    let [first, second] = [1, 2].map(|nth| account_id(1, nth));
    let options = memory(folder.path(), Some(journal.clone()));
    let node = Node::with(&queue.store, &clock, queue.node, options);
    for (account, version) in [(first, 1), (second, 1), (first, 2)] {
        clock.advance(Duration::from_secs(1));
        stage(&queue.store, &journal, account, version, clock.now()).await;
    }
    node.tick(Tick::Generation).await;
    assert!(marked(&queue.store).await.is_empty());
    stage(&queue.store, &journal, second, 2, clock.now()).await;
    // The generation was raised before that, and says nothing of it.
    execute(
        &queue,
        "DELETE FROM credential_versions WHERE version = 2 AND account_id = 1000002",
    )
    .await;
    node.tick(Tick::Generation).await;
    assert_eq!(marked(&queue.store).await, [second]);
    // What is known is not found again, by this node or the next.
    node.tick(Tick::Generation).await;
    let open = queue.store.regressions(10).await.unwrap();
    assert_eq!(open.len(), 1, "{open:?}");
    // A value whose transaction was rolled back is nobody's loss.
    let sealed = b"never committed";
    let kept = Kept {
        owner: Owner::Account(first.0),
        part: "sealed",
        version: 3,
        print: Print::of(sealed),
    };
    journal.keep(kept, "secret").unwrap();
    journal.flush().await.unwrap();
    let options = memory(folder.path(), Some(journal.clone()));
    let memory = options.memory.unwrap();
    let now = clock.now();
    assert!(
        !memory
            .compare(&queue.store, (0, Ground::Nothing), now)
            .await
            .unwrap()
    );
    // But once it is certain that something is lost, so may that be.
    assert!(
        memory
            .compare(&queue.store, (0, Ground::Proof), now)
            .await
            .unwrap()
    );
    assert_eq!(marked(&queue.store).await, [first, second]);
});

on_both!(
    a_generation_or_a_beat_that_falls_back_is_a_regression,
    |db| {
        let queue = db.queue().await;
        identified(&queue).await;
        queue.system(1, 5, 10, 2).await;
        let clock = ManualClock::at(NOW);
        let folder = tempfile::tempdir().unwrap();
        let options = memory(folder.path(), None);
        let node = Node::with(&queue.store, &clock, queue.node, options);
        for _ in 0..5 {
            node.tick(Tick::Generation).await;
            node.tick(Tick::Beat).await;
        }
        assert_eq!(queue.store.open_regression().await.unwrap(), None);
        execute(
            &queue,
            "UPDATE store_identity SET generation = generation - 2",
        )
        .await;
        node.tick(Tick::Generation).await;
        let open = queue.store.open_regression().await.unwrap().unwrap();
        assert_eq!((open.generation, open.expected, open.accounts), (3, 5, 2));
        assert!(queue.store.generation().await.unwrap() > 5);
        node.tick(Tick::Gauges).await;
        node.says("store_regressed", 1.0);
        node.says(r#"store_regressed_accounts{consent="none"}"#, 2.0);
        let all = marked(&queue.store).await;
        let mut tx = queue.store.begin().await.unwrap();
        tx.unmark(&all, clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        node.tick(Tick::Recovery).await;
        assert_eq!(queue.store.open_regression().await.unwrap(), None);
        node.tick(Tick::Gauges).await;
        node.says("store_regressed", 0.0);
        // Peers raise the generation again: a node's own beat tells of what is gone all the same.
        execute(&queue, "UPDATE nodes SET beat = beat - 2").await;
        node.tick(Tick::Beat).await;
        node.tick(Tick::Generation).await;
        assert_eq!(marked(&queue.store).await, all);
        let said: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("echo")).unwrap()).unwrap();
        assert_eq!(said["generation"], queue.store.generation().await.unwrap());
    }
);

on_both!(recoveries_are_ordered_at_a_bounded_rate, |db| {
    let queue = db.queue().await;
    identified(&queue).await;
    queue.system(1, 5, 10, 50).await;
    let clock = ManualClock::at(NOW);
    let folder = tempfile::tempdir().unwrap();
    let options = SchedulerOptions {
        recoveries_per_minute: 7,
        ..memory(folder.path(), None)
    };
    let node = Node::with(&queue.store, &clock, queue.node, options);
    let memory = memory(folder.path(), None).memory.unwrap();
    assert!(
        memory
            .compare(&queue.store, (9, Ground::Nothing), NOW)
            .await
            .unwrap()
    );
    node.tick(Tick::Recovery).await;
    assert_eq!(
        queue.store.count_jobs().await.unwrap(),
        [],
        "nobody has agreed"
    );
    let all = marked(&queue.store).await;
    assert_eq!(all.len(), 50);
    let mut tx = queue.store.begin().await.unwrap();
    tx.agree(&all[..30], Consent::Test, "ops").await.unwrap();
    tx.agree(&all[30..], Consent::Reset, "ops").await.unwrap();
    tx.commit().await.unwrap();
    let mut ordered: Vec<i64> = Vec::new();
    for _ in 0..200 {
        clock.advance(Duration::from_secs(5));
        node.tick(Tick::Recovery).await;
        let jobs = queue.store.count_jobs().await.unwrap();
        let jobs: i64 = jobs.iter().map(|(_, _, count)| count).sum();
        ordered.push(jobs);
        if jobs == 50 {
            break;
        }
    }
    assert_eq!(ordered.last(), Some(&50), "{ordered:?}");
    // Twelve ticks a minute.
    let most = ordered.windows(12).map(|span| span[11] - span[0]).max();
    assert!(most <= Some(7), "{ordered:?}");
    let kinds: Vec<_> = queue.store.count_jobs().await.unwrap();
    let of = |kind: &str| (kind.to_owned(), "queued".to_owned());
    assert_eq!(
        kinds,
        [("rotate", 20), ("test", 30)].map(|(kind, count)| {
            let (kind, state) = of(kind);
            (kind, state, count)
        })
    );
});
