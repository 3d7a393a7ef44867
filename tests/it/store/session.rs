//! Sessions that users opened with their passwords.

use keywheel::model::Timestamp;
use keywheel::model::id::{KeyId, UserId, UserSessionId};
use keywheel::model::key::{KeyEdit, KeyHash, Reach};
use keywheel::model::session::NewUserSession;
use keywheel::store::Tx;
use secrecy::SecretString;

use super::principal::seeded;
use crate::support::database::on_both;

fn cookie(text: &str) -> KeyHash {
    KeyHash::of(&SecretString::from(text))
}

async fn open(tx: &mut Tx, user: UserId, text: &str, at: i64) -> UserSessionId {
    let new = NewUserSession {
        cookie: cookie(text),
        user_id: user,
        address: "192.0.2.7".into(),
    };
    tx.open_user_session(&new, Timestamp(at)).await.unwrap()
}

on_both!(a_users_session_is_found_slides_and_ends, |db| {
    let store = db.store().await;
    let (user, _) = seeded(&store).await;
    let mut tx = store.begin().await.unwrap();
    let first = open(&mut tx, user, "one", 10).await;
    let second = open(&mut tx, user, "two", 20).await;
    for at in [50, 40] {
        tx.touch_user_session(first, Timestamp(at)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let found = store.user_session_by_hash(&cookie("one")).await.unwrap();
    let found = found.unwrap();
    assert_eq!((found.id, found.user_id), (first, user));
    assert_eq!(
        (found.created_at, found.seen_at),
        (Timestamp(10), Timestamp(50))
    );
    assert_eq!(found.address, "192.0.2.7");
    assert_eq!(
        store.user_session(first).await.unwrap(),
        Some(found.clone())
    );
    let listed = async |after, limit| {
        let page = store.user_sessions(user, UserSessionId(after), limit).await;
        page.unwrap().iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(0, 10).await, [first, second]);
    assert_eq!(listed(0, 1).await, [first]);
    assert_eq!(listed(first.0, 10).await, [second]);
    let others = store.user_sessions(UserId(99), UserSessionId(0), 10).await;
    assert_eq!(others.unwrap(), []);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.end_user_session(second).await.unwrap());
    assert!(!tx.end_user_session(second).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.user_session(second).await.unwrap(), None);
});

on_both!(old_sessions_are_swept_by_either_time, |db| {
    let store = db.store().await;
    let (user, _) = seeded(&store).await;
    let mut tx = store.begin().await.unwrap();
    let idle = open(&mut tx, user, "idle", 30).await;
    let over = open(&mut tx, user, "over", 10).await;
    let live = open(&mut tx, user, "live", 31).await;
    tx.touch_user_session(over, Timestamp(90)).await.unwrap();
    tx.touch_user_session(live, Timestamp(51)).await.unwrap();
    let ended = tx
        .end_old_user_sessions((Timestamp(50), Timestamp(10)))
        .await;
    assert_eq!(ended.unwrap(), [(idle, user), (over, user)]);
    let again = tx
        .end_old_user_sessions((Timestamp(50), Timestamp(10)))
        .await;
    assert_eq!(again.unwrap(), []);
    tx.commit().await.unwrap();
    assert!(store.user_session(live).await.unwrap().is_some());
});

on_both!(the_oldest_make_room, |db| {
    let store = db.store().await;
    let (user, _) = seeded(&store).await;
    let mut tx = store.begin().await.unwrap();
    let mut ids = Vec::new();
    for text in ["one", "two", "three", "four"] {
        ids.push(open(&mut tx, user, text, 10).await);
    }
    let ended = tx.end_oldest_user_sessions(user, 4).await.unwrap();
    assert_eq!(ended, []);
    let ended = tx.end_oldest_user_sessions(UserId(99), 1).await.unwrap();
    assert_eq!(ended, []);
    let ended = tx.end_oldest_user_sessions(user, 2).await.unwrap();
    assert_eq!(ended, ids[..2]);
    tx.commit().await.unwrap();
    assert_eq!(store.user_session(ids[1]).await.unwrap(), None);
    assert!(store.user_session(ids[2]).await.unwrap().is_some());
});

/// What is left of two sessions of a user's password, and one of a key's: (user's, key's).
async fn left(store: &keywheel::store::Store) -> (bool, bool) {
    let users = store.user_session_by_hash(&cookie("mine")).await.unwrap();
    let keys = store.session_by_hash(&cookie("key's")).await.unwrap();
    (users.is_some(), keys.is_some())
}

async fn opened(store: &keywheel::store::Store, user: UserId, key: KeyId) {
    let mut tx = store.begin().await.unwrap();
    open(&mut tx, user, "mine", 10).await;
    tx.open_session(&cookie("key's"), user, key, Timestamp(10))
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

on_both!(what_a_password_has_opened_ends_with_it, |db| {
    let store = db.store().await;
    let (user, key) = seeded(&store).await;
    opened(&store, user, key).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.end_password_sessions(UserId(99)).await.unwrap(), 0);
    assert_eq!(tx.end_password_sessions(user).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(left(&store).await, (false, true), "the key asks for none");
    let edit = KeyEdit {
        name: "laptop".into(),
        addresses: keywheel::model::key::Addresses::default(),
        expires_at: None,
        password_required: true,
        reach: Reach::default(),
    };
    let mut tx = store.begin().await.unwrap();
    tx.edit_key(key, &edit, 1).await.unwrap();
    assert_eq!(tx.end_password_sessions(user).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(left(&store).await, (false, false));
    opened(&store, user, key).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.end_sessions_of(user).await.unwrap(), 2);
    tx.commit().await.unwrap();
    assert_eq!(left(&store).await, (false, false));
    opened(&store, user, key).await;
    let mut tx = store.begin().await.unwrap();
    tx.set_user_disabled(user, true).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(left(&store).await, (false, false));
});
