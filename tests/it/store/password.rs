//! The hashes of users' passwords.

use keywheel::model::Timestamp;
use keywheel::model::id::UserId;
use keywheel::model::password::PasswordHash;
use keywheel::store::StoreError;

use super::principal::seeded;
use crate::support::database::on_both;

fn hash(text: &str) -> PasswordHash {
    PasswordHash::of_phc(text.into())
}

on_both!(
    a_password_is_set_replaced_and_used_while_it_is_the_one,
    |db| {
        let store = db.store().await;
        let (user, _) = seeded(&store).await;
        assert_eq!(store.password_of(user).await.unwrap(), None);
        let mut tx = store.begin().await.unwrap();
        let none = tx.use_password(user, &hash("one"), Timestamp(10)).await;
        assert!(matches!(none.unwrap_err(), StoreError::Stale { .. }));
        tx.set_password(user, &hash("one"), Timestamp(10))
            .await
            .unwrap();
        tx.use_password(user, &hash("one"), Timestamp(11))
            .await
            .unwrap();
        tx.set_password(user, &hash("two"), Timestamp(12))
            .await
            .unwrap();
        let old = tx.use_password(user, &hash("one"), Timestamp(13)).await;
        assert!(matches!(old.unwrap_err(), StoreError::Stale { .. }));
        tx.use_password(user, &hash("two"), Timestamp(14))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.password_of(user).await.unwrap(), Some(hash("two")));
        let mut tx = store.begin().await.unwrap();
        tx.set_user_disabled(user, true).await.unwrap();
        let disabled = tx.use_password(user, &hash("two"), Timestamp(15)).await;
        assert!(matches!(disabled.unwrap_err(), StoreError::Stale { .. }));
        let nobody = tx.set_password(UserId(99), &hash("x"), Timestamp(16)).await;
        assert!(matches!(nobody.unwrap_err(), StoreError::Conflict { .. }));
    }
);

on_both!(
    a_sign_in_with_the_password_before_waits_and_is_refused,
    |db| {
        let store = db.store().await;
        let (user, _) = seeded(&store).await;
        let mut tx = store.begin().await.unwrap();
        tx.set_password(user, &hash("one"), Timestamp(10))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut changing = store.begin().await.unwrap();
        changing
            .set_password(user, &hash("two"), Timestamp(11))
            .await
            .unwrap();
        let other = store.clone();
        let signing_in = async move {
            let mut tx = other.begin().await.unwrap();
            tx.use_password(user, &hash("one"), Timestamp(12)).await
        };
        // Whichever comes first waits for the other.
        let (outcome, ()) = tokio::join!(signing_in, async {
            tokio::task::yield_now().await;
            changing.commit().await.unwrap();
        });
        assert!(matches!(outcome.unwrap_err(), StoreError::Stale { .. }));
    }
);
