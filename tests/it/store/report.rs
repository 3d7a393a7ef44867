//! What reports read.

use keywheel::model::Timestamp;
use keywheel::model::id::{AccountId, PasswordRecordId};
use keywheel::model::password_record::{Accessed, PasswordFields};
use keywheel::store::{NewPasswordRecord, SealedSecret, Seeing, Store};

use super::inventory::{THEN, one_account};
use super::password_folder::organization;
use super::password_record::new;
use super::principal::user;
use crate::support::database::on_both;

/// Records 1 of Acme and 2 of Other with values, 2 restricted; 3 of Acme documents `web1/root`, whose
/// password is stored; 4 is empty.
async fn four(store: &Store) {
    one_account(store).await;
    let mut tx = store.begin().await.unwrap();
    let acme = organization(&mut tx, "Acme").await;
    let other = organization(&mut tx, "Other").await;
    for (nth, of) in [(1, acme), (2, other), (3, acme), (4, acme)] {
        let id = tx.password_record_id().await.unwrap();
        assert_eq!(id.0, nth);
        let fields = PasswordFields {
            restricted: nth == 2,
            username: Some(format!("user{nth}")),
            ..PasswordFields::named(format!("name {nth}"))
        };
        let made = NewPasswordRecord {
            account_id: (nth == 3).then_some(AccountId(1)),
            ..new(id, of, fields)
        };
        tx.insert_password_record(&made, THEN).await.unwrap();
        if nth < 3 {
            let version = tx.password_version_id().await.unwrap();
            tx.set_password_value((id, version), &[7, 7], (None, THEN))
                .await
                .unwrap();
        }
    }
    let secret = SealedSecret::Password(vec![9]);
    tx.add_stored_version(AccountId(1), 1, secret, THEN)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

fn records(ids: &[i64]) -> Vec<Accessed> {
    let record = |id: &i64| Accessed::Record(PasswordRecordId(*id));
    ids.iter().map(record).collect()
}

on_both!(values_come_by_id_and_as_far_as_they_are_seen, |db| {
    let store = db.store().await;
    four(&store).await;
    let mut tx = store.begin().await.unwrap();
    let eve = user(&mut tx, "eve").await;
    tx.commit().await.unwrap();
    let all = Seeing::default();
    let hers = Seeing { user: Some(eve) };
    let of = async |seeing, organization: Option<i64>, after, limit| {
        let from = (PasswordRecordId(after), limit);
        let found = store
            .sealed_values_of_records(seeing, organization.map(Into::into), from)
            .await
            .unwrap();
        found.iter().map(|one| one.of).collect::<Vec<_>>()
    };
    assert_eq!(of(all, None, 0, 9).await, records(&[1, 2]));
    assert_eq!(of(all, None, 0, 1).await, records(&[1]));
    assert_eq!(of(all, None, 1, 9).await, records(&[2]));
    assert_eq!(of(all, Some(2), 0, 9).await, records(&[2]));
    assert_eq!(of(hers, None, 0, 9).await, records(&[1]));
    let from = (PasswordRecordId(0), 1);
    let found = store.sealed_values_of_records(all, None, from).await;
    let one = found.unwrap().remove(0);
    assert_eq!((one.sealed, one.name.as_str()), (vec![7, 7], "name 1"));
    assert_eq!(one.username.as_deref(), Some("user1"));
    assert_eq!(one.organization_id, Some(1.into()));
});

on_both!(values_of_accounts_come_alike, |db| {
    let store = db.store().await;
    four(&store).await;
    let of = async |organization: Option<i64>, after| {
        let from = (AccountId(after), 9);
        store
            .sealed_values_of_accounts(Seeing::default(), organization.map(Into::into), from)
            .await
            .unwrap()
    };
    let found = of(None, 0).await;
    assert_eq!((found.len(), &found[0].sealed), (1, &vec![9]));
    assert_eq!(found[0].of, Accessed::Account(AccountId(1)));
    assert_eq!((found[0].name.as_str(), found[0].version), ("web1/root", 1));
    assert_eq!(of(Some(1), 0).await.len(), 1);
    assert_eq!(of(Some(2), 0).await, []);
    assert_eq!(of(None, 1).await, []);
    let facts = store.account_facts(&[AccountId(1), AccountId(9)]).await;
    let facts = facts.unwrap();
    assert_eq!((facts.len(), facts[0].name().as_str()), (1, "web1/root"));
    assert_eq!(facts[0].password, (true, Some(THEN)));
    assert_eq!((facts[0].key, facts[0].deleted), ((false, None), false));
    let documents = async |limit| {
        let accounts = [AccountId(1), AccountId(9)];
        let found = store.password_records_of_all(Seeing::default(), &accounts, limit);
        found.await.unwrap().len()
    };
    assert_eq!((documents(9).await, documents(0).await), (1, 0));
    let mut tx = store.begin().await.unwrap();
    tx.delete_account(AccountId(1), Timestamp(THEN.0 + 1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(of(None, 0).await, []);
    assert!(store.account_facts(&[AccountId(1)]).await.unwrap()[0].deleted);
});
