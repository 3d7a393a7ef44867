//! What a password policy objects to, told apart.

use keywheel_connectors::{Changed, Checked, Class};

use super::slapd::{INITIAL_SECRET, Slapd, by_dn, open, secret};

#[tokio::test]
async fn passwords_that_the_policy_refuses_are_refused_with_proof() {
    let slapd = Slapd::start(20, &[]);
    let session = open(&slapd.ldaps()).await;
    let first = secret("First-of-them-1");
    assert_eq!(
        session.change(&by_dn("u1"), &first, None).await,
        Changed::Done
    );
    for (text, why) in [("short", "too short"), ("First-of-them-1", "used before")] {
        let changed = session.change(&by_dn("u1"), &secret(text), None).await;
        let right = matches!(&changed, Changed::Refused(reason)
            if reason.class == Class::Refused && reason.text.contains(why));
        assert!(right, "{changed:?}");
    }
    assert_eq!(
        session
            .change(&by_dn("u1"), &secret("Second-of-them-1"), None)
            .await,
        Changed::Done
    );
    let changed = session.change(&by_dn("u1"), &first, None).await;
    assert!(matches!(changed, Changed::Refused(reason) if reason.text.contains("used before")));
}

#[tokio::test]
async fn a_minimum_age_is_waited_for_and_costs_no_candidate() {
    let slapd = Slapd::start(21, &[]);
    let session = open(&slapd.ldaps()).await;
    let changed = session
        .change(&by_dn("young"), &secret("Too-early-for-1"), None)
        .await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::Busy));
    assert_eq!(
        session
            .check(&by_dn("young"), &secret(INITIAL_SECRET))
            .await,
        Checked::Accepted
    );
}

#[tokio::test]
async fn locked_expired_and_must_change_are_no_verdict_on_the_secret() {
    let slapd = Slapd::start(22, &[]);
    let session = open(&slapd.ldaps()).await;
    for (uid, class) in [
        ("locked", Class::Locked),
        ("expired", Class::Expired),
        ("reset", Class::Expired),
    ] {
        let checked = session.check(&by_dn(uid), &secret(INITIAL_SECRET)).await;
        assert!(
            matches!(&checked, Checked::NotNow(reason) if reason.class == class),
            "{uid}: {checked:?}"
        );
    }
    // An expired account with a wrong secret is no different from any other.
    let checked = session
        .check(&by_dn("expired"), &secret("Not-the-secret-1"))
        .await;
    assert!(matches!(checked, Checked::Rejected(_)), "{checked:?}");
}

#[tokio::test]
async fn a_reset_brings_back_the_locked_the_expired_and_those_who_must_change() {
    let slapd = Slapd::start(23, &[]);
    let session = open(&slapd.ldaps()).await;
    for uid in ["expired", "reset", "tight"] {
        let new = secret("Brought-back-1");
        assert_eq!(session.change(&by_dn(uid), &new, None).await, Changed::Done);
        assert_eq!(
            session.check(&by_dn(uid), &new).await,
            Checked::Accepted,
            "{uid}"
        );
    }
}

#[tokio::test]
async fn one_check_is_one_login_and_a_wrong_candidate_does_not_lock() {
    let slapd = Slapd::start(24, &[]);
    let session = open(&slapd.ldaps()).await;
    // The account locks at three failures; the budget for that is one.
    let checked = session
        .check(&by_dn("tight"), &secret("Not-the-secret-1"))
        .await;
    assert!(matches!(checked, Checked::Rejected(_)));
    assert_eq!(slapd.failures("tight"), 1);
    assert_eq!(
        session
            .check(&by_dn("tight"), &secret(INITIAL_SECRET))
            .await,
        Checked::Accepted
    );
    assert_eq!(slapd.failures("tight"), 0);
    // Changes cost no login at all.
    for round in 0..5 {
        let new = secret(&format!("No-login-here-{round}"));
        assert_eq!(
            session.change(&by_dn("tight"), &new, None).await,
            Changed::Done
        );
    }
    assert_eq!(slapd.failures("tight"), 0);
}

#[tokio::test]
async fn an_account_that_locks_under_the_probes_is_said_to_be_locked() {
    let slapd = Slapd::start(25, &[]);
    let session = open(&slapd.ldaps()).await;
    for _ in 0..2 {
        let checked = session
            .check(&by_dn("tight"), &secret("Not-the-secret-1"))
            .await;
        assert!(matches!(checked, Checked::Rejected(_)));
    }
    // The third failure locks; whether it was the secret can no longer be told.
    let third = session
        .check(&by_dn("tight"), &secret("Not-the-secret-1"))
        .await;
    assert!(
        matches!(&third, Checked::NotNow(reason) if reason.class == Class::Locked),
        "{third:?}"
    );
    let right = session
        .check(&by_dn("tight"), &secret(INITIAL_SECRET))
        .await;
    assert!(matches!(right, Checked::NotNow(reason) if reason.class == Class::Locked));
    let new = secret("Unlocked-again-1");
    assert_eq!(
        session.change(&by_dn("tight"), &new, None).await,
        Changed::Done
    );
    assert_eq!(
        session.check(&by_dn("tight"), &new).await,
        Checked::Accepted
    );
}

#[tokio::test]
async fn an_entry_that_is_not_there_is_no_wrong_password() {
    let slapd = Slapd::start(26, &[]);
    let session = open(&slapd.ldaps()).await;
    let changed = session
        .change(&by_dn("nobody"), &secret("For-nobody-at-all-1"), None)
        .await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::NoAccount));
    let checked = session
        .check(&by_dn("nobody"), &secret("For-nobody-at-all-1"))
        .await;
    assert!(matches!(checked, Checked::NotNow(reason) if reason.class == Class::NoAccount));
}

#[tokio::test]
async fn a_slow_password_hash_fails_nobody() {
    let slapd = Slapd::start(27, &[("HASH", "{ARGON2}")]);
    let session = open(&slapd.ldaps()).await;
    let rotations = (0..8).map(|number| {
        let (session, account) = (&session, by_dn(&format!("u{number}")));
        async move {
            let new = secret(&format!("Slowly-hashed-{number}"));
            assert_eq!(session.change(&account, &new, None).await, Changed::Done);
            assert_eq!(session.check(&account, &new).await, Checked::Accepted);
        }
    });
    futures::future::join_all(rotations).await;
}
