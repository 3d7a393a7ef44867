//! When a user last had which value before them.

use std::collections::BTreeSet;

use keywheel::model::Timestamp;
use keywheel::model::id::{AccountId, PasswordRecordId};
use keywheel::model::password_record::Accessed;

use super::inventory::{THEN, conflicts};
use super::principal::user;
use crate::support::database::on_both;

on_both!(the_newest_access_counts_by_whichever_way, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let (ada, bob) = (user(&mut tx, "ada").await, user(&mut tx, "bob").await);
    let (account, record) = (
        Accessed::Account(AccountId(7)),
        Accessed::Record(PasswordRecordId(7)),
    );
    let later = Timestamp(THEN.0 + 5);
    for (what, action, at) in [
        (account, "checkout", THEN),
        (account, "api_show", later),
        (account, "created", THEN),
        (record, "updated", THEN),
    ] {
        tx.note_access(ada, what, (action, at)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let all = store.last_accesses(ada, None, 10).await.unwrap();
    let seen: Vec<_> = all
        .iter()
        .map(|one| (one.accessed, one.action.as_str(), one.at))
        .collect();
    assert_eq!(
        seen,
        [(account, "api_show", later), (record, "updated", THEN)]
    );
    let rest = store.last_accesses(ada, Some(account), 10).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(store.last_accesses(bob, None, 10).await.unwrap(), []);
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.note_access(99.into(), record, ("show", THEN)).await);
});

/// Fills some statements, another with padding, and one row more.
const MANY: i64 = 2 * 64 + 12 + 1;

on_both!(many_accesses_at_once_are_noted_each_by_its_own_kind, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let (ada, bob) = (user(&mut tx, "ada").await, user(&mut tx, "bob").await);
    let all: BTreeSet<Accessed> = (1..=MANY)
        .flat_map(|id| {
            let record = Accessed::Record(PasswordRecordId(id));
            let account = (id % 3 == 0).then_some(Accessed::Account(AccountId(id)));
            [Some(record), account].into_iter().flatten()
        })
        .collect();
    let earlier = Timestamp(THEN.0 - 5);
    let later = Timestamp(THEN.0 + 5);
    let (first, last) = (*all.first().unwrap(), *all.last().unwrap());
    tx.note_access(ada, first, ("api_show", later))
        .await
        .unwrap();
    tx.note_access(ada, last, ("created", earlier))
        .await
        .unwrap();
    tx.note_accesses(ada, &all, ("account_export", THEN))
        .await
        .unwrap();
    tx.note_accesses(bob, &BTreeSet::new(), ("account_export", THEN))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let found = store.last_accesses(ada, None, 1_000).await.unwrap();
    assert_eq!(found.len(), all.len());
    for one in &found {
        let wanted = if one.accessed == first {
            ("api_show", later)
        } else {
            ("account_export", THEN)
        };
        assert_eq!((one.action.as_str(), one.at), wanted, "{:?}", one.accessed);
        assert!(all.contains(&one.accessed));
    }
    assert_eq!(store.last_accesses(bob, None, 9).await.unwrap(), []);
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.note_accesses(99.into(), &all, ("show", THEN)).await);
});
