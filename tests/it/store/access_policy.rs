//! Access policies: their schedules keep their numbers, and roles hold them as they are.

use keywheel::model::access::{NewGroup, Role};
use keywheel::model::access_policy::{AccessPolicy, AccessTerms, NewAccessPolicy};
use keywheel::model::id::{GroupId, SmartRuleId, UserId};
use keywheel::model::policy::windows_from_json;
use keywheel::store::Store;
use serde_json::json;

use super::inventory::{conflicts, is_stale};
use super::request::{account, made, new, user};
use crate::support::database::on_both;
use crate::support::queue::NOW;

/// With these schedules: (number, name, approvals).
fn policy(name: &str, schedules: &[(Option<i64>, &str, i64)]) -> NewAccessPolicy {
    let terms = schedules.iter().map(|(id, name, approvals)| {
        let windows = json!([{"cron": "0 8 * * 1-5", "duration": "9h", "zone": "Europe/Berlin"}]);
        let terms = AccessTerms {
            windows: windows_from_json(&windows, "").unwrap(),
            rotation_override: true,
            outlasts_window: true,
            ..AccessTerms::always(name, *approvals)
        };
        (*id, terms)
    });
    NewAccessPolicy {
        name: name.to_owned(),
        description: "on call".to_owned(),
        schedules: terms.collect(),
    }
}

async fn inserted(store: &Store, new: &NewAccessPolicy) -> AccessPolicy {
    let mut tx = store.begin().await.unwrap();
    let id = tx.insert_access_policy(new).await.unwrap();
    tx.commit().await.unwrap();
    found(store, id).await.unwrap()
}

async fn found(store: &Store, id: i64) -> Option<AccessPolicy> {
    let all = store.access_policies().await.unwrap();
    all.into_iter().find(|policy| policy.id == id)
}

/// A group with this member.
async fn group_of(store: &Store, name: &str, member: UserId) -> GroupId {
    let group = NewGroup {
        name: name.to_owned(),
        description: String::new(),
        permissions: [].into(),
    };
    let mut tx = store.begin().await.unwrap();
    let group = tx.insert_group(&group, NOW).await.unwrap();
    tx.add_member(group, member).await.unwrap();
    tx.commit().await.unwrap();
    group
}

/// The group's one role on all accounts.
async fn role(store: &Store, group: GroupId, role: Role, policy: Option<i64>) {
    let mut tx = store.begin().await.unwrap();
    tx.set_rule_roles(group, SmartRuleId(1), &[role].into(), policy)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

on_both!(an_edit_keeps_the_numbers_of_schedules, |db| {
    let queue = db.queue().await;
    let store = &queue.store;
    let builtin = found(store, 1).await.unwrap();
    assert_eq!(builtin.schedules[0].id, 1);
    assert_eq!(builtin.schedules[0].terms, AccessTerms::always("Always", 0));
    let day = policy("Office", &[(None, "Day", 0), (None, "Night", 2)]);
    let before = inserted(store, &day).await;
    assert_eq!(
        (before.revision, before.description.as_str()),
        (1, "on call")
    );
    let [first, second] = [before.schedules[0].id, before.schedules[1].id];
    assert_eq!(before.schedules[0].terms, day.schedules[0].1);
    let edit = policy("Office 2", &[(Some(second), "Night", 3), (None, "Noon", 1)]);
    let mut tx = store.begin().await.unwrap();
    tx.update_access_policy(before.id, 1, &edit).await.unwrap();
    tx.commit().await.unwrap();
    let after = found(store, before.id).await.unwrap();
    assert_eq!((after.revision, after.name.as_str()), (2, "Office 2"));
    let shown: Vec<_> = after
        .schedules
        .iter()
        .map(|one| (one.id, one.terms.approvals))
        .collect();
    assert_eq!(shown[0], (second, 3));
    assert!(
        shown.len() == 2 && shown[1].0 > second && shown[1].1 == 1,
        "{shown:?}"
    );
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.update_access_policy(after.id, 1, &edit).await);
    tx.rollback().await.unwrap();
    // Neither a schedule that is gone, nor one of another policy.
    for other in [first, 1] {
        let edit = policy("Office", &[(Some(other), "Day", 0)]);
        let mut tx = store.begin().await.unwrap();
        is_stale(tx.update_access_policy(after.id, 2, &edit).await);
        tx.rollback().await.unwrap();
    }
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.insert_access_policy(&policy("OFFICE 2", &[])).await);
    tx.rollback().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.update_access_policy(1, 1, &edit).await);
    is_stale(tx.delete_access_policy(1, 1).await);
    is_stale(tx.delete_access_policy(after.id, 1).await);
    tx.delete_access_policy(after.id, 2).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(found(store, after.id).await, None);
    let schedules = queue.number("SELECT COUNT(*) FROM access_schedules").await;
    assert_eq!(schedules, 1);
});

on_both!(a_role_holds_its_access_policy, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 9, 1).await;
    let store = &queue.store;
    let ada = user(store, "ada").await;
    let four_eyes = inserted(store, &policy("Four eyes", &[(None, "Day", 1)])).await;
    let group = group_of(store, "Night", ada).await;
    let ids = async || {
        let schedules = store.schedules_for(ada, account()).await.unwrap();
        schedules.iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert!(ids().await.is_empty());
    role(store, group, Role::Approver, None).await;
    assert!(ids().await.is_empty(), "approvers do not ask");
    role(store, group, Role::Requestor, Some(four_eyes.id)).await;
    assert_eq!(ids().await, [four_eyes.schedules[0].id]);
    let day = four_eyes.schedules[0].id;
    let edit = policy("Two eyes", &[(Some(day), "Day", 0)]);
    let mut tx = store.begin().await.unwrap();
    tx.update_access_policy(four_eyes.id, 1, &edit)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ids().await, [day]);
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.delete_access_policy(four_eyes.id, 2).await);
    tx.rollback().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    is_stale(
        tx.set_rule_roles(group, SmartRuleId(1), &[Role::Requestor].into(), Some(77))
            .await,
    );
    tx.rollback().await.unwrap();
    // The schedules of two roles count together.
    let second = group_of(store, "Day", ada).await;
    role(store, second, Role::RequestorApprover, Some(1)).await;
    assert_eq!(ids().await, [1, four_eyes.schedules[0].id]);
    role(store, group, Role::Requestor, Some(1)).await;
    let mut tx = store.begin().await.unwrap();
    tx.delete_access_policy(four_eyes.id, 2).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ids().await, [1], "each once");
});

on_both!(approvers_are_those_who_may_now_or_have, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 9, 1).await;
    let store = &queue.store;
    let [ada, bob, carl] = [
        user(store, "ada").await,
        user(store, "bob").await,
        user(store, "carl").await,
    ];
    let count = async |request| {
        store
            .count_approvers(ada, account(), request)
            .await
            .unwrap()
    };
    assert_eq!(count(None).await, 0);
    let group = group_of(store, "Judges", bob).await;
    let mut tx = store.begin().await.unwrap();
    // Nobody approves their own.
    tx.add_member(group, ada).await.unwrap();
    tx.add_member(group, carl).await.unwrap();
    tx.commit().await.unwrap();
    role(store, group, Role::Approver, None).await;
    assert_eq!(count(None).await, 2);
    let request = made(store, &new(ada, 2, false)).await;
    let mut tx = store.begin().await.unwrap();
    assert!(!tx.approve_request(request, bob, NOW).await.unwrap());
    tx.set_user_disabled(bob, true).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(None).await, 1, "who is disabled approves nothing");
    assert_eq!(count(Some(request)).await, 2, "but has approved this");
    role(store, group, Role::Requestor, Some(1)).await;
    assert_eq!(count(Some(request)).await, 1);
    queue
        .write("UPDATE users SET administrator = 1 WHERE name = 'carl'")
        .await;
    assert_eq!(count(None).await, 1, "an administrator may");
});
