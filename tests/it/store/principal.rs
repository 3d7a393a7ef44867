//! Users, grants and sessions.

use std::collections::BTreeSet;

use keywheel::model::Timestamp;
use keywheel::model::id::{KeyId, UserId};
use keywheel::model::key::{AccessToken, Addresses, KeyHash, KeyKind, NewKey, Reach};
use keywheel::model::principal::{NewUser, Permission};
use keywheel::store::{Store, StoreError};
use secrecy::SecretString;

use crate::support::database::on_both;

fn ada() -> NewUser {
    NewUser {
        name: "Ada".into(),
        display_name: "Ada L".into(),
        email: "ada@example.org".into(),
        administrator: false,
        granted: BTreeSet::from([Permission::AccountsWrite, Permission::JobsRead]),
    }
}

pub(super) fn key_of(user: UserId, key: &str) -> NewKey {
    let key = SecretString::from(key);
    NewKey {
        kind: KeyKind::PasswordSafe,
        user_id: user,
        name: "laptop".into(),
        hash: KeyHash::of(&key),
        prefix: KeyHash::prefix(&key),
        addresses: Addresses::parse("10.0.0.0/8,192.0.2.7").unwrap(),
        expires_at: Some(Timestamp(900)),
        password_required: false,
        reach: Reach::default(),
    }
}

pub(super) async fn seeded(store: &Store) -> (UserId, KeyId) {
    let mut tx = store.begin().await.unwrap();
    let user = tx.insert_user(&ada(), Timestamp(5)).await.unwrap();
    let key = tx
        .insert_key(&key_of(user, "0123456789abcdef"), Timestamp(6))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    (user, key)
}

on_both!(a_user_is_found_by_id_and_by_name_in_any_case, |db| {
    let store = db.store().await;
    let (id, _) = seeded(&store).await;
    let user = store.user(id).await.unwrap().unwrap();
    assert_eq!(user.name, "Ada");
    assert_eq!(user.email, "ada@example.org");
    assert_eq!(user.created_at, Timestamp(5));
    assert!(!user.administrator && !user.disabled);
    assert_eq!(user.granted, ada().granted);
    assert_eq!(store.user_by_name("aDA").await.unwrap(), Some(user.clone()));
    assert_eq!(store.user_by_name("bob").await.unwrap(), None);
    assert_eq!(store.users(UserId(0), 10).await.unwrap(), vec![user]);
    assert!(store.users(id, 10).await.unwrap().is_empty());
});

on_both!(two_users_cannot_share_a_name, |db| {
    let store = db.store().await;
    seeded(&store).await;
    let mut tx = store.begin().await.unwrap();
    let twin = NewUser {
        name: "ADA".into(),
        ..ada()
    };
    let refused = tx.insert_user(&twin, Timestamp(7)).await.unwrap_err();
    assert!(matches!(
        refused,
        StoreError::Conflict {
            what: "the user's name"
        }
    ));
});

on_both!(grants_are_replaced_as_a_whole, |db| {
    let store = db.store().await;
    let (id, _) = seeded(&store).await;
    let mut tx = store.begin().await.unwrap();
    tx.set_grants(id, &BTreeSet::from([Permission::QuarantinesRun]))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let user = store.user(id).await.unwrap().unwrap();
    assert_eq!(user.granted, BTreeSet::from([Permission::QuarantinesRun]));
});

on_both!(a_disabled_user_loses_its_sessions_and_tokens, |db| {
    let store = db.store().await;
    let (user, key) = seeded(&store).await;
    let cookie = KeyHash::of(&SecretString::from("cookie"));
    let mut tx = store.begin().await.unwrap();
    tx.open_session(&cookie, user, key, Timestamp(10))
        .await
        .unwrap();
    let token = AccessToken {
        key_id: key,
        expires_at: Timestamp(90),
    };
    tx.insert_access_token(&cookie, &token, Timestamp(10))
        .await
        .unwrap();
    tx.set_user_disabled(user, true).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.session_by_hash(&cookie).await.unwrap(), None);
    assert_eq!(store.access_token(&cookie).await.unwrap(), None);
    assert!(store.user(user).await.unwrap().unwrap().disabled);
});

on_both!(
    a_cookie_leads_to_its_session_user_and_key_as_they_now_are,
    |db| {
        let store = db.store().await;
        let (user, key) = seeded(&store).await;
        let cookies: Vec<_> = (0..70)
            .map(|nth| KeyHash::of(&SecretString::from(format!("cookie {nth}"))))
            .collect();
        let mut tx = store.begin().await.unwrap();
        for (nth, cookie) in (0..).zip(&cookies) {
            let at = Timestamp(10 + nth);
            tx.open_session(cookie, user, key, at).await.unwrap();
        }
        tx.commit().await.unwrap();
        // All at the same moment, with one that nobody has, and one twice.
        let strange = KeyHash::of(&SecretString::from("strange"));
        let asked = cookies.iter().chain([&strange, &cookies[0]]);
        let found = futures::future::join_all(asked.map(|cookie| store.signed_in(cookie))).await;
        let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
        assert!(found[70].is_none());
        let known = (
            store.user(user).await.unwrap(),
            store.key(key).await.unwrap(),
        );
        for (nth, found) in found.into_iter().enumerate().filter(|(nth, _)| *nth != 70) {
            let found = found.unwrap();
            let cookie = &cookies[nth % 71];
            assert_eq!(
                store.session_by_hash(cookie).await.unwrap(),
                Some(found.session)
            );
            assert_eq!((Some(found.user), Some(found.key)), known);
        }
        let mut tx = store.begin().await.unwrap();
        tx.set_grants(user, &BTreeSet::new()).await.unwrap();
        tx.commit().await.unwrap();
        let found = store.signed_in(&cookies[1]).await.unwrap().unwrap();
        assert!(found.user.granted.is_empty());
        let mut tx = store.begin().await.unwrap();
        tx.revoke_key(key, Timestamp(95)).await.unwrap();
        tx.commit().await.unwrap();
        assert!(store.signed_in(&cookies[1]).await.unwrap().is_none());
    }
);

on_both!(a_session_slides_ends_and_is_swept_when_idle, |db| {
    let store = db.store().await;
    let (user, key) = seeded(&store).await;
    let one = KeyHash::of(&SecretString::from("one"));
    let two = KeyHash::of(&SecretString::from("two"));
    let mut tx = store.begin().await.unwrap();
    let first = tx
        .open_session(&one, user, key, Timestamp(10))
        .await
        .unwrap();
    let second = tx
        .open_session(&two, user, key, Timestamp(10))
        .await
        .unwrap();
    tx.touch_session(first, Timestamp(50)).await.unwrap();
    tx.touch_session(first, Timestamp(40)).await.unwrap();
    tx.commit().await.unwrap();
    let seen = store.session_by_hash(&one).await.unwrap().unwrap().seen_at;
    assert_eq!(
        seen,
        Timestamp(50),
        "a late call of an earlier instant turns nothing back"
    );
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.end_idle_sessions(Timestamp(50)).await.unwrap(), 1);
    assert!(!tx.end_session(second).await.unwrap(), "it was idle");
    assert!(tx.end_session(first).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.session_by_hash(&one).await.unwrap(), None);
});

/// A user without permissions.
pub(super) async fn user(tx: &mut keywheel::store::Tx, name: &str) -> UserId {
    let new = NewUser {
        name: name.to_owned(),
        ..ada()
    };
    tx.insert_user(&new, Timestamp(1)).await.unwrap()
}
