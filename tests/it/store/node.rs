//! Nodes, their deaths, and whose turn a tick is.

use keywheel::model::Timestamp;
use keywheel::model::id::NodeId;
use keywheel::store::{Backend, Store, StoreError};

use super::inventory::is_stale;
use crate::support::database::on_both;
use crate::support::queue::NOW;

async fn register(store: &Store) -> NodeId {
    let mut tx = store.begin().await.unwrap();
    let node = tx.register_node("host", NOW).await.unwrap();
    tx.commit().await.unwrap();
    node
}

async fn beat(store: &Store, node: NodeId) -> Result<(), StoreError> {
    let mut tx = store.begin().await.unwrap();
    let beats = tx.beat(node).await?;
    assert!(beats > 0);
    tx.commit().await
}

async fn declare_dead(store: &Store, node: NodeId, seen: i64) -> bool {
    let mut tx = store.begin().await.unwrap();
    let dead = tx.declare_dead(node, seen).await.unwrap();
    tx.commit().await.unwrap();
    dead
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "results are handed over as they come"
)]
fn is_lost<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::LeaseLost)), "{result:?}");
}

on_both!(a_node_that_starts_lives_and_on_sqlite_alone, |db| {
    let store = db.store().await;
    let first = register(&store).await;
    let second = register(&store).await;
    assert_ne!(first, second);
    let living = store.living_nodes().await.unwrap();
    match store.backend() {
        Backend::Sqlite => assert_eq!(living, [(second, 0)]),
        Backend::Postgres => assert_eq!(living, [(first, 0), (second, 0)]),
    }
});

on_both!(a_node_that_beats_is_not_declared_dead, |db| {
    let store = db.store().await;
    let node = register(&store).await;
    beat(&store, node).await.unwrap();
    assert!(!declare_dead(&store, node, 0).await);
    assert_eq!(store.living_nodes().await.unwrap(), [(node, 1)]);
    assert!(declare_dead(&store, node, 1).await);
    assert!(!declare_dead(&store, node, 1).await, "one peer tells");
    assert_eq!(store.living_nodes().await.unwrap(), []);
    // It must come back as another.
    is_lost(beat(&store, node).await);
    is_lost(beat(&store, NodeId(99)).await);
});

on_both!(a_node_signs_off, |db| {
    let store = db.store().await;
    let node = register(&store).await;
    let mut tx = store.begin().await.unwrap();
    tx.sign_off(node).await.unwrap();
    is_stale(tx.sign_off(NodeId(99)).await);
    tx.commit().await.unwrap();
    assert_eq!(store.living_nodes().await.unwrap(), []);
    is_lost(beat(&store, node).await);
});

on_both!(one_node_of_all_gets_a_tick, |db| {
    let store = db.store().await;
    let take = async |node, now: i64| {
        let mut tx = store.begin().await.unwrap();
        let next = Timestamp(now + 60);
        let mine = tx
            .take_tick("stale_scan", NodeId(node), next, Timestamp(now))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        mine
    };
    for now in [100, 160, 400] {
        let turns = (1..=8).map(|node| take(node, now));
        let turns = futures::future::join_all(turns).await;
        assert_eq!(turns.iter().filter(|mine| **mine).count(), 1, "{now}");
    }
    assert!(!take(1, 459).await);
    assert!(take(1, 460).await);
});

on_both!(a_tick_that_failed_has_not_completed, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.tick_done("reaper", NOW).await);
    let next = Timestamp(NOW.0 + 60);
    for name in ["reaper", "anchors"] {
        assert!(tx.take_tick(name, NodeId(1), next, NOW).await.unwrap());
    }
    tx.tick_done("reaper", NOW).await.unwrap();
    tx.commit().await.unwrap();
    let ticks = store.ticks().await.unwrap();
    let meant = [("anchors", Timestamp(0)), ("reaper", NOW)];
    assert_eq!(ticks, meant.map(|(name, at)| (name.to_owned(), at)));
});
