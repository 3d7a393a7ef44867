//! The store itself: schema, transactions, audit.

use keywheel::model::Timestamp;
use keywheel::model::audit::Event;
use keywheel::store::Backend;
use serde_json::json;

use crate::support::database::{Database, on_both};

on_both!(a_fresh_database_is_migrated_once, |db| {
    let store = db.store().await;
    let state = store.schema().await.unwrap();
    assert_eq!(state.found, state.known);
    store.require_schema().await.unwrap();
    assert_eq!(store.migrate(None).await.unwrap(), state);
    store.ping().await.unwrap();
    store.analyze().await.unwrap();
    assert!(store.identity().await.unwrap().is_none());
    store.close().await;
});

on_both!(an_audit_row_commits_with_its_transaction, |db| {
    let store = db.store().await;
    let event = Event::by(
        "ada",
        "policy.created",
        "policy 1",
        json!({"name": "weekly"}),
    );
    let mut tx = store.begin().await.unwrap();
    tx.audit(&event, Timestamp(5)).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(store.audit_of("policy 1", 10).await.unwrap().is_empty());
    let mut tx = store.begin().await.unwrap();
    tx.audit(&event, Timestamp(6)).await.unwrap();
    tx.commit().await.unwrap();
    let rows = store.audit_of("policy 1", 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].at, Timestamp(6));
    assert_eq!(rows[0].body, r#"{"name":"weekly"}"#);
});

on_both!(the_audit_trail_is_read_backwards_page_by_page, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    for (at, subject) in [(1, "policy 1"), (2, "user 1"), (3, "policy 1")] {
        let event = Event::by("ada", "noun.changed", subject, json!({}));
        tx.audit(&event, Timestamp(at)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let times = async |subject: Option<&'static str>, before, limit| {
        let rows = store.audit_rows(subject, before, limit).await.unwrap();
        let times: Vec<i64> = rows.iter().map(|row| row.at.0).collect();
        (times, rows.last().map(|row| row.id))
    };
    let (first, last) = times(None, None, 2).await;
    assert_eq!(first, [3, 2]);
    assert_eq!(times(None, last, 2).await.0, [1]);
    assert_eq!(times(Some("policy 1"), None, 9).await.0, [3, 1]);
    assert_eq!(times(Some("policy 1"), last, 9).await.0, [1]);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_for_its_disk_takes_the_same_schema() {
    let database = Database::durable(Backend::Postgres).await;
    let store = database.store().await;
    store.require_schema().await.unwrap();
    store.close().await;
}
