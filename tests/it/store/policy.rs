//! Rotation policies, and which accounts they rule.

use keywheel::model::Timestamp;
use keywheel::model::account::AccountSettings;
use keywheel::model::id::{AccountId, PolicyId, SystemId};
use keywheel::model::policy::Policy;
use keywheel::model::system::SystemSettings;
use keywheel::store::Store;
use serde_json::json;

use super::inventory::{account, conflicts, is_stale, one_account};
use crate::support::database::on_both;

fn policy(name: &str, days: u32) -> Policy {
    Policy::from_json(&json!({"name": name, "max_age": format!("{days}d")})).unwrap()
}

async fn stored(store: &Store, policy: &Policy) -> PolicyId {
    let mut tx = store.begin().await.unwrap();
    let id = tx.insert_policy(policy, Timestamp(5)).await.unwrap();
    tx.commit().await.unwrap();
    id
}

on_both!(a_policy_is_read_back_as_it_was_written, |db| {
    let store = db.store().await;
    let id = stored(&store, &policy("Weekly", 7)).await;
    let found = store.policy(id).await.unwrap().unwrap();
    assert_eq!(found.policy, policy("Weekly", 7));
    assert_eq!((found.revision, found.created_at), (1, Timestamp(5)));
    assert_eq!(
        store.policies(PolicyId(0), 9).await.unwrap(),
        vec![found.clone()]
    );
    assert!(store.policies(id, 9).await.unwrap().is_empty());
    assert_eq!(store.policy(PolicyId(99)).await.unwrap(), None);
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.insert_policy(&policy("WEEKLY", 1), Timestamp(6)).await);
});

on_both!(an_edit_is_guarded_by_the_revision_it_is_based_on, |db| {
    let store = db.store().await;
    let id = stored(&store, &policy("Weekly", 7)).await;
    let mut tx = store.begin().await.unwrap();
    let daily = policy("Daily", 1);
    is_stale(tx.update_policy(id, 2, &daily, Timestamp(9)).await);
    tx.update_policy(id, 1, &daily, Timestamp(9)).await.unwrap();
    is_stale(tx.delete_policy(id, 1).await);
    tx.commit().await.unwrap();
    let found = store.policy(id).await.unwrap().unwrap();
    assert_eq!((found.policy, found.revision), (daily, 2));
    assert_eq!(
        (found.created_at, found.updated_at),
        (Timestamp(5), Timestamp(9))
    );
    let mut tx = store.begin().await.unwrap();
    tx.delete_policy(id, 2).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.policy(id).await.unwrap(), None);
});

on_both!(
    a_policy_rules_its_own_accounts_and_those_of_its_systems,
    |db| {
        let store = db.store().await;
        one_account(&store).await;
        let (own, of_system) = (
            stored(&store, &policy("own", 7)).await,
            stored(&store, &policy("of the system", 7)).await,
        );
        let mut tx = store.begin().await.unwrap();
        let mut second = account(2, 1, "ann");
        second.settings.policy_id = Some(own);
        tx.insert_account(&second, Timestamp(5)).await.unwrap();
        let gone = account(3, 1, "gone");
        tx.insert_account(&gone, Timestamp(5)).await.unwrap();
        tx.delete_account(AccountId(3), Timestamp(6)).await.unwrap();
        let settings = SystemSettings {
            policy_id: Some(of_system),
            ..SystemSettings::of_host("web1")
        };
        tx.update_system(SystemId(1), 1, &settings).await.unwrap();
        tx.commit().await.unwrap();
        let first = AccountId(0);
        let ruled = store.accounts_of_policy(own, first, 9).await.unwrap();
        assert_eq!(ruled, [AccountId(2)]);
        let ruled = store.accounts_of_policy(of_system, first, 9).await.unwrap();
        assert_eq!(ruled, [AccountId(1)]);
        assert_eq!(
            store
                .accounts_of_system(SystemId(1), first, 9)
                .await
                .unwrap(),
            [AccountId(1), AccountId(2)]
        );
        assert_eq!(
            store
                .accounts_of_system(SystemId(1), AccountId(1), 9)
                .await
                .unwrap(),
            [AccountId(2)]
        );
        assert_eq!(store.count_active_accounts(SystemId(1)).await.unwrap(), 2);
        // While something refers to a policy it stays.
        for id in [own, of_system] {
            let mut tx = store.begin().await.unwrap();
            conflicts(tx.delete_policy(id, 1).await);
        }
    }
);

on_both!(an_account_is_planned_by_the_policy_that_rules_it, |db| {
    let store = db.store().await;
    one_account(&store).await;
    let daily = Policy::from_json(&json!({
        "name": "daily", "mode": "auto", "max_age": "1d", "jitter": 0.0
    }));
    let id = stored(&store, &daily.unwrap()).await;
    let settings = AccountSettings {
        policy_id: Some(id),
        ..AccountSettings::named("root")
    };
    let now = super::inventory::THEN;
    let mut tx = store.begin().await.unwrap();
    tx.update_account(AccountId(1), 1, "root", &settings)
        .await
        .unwrap();
    tx.replan(AccountId(1), now).await.unwrap();
    tx.commit().await.unwrap();
    let due = store.account(AccountId(1)).await.unwrap().unwrap().due;
    assert_eq!(due.next_change_at, Some(Timestamp(now.0 + 86_400_000)));
});
