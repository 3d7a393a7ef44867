//! When a user last had which value before them.

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
