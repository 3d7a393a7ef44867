//! The audit chain on both databases: who seals, what is found out, what is kept.

use std::collections::BTreeSet;

use keywheel::model::Timestamp;
use keywheel::model::audit::Event;
use keywheel::model::audit_chain::{Anchor, Flaw, Line, Link, Verifier};
use keywheel::store::{AUDIT_HEAD, AuditKeysRow, Backend, Store, StoreError};
use serde_json::json;

use super::inventory::conflicts;
use crate::support::audit::{audit_keys, seal_all, verified};
use crate::support::database::{Database, on_both};
use crate::support::queue::{NOW, Queue};
use crate::support::wait::until;

async fn record(store: &Store, count: i64) {
    let events: Vec<Event> = (0..count)
        .map(|nth| {
            Event::by(
                "ada",
                "test.ran",
                format!("test {nth}"),
                json!({"nth": nth}),
            )
        })
        .collect();
    let mut tx = store.begin().await.unwrap();
    tx.audit_all(&Vec::from_iter(&events), NOW).await.unwrap();
    tx.commit().await.unwrap();
}

on_both!(rows_get_their_places_once_and_in_order, |db| {
    let store = db.store().await;
    assert!(!store.has_unsealed_audit().await.unwrap());
    assert_eq!(store.audit_head().await.unwrap(), Link::START);
    assert_eq!(seal_all(&store, 5).await, 0);
    record(&store, 150).await;
    assert!(store.has_unsealed_audit().await.unwrap());
    // Places are given, and nothing but places.
    let before = store.audit_rows(None, None, 200).await.unwrap();
    assert!(before.iter().all(|row| row.seq.is_none()));
    assert_eq!(seal_all(&store, 70).await, 150);
    record(&store, 3).await;
    assert_eq!(seal_all(&store, 70).await, 3);
    assert_eq!(seal_all(&store, 70).await, 0);
    assert!(!store.has_unsealed_audit().await.unwrap());
    let rows = store.sealed_audit(0, 999).await.unwrap();
    let places: Vec<i64> = rows.iter().map(|one| one.link.seq).collect();
    assert_eq!(places, (1..=153).collect::<Vec<_>>());
    assert!(rows.iter().all(|one| one.row.seq == Some(one.link.seq)));
    for (sealed, plain) in rows.iter().zip(before.iter().rev()) {
        let mut row = sealed.row.clone();
        row.seq = None;
        assert_eq!(&row, plain);
    }
    let head = store.audit_head().await.unwrap();
    assert_eq!(head, rows[152].link);
    assert_eq!(verified(&store, &[rows[9].link, head]).await, Ok(head));
    assert_eq!(store.sealed_audit(150, 2).await.unwrap(), rows[150..152]);
    assert_eq!(store.audit_link(10).await.unwrap(), Some(rows[9].link));
    assert_eq!(store.audit_link(0).await.unwrap(), Some(Link::START));
    assert_eq!(store.audit_link(154).await.unwrap(), None);
});

on_both!(an_undone_seal_leaves_no_trace, |db| {
    let store = db.store().await;
    record(&store, 9).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.seal_audit(&audit_keys().chain, 9).await.unwrap(), 9);
    tx.rollback().await.unwrap();
    assert_eq!(store.audit_head().await.unwrap(), Link::START);
    assert!(store.sealed_audit(0, 9).await.unwrap().is_empty());
    assert_eq!(seal_all(&store, 4).await, 9);
    verified(&store, &[]).await.unwrap();
});

/// Seals in small chunks until `rows` are sealed; how often another one was faster.
async fn seal_until(store: &Store, rows: i64) -> u64 {
    let keys = audit_keys();
    let mut lost = 0;
    while store.audit_head().await.unwrap().seq < rows {
        let sealed = async {
            let mut tx = store.begin().await?;
            tx.seal_audit(&keys.chain, 7).await?;
            tx.commit().await
        };
        match sealed.await {
            Err(StoreError::Stale { what }) if what == AUDIT_HEAD => lost += 1,
            Ok(()) | Err(StoreError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    }
    lost
}

on_both!(two_sealers_do_not_fork_the_chain, |db| {
    let one = db.store().await;
    let other = Store::connect(&db.options()).await.unwrap();
    let writer = Store::connect(&db.options()).await.unwrap();
    let write = async {
        for _ in 0..60 {
            record(&writer, 10).await;
        }
    };
    let (lost, also_lost, ()) = tokio::join!(seal_until(&one, 600), seal_until(&other, 600), write);
    println!("two sealers: {} chunks lost the race", lost + also_lost);
    let rows = one.sealed_audit(0, 999).await.unwrap();
    let ids: BTreeSet<i64> = rows.iter().map(|one| one.row.id.0).collect();
    assert_eq!((rows.len(), ids.len()), (600, 600));
    assert_eq!(verified(&other, &[]).await.unwrap().seq, 600);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_read_one_head_the_second_writes_nothing() {
    let db = Database::new(Backend::Postgres).await;
    let queue = db.queue().await;
    let store = &queue.store;
    record(store, 4).await;
    assert_eq!(seal_all(store, 9).await, 4);
    record(store, 9).await;
    // Both read the head and its rows, and come to wait for the head's row.
    let mut held = queue.pool.begin().await.unwrap();
    sqlx::query("UPDATE audit_head SET seq = seq")
        .execute(&mut *held)
        .await
        .unwrap();
    let release = async {
        until("both wait", async || {
            let waiting = "SELECT COUNT(*) FROM pg_stat_activity
                           WHERE wait_event_type = 'Lock' AND datname = current_database()";
            (queue.number(waiting).await == 2).then_some(())
        })
        .await;
        held.rollback().await.unwrap();
    };
    let seal = async || {
        let keys = audit_keys();
        let mut tx = store.begin().await?;
        let sealed = tx.seal_audit(&keys.chain, 5).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(sealed)
    };
    let (one, two, ()) = tokio::join!(seal(), seal(), release);
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    assert_eq!(won.unwrap(), 5);
    let lost = lost.unwrap_err();
    assert!(
        matches!(lost, StoreError::Stale { what } if what == AUDIT_HEAD),
        "{lost}"
    );
    assert_eq!(store.audit_head().await.unwrap().seq, 9);
    assert_eq!(seal_all(store, 9).await, 4);
    assert_eq!(verified(store, &[]).await.unwrap().seq, 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_commits_late_is_sealed_after_younger_ones() {
    let db = Database::new(Backend::Postgres).await;
    let store = db.store().await;
    let event = |name: &'static str| Event::by("ada", name, "test", json!({}));
    let mut late = store.begin().await.unwrap();
    late.audit(&event("test.late"), NOW).await.unwrap();
    let mut early = store.begin().await.unwrap();
    early.audit(&event("test.early"), NOW).await.unwrap();
    early.commit().await.unwrap();
    assert_eq!(seal_all(&store, 9).await, 1);
    late.commit().await.unwrap();
    assert_eq!(seal_all(&store, 9).await, 1);
    let rows = store.sealed_audit(0, 9).await.unwrap();
    let events: Vec<&str> = rows.iter().map(|one| one.row.event.as_str()).collect();
    assert_eq!(events, ["test.early", "test.late"]);
    assert!(rows[1].row.id < rows[0].row.id);
    verified(&store, &[]).await.unwrap();
}

/// What somebody with the database's password does, the place that is named, and the flaw.
const TAMPERED: [(&[&str], i64, Flaw); 15] = [
    (
        &["UPDATE audit SET id = id + 1000000 WHERE seq = 5"],
        5,
        Flaw::Mac,
    ),
    (
        &["UPDATE audit SET at = at + 1 WHERE seq = 5"],
        5,
        Flaw::Mac,
    ),
    (
        &["UPDATE audit SET actor = 'eve' WHERE seq = 5"],
        5,
        Flaw::Mac,
    ),
    (
        &["UPDATE audit SET event = 'test.run' WHERE seq = 5"],
        5,
        Flaw::Mac,
    ),
    (
        &["UPDATE audit SET subject = 'test 40' WHERE seq = 5"],
        5,
        Flaw::Mac,
    ),
    (
        &["UPDATE audit SET body = '{}' WHERE seq = 5"],
        5,
        Flaw::Mac,
    ),
    (
        &["UPDATE audit SET mac = (SELECT o.mac FROM audit AS o WHERE o.seq = 6) WHERE seq = 5"],
        5,
        Flaw::Mac,
    ),
    (
        &["DELETE FROM audit WHERE seq = 5"],
        6,
        Flaw::Gap { missing: 5 },
    ),
    (
        &["DELETE FROM audit WHERE seq = 1"],
        2,
        Flaw::Gap { missing: 1 },
    ),
    (
        &[
            "UPDATE audit SET seq = 99 WHERE seq = 5",
            "UPDATE audit SET seq = 5 WHERE seq = 6",
            "UPDATE audit SET seq = 6 WHERE seq = 99",
        ],
        5,
        Flaw::Mac,
    ),
    (
        &["DELETE FROM audit WHERE seq > 15"],
        20,
        Flaw::Truncated { newest: 15 },
    ),
    (
        &["UPDATE audit SET seq = NULL, mac = NULL WHERE seq = 20"],
        20,
        Flaw::Truncated { newest: 19 },
    ),
    (
        &["UPDATE audit_head SET mac = (SELECT mac FROM audit WHERE seq = 10)"],
        20,
        Flaw::Head { newest: 20 },
    ),
    (
        &["UPDATE audit_head SET seq = 10"],
        10,
        Flaw::Head { newest: 20 },
    ),
    (&["DELETE FROM audit_head"], 0, Flaw::Head { newest: 20 }),
];

async fn with_twenty(db: &Database) -> Queue {
    let queue = db.queue().await;
    record(&queue.store, 20).await;
    assert_eq!(seal_all(&queue.store, 9).await, 20);
    for statement in [
        "CREATE TABLE rows_before AS SELECT * FROM audit",
        "CREATE TABLE head_before AS SELECT * FROM audit_head",
    ] {
        queue.write(statement).await;
    }
    queue
}

on_both!(whatever_is_tampered_with_is_named, |db| {
    let queue = with_twenty(&db).await;
    let head = queue.store.audit_head().await.unwrap();
    for (statements, seq, flaw) in TAMPERED {
        for statement in statements {
            assert!(queue.write(statement).await > 0, "{statement}");
        }
        let broken = verified(&queue.store, &[]).await.unwrap_err();
        assert_eq!((broken.seq, broken.flaw), (seq, flaw), "{statements:?}");
        for restore in [
            "DELETE FROM audit",
            "DELETE FROM audit_head",
            "INSERT INTO audit SELECT * FROM rows_before",
            "INSERT INTO audit_head SELECT * FROM head_before",
        ] {
            queue.write(restore).await;
        }
        assert_eq!(verified(&queue.store, &[head]).await, Ok(head));
    }
});

on_both!(
    a_tail_that_went_with_its_head_is_missed_by_whoever_knew_it,
    |db| {
        let queue = with_twenty(&db).await;
        let store = &queue.store;
        let head = store.audit_head().await.unwrap();
        for statement in [
            "DELETE FROM audit WHERE seq > 15",
            "UPDATE audit_head SET seq = 15, mac = (SELECT mac FROM audit WHERE seq = 15)",
        ] {
            queue.write(statement).await;
        }
        // What is left is a chain; only what was told elsewhere says that there was more.
        assert_eq!(verified(store, &[]).await.unwrap().seq, 15);
        let flaw = Flaw::Truncated { newest: 15 };
        let missed = verified(store, &[head]).await.unwrap_err();
        assert_eq!((missed.seq, missed.flaw), (20, flaw));
        let keys = audit_keys();
        let mut remembers = Verifier::new(&keys.chain, head);
        let missed = store.verify_audit(&mut remembers, 9).await.unwrap();
        assert_eq!(missed.unwrap_err().flaw, flaw);
    }
);

on_both!(a_trail_has_one_pair_of_keys, |db| {
    let store = db.store().await;
    assert_eq!(store.audit_keys().await.unwrap(), None);
    let keys = AuditKeysRow {
        chain: vec![1, 0, 255],
        anchor: vec![2],
        created_at: NOW,
    };
    let mut tx = store.begin().await.unwrap();
    tx.insert_audit_keys(&keys).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.insert_audit_keys(&keys).await);
    drop(tx);
    assert_eq!(store.audit_keys().await.unwrap(), Some(keys));
});

on_both!(the_newest_anchors_are_kept, |db| {
    let store = db.store().await;
    record(&store, 2).await;
    seal_all(&store, 9).await;
    let (keys, head) = (audit_keys(), store.audit_head().await.unwrap());
    let anchor = |at| Anchor::sign(&keys.anchor, &keys.store, head, Timestamp(at));
    for (at, forget) in [(100, 0), (200, 100), (300, 150)] {
        let mut tx = store.begin().await.unwrap();
        tx.record_audit_anchor(&anchor(at), Timestamp(forget))
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(
        store.audit_anchors(9).await.unwrap(),
        [anchor(300), anchor(200)]
    );
    assert_eq!(store.audit_anchors(1).await.unwrap(), [anchor(300)]);
    let kept = store.audit_anchors(1).await.unwrap().remove(0);
    assert_eq!(kept.check(&keys.store, &keys.anchor.public()), Ok(()));
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.record_audit_anchor(&anchor(300), Timestamp(0)).await);
});

on_both!(
    an_export_reads_on_page_by_page_and_ends_where_the_head_was,
    |db| {
        let queue = db.queue().await;
        let store = &queue.store;
        record(store, 2_500).await;
        seal_all(store, 1_000).await;
        let head = store.audit_head().await.unwrap();
        let mut export = store.export_audit(1, None).await.unwrap();
        let (first, rows) = export.page().await.unwrap().unwrap();
        assert_eq!((rows, first.lines().count()), (1_000, 1_000));
        // What follows is not read before it is asked for; what is sealed since is not part of it.
        queue
            .write("UPDATE audit SET actor = 'eve' WHERE seq = 2400")
            .await;
        record(store, 9).await;
        seal_all(store, 1_000).await;
        let mut lines: Vec<String> = first.lines().map(str::to_owned).collect();
        while let Some((page, rows)) = export.page().await.unwrap() {
            assert!(rows <= 1_000, "{rows}");
            lines.extend(page.lines().map(str::to_owned));
        }
        assert_eq!(i64::try_from(lines.len()).unwrap(), head.seq);
        let keys = audit_keys();
        let mut verifier = Verifier::new(&keys.chain, Link::START);
        let rows = lines.iter().map(|line| Line::parse(line).unwrap().sealed());
        let broken = rows.map(|row| verifier.row(&row)).find_map(Result::err);
        let broken = broken.expect("a broken row");
        assert_eq!((broken.seq, broken.flaw), (2_400, Flaw::Mac));

        // A part begins behind the link that it names itself.
        let mut part = store.export_audit(5, Some(7)).await.unwrap();
        let (page, rows) = part.page().await.unwrap().unwrap();
        assert_eq!(rows, 3);
        assert_eq!(part.page().await.unwrap(), None);
        let lines: Vec<Line> = page
            .lines()
            .map(|line| Line::parse(line).unwrap())
            .collect();
        assert!(lines[1].previous.is_none());
        let before = Link {
            seq: 4,
            mac: lines[0].previous.unwrap(),
        };
        let mut verifier = Verifier::new(&keys.chain, before);
        for line in lines {
            assert_eq!(verifier.row(&line.sealed()), Ok(()));
        }
        let mut beyond = store.export_audit(9_999, None).await.unwrap();
        assert_eq!(beyond.page().await.unwrap(), None);
    }
);
