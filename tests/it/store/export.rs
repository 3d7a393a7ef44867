//! Exports that were ordered.

use keywheel::model::Timestamp;
use keywheel::model::export::NewExport;
use keywheel::model::id::{ExportId, OrganizationId, UserId};
use keywheel::store::{Store, Tx};

use super::inventory::{THEN, conflicts, is_stale};
use super::password_folder::organization;
use super::principal::user;
use crate::support::database::on_both;

const LATER: Timestamp = Timestamp(THEN.0 + 5);
const NEVER: Timestamp = Timestamp(0);

async fn order(
    tx: &mut Tx,
    user_id: UserId,
    (organization_id, zip_password): (Option<OrganizationId>, Option<&[u8]>),
    now: Timestamp,
) -> ExportId {
    let id = tx.export_id().await.unwrap();
    let new = NewExport {
        id,
        user_id,
        organization_id,
        include_logs: organization_id.is_none(),
        zip_password: zip_password.map(<[u8]>::to_vec),
    };
    tx.insert_export(&new, now).await.unwrap();
    id
}

async fn ids(store: &Store, of: Option<UserId>, ended: Timestamp) -> Vec<ExportId> {
    let found = store.exports(of, ended).await.unwrap();
    found.into_iter().map(|one| one.id).collect()
}

on_both!(an_export_is_its_users_until_it_ends, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let (ada, bob) = (user(&mut tx, "ada").await, user(&mut tx, "bob").await);
    let acme = organization(&mut tx, "Acme").await;
    let first = order(&mut tx, ada, (Some(acme), Some(b"sealed")), THEN).await;
    let second = order(&mut tx, bob, (None, None), LATER).await;
    tx.commit().await.unwrap();
    let found = store.export(first, NEVER).await.unwrap().unwrap();
    assert_eq!((found.user_id, found.created_at), (ada, THEN));
    assert_eq!(found.organization, Some((acme, "Acme".to_owned())));
    assert_eq!((found.include_logs, found.encrypted), (false, true));
    let found = store.export(second, NEVER).await.unwrap().unwrap();
    assert_eq!(found.organization, None);
    assert_eq!((found.include_logs, found.encrypted), (true, false));
    let sealed = store.sealed_zip_password(first).await.unwrap();
    assert_eq!(sealed.as_deref(), Some(b"sealed".as_slice()));
    for none in [second, ExportId(99)] {
        assert_eq!(store.sealed_zip_password(none).await.unwrap(), None);
    }
    assert_eq!(ids(&store, None, NEVER).await, [first, second]);
    assert_eq!(ids(&store, Some(ada), NEVER).await, [first]);
    // What was made then or earlier has ended.
    assert_eq!(ids(&store, None, THEN).await, [second]);
    assert_eq!(store.export(first, THEN).await.unwrap(), None);
    assert_eq!(store.export(ExportId(99), NEVER).await.unwrap(), None);
});

on_both!(an_export_is_forgotten_once, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let ada = user(&mut tx, "ada").await;
    let mut all = Vec::new();
    for at in [THEN, THEN, THEN, LATER] {
        all.push(order(&mut tx, ada, (None, None), at).await);
    }
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.delete_export(all[0]).await.unwrap();
    is_stale(tx.delete_export(all[0]).await);
    let before = Timestamp(THEN.0 - 1);
    assert_eq!(tx.end_exports(before, 9).await.unwrap(), []);
    assert_eq!(tx.end_exports(THEN, 1).await.unwrap(), [all[1]]);
    assert_eq!(tx.end_exports(THEN, 9).await.unwrap(), [all[2]]);
    tx.commit().await.unwrap();
    assert_eq!(ids(&store, None, NEVER).await, [all[3]]);
    let mut tx = store.begin().await.unwrap();
    let id = tx.export_id().await.unwrap();
    let nobodys = NewExport {
        id,
        user_id: UserId(99),
        organization_id: None,
        include_logs: false,
        zip_password: None,
    };
    conflicts(tx.insert_export(&nobodys, THEN).await);
});
