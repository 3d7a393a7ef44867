//! Who was told of which key.

use keywheel::model::Timestamp;
use keywheel::model::id::{KeyId, UserId};
use keywheel::model::key::{KeyKind, NewKey};
use keywheel::model::principal::NewUser;
use keywheel::store::{Store, Tx};

use super::inventory::{THEN, conflicts};
use super::principal::{key_of, user};
use crate::support::database::on_both;

const NOW: Timestamp = Timestamp(THEN.0 + 1_000);

async fn administrator(tx: &mut Tx, name: &str, email: &str) -> UserId {
    let new = NewUser {
        name: name.to_owned(),
        display_name: name.to_owned(),
        email: email.to_owned(),
        administrator: true,
        granted: [].into(),
    };
    tx.insert_user(&new, THEN).await.unwrap()
}

async fn key(tx: &mut Tx, user: UserId, text: &str, expires_at: Option<Timestamp>) -> KeyId {
    let new = NewKey {
        kind: KeyKind::ItGlue,
        expires_at,
        ..key_of(user, text)
    };
    tx.insert_key(&new, THEN).await.unwrap()
}

/// Keys and whom to tell of them.
async fn due(store: &Store, since: Timestamp, limit: i64) -> Vec<(KeyId, Option<UserId>)> {
    let found = store.due_key_warnings(since, NOW, limit).await.unwrap();
    let pair =
        |one: keywheel::model::key_warning::KeyWarning| (one.key.id, one.to.map(|(user, _)| user));
    found.into_iter().map(pair).collect()
}

on_both!(every_administrator_is_told_of_every_idle_key_once, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let ada = user(&mut tx, "ada").await;
    let idle = key(&mut tx, ada, "ITG.idle", None).await;
    tx.commit().await.unwrap();
    assert_eq!(due(&store, THEN, 9).await, [(idle, None)], "nobody to tell");
    let mut tx = store.begin().await.unwrap();
    administrator(&mut tx, "nomail", "").await;
    let root = administrator(&mut tx, "root", "root@example.org").await;
    let second = administrator(&mut tx, "second", "second@example.org").await;
    let used = key(&mut tx, ada, "ITG.used", None).await;
    tx.touch_key(used, NOW).await.unwrap();
    let revoked = key(&mut tx, ada, "ITG.revoked", None).await;
    tx.revoke_key(revoked, NOW).await.unwrap();
    key(&mut tx, ada, "ITG.ended", Some(NOW)).await;
    let replaced = key(&mut tx, ada, "ITG.replaced", None).await;
    tx.succeed_key(replaced, used, Timestamp(NOW.0 + 9))
        .await
        .unwrap();
    tx.insert_key(&key_of(ada, "another kind"), THEN)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(due(&store, Timestamp(THEN.0 - 1), 9).await, []);
    let both = [(idle, Some(root)), (idle, Some(second))];
    assert_eq!(due(&store, THEN, 9).await, both);
    assert_eq!(due(&store, THEN, 1).await, both[..1]);
    let found = store
        .due_key_warnings(THEN, NOW, 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (found.key.name.as_str(), found.key.owner.as_str()),
        ("laptop", "ada")
    );
    assert_eq!(found.key.idle_since, THEN);
    assert_eq!(found.to, Some((root, "root@example.org".to_owned())));
    let mut tx = store.begin().await.unwrap();
    tx.note_key_warning(root, (idle, THEN), NOW).await.unwrap();
    tx.note_key_warning(root, (idle, THEN), NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(due(&store, THEN, 9).await, both[1..]);
    // Used, and idle once more: everybody is told again.
    let later = Timestamp(THEN.0 + 5);
    let mut tx = store.begin().await.unwrap();
    tx.touch_key(idle, later).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(due(&store, THEN, 9).await, []);
    assert_eq!(due(&store, later, 9).await, both);
    let mut tx = store.begin().await.unwrap();
    tx.note_key_warning(root, (idle, later), NOW).await.unwrap();
    tx.set_user_disabled(second, true).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(due(&store, later, 9).await, []);
    let mut tx = store.begin().await.unwrap();
    tx.set_user_disabled(second, false).await.unwrap();
    tx.set_user_disabled(ada, true).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(due(&store, later, 9).await, [], "its user may not sign in");
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.note_key_warning(root, (KeyId(99), THEN), NOW).await);
});
