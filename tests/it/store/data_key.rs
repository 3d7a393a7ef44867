//! Data keys and the store's identity.

use keywheel::model::Timestamp;
use keywheel::model::id::DataKeyId;
use keywheel::store::{DataKeyRow, StoreError};

use super::inventory::{conflicts, is_stale};
use crate::support::database::on_both;

on_both!(data_keys_are_kept_in_order_of_their_ids, |db| {
    let store = db.store().await;
    assert!(store.data_keys().await.unwrap().is_empty());
    let mut tx = store.begin().await.unwrap();
    for (id, kek, wrapped) in [(i64::MAX, "b", &[0, 255, 7][..]), (5, "a", &[])] {
        tx.insert_data_key(DataKeyId(id), kek, wrapped, Timestamp(10))
            .await
            .unwrap();
    }
    tx.retire_data_key(DataKeyId(5), Timestamp(20))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let row = |id, kek_id: &str, wrapped: &[u8], retired_at| DataKeyRow {
        id: DataKeyId(id),
        kek_id: kek_id.to_owned(),
        wrapped: wrapped.to_vec(),
        seals: 0,
        created_at: Timestamp(10),
        retired_at,
    };
    let expected = [
        row(5, "a", &[], Some(Timestamp(20))),
        row(i64::MAX, "b", &[0, 255, 7], None),
    ];
    assert_eq!(store.data_keys().await.unwrap(), expected);
});

on_both!(a_data_key_is_neither_replaced_nor_retired_twice, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_data_key(DataKeyId(5), "a", &[1], Timestamp(1))
        .await
        .unwrap();
    tx.retire_data_key(DataKeyId(5), Timestamp(2))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.retire_data_key(DataKeyId(5), Timestamp(3)).await);
    is_stale(tx.retire_data_key(DataKeyId(6), Timestamp(3)).await);
    conflicts(
        tx.insert_data_key(DataKeyId(5), "b", &[2], Timestamp(3))
            .await,
    );
    tx.rollback().await.unwrap();
    let keys = store.data_keys().await.unwrap();
    assert_eq!(
        (keys[0].kek_id.as_str(), keys[0].retired_at),
        ("a", Some(Timestamp(2)))
    );
});

on_both!(reserved_seals_add_up, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_data_key(DataKeyId(5), "a", &[1], Timestamp(1))
        .await
        .unwrap();
    assert_eq!(tx.reserve_seals(DataKeyId(5), 100).await.unwrap(), 100);
    assert_eq!(tx.reserve_seals(DataKeyId(5), 7).await.unwrap(), 107);
    tx.commit().await.unwrap();
    assert_eq!(store.data_keys().await.unwrap()[0].seals, 107);
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.reserve_seals(DataKeyId(6), 1).await);
});

on_both!(a_data_key_with_a_negative_count_is_corrupt, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_data_key(DataKeyId(5), "a", &[1], Timestamp(1))
        .await
        .unwrap();
    tx.reserve_seals(DataKeyId(5), -1).await.unwrap();
    tx.commit().await.unwrap();
    let refused = store.data_keys().await.unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::Corrupt {
                table: "data_keys",
                row: 5,
                ..
            }
        ),
        "{refused}"
    );
});

on_both!(a_store_gets_its_identity_once, |db| {
    let store = db.store().await;
    assert!(store.identity().await.unwrap().is_none());
    let mut tx = store.begin().await.unwrap();
    tx.insert_identity("one", &[1, 0, 2], Timestamp(9))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.insert_identity("two", &[], Timestamp(10)).await);
    tx.rollback().await.unwrap();
    let found = store.identity().await.unwrap().unwrap();
    assert_eq!(
        (found.uuid.as_str(), found.probe, found.created_at),
        ("one", Some(vec![1, 0, 2]), Timestamp(9))
    );
});
