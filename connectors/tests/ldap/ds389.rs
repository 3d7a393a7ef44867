//! 389 Directory Server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keywheel_connectors::conformance::Held;
use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{
    Account, Changed, Checked, Class, Connector, Evidence, Functional, Identity, Scope, Session,
    Target,
};

use super::key::pair;
use super::middle;
use super::shared::{self, DS389, account, conforms, on_its_own};
use super::slapd::{FUNCTIONAL_SECRET, INITIAL_SECRET, dn, functional_dn, secret};

pub(crate) fn by_dn(uid: &str) -> Account {
    account(uid, Some(dn(uid)))
}

fn functional() -> Functional {
    shared::functional(
        account("keywheel", Some(functional_dn())),
        FUNCTIONAL_SECRET,
    )
}

pub(crate) async fn session() -> Arc<dyn Session> {
    shared::open(&DS389.ldaps(), &functional()).await
}

async fn sets(session: &Arc<dyn Session>, account: &Account, text: &str) {
    let new = secret(text);
    let changed = session.change(account, &new, None).await;
    assert_eq!(changed, Changed::Done, "{account:?}");
    let checked = session.check(account, &new).await;
    assert_eq!(checked, Checked::Accepted, "{account:?}");
}

#[tokio::test]
async fn every_promise_is_kept_by_389_directory_server() {
    let held = (0..8).map(|number| Held {
        account: by_dn(&format!("u{number}")),
        credential: secret(INITIAL_SECRET),
    });
    let target = DS389.ldaps();
    conforms(target, functional(), held.collect(), by_dn("nobody"), false).await;
}

#[tokio::test]
async fn it_says_what_it_is_and_is_served_by_starttls_too() {
    for target in [DS389.ldaps(), DS389.starttls()] {
        let flavour = "389ds".to_owned();
        let identity = Ldap::new().identify(&target).await;
        assert_eq!(identity, Ok(Identity::Ldap { flavour }));
    }
    let session = shared::open(&DS389.starttls(), &functional()).await;
    sets(&session, &by_dn("u8"), "By-starttls-1").await;
}

#[tokio::test]
async fn accounts_are_found_by_login_name_and_by_identifier() {
    let session = session().await;
    sets(&session, &account("u9", None), "By-login-name-1").await;
    let twin = session
        .change(&account("twin", None), &secret("Which-of-them-1"), None)
        .await;
    assert!(matches!(&twin, Changed::NotNow(reason)
        if reason.class == Class::NoAccount && reason.text.contains("more than one")));
    let filter = session
        .change(&account("x)(uid=*", None), &secret("Injected-1x"), None)
        .await;
    assert!(matches!(&filter, Changed::NotNow(reason) if reason.class == Class::NoAccount));
    let shown = DS389.attributes(&functional_dn(), FUNCTIONAL_SECRET, &dn("u9"), "nsUniqueId");
    let id = shown
        .lines()
        .find_map(|line| line.strip_prefix("nsUniqueId: "));
    let pinned = account("u9", Some(format!("<GUID={}>", id.unwrap())));
    sets(&session, &pinned, "By-identifier-1").await;
}

#[tokio::test]
async fn a_reset_that_must_be_changed_is_released_or_is_no_right_login() {
    let session = session().await;
    sets(&session, &by_dn("must"), "Released-for-it-1").await;
    // Without the right to release it, the password is right and of no use.
    let new = secret("Not-released-1");
    let changed = session.change(&by_dn("stuck"), &new, None).await;
    assert_eq!(changed, Changed::Done);
    let checked = session.check(&by_dn("stuck"), &new).await;
    let right = matches!(&checked, Checked::NotNow(reason)
        if reason.class == Class::Expired && reason.text.contains("must be changed"));
    assert!(right, "{checked:?}");
    // A functional account in this state is of no use either, and says so for the whole system.
    let stuck = Functional {
        account: by_dn("stuck"),
        credential: new.clone(),
    };
    let opened = Ldap::new().open(&DS389.ldaps(), Some(&stuck)).await;
    let reason = opened.map(|_| ()).unwrap_err();
    assert_eq!((reason.class, reason.scope), (Class::Denied, Scope::System));
    // The account itself gets out of it.
    let own = on_its_own(by_dn("stuck"));
    let last = secret("Changed-by-itself-1");
    let changed = session.change(&own, &last, Some(&new)).await;
    assert_eq!(changed, Changed::Done);
    assert_eq!(session.check(&own, &last).await, Checked::Accepted);
}

#[tokio::test]
async fn its_policy_is_told_apart_by_control_and_by_text() {
    let session = session().await;
    let first = "First-of-them-1";
    sets(&session, &by_dn("u10"), first).await;
    for text in ["short", first] {
        let changed = session.change(&by_dn("u10"), &secret(text), None).await;
        let right = matches!(&changed, Changed::Refused(reason) if reason.class == Class::Refused);
        assert!(right, "{changed:?}");
    }
    for (uid, class) in [
        ("young", Class::Busy),
        ("sealed", Class::Privilege),
        ("nobody", Class::NoAccount),
    ] {
        let changed = session
            .change(&by_dn(uid), &secret("Never-set-here-1"), None)
            .await;
        let right = matches!(&changed, Changed::NotNow(reason) if reason.class == class);
        assert!(right, "{uid}: {changed:?}");
    }
}

#[tokio::test]
async fn locked_disabled_and_expired_are_no_verdict_on_the_secret() {
    let session = session().await;
    for (uid, class) in [("off", Class::Locked), ("expired", Class::Expired)] {
        let checked = session.check(&by_dn(uid), &secret(INITIAL_SECRET)).await;
        let right = matches!(&checked, Checked::NotNow(reason) if reason.class == class);
        assert!(right, "{uid}: {checked:?}");
    }
    for _ in 0..3 {
        session
            .check(&by_dn("tight"), &secret("Not-the-secret-1"))
            .await;
    }
    let locked = session
        .check(&by_dn("tight"), &secret(INITIAL_SECRET))
        .await;
    assert!(matches!(locked, Checked::NotNow(reason) if reason.class == Class::Locked));
    sets(&session, &by_dn("tight"), "Unlocked-again-1").await;
    sets(&session, &by_dn("expired"), "Brought-back-1").await;
}

#[tokio::test]
async fn an_account_changes_its_own_password_there() {
    let session = Ldap::new().open(&DS389.ldaps(), None).await.unwrap();
    let own = on_its_own(by_dn("u11"));
    let (current, new) = (secret(INITIAL_SECRET), secret("Own-choice-1"));
    let wrong = secret("Not-the-secret-1");
    let changed = session.change(&own, &new, Some(&wrong)).await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::Denied));
    let changed = session.change(&own, &new, Some(&current)).await;
    assert_eq!(changed, Changed::Done);
    assert_eq!(session.check(&own, &new).await, Checked::Accepted);
    let old = session.check(&own, &current).await;
    assert!(matches!(old, Checked::Rejected(_)), "{old:?}");
    let changed = session.change(&own, &new, Some(&new)).await;
    assert!(matches!(changed, Changed::Refused(_)), "{changed:?}");
}

#[tokio::test]
async fn a_write_that_never_arrived_there_is_known_where_changes_are_counted() {
    let (middle, port) = middle::proxy((DS389.ip, DS389.tls_port).into(), DS389.ip).await;
    let target = Target {
        port,
        timeout: Duration::from_secs(3),
        ..DS389.ldaps()
    };
    let session = shared::open(&target, &functional()).await;
    let (account, current) = (account("u12", None), secret(INITIAL_SECRET));
    for (deaf, text) in [(true, "Never-arrived-1"), (false, "Arrived-unheard-1")] {
        // The look-up comes first, then the write.
        let at = if deaf {
            &middle.deaf_at
        } else {
            &middle.swallow_at
        };
        at.store(2, Ordering::SeqCst);
        let new = secret(text);
        let changed = session.change(&account, &new, Some(&current)).await;
        assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
        middle.deaf.store(false, Ordering::SeqCst);
        middle.swallow.store(false, Ordering::SeqCst);
        let seen = session.evidence(&account, &new, Some(&current)).await;
        let unmoved = seen == Evidence::Current;
        assert_eq!(unmoved, deaf, "{seen:?}");
    }
}

#[tokio::test]
async fn a_key_is_swapped_and_foreign_keys_survive_there() {
    let session = session().await;
    let (keyed, ours, next) = (by_dn("keyed"), pair("ours"), pair("next"));
    assert_eq!(session.change(&keyed, &ours, None).await, Changed::Done);
    let changed = session.change(&keyed, &next, Some(&ours)).await;
    assert_eq!(changed, Changed::Done);
    assert_eq!(session.check(&keyed, &next).await, Checked::Accepted);
    for foreign in ["first", "second"] {
        let there = session.check(&keyed, &pair(foreign)).await;
        assert_eq!(there, Checked::Accepted, "{foreign}");
    }
    let lost = session.change(&keyed, &pair("third"), Some(&ours)).await;
    assert!(matches!(lost, Changed::NotNow(reason) if reason.class == Class::IdentityMismatch));
}
