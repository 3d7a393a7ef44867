//! Second factors and their recovery codes.

use keywheel::model::Timestamp;
use keywheel::model::key::KeyHash;
use keywheel::model::totp::Totp;
use keywheel::store::StoreError;
use secrecy::SecretString;

use super::principal::seeded;
use crate::support::database::on_both;

fn code(text: &str) -> KeyHash {
    KeyHash::of(&SecretString::from(text))
}

on_both!(a_factor_counts_once_it_is_confirmed_and_a_step_once, |db| {
    let store = db.store().await;
    let (user, _) = seeded(&store).await;
    assert_eq!(store.totp_of(user).await.unwrap(), None);
    let now = Timestamp(100);
    let mut tx = store.begin().await.unwrap();
    tx.enrol_totp(user, vec![1], now).await.unwrap();
    assert!(!tx.use_totp_step(user, 7).await.unwrap(), "not confirmed");
    tx.enrol_totp(user, vec![2], now).await.unwrap();
    let old = tx.confirm_totp(user, (&[1], 7), &[], now).await;
    assert!(matches!(old.unwrap_err(), StoreError::Stale { .. }));
    tx.confirm_totp(user, (&[2], 7), &[code("a"), code("b")], now)
        .await
        .unwrap();
    let again = tx.confirm_totp(user, (&[2], 8), &[], now).await;
    assert!(matches!(again.unwrap_err(), StoreError::Stale { .. }));
    let other = tx.enrol_totp(user, vec![3], now).await;
    assert!(matches!(other.unwrap_err(), StoreError::Stale { .. }));
    for (step, good) in [
        (6, false),
        (7, false),
        (8, true),
        (8, false),
        (7, false),
        (9, true),
    ] {
        assert_eq!(tx.use_totp_step(user, step).await.unwrap(), good, "{step}");
    }
    tx.commit().await.unwrap();
    let factor = store.totp_of(user).await.unwrap().unwrap();
    assert_eq!(factor.sealed, [2]);
    assert_eq!((factor.confirmed_at, factor.last_step), (Some(now), 9));
});

on_both!(a_recovery_code_works_once_and_ends_with_its_factor, |db| {
    let store = db.store().await;
    let (user, _) = seeded(&store).await;
    let now = Timestamp(100);
    let mut tx = store.begin().await.unwrap();
    tx.enrol_totp(user, vec![1], now).await.unwrap();
    tx.confirm_totp(user, (&[1], 7), &[code("a"), code("b")], now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.recovery_codes_left(user).await.unwrap(), 2);
    let mut tx = store.begin().await.unwrap();
    for (text, good) in [("a", true), ("a", false), ("c", false)] {
        let taken = tx.use_recovery_code(user, &code(text), now).await;
        assert_eq!(taken.unwrap(), good, "{text}");
    }
    tx.commit().await.unwrap();
    assert_eq!(store.recovery_codes_left(user).await.unwrap(), 1);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.remove_totp(user).await.unwrap());
    assert!(!tx.remove_totp(user).await.unwrap());
    assert!(!tx.use_recovery_code(user, &code("b"), now).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.totp_of(user).await.unwrap(), None);
    assert_eq!(store.recovery_codes_left(user).await.unwrap(), 0);
});

on_both!(after_too_many_wrong_codes_none_is_taken, |db| {
    let store = db.store().await;
    let (user, _) = seeded(&store).await;
    let now = Timestamp(100);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.count_wrong_code(user).await.unwrap(), 0, "no factor");
    tx.enrol_totp(user, vec![1], now).await.unwrap();
    // Those of a confirmation do not count against what is confirmed.
    assert_eq!(tx.count_wrong_code(user).await.unwrap(), 1);
    tx.confirm_totp(user, (&[1], 1), &[code("a")], now)
        .await
        .unwrap();
    for nth in 1..Totp::WRONG_MAX {
        assert_eq!(tx.count_wrong_code(user).await.unwrap(), nth);
    }
    assert!(tx.use_totp_step(user, 2).await.unwrap());
    assert_eq!(
        tx.count_wrong_code(user).await.unwrap(),
        1,
        "a right one came"
    );
    for _ in 1..Totp::WRONG_MAX {
        tx.count_wrong_code(user).await.unwrap();
    }
    assert!(!tx.use_totp_step(user, 3).await.unwrap());
    assert!(tx.use_recovery_code(user, &code("a"), now).await.unwrap());
    assert!(tx.use_totp_step(user, 3).await.unwrap());
    for _ in 0..Totp::WRONG_MAX {
        tx.count_wrong_code(user).await.unwrap();
    }
    assert!(!tx.use_totp_step(user, 4).await.unwrap());
    tx.forget_wrong_codes(user).await.unwrap();
    assert!(tx.use_totp_step(user, 4).await.unwrap());
    tx.commit().await.unwrap();
});

on_both!(two_who_show_one_code_at_once_are_one, |db| {
    let store = db.store().await;
    let (user, _) = seeded(&store).await;
    let now = Timestamp(100);
    let mut tx = store.begin().await.unwrap();
    tx.enrol_totp(user, vec![1], now).await.unwrap();
    tx.confirm_totp(user, (&[1], 1), &[code("a")], now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for step in 2..12 {
        let show = async || {
            let mut tx = store.begin().await.unwrap();
            let taken = tx.use_totp_step(user, step).await.unwrap();
            tx.commit().await.unwrap();
            taken
        };
        let (one, other) = tokio::join!(show(), show());
        assert!(one != other, "step {step}: {one}, {other}");
    }
});
