//! Groups, smart rules and roles.

use std::collections::{BTreeMap, BTreeSet};

use keywheel::model::access::{Feature, NewGroup, NewQuickRule, Role, RuleKind};
use keywheel::model::id::{AccountId, GroupId, SmartRuleId, UserId};
use keywheel::model::principal::{AccessLevel, NewUser, Permission};
use keywheel::store::{AccountFilter, AssetFilter, Page, Store, SystemFilter, Tx};

use super::inventory::{conflicts, is_stale};
use crate::support::database::on_both;
use crate::support::queue::{NOW, account_id};

const ALL_ACCOUNTS: SmartRuleId = SmartRuleId(1);
const ALL_ASSETS: SmartRuleId = SmartRuleId(2);

async fn user(tx: &mut Tx, name: &str) -> UserId {
    let new = NewUser {
        name: name.to_owned(),
        display_name: String::new(),
        email: String::new(),
        administrator: false,
        granted: BTreeSet::from([Permission::JobsRead]),
    };
    tx.insert_user(&new, NOW).await.unwrap()
}

async fn group(tx: &mut Tx, name: &str, permissions: &[Permission]) -> GroupId {
    let new = NewGroup {
        name: name.to_owned(),
        description: "those on call".to_owned(),
        permissions: permissions.iter().copied().collect(),
    };
    tx.insert_group(&new, NOW).await.unwrap()
}

async fn quick_rule(tx: &mut Tx, title: &str, kind: RuleKind, members: &[i64]) -> SmartRuleId {
    let new = NewQuickRule {
        title: title.to_owned(),
        description: String::new(),
        category: "Quick Rules".to_owned(),
        kind,
        members: members.iter().copied().collect(),
    };
    tx.insert_quick_rule(&new, NOW).await.unwrap()
}

async fn members(store: &Store, rule: SmartRuleId) -> Vec<i64> {
    let filter = AccountFilter {
        rule_id: Some(rule),
        ..AccountFilter::default()
    };
    let found = store.accounts(&filter, Page::first(99)).await.unwrap();
    let ids: Vec<i64> = found.iter().map(|one| one.account.id.0).collect();
    let count = store.count_accounts_of(rule).await.unwrap();
    assert_eq!(i64::try_from(ids.len()).unwrap(), count);
    ids
}

on_both!(
    a_group_grants_while_it_is_active_and_lists_its_members,
    |db| {
        let store = db.store().await;
        let mut tx = store.begin().await.unwrap();
        let (ada, bob) = (user(&mut tx, "ada").await, user(&mut tx, "bob").await);
        let night = group(&mut tx, "Night", &[Permission::AuditRead]).await;
        assert!(tx.add_member(night, ada).await.unwrap());
        assert!(!tx.add_member(night, ada).await.unwrap());
        let wanted = BTreeMap::from([
            (Feature::AccountManagement, Some(AccessLevel::ReadWrite)),
            (Feature::AssetManagement, Some(AccessLevel::Read)),
        ]);
        tx.set_features(night, &wanted).await.unwrap();
        tx.commit().await.unwrap();
        let found = store.group(night).await.unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.active), ("Night", true));
        assert_eq!(found.permissions, BTreeSet::from([Permission::AuditRead]));
        assert_eq!(found.features.len(), 2);
        assert_eq!(store.groups(Page::first(9)).await.unwrap(), [found]);
        assert_eq!(store.group_members(night).await.unwrap(), [ada]);
        let may = async |user, permission| {
            let user = store.user(user).await.unwrap().unwrap();
            user.may(permission)
        };
        for (permission, allowed) in [
            (Permission::JobsRead, true),
            (Permission::AuditRead, true),
            (Permission::CredentialsSet, true),
            (Permission::AssetsRead, true),
            (Permission::AssetsWrite, false),
            (Permission::QuarantinesRun, false),
        ] {
            assert_eq!(may(ada, permission).await, allowed, "{permission}");
        }
        assert!(!may(bob, Permission::AuditRead).await);
        let mut tx = store.begin().await.unwrap();
        tx.set_group_active(night, false).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!may(ada, Permission::AuditRead).await);
        let ada_then = store.user(ada).await.unwrap().unwrap();
        assert_eq!(ada_then.by_groups.ids, BTreeSet::from([night]));
        let mut tx = store.begin().await.unwrap();
        tx.set_group_active(night, true).await.unwrap();
        tx.set_features(night, &BTreeMap::from([(Feature::AccountManagement, None)]))
            .await
            .unwrap();
        assert!(tx.remove_member(night, bob).await.is_ok_and(|was| !was));
        tx.commit().await.unwrap();
        assert!(!may(ada, Permission::CredentialsSet).await);
        assert!(may(ada, Permission::AssetsRead).await);
        let mut tx = store.begin().await.unwrap();
        tx.delete_group(night).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.group(night).await.unwrap(), None);
        assert!(!may(ada, Permission::AssetsRead).await);
    }
);

on_both!(
    groups_that_are_not_there_and_names_that_are_taken_are_told,
    |db| {
        let store = db.store().await;
        let mut tx = store.begin().await.unwrap();
        let ada = user(&mut tx, "ada").await;
        group(&mut tx, "Night", &[]).await;
        tx.commit().await.unwrap();
        let nobody = GroupId(77);
        let mut tx = store.begin().await.unwrap();
        let again = NewGroup {
            name: "NIGHT".to_owned(),
            description: String::new(),
            permissions: BTreeSet::new(),
        };
        conflicts(tx.insert_group(&again, NOW).await);
        tx.rollback().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        conflicts(tx.add_member(nobody, ada).await);
        tx.rollback().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let wanted = BTreeMap::from([(Feature::RoleManagement, Some(AccessLevel::Read))]);
        is_stale(tx.set_features(nobody, &wanted).await);
        tx.rollback().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        is_stale(tx.set_group_active(nobody, true).await);
        is_stale(tx.delete_group(nobody).await);
    }
);

on_both!(
    a_rule_references_accounts_by_themselves_their_system_or_their_asset,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 9, 2).await;
        queue.system(2, 1, 9, 1).await;
        let store = &queue.store;
        let [one, two, other] = [account_id(1, 1), account_id(1, 2), account_id(2, 1)];
        let mut tx = store.begin().await.unwrap();
        let of_accounts = quick_rule(&mut tx, "Two", RuleKind::Account, &[two.0, other.0]).await;
        let of_systems = quick_rule(&mut tx, "System 1", RuleKind::System, &[1]).await;
        tx.commit().await.unwrap();
        assert_eq!(members(store, ALL_ACCOUNTS).await, [one.0, two.0, other.0]);
        assert_eq!(members(store, of_accounts).await, [two.0, other.0]);
        assert_eq!(members(store, of_systems).await, [one.0, two.0]);
        // These systems were made from no asset.
        assert_eq!(members(store, ALL_ASSETS).await, [0; 0]);
        let systems = async |rule| {
            let filter = SystemFilter {
                rule_id: Some(rule),
                ..SystemFilter::default()
            };
            let found = store.systems(&filter, Page::first(9)).await.unwrap();
            assert_eq!(
                store.count_systems(&filter).await.unwrap(),
                i64::try_from(found.len()).unwrap()
            );
            found
                .into_iter()
                .map(|system| system.id.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(systems(ALL_ACCOUNTS).await, [1, 2]);
        assert_eq!(systems(of_accounts).await, [1, 2]);
        assert_eq!(systems(of_systems).await, [1]);
        let filter = AssetFilter {
            rule_id: Some(ALL_ASSETS),
            ..AssetFilter::default()
        };
        assert_eq!(store.assets(&filter, Page::first(9)).await.unwrap(), []);
        let mut tx = store.begin().await.unwrap();
        assert!(tx.add_rule_member(of_accounts, one.0).await.unwrap());
        assert!(!tx.add_rule_member(of_accounts, one.0).await.unwrap());
        assert!(tx.remove_rule_member(of_accounts, two.0).await.unwrap());
        assert!(!tx.remove_rule_member(of_accounts, two.0).await.unwrap());
        tx.touch_rule(of_accounts, NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(members(store, of_accounts).await, [one.0, other.0]);
        let mut tx = store.begin().await.unwrap();
        tx.set_rule_members(of_accounts, &BTreeSet::from([two.0]), NOW)
            .await
            .unwrap();
        is_stale(tx.touch_rule(SmartRuleId(77), NOW).await);
        tx.commit().await.unwrap();
        assert_eq!(members(store, of_accounts).await, [two.0]);
    }
);

on_both!(a_role_counts_where_its_rule_references_the_account, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 9, 2).await;
    let store = &queue.store;
    let [one, two] = [account_id(1, 1), account_id(1, 2)];
    let mut tx = store.begin().await.unwrap();
    let (ada, bob) = (user(&mut tx, "ada").await, user(&mut tx, "bob").await);
    let night = group(&mut tx, "Night", &[]).await;
    tx.add_member(night, ada).await.unwrap();
    let rule = quick_rule(&mut tx, "One", RuleKind::Account, &[one.0]).await;
    let roles = BTreeSet::from([Role::Requestor, Role::CredentialsManager]);
    tx.set_rule_roles(night, rule, &roles, Some(1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(store.group_has_roles(night).await.unwrap());
    assert_eq!(
        store.rule_roles(night, rule).await.unwrap(),
        [(Role::Requestor, Some(1)), (Role::CredentialsManager, None)]
    );
    assert_eq!(store.roles_on(ada, one).await.unwrap(), roles);
    for (user, account) in [(ada, two), (bob, one), (ada, AccountId(77))] {
        assert_eq!(
            store.roles_on(user, account).await.unwrap(),
            BTreeSet::new()
        );
    }
    assert!(store.has_role_on(ada, rule).await.unwrap());
    assert!(!store.has_role_on(bob, rule).await.unwrap());
    assert!(!store.has_role_on(ada, ALL_ACCOUNTS).await.unwrap());
    let found = store.user(ada).await.unwrap().unwrap();
    assert_eq!(found.by_groups.roles, roles);
    // Accounts to ask for, and rules to look at, follow from it.
    let filter = AccountFilter {
        requestor: Some(ada),
        ..AccountFilter::default()
    };
    let found = store.accounts(&filter, Page::first(9)).await.unwrap();
    assert_eq!(
        found.iter().map(|one| one.account.id).collect::<Vec<_>>(),
        [one]
    );
    let titles = async |user, title, fixed| {
        let found = store.smart_rules(user, title, fixed, Page::first(9)).await;
        let found = found.unwrap().into_iter();
        found.map(|rule| rule.id.0).collect::<Vec<_>>()
    };
    assert_eq!(titles(None, None, false).await, [1, 2, rule.0]);
    assert_eq!(titles(None, None, true).await, [rule.0]);
    assert_eq!(titles(None, Some("all ASSETS"), false).await, [2]);
    assert_eq!(titles(Some(ada), None, false).await, [rule.0]);
    assert_eq!(titles(Some(bob), None, false).await, [0; 0]);
    // An inactive group has none.
    let mut tx = store.begin().await.unwrap();
    tx.set_group_active(night, false).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.roles_on(ada, one).await.unwrap(), BTreeSet::new());
    assert!(!store.has_role_on(ada, rule).await.unwrap());
});

on_both!(what_has_a_role_or_is_built_in_is_not_deleted, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let night = group(&mut tx, "Night", &[]).await;
    let rule = quick_rule(&mut tx, "One", RuleKind::Account, &[]).await;
    let roles = BTreeSet::from([Role::Approver]);
    tx.set_rule_roles(night, rule, &roles, Some(1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let found = store.smart_rule(rule).await.unwrap().unwrap();
    assert_eq!((found.title.as_str(), found.everything), ("One", false));
    assert_eq!(
        store.rule_roles(night, rule).await.unwrap(),
        [(Role::Approver, None)],
        "an approver asks for nothing"
    );
    for id in [ALL_ACCOUNTS, SmartRuleId(77)] {
        let mut tx = store.begin().await.unwrap();
        is_stale(tx.delete_quick_rule(id).await);
    }
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.delete_quick_rule(rule).await);
    tx.rollback().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.delete_group(night).await);
    tx.rollback().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    is_stale(
        tx.set_rule_roles(night, SmartRuleId(77), &roles, None)
            .await,
    );
    tx.rollback().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.set_rule_roles(night, rule, &BTreeSet::new(), None)
        .await
        .unwrap();
    tx.delete_quick_rule(rule).await.unwrap();
    tx.delete_group(night).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.smart_rule(rule).await.unwrap(), None);
});
