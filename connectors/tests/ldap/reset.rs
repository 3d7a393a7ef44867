//! Resets and logins, as they go when nobody means harm.

use std::time::Duration;

use futures::future::join_all;
use keywheel_connectors::conformance::{self, Capabilities};
use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{
    Account, Changed, Checked, Class, Connector, Functional, Identity, Login, Scope, Target,
};

use super::middle;
use super::slapd::{
    INITIAL_SECRET, Slapd, by_dn, by_login, functional, functional_dn, held, ldap_mut, secret,
};

async fn conforms(slapd: &Slapd, target: Target) {
    let (_mute, mute_port) = middle::plain_server(slapd.ip, b"").await;
    let mute = Target {
        port: mute_port,
        timeout: Duration::from_millis(500),
        ..target.clone()
    };
    let mut wrong_identity = target.clone();
    ldap_mut(&mut wrong_identity).server_name = Some("elsewhere.test".to_owned());
    let can = Capabilities {
        keys: Vec::new(),
        evidence: false,
        unknown_account: by_dn("nobody"),
        // Port 1 of an address of our own: nobody listens there.
        unreachable: Target {
            port: 1,
            ..target.clone()
        },
        mute: Some(mute),
        wrong_identity: Some(wrong_identity),
    };
    let mut accounts = held(0..8);
    let kept = conformance::run(&Ldap::new(), &target, &functional(), &mut accounts, &can)
        .await
        .unwrap_or_else(|broken| panic!("{broken:#?}"));
    assert!(kept.len() >= 10, "{kept:?}");
}

#[tokio::test]
async fn every_promise_is_kept_by_ldaps() {
    let slapd = Slapd::start(0, &[]);
    conforms(&slapd, slapd.ldaps()).await;
}

#[tokio::test]
async fn every_promise_is_kept_by_starttls() {
    let slapd = Slapd::start(1, &[]);
    conforms(&slapd, slapd.starttls()).await;
}

#[tokio::test]
async fn a_directory_says_what_it_is() {
    let slapd = Slapd::start(2, &[]);
    for target in [slapd.ldaps(), slapd.starttls()] {
        let identity = Ldap::new().identify(&target).await;
        assert_eq!(
            identity,
            Ok(Identity::Ldap {
                flavour: "openldap".to_owned()
            })
        );
    }
}

#[tokio::test]
async fn accounts_without_a_dn_are_found_by_their_login_name() {
    let slapd = Slapd::start(3, &[]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    let new = secret("Found-by-login-1");
    assert_eq!(
        session.change(&by_login("u1"), &new, None).await,
        Changed::Done
    );
    assert_eq!(
        session.check(&by_login("u1"), &new).await,
        Checked::Accepted
    );
    let old = session
        .check(&by_login("u1"), &secret(INITIAL_SECRET))
        .await;
    assert!(matches!(old, Checked::Rejected(reason) if reason.class == Class::Denied));
}

#[tokio::test]
async fn a_login_name_that_is_a_filter_finds_nobody() {
    let slapd = Slapd::start(4, &[]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    for login in ["x)(uid=*", "*", "u*", "u1)(objectClass=*", "u1\\", "nobody"] {
        let changed = session
            .change(&by_login(login), &secret("Injected-1x"), None)
            .await;
        let right = matches!(&changed, Changed::NotNow(reason)
            if reason.class == Class::NoAccount && reason.scope == Scope::Account);
        assert!(right, "{login}: {changed:?}");
        let checked = session
            .check(&by_login(login), &secret("Injected-1x"))
            .await;
        assert!(matches!(&checked, Checked::NotNow(reason) if reason.class == Class::NoAccount));
    }
    assert_eq!(
        session.check(&by_dn("u1"), &secret(INITIAL_SECRET)).await,
        Checked::Accepted
    );
}

#[tokio::test]
async fn two_entries_of_one_name_are_no_account() {
    let slapd = Slapd::start(5, &[]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    let changed = session
        .change(&by_login("twin"), &secret("Which-of-them-1"), None)
        .await;
    assert!(matches!(&changed, Changed::NotNow(reason)
        if reason.class == Class::NoAccount && reason.text.contains("more than one")));
    assert_eq!(
        session.check(&by_dn("twin"), &secret(INITIAL_SECRET)).await,
        Checked::Accepted
    );
}

#[tokio::test]
async fn an_empty_secret_is_refused_before_any_byte() {
    let slapd = Slapd::start(6, &[]);
    let (middle, port) = middle::proxy((slapd.ip, slapd.tls_port).into(), slapd.ip).await;
    let target = Target {
        port,
        ..slapd.ldaps()
    };
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    let before = middle.heard().len();
    let changed = session.change(&by_login("u1"), &secret(""), None).await;
    assert!(matches!(changed, Changed::Refused(reason) if reason.class == Class::Refused));
    let checked = session.check(&by_login("u1"), &secret("")).await;
    assert!(matches!(checked, Checked::NotNow(reason) if reason.class == Class::Refused));
    assert_eq!(middle.heard().len(), before);
    assert_eq!(middle.taken(), 1);
}

#[tokio::test]
async fn a_write_after_a_failed_login_still_has_its_rights() {
    let slapd = Slapd::start(7, &[]);
    let (middle, port) = middle::proxy((slapd.ip, slapd.tls_port).into(), slapd.ip).await;
    let target = Target {
        port,
        ..slapd.ldaps()
    };
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    for round in 0..3 {
        let refused = session
            .check(&by_dn("u1"), &secret("Not-the-secret-1"))
            .await;
        assert!(matches!(refused, Checked::Rejected(_)), "{refused:?}");
        let new = secret(&format!("After-a-refusal-{round}"));
        assert_eq!(
            session.change(&by_dn("u1"), &new, None).await,
            Changed::Done
        );
        assert_eq!(session.check(&by_dn("u1"), &new).await, Checked::Accepted);
    }
    // One for the functional account, one that all logins shared.
    assert_eq!(middle.taken(), 2);
}

#[tokio::test]
async fn a_refused_functional_login_stops_the_system_at_once() {
    let slapd = Slapd::start(8, &[]);
    let wrong = Functional {
        credential: secret("Not-the-secret-1"),
        ..functional()
    };
    let reason = Ldap::new()
        .open(&slapd.ldaps(), Some(&wrong))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!((reason.class, reason.scope), (Class::Denied, Scope::System));
    let empty = Functional {
        credential: secret(""),
        ..functional()
    };
    let reason = Ldap::new()
        .open(&slapd.ldaps(), Some(&empty))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!((reason.class, reason.scope), (Class::Denied, Scope::System));
}

#[tokio::test]
async fn a_functional_account_may_be_named_by_its_dn_as_login() {
    let slapd = Slapd::start(9, &[]);
    let account = Account {
        login: Login::parse(&functional_dn()).unwrap(),
        dn: None,
        uses_own: false,
    };
    let session = Ldap::new()
        .open(
            &slapd.ldaps(),
            Some(&Functional {
                account,
                ..functional()
            }),
        )
        .await
        .unwrap();
    assert_eq!(
        session
            .change(&by_dn("u1"), &secret("Named-by-dn-1"), None)
            .await,
        Changed::Done
    );
}

#[tokio::test]
async fn the_functional_account_does_not_reset_itself() {
    let slapd = Slapd::start(10, &[]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    let spelled = Account {
        login: Login::parse("keywheel").unwrap(),
        dn: Some("CN=Keywheel, OU=svc, DC=keywheel, DC=test".to_owned()),
        uses_own: false,
    };
    let changed = session
        .change(&spelled, &secret("Locks-us-out-1"), None)
        .await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::Privilege));
    assert!(
        Ldap::new()
            .open(&slapd.ldaps(), Some(&functional()))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn many_accounts_change_at_once_over_one_connection() {
    let slapd = Slapd::start(11, &[("N", "60")]);
    let (middle, port) = middle::proxy((slapd.ip, slapd.tls_port).into(), slapd.ip).await;
    let target = Target {
        port,
        ..slapd.ldaps()
    };
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    let rotations = (0..60).map(|number| {
        let (session, account) = (&session, by_dn(&format!("u{number}")));
        async move {
            let new = secret(&format!("At-once-number-{number}"));
            assert_eq!(session.change(&account, &new, None).await, Changed::Done);
            assert_eq!(session.check(&account, &new).await, Checked::Accepted);
        }
    });
    join_all(rotations).await;
    assert!(middle.taken() <= 5, "{} connections", middle.taken());
}

#[tokio::test]
async fn a_restarted_directory_is_reached_again_by_the_same_session() {
    let slapd = Slapd::start(12, &[]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    assert_eq!(
        session.check(&by_dn("u1"), &secret(INITIAL_SECRET)).await,
        Checked::Accepted
    );
    slapd.verb("stop");
    let checked = session.check(&by_dn("u1"), &secret(INITIAL_SECRET)).await;
    assert!(matches!(checked, Checked::NotNow(_)), "{checked:?}");
    let changed = session
        .change(&by_dn("u1"), &secret("While-it-is-down-1"), None)
        .await;
    assert!(matches!(&changed, Changed::NotNow(reason) if reason.class == Class::Unreachable));
    slapd.verb("start");
    let new = secret("After-the-restart-1");
    assert_eq!(
        session.change(&by_dn("u1"), &new, None).await,
        Changed::Done
    );
    assert_eq!(session.check(&by_dn("u1"), &new).await, Checked::Accepted);
}

#[tokio::test]
async fn a_closed_session_sends_nothing() {
    let slapd = Slapd::start(13, &[]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    session.close().await;
    let changed = session
        .change(&by_dn("u1"), &secret("After-the-end-1"), None)
        .await;
    assert!(matches!(changed, Changed::NotNow(_)));
    let checked = session.check(&by_dn("u1"), &secret(INITIAL_SECRET)).await;
    assert!(matches!(checked, Checked::NotNow(_)));
}
