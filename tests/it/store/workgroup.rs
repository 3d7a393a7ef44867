//! Workgroups.

use keywheel::model::id::WorkgroupId;
use keywheel::store::Page;

use super::inventory::{conflicts, workgroup};
use crate::support::database::on_both;

on_both!(a_workgroup_is_found_by_id_and_by_name_in_any_case, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup(1, "Default")).await.unwrap();
    tx.insert_workgroup(&workgroup(2, "Ünder")).await.unwrap();
    tx.commit().await.unwrap();
    let found = store.workgroup(WorkgroupId(2)).await.unwrap().unwrap();
    assert_eq!(found, workgroup(2, "Ünder"));
    let found = store.workgroup_named("üNDER").await.unwrap().unwrap();
    assert_eq!(found.id, WorkgroupId(2));
    assert_eq!(store.workgroup(WorkgroupId(3)).await.unwrap(), None);
    assert_eq!(store.workgroup_named("none").await.unwrap(), None);
    let page = Page {
        limit: 5,
        offset: 1,
    };
    assert_eq!(
        store.workgroups(page).await.unwrap(),
        [workgroup(2, "Ünder")]
    );
});

on_both!(two_workgroups_never_share_a_name, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup(1, "Default")).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.insert_workgroup(&workgroup(2, "DEFAULT")).await);
});
