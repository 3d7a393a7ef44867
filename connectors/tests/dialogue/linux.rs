//! The platform `linux` on a real sshd.

use keywheel_connectors::dialogue::Dialogues;
use keywheel_connectors::{Account, Changed, Checked, Class, Connector, Credential};

use crate::fleet::{account, first};
use crate::stage::{keeps_every_promise, open, shipped, start, target};

const WRAPPER: [(&str, &str); 3] = [("USERS", "8"), ("WRAPPER", "1"), ("SUDO", "none")];

fn own(login: &str) -> Account {
    Account {
        uses_own: true,
        ..account(login)
    }
}

#[tokio::test]
async fn the_platform_linux_keeps_every_promise() {
    let fleet = start(&WRAPPER);
    keeps_every_promise(&fleet, "linux").await;
}

#[tokio::test]
async fn the_wrappers_words_have_their_classes() {
    let fleet = start(&WRAPPER);
    let session = open(&Dialogues::new(), &target(&fleet, shipped("linux"))).await;
    let new = Credential::from("New-one-here-vLm9");
    let before = fleet.field("kw_locked");
    let seen = session.change(&account("kw_locked"), &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Locked),
        "{seen:?}"
    );
    assert_eq!(fleet.field("kw_locked"), before);
    let seen = session.change(&account("kw_nobody"), &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Privilege),
        "{seen:?}"
    );
    let nologin = account("kw_nologin");
    assert_eq!(session.change(&nologin, &new, None).await, Changed::Done);
    assert_eq!(session.check(&nologin, &new).await, Checked::Accepted);
    let seen = session
        .check(&account("kw_expired"), &first("kw_expired"))
        .await;
    assert!(
        matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Expired),
        "{seen:?}"
    );
    let csh = account("kw_csh");
    assert_eq!(session.change(&csh, &new, None).await, Changed::Done);
    assert_eq!(session.check(&csh, &new).await, Checked::Accepted);
}

#[tokio::test]
async fn without_sudo_the_system_is_in_trouble_and_nothing_changes() {
    let fleet = start(&[("USERS", "1"), ("SUDO", "none")]);
    let session = open(&Dialogues::new(), &target(&fleet, shipped("linux"))).await;
    let before = fleet.field("kw_u0");
    let new = Credential::from("New-one-here-vLm9");
    let seen = session.change(&account("kw_u0"), &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Privilege),
        "{seen:?}"
    );
    assert_eq!(fleet.field("kw_u0"), before);
}

#[tokio::test]
async fn an_account_changes_itself_by_passwd() {
    let fleet = start(&[("USERS", "3")]);
    let connector = Dialogues::new();
    let opened = connector
        .open(&target(&fleet, shipped("linux")), None)
        .await;
    let session = opened.unwrap_or_else(|reason| panic!("{reason:?}"));
    let (me, old) = (own("kw_u0"), first("kw_u0"));
    let new = Credential::from("Quite-other-words-77");
    let seen = session.change(&me, &new, Some(&old)).await;
    assert_eq!(seen, Changed::Done);
    assert_eq!(session.check(&me, &new).await, Checked::Accepted);
    assert!(matches!(
        session.check(&me, &old).await,
        Checked::Rejected(_)
    ));

    // Too weak for the host's rules: it says so, and asks anew.
    let (other, current) = (own("kw_u1"), first("kw_u1"));
    let before = fleet.field("kw_u1");
    let seen = session
        .change(&other, &Credential::from("abc"), Some(&current))
        .await;
    assert!(
        matches!(&seen, Changed::Refused(reason) if reason.class == Class::Refused),
        "{seen:?}"
    );
    // Its present password is another.
    let seen = session.change(&other, &new, Some(&old)).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Denied),
        "{seen:?}"
    );
    let seen = session.change(&other, &new, None).await;
    assert!(matches!(&seen, Changed::NotNow(_)), "{seen:?}");
    assert_eq!(fleet.field("kw_u1"), before);
    assert_eq!(session.check(&other, &current).await, Checked::Accepted);
}
