//! Categories and folders of password records.

use keywheel::model::Timestamp;
use keywheel::model::id::{OrganizationId, PasswordFolderId, PasswordRecordId};
use keywheel::model::organization::OrganizationFields;
use keywheel::model::password_record::{PasswordFields, Readers};
use keywheel::store::{FolderFields, NewPasswordRecord, Store, Tx};

use super::inventory::{THEN, conflicts, is_stale};
use super::principal::user;
use crate::support::database::on_both;

pub(super) async fn organization(tx: &mut Tx, name: &str) -> OrganizationId {
    let fields = OrganizationFields::named(name);
    tx.insert_organization(&fields, THEN).await.unwrap()
}

pub(super) fn folder(name: &str, parent_id: Option<PasswordFolderId>) -> FolderFields {
    FolderFields {
        name: name.to_owned(),
        parent_id,
        restricted: false,
    }
}

async fn record(tx: &mut Tx, of: OrganizationId, folder: PasswordFolderId) -> PasswordRecordId {
    let id = tx.password_record_id().await.unwrap();
    let new = NewPasswordRecord {
        id,
        organization_id: of,
        fields: PasswordFields {
            folder_id: Some(folder),
            ..PasswordFields::named("root")
        },
        account_id: None,
        said_changed_at: None,
        by: None,
    };
    tx.insert_password_record(&new, THEN).await.unwrap();
    id
}

on_both!(categories_are_there_and_share_no_name, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let id = tx.insert_password_category("Sécrets", THEN).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(id.0, 8);
    let found = store.password_category_named("sÉCRETS").await.unwrap();
    assert_eq!(found, Some(id));
    let mut tx = store.begin().await.unwrap();
    let later = Timestamp(THEN.0 + 1);
    tx.rename_password_category(id, "Secrets", later)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let all = store.password_categories().await.unwrap();
    let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
    let built_in = [
        "Administrative",
        "Application",
        "Network",
        "Service Account",
        "User",
    ];
    assert_eq!(names[..5], built_in);
    assert_eq!(names[5..], ["Vendor", "Cloud", "Secrets"]);
    let found = store.password_category(id).await.unwrap().unwrap();
    assert_eq!((found.records, found.updated_at), (0, later));
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.insert_password_category("CLOUD", THEN).await);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.rename_password_category(99.into(), "x", THEN).await);
});

on_both!(
    a_folder_lies_in_its_organization_and_never_in_itself,
    |db| {
        let store = db.store().await;
        let mut tx = store.begin().await.unwrap();
        let (one, other) = (
            organization(&mut tx, "one").await,
            organization(&mut tx, "other").await,
        );
        let top = tx
            .insert_password_folder(one, &folder("Top", None), THEN)
            .await
            .unwrap();
        let low = folder("Low", Some(top));
        let low_id = tx.insert_password_folder(one, &low, THEN).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.password_folders(Some(one)).await.unwrap().len(), 2);
        assert_eq!(store.password_folders(Some(other)).await.unwrap(), []);
        assert_eq!(store.password_folders(None).await.unwrap().len(), 2);
        let mut tx = store.begin().await.unwrap();
        conflicts(
            tx.insert_password_folder(one, &folder("LOW", Some(top)), THEN)
                .await,
        );
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        conflicts(
            tx.insert_password_folder(other, &folder("x", Some(top)), THEN)
                .await,
        );
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        conflicts(
            tx.insert_password_folder(9.into(), &folder("x", None), THEN)
                .await,
        );
        let found = store.password_folder(top).await.unwrap().unwrap();
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        let ring = folder("Top", Some(low_id));
        conflicts(tx.update_password_folder(&found, &ring, THEN).await);
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        conflicts(tx.delete_password_folder(top).await);
        drop(tx);
        let mut tx = store.begin().await.unwrap();
        tx.delete_password_folder(low_id).await.unwrap();
        tx.delete_password_folder(top).await.unwrap();
        is_stale(tx.delete_password_folder(top).await);
        tx.commit().await.unwrap();
        assert_eq!(store.password_folder(top).await.unwrap(), None);
    }
);

async fn restricted(store: &Store, id: PasswordFolderId, restricted: bool) {
    let found = store.password_folder(id).await.unwrap().unwrap();
    let fields = FolderFields {
        restricted,
        ..folder(&found.name, found.parent_id)
    };
    let mut tx = store.begin().await.unwrap();
    tx.update_password_folder(&found, &fields, THEN)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

on_both!(a_restricted_folder_shuts_what_lies_below_it, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let of = organization(&mut tx, "one").await;
    let top = tx
        .insert_password_folder(of, &folder("Top", None), THEN)
        .await
        .unwrap();
    let low = folder("Low", Some(top));
    let low = tx.insert_password_folder(of, &low, THEN).await.unwrap();
    let kept = record(&mut tx, of, low).await;
    let (ada, bob) = (user(&mut tx, "ada").await, user(&mut tx, "bob").await);
    tx.commit().await.unwrap();
    let sees = async |who| {
        let record = store.sees_password_record(kept, who).await.unwrap();
        let folder = store.enters_password_folder(low, who).await.unwrap();
        assert_eq!(record, folder);
        record
    };
    assert!(sees(ada).await && sees(bob).await);
    restricted(&store, top, true).await;
    assert!(!sees(ada).await && !sees(bob).await);
    let named = Readers {
        users: [ada].into(),
        ..Readers::default()
    };
    let mut tx = store.begin().await.unwrap();
    tx.set_readers_of_folder(top, &named).await.unwrap();
    let later = record(&mut tx, of, low).await;
    tx.commit().await.unwrap();
    assert_eq!(store.readers_of_folder(top).await.unwrap(), named);
    assert!(sees(ada).await && !sees(bob).await);
    assert!(!store.sees_password_record(later, bob).await.unwrap());
    // The nearest restricted folder decides.
    restricted(&store, low, true).await;
    assert!(!sees(ada).await);
    restricted(&store, low, false).await;
    restricted(&store, top, false).await;
    assert!(sees(bob).await);
});
