//! API keys and access tokens.

use keywheel::model::Timestamp;
use keywheel::model::id::{KeyId, UserId};
use keywheel::model::key::{AccessToken, KeyHash, KeyKind};
use keywheel::store::StoreError;
use secrecy::SecretString;

use super::principal::{key_of, seeded};
use crate::support::database::on_both;

on_both!(a_key_is_found_by_its_hash_and_kind_alone, |db| {
    let store = db.store().await;
    let (user, id) = seeded(&store).await;
    let hash = KeyHash::of(&SecretString::from("0123456789abcdef"));
    let key = store
        .key_by_hash(KeyKind::PasswordSafe, &hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((key.id, key.user_id), (id, user));
    assert_eq!(key.prefix, "0123456789ab");
    assert_eq!(key.expires_at, Some(Timestamp(900)));
    assert_eq!(key.addresses.to_string(), "10.0.0.0/8,192.0.2.7/32");
    assert_eq!((key.last_used_at, key.successor_id), (None, None));
    assert_eq!(
        store.key_by_hash(KeyKind::Native, &hash).await.unwrap(),
        None
    );
    assert_eq!(store.key(id).await.unwrap(), Some(key.clone()));
    assert_eq!(
        store.keys(None, KeyId(0), 10).await.unwrap(),
        vec![key.clone()]
    );
    assert_eq!(
        store.keys(Some(user), KeyId(0), 10).await.unwrap(),
        vec![key]
    );
    assert!(
        store
            .keys(Some(UserId(99)), KeyId(0), 10)
            .await
            .unwrap()
            .is_empty()
    );
});

on_both!(
    revoking_a_key_ends_its_sessions_and_tokens_and_happens_once,
    |db| {
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
        tx.commit().await.unwrap();
        assert!(store.session_by_hash(&cookie).await.unwrap().is_some());
        let mut tx = store.begin().await.unwrap();
        tx.revoke_key(key, Timestamp(20)).await.unwrap();
        let again = tx.revoke_key(key, Timestamp(21)).await.unwrap_err();
        assert!(matches!(again, StoreError::Stale { .. }));
        tx.commit().await.unwrap();
        assert_eq!(store.session_by_hash(&cookie).await.unwrap(), None);
        assert_eq!(store.access_token(&cookie).await.unwrap(), None);
        assert_eq!(
            store.key(key).await.unwrap().unwrap().revoked_at,
            Some(Timestamp(20))
        );
    }
);

on_both!(a_key_gets_one_successor_and_ends_when_it_is_told, |db| {
    let store = db.store().await;
    let (user, key) = seeded(&store).await;
    let mut tx = store.begin().await.unwrap();
    let next = tx
        .insert_key(&key_of(user, "fedcba9876543210"), Timestamp(30))
        .await
        .unwrap();
    tx.succeed_key(key, next, Timestamp(70)).await.unwrap();
    let again = tx.succeed_key(key, next, Timestamp(80)).await.unwrap_err();
    assert!(matches!(again, StoreError::Stale { .. }));
    tx.revoke_key(next, Timestamp(50)).await.unwrap();
    let revoked = tx.succeed_key(next, key, Timestamp(80)).await.unwrap_err();
    assert!(matches!(revoked, StoreError::Stale { .. }));
    tx.commit().await.unwrap();
    let old = store.key(key).await.unwrap().unwrap();
    assert_eq!(old.successor_id, Some(next));
    assert_eq!(old.expires_at, Some(Timestamp(70)));
    assert!(old.is_live(Timestamp(69)) && !old.is_live(Timestamp(70)));
});

on_both!(a_keys_last_use_is_never_turned_back, |db| {
    let store = db.store().await;
    let (_, key) = seeded(&store).await;
    let mut tx = store.begin().await.unwrap();
    for at in [50, 40] {
        tx.touch_key(key, Timestamp(at)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let found = store.key(key).await.unwrap().unwrap();
    assert_eq!(found.last_used_at, Some(Timestamp(50)));
});

on_both!(an_access_token_is_found_until_it_is_swept, |db| {
    let store = db.store().await;
    let (_, key_id) = seeded(&store).await;
    let hash = |text: &str| KeyHash::of(&SecretString::from(text));
    let mut tx = store.begin().await.unwrap();
    for (text, end) in [("one", 100), ("two", 101)] {
        let token = AccessToken {
            key_id,
            expires_at: Timestamp(end),
        };
        tx.insert_access_token(&hash(text), &token, Timestamp(10))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let found = store.access_token(&hash("one")).await.unwrap().unwrap();
    assert_eq!((found.key_id, found.expires_at), (key_id, Timestamp(100)));
    assert_eq!(store.access_token(&hash("three")).await.unwrap(), None);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.end_expired_tokens(Timestamp(100)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(store.access_token(&hash("one")).await.unwrap(), None);
    assert!(store.access_token(&hash("two")).await.unwrap().is_some());
});
