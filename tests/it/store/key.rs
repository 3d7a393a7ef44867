//! API keys and access tokens.

use keywheel::model::Timestamp;
use keywheel::model::id::{KeyId, OrganizationId, UserId};
use keywheel::model::key::{
    AccessToken, Addresses, ApiKey, KeyEdit, KeyHash, KeyKind, NewKey, Reach,
};
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

on_both!(
    an_edit_of_a_key_counts_and_a_second_of_the_same_is_stale,
    |db| {
        let store = db.store().await;
        let (user, id) = seeded(&store).await;
        let before = store.key(id).await.unwrap().unwrap();
        assert_eq!((before.revision, before.password_required), (1, false));
        let edit = KeyEdit {
            name: "desk".into(),
            addresses: Addresses::parse("192.0.2.0/24").unwrap(),
            expires_at: None,
            password_required: true,
            reach: Reach {
                password_access: true,
                organizations: [OrganizationId(2), OrganizationId(9)].into(),
            },
        };
        let cookie = KeyHash::of(&SecretString::from("cookie"));
        let mut tx = store.begin().await.unwrap();
        tx.open_session(&cookie, user, id, Timestamp(10))
            .await
            .unwrap();
        tx.edit_key(id, &edit, 1).await.unwrap();
        let again = tx.edit_key(id, &edit, 1).await.unwrap_err();
        assert!(matches!(again, StoreError::Stale { .. }));
        assert_eq!(tx.end_key_sessions(id).await.unwrap(), 1);
        assert_eq!(tx.end_key_sessions(id).await.unwrap(), 0);
        tx.commit().await.unwrap();
        let after = store.key(id).await.unwrap().unwrap();
        assert_eq!((after.revision, after.password_required), (2, true));
        assert_eq!((after.name.as_str(), after.expires_at), ("desk", None));
        assert_eq!(after.addresses, edit.addresses);
        assert_eq!(
            (&before.reach, &after.reach),
            (&Reach::default(), &edit.reach)
        );
        let mut tx = store.begin().await.unwrap();
        tx.revoke_key(id, Timestamp(20)).await.unwrap();
        let revoked = tx.edit_key(id, &edit, 3).await.unwrap_err();
        assert!(matches!(revoked, StoreError::Stale { .. }));
    }
);

on_both!(the_next_expiry_leaves_out_what_ends_as_planned, |db| {
    let store = db.store().await;
    let (user, first) = seeded(&store).await;
    let now = Timestamp(100);
    let ends = async |at| store.next_key_expiries(at).await.unwrap();
    let at = |at| vec![("passwordsafe".to_owned(), Timestamp(at))];
    assert_eq!(ends(now).await, at(900));
    assert_eq!(ends(Timestamp(900)).await, [], "it has ended");
    let mut tx = store.begin().await.unwrap();
    let later = NewKey {
        expires_at: Some(Timestamp(2_000)),
        ..key_of(user, "fedcba9876543210")
    };
    let later = tx.insert_key(&later, Timestamp(30)).await.unwrap();
    let endless = NewKey {
        expires_at: None,
        kind: KeyKind::Native,
        ..key_of(user, "an-endless-key")
    };
    tx.insert_key(&endless, Timestamp(30)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ends(now).await, at(900), "the earliest");
    let mut tx = store.begin().await.unwrap();
    tx.succeed_key(first, later, Timestamp(500)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ends(now).await, at(2_000), "the first has a successor");
    let mut tx = store.begin().await.unwrap();
    tx.set_user_disabled(user, true).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ends(now).await, [], "its user may not sign in");
    let mut tx = store.begin().await.unwrap();
    tx.set_user_disabled(user, false).await.unwrap();
    tx.revoke_key(later, Timestamp(50)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ends(now).await, []);
});

on_both!(
    a_key_of_the_it_glue_dialect_that_nobody_uses_is_revoked,
    |db| {
        let store = db.store().await;
        let (user, _) = seeded(&store).await;
        let mut tx = store.begin().await.unwrap();
        let mut keys = Vec::new();
        for (nth, text) in ["ITG.one", "ITG.two", "ITG.three"].iter().enumerate() {
            let new = NewKey {
                kind: KeyKind::ItGlue,
                expires_at: None,
                reach: Reach::whole(),
                ..key_of(user, text)
            };
            let made = Timestamp(10 + i64::try_from(nth).unwrap());
            keys.push(tx.insert_key(&new, made).await.unwrap());
        }
        tx.touch_key(keys[1], Timestamp(500)).await.unwrap();
        tx.commit().await.unwrap();
        let idle = i64::try_from(ApiKey::IDLE_MAX.as_millis()).unwrap();
        let ends = store.next_key_expiries(Timestamp(600)).await.unwrap();
        let first = ("itglue".to_owned(), Timestamp(10 + idle));
        assert_eq!(ends.first(), Some(&first), "want of use is an end, too");
        let mut tx = store.begin().await.unwrap();
        let (before, now) = (Timestamp(499), Timestamp(600));
        let revoked = tx.revoke_idle_keys(before, now, 1).await.unwrap();
        assert_eq!((revoked.len(), revoked[0].id), (1, keys[0]));
        assert_eq!(revoked[0].revoked_at, Some(now));
        assert_eq!(revoked[0].reach, Reach::whole());
        let revoked = tx.revoke_idle_keys(before, now, 9).await.unwrap();
        assert_eq!(
            revoked.iter().map(|key| key.id).collect::<Vec<_>>(),
            [keys[2]]
        );
        // A key that was used of late stays, and so does every key of another kind.
        assert_eq!(tx.revoke_idle_keys(before, now, 9).await.unwrap(), []);
        tx.commit().await.unwrap();
        let ends = store.next_key_expiries(Timestamp(600)).await.unwrap();
        assert!(ends.contains(&("itglue".to_owned(), Timestamp(500 + idle))));
    }
);
