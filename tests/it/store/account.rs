//! Managed accounts.

use keywheel::model::Timestamp;
use keywheel::model::account::{Account, LastTest};
use keywheel::model::credential::Parts;
use keywheel::model::id::{AccountId, RuleId, SystemId};
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::policy::VendorSchedule;
use keywheel::store::{AccountFilter, NewJob, Page, SealedSecret, Store};

use super::inventory::{THEN, account, conflicts, is_stale, linux_system, one_account, one_system};
use crate::support::database::on_both;

const ROOT: AccountId = AccountId(1);

async fn found(store: &Store, id: AccountId) -> Account {
    store.account(id).await.unwrap().unwrap()
}

async fn queue_a_change(store: &Store, id: AccountId) {
    let mut tx = store.begin().await.unwrap();
    let job = NewJob {
        account: id,
        system: SystemId(1),
        kind: JobKind::Rotate,
        cause: Cause::Order,
        actor: "ada".to_owned(),
        priority: Priority::Routine,
        run_at: THEN,
        parts: Parts::ALL_THERE_ARE,
        version: None,
        key_version: None,
    };
    tx.lock_queue(SystemId(1)).await.unwrap();
    tx.enqueue(&job, THEN).await.unwrap();
    tx.commit().await.unwrap();
}

on_both!(every_setting_of_an_account_survives_the_database, |db| {
    let store = db.store().await;
    one_system(&store).await;
    let mut new = account(1, 1, "Root");
    let settings = &mut new.settings;
    settings.domain_name = Some("dom".to_owned());
    settings.distinguished_name = Some("uid=root".to_owned());
    settings.user_principal_name = Some("root@dom".to_owned());
    settings.sam_account_name = Some("root".to_owned());
    settings.description = Some("d".to_owned());
    settings.password_rule_id = RuleId(0);
    settings.api_enabled = true;
    settings.auto_management = true;
    settings.check_password = true;
    settings.reset_on_mismatch = true;
    settings.schedule = VendorSchedule::parse("xdays", Some(7), "02:00").unwrap();
    settings.next_override_at = Some(THEN);
    settings.extras.object_id = Some("o".to_owned());
    settings.extras.max_concurrent_requests = 0;
    let mut tx = store.begin().await.unwrap();
    tx.insert_account(&new, THEN).await.unwrap();
    tx.commit().await.unwrap();
    let first = found(&store, ROOT).await;
    assert_eq!(first.settings, new.settings);
    assert!(first.active && first.work.is_none() && first.deleted_at.is_none());
    assert_eq!((first.revision, first.created_at), (1, THEN));
    assert_eq!(first.credential.last_test, LastTest::NeverTested);
    assert_eq!(
        (
            first.credential.current_version,
            first.credential.last_version
        ),
        (None, 0)
    );
    let mut settings = new.settings;
    settings.extras.object_id = None;
    settings.name = "toor".to_owned();
    let mut tx = store.begin().await.unwrap();
    tx.update_account(ROOT, 1, "toor", &settings).await.unwrap();
    let held = tx.locked_account(ROOT).await.unwrap().unwrap();
    assert_eq!((&held.settings, held.revision), (&settings, 2));
    is_stale(tx.update_account(ROOT, 1, "toor", &settings).await);
    is_stale(tx.update_account(AccountId(9), 1, "toor", &settings).await);
    assert_eq!(tx.locked_account(AccountId(9)).await.unwrap(), None);
});

on_both!(two_accounts_of_a_system_are_never_one_login, |db| {
    let store = db.store().await;
    one_account(&store).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_system(&linux_system(2, "web2"), THEN)
        .await
        .unwrap();
    tx.insert_account(&account(2, 2, "root"), THEN)
        .await
        .unwrap();
    tx.insert_account(&account(3, 1, "Root"), THEN)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.insert_account(&account(4, 1, "root"), THEN).await);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    let settings = account(3, 1, "root").settings;
    conflicts(tx.update_account(AccountId(3), 1, "root", &settings).await);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.insert_account(&account(4, 9, "root"), THEN).await);
});

on_both!(
    a_deleted_accounts_name_is_free_and_its_secrets_are_kept,
    |db| {
        let store = db.store().await;
        one_account(&store).await;
        let mut tx = store.begin().await.unwrap();
        tx.add_stored_version(ROOT, 1, SealedSecret::Password(vec![7]), THEN)
            .await
            .unwrap();
        tx.delete_account(ROOT, THEN).await.unwrap();
        is_stale(tx.delete_account(ROOT, THEN).await);
        tx.insert_account(&account(2, 1, "root"), THEN)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.account(ROOT).await.unwrap(), None);
        assert_eq!(
            store.sealed_version(ROOT, 1).await.unwrap(),
            Some(SealedSecret::Password(vec![7]))
        );
        let listed = store
            .accounts(&AccountFilter::default(), Page::first(9))
            .await
            .unwrap();
        assert_eq!(
            listed
                .iter()
                .map(|one| one.account.id.0)
                .collect::<Vec<_>>(),
            [2]
        );
    }
);

on_both!(a_stored_secret_becomes_current_untested, |db| {
    let store = db.store().await;
    one_account(&store).await;
    let later = Timestamp(THEN.0 + 5);
    let mut tx = store.begin().await.unwrap();
    tx.add_stored_version(ROOT, 1, SealedSecret::Password(vec![1]), THEN)
        .await
        .unwrap();
    tx.add_stored_version(ROOT, 2, SealedSecret::Password(vec![2]), later)
        .await
        .unwrap();
    is_stale(
        tx.add_stored_version(ROOT, 2, SealedSecret::Password(vec![3]), later)
            .await,
    );
    is_stale(
        tx.add_stored_version(AccountId(9), 1, SealedSecret::Password(vec![3]), later)
            .await,
    );
    tx.commit().await.unwrap();
    let credential = found(&store, ROOT).await.credential;
    assert_eq!(
        (credential.current_version, credential.last_version),
        (Some(2), 2)
    );
    assert_eq!(credential.changed_at, Some(later));
    assert_eq!(credential.last_test, LastTest::NeverTested);
    let versions = store.versions(ROOT, 9).await.unwrap();
    assert_eq!(
        versions.iter().map(|one| one.version).collect::<Vec<_>>(),
        [2, 1]
    );
    assert!(versions.iter().all(|one| one.origin == "stored"));
});

on_both!(an_account_with_an_open_job_stays_what_it_is, |db| {
    let store = db.store().await;
    one_account(&store).await;
    queue_a_change(&store, ROOT).await;
    let work = found(&store, ROOT).await.work.unwrap();
    assert_eq!(
        (work.kind, work.running, work.run_at),
        (JobKind::Rotate, false, THEN)
    );
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.delete_account(ROOT, THEN).await);
    conflicts(tx.delete_accounts(SystemId(1), THEN).await);
    conflicts(
        tx.add_stored_version(ROOT, 1, SealedSecret::Password(vec![1]), THEN)
            .await,
    );
    let mut settings = account(1, 1, "root").settings;
    settings.description = Some("may change".to_owned());
    tx.update_account(ROOT, 1, "root", &settings).await.unwrap();
    settings.name = "toor".to_owned();
    conflicts(tx.update_account(ROOT, 2, "toor", &settings).await);
});

on_both!(a_suspended_account_can_be_resumed, |db| {
    let store = db.store().await;
    one_account(&store).await;
    let mut tx = store.begin().await.unwrap();
    tx.set_account_active(ROOT, false).await.unwrap();
    is_stale(tx.set_account_active(AccountId(9), false).await);
    tx.commit().await.unwrap();
    assert!(!found(&store, ROOT).await.active);
    let mut tx = store.begin().await.unwrap();
    tx.set_account_active(ROOT, true).await.unwrap();
    tx.commit().await.unwrap();
    assert!(found(&store, ROOT).await.active);
});

/// Besides `root`, account 2 on system 2: `Ann` of `Dom`, requestable.
async fn ann_and_root(store: &Store) {
    one_account(store).await;
    let mut system = linux_system(2, "Dir1");
    system.settings.ip_address = Some("10.0.0.2".to_owned());
    let mut ann = account(2, 2, "Ann");
    ann.settings.domain_name = Some("Dom".to_owned());
    ann.settings.user_principal_name = Some("Ann@dom".to_owned());
    ann.settings.api_enabled = true;
    let mut tx = store.begin().await.unwrap();
    tx.insert_system(&system, THEN).await.unwrap();
    tx.insert_account(&ann, THEN).await.unwrap();
    tx.commit().await.unwrap();
}

fn all() -> AccountFilter {
    AccountFilter::default()
}

on_both!(accounts_are_listed_by_what_callers_know, |db| {
    let store = db.store().await;
    ann_and_root(&store).await;
    for filter in [
        AccountFilter {
            system_id: Some(SystemId(2)),
            ..all()
        },
        AccountFilter {
            system_name: Some("DIR1".to_owned()),
            ..all()
        },
        AccountFilter {
            account_name: Some("ANN".to_owned()),
            ..all()
        },
        AccountFilter {
            account_name: Some("dom\\ann".to_owned()),
            ..all()
        },
        AccountFilter {
            account_name: Some("ann@DOM".to_owned()),
            ..all()
        },
        AccountFilter {
            system_name: Some("dir1".to_owned()),
            account_name: Some("Ann".to_owned()),
            ..all()
        },
        AccountFilter {
            system_name: Some("DIR1".to_owned()),
            account_name: Some("dom\\ann".to_owned()),
            ..all()
        },
        AccountFilter {
            ip_address: Some("10.0.0.2".to_owned()),
            ..all()
        },
        AccountFilter {
            api_enabled: true,
            ..all()
        },
        AccountFilter {
            system_id: Some(SystemId(2)),
            account_name: Some("ann".to_owned()),
            workgroup_name: Some("DEFAULT".to_owned()),
            entity_type: Some(1),
            ..all()
        },
    ] {
        let found = store.accounts(&filter, Page::first(9)).await.unwrap();
        assert_eq!(found.len(), 1, "{filter:?}");
        assert_eq!(
            (found[0].account.id.0, found[0].system_name.as_str()),
            (2, "Dir1")
        );
        assert_eq!((found[0].platform_id.0, found[0].workgroup_id.0), (2, 1));
    }
    let page = Page {
        limit: 1,
        offset: 1,
    };
    assert_eq!(
        store.accounts(&all(), page).await.unwrap()[0].account.id.0,
        2
    );
});

on_both!(what_matches_no_account_lists_none, |db| {
    let store = db.store().await;
    ann_and_root(&store).await;
    for filter in [
        AccountFilter {
            account_name: Some("other\\ann".to_owned()),
            ..all()
        },
        AccountFilter {
            account_name: Some("ann@other".to_owned()),
            ..all()
        },
        AccountFilter {
            account_name: Some("ann".to_owned()),
            system_name: Some("web1".to_owned()),
            ..all()
        },
        AccountFilter {
            workgroup_name: Some("none".to_owned()),
            ..all()
        },
        AccountFilter {
            entity_type: Some(3),
            ..all()
        },
    ] {
        let found = store.accounts(&filter, Page::first(9)).await.unwrap();
        assert_eq!(found, [], "{filter:?}");
    }
});
