//! Lists of password records.

use keywheel::model::Timestamp;
use keywheel::model::id::{AccountId, PasswordRecordId};
use keywheel::model::password_record::{Embedded, PasswordFields, ResourceKind};
use keywheel::store::{
    NewPasswordRecord, Page, PasswordFilter, PasswordOrder, PasswordSort, Seeing, Store,
};

use super::inventory::{THEN, conflicts, one_account};
use super::password_folder::{folder, organization};
use super::password_record::new;
use super::principal::user;
use crate::support::database::on_both;

/// Five records: 1 and 2 of Acme, 3 and 4 of Other, 5 linked to `web1/root`.
async fn five(store: &Store) {
    one_account(store).await;
    let mut tx = store.begin().await.unwrap();
    let acme = organization(&mut tx, "Acme").await;
    let other = organization(&mut tx, "Other").await;
    let kept = tx
        .insert_password_folder(acme, &folder("Kept", None), THEN)
        .await
        .unwrap();
    let fields = [
        PasswordFields {
            username: Some("Admin".into()),
            folder_id: Some(kept),
            category_id: Some(1.into()),
            ..PasswordFields::named("Beta")
        },
        PasswordFields {
            url: Some("https://DC01.example".into()),
            archived: true,
            ..PasswordFields::named("alpha, 100%")
        },
        PasswordFields {
            notes: Some("runs on DC01".into()),
            restricted: true,
            ..PasswordFields::named("Gamma")
        },
        PasswordFields {
            embedded: Some(Embedded {
                kind: ResourceKind::Ticket,
                id: 44,
                name: Some("Printer".into()),
            }),
            ..PasswordFields::named("delta_1")
        },
        PasswordFields::named("Linked"),
    ];
    for (nth, fields) in (1..).zip(fields) {
        let id = tx.password_record_id().await.unwrap();
        assert_eq!(id.0, nth);
        let of = if nth < 3 { acme } else { other };
        let new = NewPasswordRecord {
            account_id: (nth == 5).then_some(AccountId(1)),
            ..new(id, of, fields)
        };
        let at = Timestamp(THEN.0 + nth * 1_000);
        tx.insert_password_record(&new, at).await.unwrap();
        if nth == 4 {
            let version = tx.password_version_id().await.unwrap();
            tx.set_password_value((id, version), &[1], (None, at))
                .await
                .unwrap();
        }
    }
    tx.commit().await.unwrap();
}

async fn ids(store: &Store, filter: &PasswordFilter, sorts: &[PasswordSort]) -> Vec<i64> {
    let (found, total) = store
        .password_records(filter, sorts, Page::first(50))
        .await
        .unwrap();
    assert_eq!(usize::try_from(total).unwrap(), found.len());
    found.iter().map(|one| one.id.0).collect()
}

on_both!(every_filter_passes_what_it_names, |db| {
    let store = db.store().await;
    five(&store).await;
    let base = PasswordFilter::default;
    let at = |nth: i64| Some(Timestamp(THEN.0 + nth * 1_000));
    #[rustfmt::skip]
    let cases: Vec<(PasswordFilter, &[i64])> = vec![
        (base(), &[1, 2, 3, 4, 5]),
        (PasswordFilter { ids: vec![4.into(), 1.into(), 9.into()], ..base() }, &[1, 4]),
        (PasswordFilter { excluded: vec![4.into()], ..base() }, &[1, 2, 3, 5]),
        (PasswordFilter { names: vec!["ALPHA, 100%".into(), "gamma".into()], ..base() }, &[2, 3]),
        (PasswordFilter { names: vec!["alph%".into()], ..base() }, &[]),
        (PasswordFilter { usernames: vec!["aDMIN".into()], ..base() }, &[1]),
        (PasswordFilter { usernames: vec!["ROOT".into()], ..base() }, &[5]),
        (PasswordFilter { urls: vec!["https://dc01.example".into()], ..base() }, &[2]),
        (PasswordFilter { organizations: vec![1.into()], ..base() }, &[1, 2]),
        (PasswordFilter { reach: vec![2.into()], ..base() }, &[3, 4, 5]),
        (PasswordFilter { reach: vec![2.into()], organizations: vec![1.into()], ..base() }, &[]),
        (PasswordFilter { categories: vec![1.into(), 2.into()], ..base() }, &[1]),
        (PasswordFilter { folders: vec![1.into()], ..base() }, &[1]),
        (PasswordFilter { resource_names: vec!["printer".into()], ..base() }, &[4]),
        (PasswordFilter { resource_names: vec!["WEB1/root".into()], ..base() }, &[5]),
        (PasswordFilter { resource_ids: vec![44], ..base() }, &[4]),
        (PasswordFilter { resource_types: vec!["Managed Account".into()], ..base() }, &[5]),
        (PasswordFilter { archived: Some(true), ..base() }, &[2]),
        (PasswordFilter { archived: Some(false), ..base() }, &[1, 3, 4, 5]),
        (PasswordFilter { server: Some("dc01".into()), ..base() }, &[2, 3]),
        (PasswordFilter { server: Some("wEB1".into()), ..base() }, &[5]),
        (PasswordFilter { server: Some("a_1".into()), ..base() }, &[4]),
        (PasswordFilter { server: Some("0%".into()), ..base() }, &[2]),
        (PasswordFilter { server: Some("dc01".into()), ids: vec![3.into(), 4.into()], ..base() }, &[3]),
        (PasswordFilter { server: Some("dc01".into()), ids: vec![4.into()], ..base() }, &[]),
        (PasswordFilter { server: Some("nowhere".into()), ..base() }, &[]),
        (PasswordFilter { stale_since: at(4), ..base() }, &[1, 2, 3, 5]),
        (PasswordFilter { stale_since: at(5), ..base() }, &[1, 2, 3, 4, 5]),
        (PasswordFilter { created: (at(2), at(3)), ..base() }, &[2, 3]),
        (PasswordFilter { updated: (at(5), None), ..base() }, &[5]),
        (PasswordFilter { changed: (None, at(4)), ..base() }, &[4]),
        (PasswordFilter { changed: (at(5), None), ..base() }, &[]),
    ];
    for (filter, wanted) in cases {
        assert_eq!(ids(&store, &filter, &[]).await, wanted, "{filter:?}");
    }
});

on_both!(lists_leave_out_what_the_user_may_not_see, |db| {
    let store = db.store().await;
    five(&store).await;
    let mut tx = store.begin().await.unwrap();
    let ada = user(&mut tx, "ada").await;
    tx.commit().await.unwrap();
    let filter = PasswordFilter {
        seeing: Seeing { user: Some(ada) },
        ..PasswordFilter::default()
    };
    assert_eq!(ids(&store, &filter, &[]).await, [1, 2, 4, 5]);
});

on_both!(orders_reverse_and_put_what_is_missing_last, |db| {
    use PasswordOrder::{Changed, Created, Id, Name, Updated, Url, Username};
    let store = db.store().await;
    five(&store).await;
    let all = PasswordFilter::default();
    #[rustfmt::skip]
    let cases: [(&[PasswordSort], [i64; 5]); 13] = [
        (&[(Id, true)], [5, 4, 3, 2, 1]),
        (&[(Name, false)], [2, 1, 4, 3, 5]),
        (&[(Name, true)], [5, 3, 4, 1, 2]),
        (&[(Username, false)], [1, 5, 2, 3, 4]),
        (&[(Username, true)], [5, 1, 2, 3, 4]),
        (&[(Url, false)], [2, 1, 3, 4, 5]),
        (&[(Url, true)], [2, 1, 3, 4, 5]),
        (&[(Url, true), (Name, true)], [2, 5, 3, 4, 1]),
        (&[(Created, true)], [5, 4, 3, 2, 1]),
        (&[(Changed, false)], [4, 1, 2, 3, 5]),
        (&[(Updated, false)], [1, 2, 3, 4, 5]),
        (&[(Changed, true)], [4, 1, 2, 3, 5]),
        (&[(Url, false), (Name, true)], [2, 5, 3, 4, 1]),
    ];
    for (sorts, wanted) in cases {
        assert_eq!(ids(&store, &all, sorts).await, wanted, "{sorts:?}");
        for (limit, parts) in [(1, 5), (2, 3), (3, 2), (4, 2)] {
            let mut found = Vec::new();
            for part in 0..parts {
                let offset = part * limit;
                let page = store.password_records(&all, sorts, Page { limit, offset });
                found.extend(page.await.unwrap().0.iter().map(|one| one.id.0));
            }
            assert_eq!(found, wanted, "{sorts:?}, {limit} a page");
        }
    }
    let page = Page {
        limit: 2,
        offset: 4,
    };
    let (found, total) = store
        .password_records(&all, &[(Name, false)], page)
        .await
        .unwrap();
    assert_eq!(
        (found.len(), found[0].id, total),
        (1, PasswordRecordId(5), 5)
    );
    let beyond = Page {
        limit: 2,
        offset: 6,
    };
    let (found, total) = store.password_records(&all, &[], beyond).await.unwrap();
    assert_eq!((found.len(), total), (0, 5));
});

on_both!(more_values_than_a_list_takes_are_refused, |db| {
    let store = db.store().await;
    five(&store).await;
    let many = |count: i64| PasswordFilter {
        ids: (1..=count).map(PasswordRecordId).collect(),
        ..PasswordFilter::default()
    };
    let most = i64::try_from(PasswordFilter::VALUES_MAX).unwrap();
    assert_eq!(ids(&store, &many(most), &[]).await, [1, 2, 3, 4, 5]);
    let more = many(most + 1);
    conflicts(store.password_records(&more, &[], Page::first(5)).await);
    let some = [
        PasswordRecordId(3),
        PasswordRecordId(9),
        PasswordRecordId(1),
    ];
    let found = store.password_records_by_id(&some).await.unwrap();
    let found: Vec<_> = found.iter().map(|one| one.id.0).collect();
    assert_eq!(found, [3, 1]);
});
