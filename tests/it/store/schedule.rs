//! When accounts change and are tested by themselves.

use keywheel::model::Timestamp;
use keywheel::model::id::{AccountId, PolicyId, SystemId};
use keywheel::model::schedule::{Planned, plan};

use super::inventory::{THEN, is_stale, one_account};
use crate::support::database::on_both;

on_both!(a_plan_is_stored_for_its_account, |db| {
    let store = db.store().await;
    one_account(&store).await;
    let id = AccountId(1);
    let planned = Planned {
        next_change_at: Some(Timestamp(5)),
        next_test_at: Some(Timestamp(6)),
        flag_at: Some(Timestamp(7)),
    };
    let mut tx = store.begin().await.unwrap();
    tx.set_schedule(id, SystemId(1), planned).await.unwrap();
    is_stale(tx.set_schedule(id, SystemId(2), planned).await);
    tx.commit().await.unwrap();
    let due = store.account(id).await.unwrap().unwrap().due;
    assert_eq!(
        (due.next_change_at, due.next_test_at),
        (Some(Timestamp(5)), Some(Timestamp(6)))
    );
    assert_eq!((due.flag_at, due.stale_at), (Some(Timestamp(7)), None));
});

on_both!(a_new_plan_takes_the_flag_down, |db| {
    let store = db.store().await;
    one_account(&store).await;
    let id = AccountId(1);
    let account = store.account(id).await.unwrap().unwrap();
    let system = store.system(SystemId(1)).await.unwrap().unwrap();
    let planned = plan(&account, &system, None, THEN);
    let old = planned.flag_at.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.set_schedule(id, SystemId(1), planned).await.unwrap();
    tx.scan_stale(old, 10).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        store.account(id).await.unwrap().unwrap().due.stale_at,
        Some(old)
    );
    let mut tx = store.begin().await.unwrap();
    tx.set_schedule(id, SystemId(1), planned).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.account(id).await.unwrap().unwrap().due.stale_at, None);
});

on_both!(a_policy_that_is_not_there_plans_nothing, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.planning_policy(PolicyId(1)).await.unwrap(), None);
});

on_both!(
    an_account_is_planned_anew_from_what_the_database_holds,
    |db| {
        let store = db.store().await;
        one_account(&store).await;
        let id = AccountId(1);
        let account = store.account(id).await.unwrap().unwrap();
        let system = store.system(SystemId(1)).await.unwrap().unwrap();
        let planned = plan(&account, &system, None, THEN);
        let mut tx = store.begin().await.unwrap();
        tx.replan(id, THEN).await.unwrap();
        tx.replan(AccountId(9), THEN).await.unwrap();
        tx.commit().await.unwrap();
        let due = store.account(id).await.unwrap().unwrap().due;
        assert!(planned.flag_at.is_some());
        assert_eq!(due.flag_at, planned.flag_at);
    }
);
