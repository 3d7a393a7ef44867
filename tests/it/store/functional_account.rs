//! Functional accounts.

use keywheel::model::functional_account::{Elevation, FunctionalSettings};
use keywheel::model::id::{FunctionalAccountId, PlatformId};
use keywheel::store::{Page, SealedKey};

use super::inventory::{THEN, conflicts, is_stale, linux_system, workgroup};
use crate::support::database::on_both;

const ID: FunctionalAccountId = FunctionalAccountId(1);

pub(super) fn settings(name: &str) -> FunctionalSettings {
    FunctionalSettings {
        platform_id: PlatformId(2),
        domain_name: None,
        account_name: name.to_owned(),
        display_name: name.to_owned(),
        description: Some("changes the others".to_owned()),
        elevation: Elevation::Sudo,
    }
}

on_both!(
    a_functional_account_tells_only_whether_it_has_a_password,
    |db| {
        let store = db.store().await;
        let mut tx = store.begin().await.unwrap();
        tx.insert_functional_account(ID, &settings("fa"), Some(vec![1, 2]), THEN)
            .await
            .unwrap();
        let bare = FunctionalAccountId(2);
        tx.insert_functional_account(bare, &settings("other"), None, THEN)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let found = store.functional_account(ID).await.unwrap().unwrap();
        assert_eq!(
            (&found.settings, found.has_password, found.systems),
            (&settings("fa"), true, 0)
        );
        assert_eq!(
            store.functional_password(ID).await.unwrap(),
            Some(vec![1, 2])
        );
        assert_eq!(store.functional_password(bare).await.unwrap(), None);
        let listed = store.functional_accounts(Page::first(9)).await.unwrap();
        assert_eq!(
            listed
                .iter()
                .map(|one| one.has_password)
                .collect::<Vec<_>>(),
            [true, false]
        );
        assert_eq!(
            store
                .functional_account(FunctionalAccountId(3))
                .await
                .unwrap(),
            None
        );
    }
);

on_both!(
    a_functional_account_is_changed_and_its_password_replaced,
    |db| {
        let store = db.store().await;
        let mut tx = store.begin().await.unwrap();
        tx.insert_functional_account(ID, &settings("fa"), None, THEN)
            .await
            .unwrap();
        tx.update_functional_account(ID, 1, &settings("fb"))
            .await
            .unwrap();
        tx.set_functional_password(ID, vec![3]).await.unwrap();
        is_stale(
            tx.update_functional_account(FunctionalAccountId(9), 1, &settings("x"))
                .await,
        );
        is_stale(tx.update_functional_account(ID, 1, &settings("x")).await);
        is_stale(
            tx.set_functional_password(FunctionalAccountId(9), vec![3])
                .await,
        );
        tx.commit().await.unwrap();
        let found = store.functional_account(ID).await.unwrap().unwrap();
        assert_eq!((&found.settings, found.revision), (&settings("fb"), 2));
        assert_eq!(store.functional_password(ID).await.unwrap(), Some(vec![3]));
    }
);

on_both!(a_functional_account_has_secrets_beside_its_password, |db| {
    let store = db.store().await;
    let gone = FunctionalAccountId(9);
    let key = |passphrase| SealedKey {
        private: vec![4, 5],
        passphrase,
        public: "ssh-ed25519 AAAA".to_owned(),
    };
    let mut tx = store.begin().await.unwrap();
    tx.insert_functional_account(ID, &settings("fa"), Some(vec![1]), THEN)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.functional_key(ID).await.unwrap(), None);
    assert_eq!(store.functional_enable(ID).await.unwrap(), None);
    for key in [key(Some(vec![6])), key(None)] {
        let mut tx = store.begin().await.unwrap();
        tx.set_functional_key(ID, Some(key.clone())).await.unwrap();
        tx.set_functional_enable(ID, Some(vec![7])).await.unwrap();
        is_stale(tx.set_functional_key(gone, Some(key.clone())).await);
        is_stale(tx.set_functional_enable(gone, None).await);
        tx.commit().await.unwrap();
        assert_eq!(store.functional_key(ID).await.unwrap(), Some(key));
    }
    assert_eq!(store.functional_enable(ID).await.unwrap(), Some(vec![7]));
    assert_eq!(store.functional_key(gone).await.unwrap(), None);
    assert_eq!(store.functional_enable(gone).await.unwrap(), None);
    let found = store.functional_account(ID).await.unwrap().unwrap();
    assert_eq!(found.public_key.as_deref(), Some("ssh-ed25519 AAAA"));
    assert!(found.has_enable && found.has_password);
    let mut tx = store.begin().await.unwrap();
    tx.clear_functional_password(ID).await.unwrap();
    tx.set_functional_key(ID, None).await.unwrap();
    tx.set_functional_enable(ID, None).await.unwrap();
    is_stale(tx.clear_functional_password(gone).await);
    tx.commit().await.unwrap();
    let found = store.functional_account(ID).await.unwrap().unwrap();
    assert_eq!(found.public_key, None);
    assert!(!found.has_enable && !found.has_password);
    assert_eq!(store.functional_key(ID).await.unwrap(), None);
});

on_both!(a_functional_account_goes_only_after_its_systems, |db| {
    let store = db.store().await;
    let mut system = linux_system(1, "web1");
    system.settings.functional_account_id = Some(ID);
    let mut tx = store.begin().await.unwrap();
    tx.insert_functional_account(ID, &settings("fa"), Some(vec![1]), THEN)
        .await
        .unwrap();
    tx.insert_workgroup(&workgroup(1, "Default")).await.unwrap();
    tx.insert_system(&system, THEN).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        store.functional_account(ID).await.unwrap().unwrap().systems,
        1
    );
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.delete_functional_account(ID).await);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    tx.delete_system(system.id, THEN).await.unwrap();
    tx.delete_functional_account(ID).await.unwrap();
    is_stale(tx.delete_functional_account(ID).await);
    tx.commit().await.unwrap();
});
