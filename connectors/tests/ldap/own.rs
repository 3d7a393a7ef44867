//! Accounts that change themselves, and directories that want the old password.

use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{Changed, Checked, Class, Connector, Functional, Scope, Target};

use super::middle;
use super::shared::on_its_own;
use super::slapd::{FUNCTIONAL_SECRET, INITIAL_SECRET, Slapd, by_dn, by_login, functional, secret};

#[tokio::test]
async fn an_account_changes_its_own_password_without_a_functional_account() {
    let slapd = Slapd::start(70, &[]);
    let session = Ldap::new().open(&slapd.ldaps(), None).await.unwrap();
    let own = on_its_own(by_dn("u1"));
    let (current, new) = (secret(INITIAL_SECRET), secret("Own-choice-1"));
    let none = session.change(&own, &new, None).await;
    assert!(matches!(none, Changed::NotNow(reason) if reason.class == Class::Denied));
    let empty = session.change(&own, &new, Some(&secret(""))).await;
    assert!(matches!(empty, Changed::NotNow(_)), "{empty:?}");
    assert_eq!(slapd.failures("u1"), 0);
    let wrong = session
        .change(&own, &new, Some(&secret("Not-the-secret-1")))
        .await;
    assert!(matches!(wrong, Changed::NotNow(reason)
        if reason.class == Class::Denied && reason.scope == Scope::Account));
    assert_eq!(slapd.failures("u1"), 1);
    let short = session.change(&own, &secret("short"), Some(&current)).await;
    assert!(matches!(short, Changed::Refused(_)), "{short:?}");
    assert_eq!(
        session.change(&own, &new, Some(&current)).await,
        Changed::Done
    );
    assert_eq!(session.check(&own, &new).await, Checked::Accepted);
    // It must be changed first, and that is just what happens.
    let reset = on_its_own(by_dn("reset"));
    assert_eq!(
        session.change(&reset, &new, Some(&current)).await,
        Changed::Done
    );
    assert_eq!(session.check(&reset, &new).await, Checked::Accepted);
    // Nobody may look up names here, so a name alone is not enough.
    let named = on_its_own(by_login("u2"));
    let changed = session.change(&named, &new, Some(&current)).await;
    assert!(matches!(changed, Changed::NotNow(_)), "{changed:?}");
}

#[tokio::test]
async fn the_functional_login_has_no_part_in_a_self_change() {
    let slapd = Slapd::start(71, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = Target {
        port,
        ..slapd.ldaps()
    };
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    middle.heard.lock().unwrap().clear();
    let (current, new) = (secret(INITIAL_SECRET), secret("Own-choice-1"));
    let changed = session
        .change(&on_its_own(by_dn("u1")), &new, Some(&current))
        .await;
    assert_eq!(changed, Changed::Done);
    let functional = FUNCTIONAL_SECRET.as_bytes();
    let heard = middle.heard();
    assert!(
        !heard
            .windows(functional.len())
            .any(|part| part == functional)
    );
    assert!(heard.windows(12).any(|part| part == b"Own-choice-1"));
}

#[tokio::test]
async fn a_password_that_may_be_written_but_not_compared_is_a_matter_of_rights() {
    let slapd = Slapd::start(72, &[]);
    let session = Ldap::new().open(&slapd.ldaps(), None).await.unwrap();
    let changed = session
        .change(
            &on_its_own(by_dn("blind")),
            &secret("Own-choice-1"),
            Some(&secret(INITIAL_SECRET)),
        )
        .await;
    // The old password has just logged in, so it is not the one that is wrong.
    assert!(
        matches!(&changed, Changed::NotNow(reason) if reason.class == Class::Privilege),
        "{changed:?}"
    );
}

#[tokio::test]
async fn a_policy_that_wants_the_old_password_gets_it_if_it_is_known() {
    let slapd = Slapd::start(73, &[]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    let (safe, new) = (by_dn("safe"), secret("With-the-old-one-1"));
    let changed = session.change(&safe, &new, None).await;
    assert!(matches!(changed, Changed::NotNow(reason)
        if reason.class == Class::Privilege && reason.text.contains("old password")));
    let changed = session
        .change(&safe, &new, Some(&secret("Not-the-secret-1")))
        .await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::Denied));
    let changed = session
        .change(&safe, &new, Some(&secret(INITIAL_SECRET)))
        .await;
    assert_eq!(changed, Changed::Done);
    assert_eq!(session.check(&safe, &new).await, Checked::Accepted);
}

#[tokio::test]
async fn a_server_that_refers_elsewhere_is_no_success_and_is_not_followed() {
    let ip = std::net::Ipv4Addr::new(127, 0, 0, 31);
    let (elsewhere, port) = middle::plain_server(ip, b"").await;
    let referral = format!("ldap://{ip}:{port}");
    let slapd = Slapd::start(74, &[("REFER", &referral)]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    let own = on_its_own(by_dn("u1"));
    for account in [by_dn("u1"), own] {
        let changed = session
            .change(
                &account,
                &secret("Set-elsewhere-1"),
                Some(&secret(INITIAL_SECRET)),
            )
            .await;
        let right = matches!(&changed, Changed::NotNow(reason)
            if reason.class == Class::Incompatible && reason.scope == Scope::System);
        assert!(right, "{changed:?}");
    }
    assert_eq!(elsewhere.taken(), 0);
    let checked = session.check(&by_dn("u1"), &secret(INITIAL_SECRET)).await;
    assert_eq!(checked, Checked::Accepted);
}

#[tokio::test]
async fn a_functional_account_without_the_right_to_compare_still_resets() {
    let slapd = Slapd::start(75, &[("RIGHTS", "=w")]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    let new = secret("Without-comparing-1");
    assert_eq!(
        session.change(&by_dn("u1"), &new, None).await,
        Changed::Done
    );
    // Where the old one is demanded, it cannot be compared, whichever it is.
    let changed = session
        .change(&by_dn("safe"), &new, Some(&secret(INITIAL_SECRET)))
        .await;
    assert!(matches!(changed, Changed::NotNow(_)), "{changed:?}");
    // A key is no login here.
    let key = Functional {
        credential: super::key::pair("functional"),
        ..functional()
    };
    let opened = Ldap::new().open(&slapd.ldaps(), Some(&key)).await;
    assert_eq!(opened.map(|_| ()).unwrap_err().class, Class::Denied);
}
