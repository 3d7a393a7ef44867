//! The platform `junos` with a device of `tests/fleet/device.py`, on a real sshd.

use keywheel_connectors::dialogue::Dialogues;
use keywheel_connectors::{Changed, Checked, Class, Credential};

use crate::fleet::{Fleet, account, first};
use crate::stage::{keeps_every_promise, open, shipped, start, target};

fn device(trouble: &str) -> Fleet {
    let fleet = start(&[("USERS", "2"), ("DEVICE", "1"), ("SUDO", "none")]);
    fleet.run("echo junos >/etc/keywheel/kind");
    fleet.run(&format!("echo {trouble} >/etc/keywheel/device"));
    fleet
}

/// What the device does two minutes after a commit that nobody confirmed.
fn two_minutes_pass(fleet: &Fleet) {
    fleet.run("[ ! -e /etc/keywheel/rollback ] || mv /etc/keywheel/rollback /etc/shadow");
}

#[tokio::test]
async fn the_platform_junos_keeps_every_promise() {
    let fleet = start(&[("USERS", "8"), ("DEVICE", "1"), ("SUDO", "none")]);
    fleet.run("echo junos >/etc/keywheel/kind");
    keeps_every_promise(&fleet, "junos").await;
}

#[tokio::test]
async fn a_commit_is_confirmed_after_the_login() {
    let fleet = device("");
    let session = open(&Dialogues::new(), &target(&fleet, shipped("junos"))).await;
    let (bob, new) = (account("kw_u0"), Credential::from("Fresh-1-kw-vLm9Q"));
    assert_eq!(session.change(&bob, &new, None).await, Changed::Done);
    two_minutes_pass(&fleet);
    assert_eq!(session.check(&bob, &new).await, Checked::Accepted);
}

#[tokio::test]
async fn a_password_that_the_candidate_refuses_changes_nothing() {
    let fleet = device("");
    let session = open(&Dialogues::new(), &target(&fleet, shipped("junos"))).await;
    let bob = account("kw_u0");
    let seen = session
        .change(&bob, &Credential::from("Short-9"), None)
        .await;
    assert!(
        matches!(&seen, Changed::Refused(reason) if reason.class == Class::Refused),
        "{seen:?}"
    );
    let seen = session.check(&bob, &first("kw_u0")).await;
    assert_eq!(seen, Checked::Accepted);
}

#[tokio::test]
async fn a_commit_that_nobody_confirmed_is_taken_back_and_not_probed_before() {
    for trouble in ["drop", "lie"] {
        let fleet = device(trouble);
        let connector = Dialogues::new();
        let session = open(&connector, &target(&fleet, shipped("junos"))).await;
        let (bob, new) = (account("kw_u0"), Credential::from("Fresh-1-kw-vLm9Q"));
        let seen = session.change(&bob, &new, None).await;
        assert!(matches!(seen, Changed::Unknown(_)), "{trouble}: {seen:?}");
        let seen = session.check(&bob, &new).await;
        assert!(
            matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Busy),
            "{trouble}: {seen:?}"
        );
        two_minutes_pass(&fleet);
        // A connector that knows of no doubt: what a login finds then.
        let session = open(&Dialogues::new(), &target(&fleet, shipped("junos"))).await;
        let seen = session.check(&bob, &first("kw_u0")).await;
        assert_eq!(seen, Checked::Accepted, "{trouble}");
    }
}
