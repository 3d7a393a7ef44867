//! Password records and their values.

use keywheel::model::Timestamp;
use keywheel::model::access::NewGroup;
use keywheel::model::id::{AccountId, OrganizationId, PasswordRecordId};
use keywheel::model::password_record::{Accessed, Embedded, PasswordFields, Readers, ResourceKind};
use keywheel::store::{NewPasswordRecord, Store};

use super::inventory::{THEN, conflicts, is_stale, one_account};
use super::password_folder::{folder, organization};
use super::principal::user;
use crate::support::database::on_both;

const LATER: Timestamp = Timestamp(THEN.0 + 60_000);

pub(super) fn new(
    id: PasswordRecordId,
    of: OrganizationId,
    fields: PasswordFields,
) -> NewPasswordRecord {
    NewPasswordRecord {
        id,
        organization_id: of,
        fields,
        account_id: None,
        said_changed_at: None,
        by: None,
    }
}

async fn one(store: &Store, fields: PasswordFields) -> (OrganizationId, PasswordRecordId) {
    let mut tx = store.begin().await.unwrap();
    let of = organization(&mut tx, "Acme").await;
    let id = tx.password_record_id().await.unwrap();
    let new = new(id, of, fields);
    tx.insert_password_record(&new, THEN).await.unwrap();
    tx.commit().await.unwrap();
    (of, id)
}

on_both!(a_record_is_read_as_it_was_written_and_edited_once, |db| {
    let store = db.store().await;
    let fields = PasswordFields {
        username: Some("Root".into()),
        notes: Some("<p>Öne</p>".into()),
        embedded: Some(Embedded {
            kind: ResourceKind::SslCertificate,
            id: 7,
            name: Some("www".into()),
        }),
        ..PasswordFields::named("Web")
    };
    let (of, id) = one(&store, fields.clone()).await;
    let found = store.password_record(id).await.unwrap().unwrap();
    assert_eq!((&found.fields, found.revision), (&fields, 1));
    assert_eq!(found.organization_name, "Acme");
    assert_eq!((found.version, found.shown_changed_at()), (None, None));
    let mut tx = store.begin().await.unwrap();
    let ada = user(&mut tx, "ada").await;
    let edited = PasswordFields {
        url: Some("https://web".into()),
        category_id: Some(7.into()),
        ..fields
    };
    let to = (of, &edited);
    tx.update_password_record((id, 1), to, (Some(ada), LATER))
        .await
        .unwrap();
    is_stale(
        tx.update_password_record((id, 1), to, (Some(ada), LATER))
            .await,
    );
    tx.commit().await.unwrap();
    let found = store.password_record(id).await.unwrap().unwrap();
    assert_eq!((&found.fields, found.revision), (&edited, 2));
    assert_eq!(found.updated_by, Some((ada, "ada".to_owned())));
    assert_eq!(found.category_name.as_deref(), Some("Cloud"));
});

on_both!(what_a_record_refers_to_must_be_there, |db| {
    let store = db.store().await;
    let (of, id) = one(&store, PasswordFields::named("Web")).await;
    let mut tx = store.begin().await.unwrap();
    let other = organization(&mut tx, "Other").await;
    let foreign = tx
        .insert_password_folder(other, &folder("x", None), THEN)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for fields in [
        PasswordFields {
            folder_id: Some(foreign),
            ..PasswordFields::named("Web")
        },
        PasswordFields {
            category_id: Some(99.into()),
            ..PasswordFields::named("Web")
        },
    ] {
        let mut tx = store.begin().await.unwrap();
        conflicts(
            tx.update_password_record((id, 1), (of, &fields), (None, THEN))
                .await,
        );
    }
});

on_both!(every_value_is_kept_until_the_record_goes, |db| {
    let store = db.store().await;
    let (_, id) = one(&store, PasswordFields::named("Web")).await;
    let mut versions = Vec::new();
    for (sealed, at) in [([1], THEN), ([2], LATER)] {
        let mut tx = store.begin().await.unwrap();
        let version = tx.password_version_id().await.unwrap();
        tx.set_password_value((id, version), &sealed, (None, at))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        versions.push(version);
        let kept = store.sealed_password(id, version).await.unwrap();
        assert_eq!(kept, Some(sealed.to_vec()));
    }
    let found = store.password_record(id).await.unwrap().unwrap();
    assert_eq!(
        (found.version, found.value_changed_at),
        (Some(versions[1]), Some(LATER))
    );
    let listed = store.password_versions(id, 10).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|one| (one.id, one.live)).collect();
    assert_eq!(seen, [(versions[1].0, true), (versions[0].0, false)]);
    assert_eq!(
        store.sealed_password(9.into(), versions[0]).await.unwrap(),
        None
    );
    let mut tx = store.begin().await.unwrap();
    tx.set_password_otp(id, Some(&[3])).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.password_otp(id).await.unwrap(), Some(vec![3]));
    assert!(
        store
            .password_record(id)
            .await
            .unwrap()
            .unwrap()
            .otp_enabled
    );
    let mut tx = store.begin().await.unwrap();
    tx.set_password_otp(id, None).await.unwrap();
    tx.delete_password_record(id).await.unwrap();
    is_stale(tx.delete_password_record(id).await);
    tx.commit().await.unwrap();
    assert_eq!(store.password_record(id).await.unwrap(), None);
    assert_eq!(store.sealed_password(id, versions[0]).await.unwrap(), None);
});

on_both!(a_date_that_was_said_holds_for_the_first_value_alone, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let of = organization(&mut tx, "Acme").await;
    let id = tx.password_record_id().await.unwrap();
    let said = Some(Timestamp(5));
    let made = NewPasswordRecord {
        said_changed_at: said,
        ..new(id, of, PasswordFields::named("Web"))
    };
    tx.insert_password_record(&made, THEN).await.unwrap();
    for shown in [said, Some(LATER)] {
        let version = tx.password_version_id().await.unwrap();
        tx.set_password_value((id, version), &[1], (None, LATER))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let found = store.password_record(id).await.unwrap().unwrap();
        assert_eq!(found.shown_changed_at(), shown);
        assert_eq!(found.value_changed_at, Some(LATER));
        tx = store.begin().await.unwrap();
    }
});

on_both!(a_restricted_record_is_seen_by_those_who_are_named, |db| {
    let store = db.store().await;
    let fields = PasswordFields {
        restricted: true,
        ..PasswordFields::named("Web")
    };
    let (_, id) = one(&store, fields).await;
    let mut tx = store.begin().await.unwrap();
    let (ada, bob) = (user(&mut tx, "ada").await, user(&mut tx, "bob").await);
    let group = NewGroup {
        name: "crew".into(),
        description: String::new(),
        permissions: [].into(),
    };
    let crew = tx.insert_group(&group, THEN).await.unwrap();
    tx.add_member(crew, bob).await.unwrap();
    let named = Readers {
        users: [ada].into(),
        groups: [crew].into(),
    };
    tx.set_readers_of_record(id, &named).await.unwrap();
    let eve = user(&mut tx, "eve").await;
    tx.commit().await.unwrap();
    assert_eq!(store.readers_of_record(id).await.unwrap(), named);
    let sees = async |who| store.sees_password_record(id, who).await.unwrap();
    assert!(sees(ada).await && sees(bob).await && !sees(eve).await);
    let mut tx = store.begin().await.unwrap();
    tx.set_group_active(crew, false).await.unwrap();
    tx.commit().await.unwrap();
    assert!(sees(ada).await && !sees(bob).await);
    let mut tx = store.begin().await.unwrap();
    tx.delete_group(crew).await.unwrap();
    tx.commit().await.unwrap();
    assert!(store.readers_of_record(id).await.unwrap().groups.is_empty());
});

on_both!(a_linked_record_shows_its_account, |db| {
    let store = db.store().await;
    one_account(&store).await;
    let mut tx = store.begin().await.unwrap();
    let of = organization(&mut tx, "Acme").await;
    let id = tx.password_record_id().await.unwrap();
    let linked = NewPasswordRecord {
        account_id: Some(AccountId(1)),
        ..new(id, of, PasswordFields::named("Web"))
    };
    tx.insert_password_record(&linked, THEN).await.unwrap();
    tx.commit().await.unwrap();
    let found = store.password_records_of(AccountId(1)).await.unwrap();
    let [found] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!((found.id, found.username()), (id, Some("root")));
    assert_eq!(found.account.as_ref().unwrap().name(), "web1/root");
    assert_eq!(found.accessed_as(), Accessed::Account(AccountId(1)));
    assert!(!found.is_archived());
    let mut tx = store.begin().await.unwrap();
    tx.delete_account(AccountId(1), LATER).await.unwrap();
    tx.commit().await.unwrap();
    assert!(
        store
            .password_record(id)
            .await
            .unwrap()
            .unwrap()
            .is_archived()
    );
});
