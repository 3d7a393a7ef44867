//! The store itself: schema, transactions, audit.

use keywheel::model::Timestamp;
use keywheel::model::audit::Event;
use serde_json::json;

use crate::support::database::on_both;

on_both!(a_fresh_database_is_migrated_once, |db| {
    let store = db.store().await;
    let state = store.schema().await.unwrap();
    assert_eq!(state.found, state.known);
    store.require_schema().await.unwrap();
    assert_eq!(store.migrate(None).await.unwrap(), state);
    store.ping().await.unwrap();
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
