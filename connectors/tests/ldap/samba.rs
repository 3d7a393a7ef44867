//! Active Directory, as Samba serves it.

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
use super::shared::{self, SAMBA, account, conforms, on_its_own};
use super::slapd::{ldap_mut, secret};

pub(crate) const INITIAL: &str = "Initial-secret-1";
pub(crate) const FUNCTIONAL: &str = "Functional-secret-1";
const KEYS: &str = "altSecurityIdentities";

pub(crate) fn by_dn(name: &str) -> Account {
    account(name, Some(format!("CN={name},OU=people,DC=ad,DC=test")))
}

pub(crate) fn functional() -> Functional {
    let dn = "CN=keywheel,OU=svc,DC=ad,DC=test".to_owned();
    shared::functional(account("keywheel", Some(dn)), FUNCTIONAL)
}

pub(crate) async fn session() -> Arc<dyn Session> {
    shared::open(&SAMBA.ldaps(), &functional()).await
}

pub(crate) async fn sets(session: &Arc<dyn Session>, account: &Account, text: &str) {
    let new = secret(text);
    assert_eq!(
        session.change(account, &new, None).await,
        Changed::Done,
        "{account:?}"
    );
    assert_eq!(
        session.check(account, &new).await,
        Checked::Accepted,
        "{account:?}"
    );
}

/// Runs one of Samba's own tools on its database, and returns what it printed.
#[expect(clippy::disallowed_methods, reason = "no secret in its arguments")]
pub(crate) fn ldb(tool: &str, arguments: &[&str]) -> String {
    let home = SAMBA.home.join("samba-ad");
    let output = std::process::Command::new(tool)
        .arg(format!("--configfile={}", home.join("smb.conf").display()))
        .arg("-H")
        .arg(home.join("private/sam.ldb"))
        .args(arguments)
        .output()
        .expect("an ldb tool is missing; install the package ldb-tools");
    assert!(output.status.success(), "{tool}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn every_promise_is_kept_by_a_domain_controller() {
    let held = (0..8).map(|number| Held {
        account: by_dn(&format!("u{number}")),
        credential: secret(INITIAL),
    });
    let target = SAMBA.ldaps();
    conforms(target, functional(), held.collect(), by_dn("nobody"), true).await;
}

#[tokio::test]
async fn a_domain_controller_says_what_it_is() {
    for mut target in [SAMBA.ldaps(), SAMBA.starttls()] {
        let flavour = "samba".to_owned();
        let identity = Ldap::new().identify(&target).await;
        assert_eq!(identity, Ok(Identity::Ldap { flavour }));
        for (pinned, right) in [("ad", true), ("samba", true), ("openldap", false)] {
            ldap_mut(&mut target).flavour = Some(pinned.to_owned());
            let opened = Ldap::new().open(&target, Some(&functional())).await;
            assert_eq!(opened.is_ok(), right, "{pinned}");
        }
    }
}

#[tokio::test]
async fn without_a_functional_account_a_domain_login_is_still_proved() {
    let session = Ldap::new().open(&SAMBA.starttls(), None).await.unwrap();
    for login in ["u11", "u11@ad.test", "ADTEST\\u11"] {
        let account = account(login, None);
        let checked = session.check(&account, &secret(INITIAL)).await;
        assert_eq!(checked, Checked::Accepted, "{login}");
    }
    let checked = session
        .check(&account("u11", None), &secret("Not-the-secret-1"))
        .await;
    assert!(matches!(checked, Checked::Rejected(_)), "{checked:?}");
}

#[tokio::test]
async fn the_old_password_of_a_domain_stays_valid_for_a_while() {
    let session = session().await;
    sets(&session, &by_dn("u12"), "The-next-one-1").await;
    // So "the old one is refused" is no test of a change here; a second reset retires it.
    let old = session.check(&by_dn("u12"), &secret(INITIAL)).await;
    assert_eq!(old, Checked::Accepted);
    sets(&session, &by_dn("u12"), "The-next-one-2").await;
    let old = session.check(&by_dn("u12"), &secret(INITIAL)).await;
    assert!(matches!(old, Checked::Rejected(_)), "{old:?}");
}

#[tokio::test]
async fn a_locked_domain_account_works_at_once_after_a_reset() {
    let session = session().await;
    for _ in 0..3 {
        let wrong = session
            .check(&by_dn("tight"), &secret("Not-the-secret-1"))
            .await;
        assert!(matches!(wrong, Checked::Rejected(_)), "{wrong:?}");
    }
    let locked = session.check(&by_dn("tight"), &secret(INITIAL)).await;
    assert!(matches!(locked, Checked::NotNow(reason) if reason.class == Class::Locked));
    sets(&session, &by_dn("tight"), "Unlocked-again-1").await;
}

#[tokio::test]
async fn domain_logins_that_are_right_and_of_no_use_are_told_apart() {
    let session = session().await;
    for (name, class, why) in [
        ("must", Class::Expired, "must be changed"),
        ("off", Class::Locked, "disabled"),
        ("gone", Class::Locked, "expired"),
    ] {
        let checked = session.check(&by_dn(name), &secret(INITIAL)).await;
        let right = matches!(&checked, Checked::NotNow(reason)
            if reason.class == class && reason.text.contains(why));
        assert!(right, "{name}: {checked:?}");
        let wrong = session
            .check(&by_dn(name), &secret("Not-the-secret-1"))
            .await;
        assert!(matches!(wrong, Checked::Rejected(_)), "{name}: {wrong:?}");
    }
    // A reset takes the duty to change away.
    sets(&session, &by_dn("must"), "Changed-for-it-1").await;
}

#[tokio::test]
async fn a_domain_says_what_is_wrong_with_a_password_by_number() {
    let session = session().await;
    for text in ["sh", "aaaaaaaaaaaa"] {
        let changed = session.change(&by_dn("u13"), &secret(text), None).await;
        let right = matches!(&changed, Changed::Refused(reason) if reason.class == Class::Refused);
        assert!(right, "{changed:?}");
    }
    let sealed = account(
        "sealed",
        Some("CN=sealed,OU=closed,DC=ad,DC=test".to_owned()),
    );
    let changed = session
        .change(&sealed, &secret("No-right-here-1"), None)
        .await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::Privilege));
    let changed = session
        .change(&by_dn("nobody"), &secret("Nobody-here-1"), None)
        .await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::NoAccount));
    // Without the right to unlock, a reset is still a reset.
    let half = account("half", Some("CN=half,OU=half,DC=ad,DC=test".to_owned()));
    sets(&session, &half, "Reset-alone-1").await;
}

#[tokio::test]
async fn a_domain_account_changes_its_own_password() {
    // No functional account: the current password is all that is needed.
    let session = Ldap::new().open(&SAMBA.ldaps(), None).await.unwrap();
    let own = on_its_own(by_dn("u14"));
    let (current, next) = (secret(INITIAL), secret("Own-choice-1"));
    for (new, with, class) in [
        ("Own-choice-1", "Not-the-secret-1", Class::Denied),
        ("sh", INITIAL, Class::Refused),
    ] {
        let changed = session
            .change(&own, &secret(new), Some(&secret(with)))
            .await;
        let (Changed::NotNow(reason) | Changed::Refused(reason)) = &changed else {
            panic!("{changed:?}");
        };
        assert_eq!(reason.class, class);
    }
    assert_eq!(
        session.change(&own, &next, Some(&current)).await,
        Changed::Done
    );
    assert_eq!(session.check(&own, &next).await, Checked::Accepted);
    // By name, where nobody could look it up before.
    let named = on_its_own(account("u14@ad.test", None));
    let last = secret("Own-choice-2");
    assert_eq!(
        session.change(&named, &last, Some(&next)).await,
        Changed::Done
    );
    assert_eq!(session.check(&named, &last).await, Checked::Accepted);
}

#[tokio::test]
async fn a_minimum_age_and_a_duty_to_change_stop_a_domain_account_itself() {
    let session = session().await;
    let young = on_its_own(by_dn("young"));
    let changed = session
        .change(&young, &secret("Too-early-for-1"), Some(&secret(INITIAL)))
        .await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::Busy));
    // The functional account is not held to the age.
    sets(&session, &by_dn("young"), "Old-enough-for-1").await;
    let off = on_its_own(by_dn("off"));
    let changed = session
        .change(&off, &secret("Disabled-as-it-is-1"), Some(&secret(INITIAL)))
        .await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::Locked));
}

#[tokio::test]
async fn no_password_of_a_domain_is_ever_stored_in_the_clear() {
    let session = session().await;
    let text = "Never-in-the-clear-7q";
    sets(&session, &by_dn("u15"), text).await;
    let own = on_its_own(by_dn("u15"));
    let next = "Never-in-the-clear-8q";
    let changed = session
        .change(&own, &secret(next), Some(&secret(text)))
        .await;
    assert_eq!(changed, Changed::Done);
    let shown = ldb("ldbsearch", &["(sAMAccountName=u15)", "userPassword", "cn"]);
    assert!(
        shown.contains("cn: u15") && !shown.contains("userPassword"),
        "{shown}"
    );
    let wide = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<_>>()
    };
    let private = SAMBA.home.join("samba-ad/private/sam.ldb.d");
    let mut files = 0;
    for file in std::fs::read_dir(private).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for secret in [text.into(), next.into(), wide(text), wide(next)] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret));
        }
        files += 1;
    }
    assert!(files > 3, "{files} files");
}

#[tokio::test]
async fn a_key_is_swapped_in_the_configured_attribute_and_foreign_values_survive() {
    let mut target = SAMBA.ldaps();
    ldap_mut(&mut target).key_attribute = Some(KEYS.to_owned());
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    let (keyed, first, second) = (by_dn("keyed"), pair("first"), pair("second"));
    assert_eq!(session.change(&keyed, &first, None).await, Changed::Done);
    assert_eq!(session.check(&keyed, &first).await, Checked::Accepted);
    let changed = session.change(&keyed, &second, Some(&first)).await;
    assert_eq!(changed, Changed::Done);
    let gone = session.check(&keyed, &first).await;
    assert!(matches!(gone, Checked::Rejected(_)), "{gone:?}");
    let lost = session.change(&keyed, &pair("third"), Some(&first)).await;
    assert!(matches!(lost, Changed::NotNow(reason) if reason.class == Class::IdentityMismatch));
    let shown = ldb("ldbsearch", &["(sAMAccountName=keyed)", KEYS]);
    assert!(shown.contains("X509:<I>CN=others<S>CN=keyed") && shown.contains("Kerberos:keyed@"));
    // A schema without the attribute also answers with code 16, and is no lost swap.
    ldap_mut(&mut target).key_attribute = Some("sshPublicKey".to_owned());
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    let changed = session.change(&keyed, &pair("third"), None).await;
    let right = matches!(&changed, Changed::NotNow(reason)
        if reason.class == Class::Incompatible && reason.scope == Scope::Account);
    assert!(right, "{changed:?}");
    ldap_mut(&mut target).key_attribute = None;
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    let changed = session.change(&keyed, &pair("third"), None).await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.scope == Scope::System));
}

#[tokio::test]
async fn a_write_that_a_domain_never_saw_is_known_without_a_login() {
    let (middle, port) = middle::proxy((SAMBA.ip, SAMBA.tls_port).into(), SAMBA.ip).await;
    let target = Target {
        port,
        timeout: Duration::from_secs(3),
        ..SAMBA.ldaps()
    };
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    let (account, current) = (by_dn("u16"), secret(INITIAL));
    let shown = session
        .evidence(&account, &secret("Not-sent-1"), None)
        .await;
    assert!(
        matches!(shown, Evidence::Undecided(_)),
        "nothing was sent yet"
    );
    // Lost on the way back: the password moved, and only a login can tell whose doing it was.
    let lost = secret("Set-but-not-heard-1");
    middle.swallow_at.store(2, Ordering::SeqCst);
    let changed = session.change(&account, &lost, Some(&current)).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    middle.swallow.store(false, Ordering::SeqCst);
    let shown = session.evidence(&account, &lost, Some(&current)).await;
    assert!(matches!(shown, Evidence::Undecided(_)), "{shown:?}");
    assert_eq!(session.check(&account, &lost).await, Checked::Accepted);
    // Lost on the way there: nothing moved.
    let never = secret("Never-arrived-there-1");
    // The second request from now on is the write: a look at the entry comes first.
    middle.deaf_at.store(2, Ordering::SeqCst);
    let changed = session.change(&account, &never, Some(&lost)).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    middle.deaf.store(false, Ordering::SeqCst);
    let shown = session.evidence(&account, &never, Some(&lost)).await;
    assert_eq!(shown, Evidence::Current);
    assert_eq!(session.check(&account, &lost).await, Checked::Accepted);
}
