//! Every promise of the trait, on every way a host can be set up.

use std::time::Duration;

use keywheel_connectors::conformance::{Capabilities, run};
use keywheel_connectors::ssh::Ssh;
use keywheel_connectors::{
    Changed, Checked, Class, Connector, Credential, Elevation, Functional, Identity, Scope, Target,
};

use crate::fleet::{Fleet, account, first, functional, held, key_pair, place, ssh_part};
use crate::peer::Peer;

/// What a host offers beside passwords.
#[derive(Clone, Copy)]
struct Offers {
    evidence: bool,
    keys: bool,
}

const NOTHING: Offers = Offers {
    evidence: false,
    keys: false,
};

const EVIDENCE: Offers = Offers {
    evidence: true,
    keys: false,
};

const EVERYTHING: Offers = Offers {
    evidence: true,
    keys: true,
};

fn capabilities(fleet: &Fleet, offers: Offers) -> (Capabilities, Peer) {
    let (address, port) = place();
    let nobody = Target {
        host: address.to_string(),
        port,
        ..fleet.target()
    };
    let peer = Peer::mute();
    let mute = Target {
        host: peer.address.to_string(),
        port: peer.port,
        timeout: Duration::from_secs(1),
        ..fleet.target()
    };
    let mut stranger = fleet.target();
    ssh_part(&mut stranger).host_key.as_mut().unwrap().sha256 = [7; 32];
    let kinds = ["ed25519", "ecdsa", "rsa"]
        .iter()
        .take(3 * usize::from(offers.keys));
    let keys = kinds.enumerate();
    let keys = keys.map(|(number, kind)| key_pair(kind, &format!("keywheel:7:{number}")));
    let can = Capabilities {
        old_lingers: false,
        evidence: offers.evidence,
        keys: keys.collect(),
        unknown_account: account("kw_nobody"),
        unreachable: nobody,
        mute: Some(mute),
        wrong_identity: Some(stranger),
    };
    (can, peer)
}

async fn keeps_every_promise(settings: &[(&str, &str)], offers: Offers) {
    let fleet = Fleet::start(settings);
    let (can, _peer) = capabilities(&fleet, offers);
    let mut accounts = held(8);
    let result = run(
        &Ssh::new(1),
        &fleet.target(),
        &functional(),
        &mut accounts,
        &can,
    )
    .await;
    let kept = result.unwrap_or_else(|broken| panic!("{broken:#?}"));
    let floor = if offers.keys { 20 } else { 15 };
    assert!(kept.len() >= floor, "{kept:?}");
}

#[tokio::test]
async fn a_host_with_chpasswd_alone_keeps_every_promise() {
    keeps_every_promise(&[("USERS", "8")], NOTHING).await;
}

#[tokio::test]
async fn a_host_with_the_wrapper_keeps_every_promise() {
    keeps_every_promise(
        &[("USERS", "8"), ("WRAPPER", "1"), ("SUDO", "none")],
        EVIDENCE,
    )
    .await;
}

#[tokio::test]
async fn a_host_with_both_wrappers_keeps_every_promise() {
    let settings = [
        ("USERS", "8"),
        ("WRAPPER", "1"),
        ("KEYS", "1"),
        ("SUDO", "none"),
    ];
    keeps_every_promise(&settings, EVERYTHING).await;
}

#[tokio::test]
async fn a_host_whose_sudo_allows_everything_keeps_every_promise() {
    keeps_every_promise(&[("USERS", "8"), ("SUDO", "all")], EVERYTHING).await;
}

#[tokio::test]
async fn a_host_whose_sudo_asks_keeps_every_promise() {
    let settings = [
        ("USERS", "8"),
        ("SUDO", "all"),
        ("ASKS", "1"),
        ("WRAPPER", "1"),
    ];
    keeps_every_promise(&settings, EVERYTHING).await;
}

#[tokio::test]
async fn dropbear_keeps_every_promise() {
    let settings = [("USERS", "8"), ("SUDO", "all"), ("SERVER", "dropbear")];
    keeps_every_promise(&settings, EVERYTHING).await;
}

#[tokio::test]
async fn a_host_that_offers_only_keyboard_interactive_keeps_every_promise() {
    keeps_every_promise(&[("USERS", "8"), ("METHODS", "keyboard")], NOTHING).await;
}

#[tokio::test]
async fn a_host_that_offers_only_passwords_and_counts_failures_keeps_every_promise() {
    let settings = [
        ("USERS", "8"),
        ("METHODS", "password"),
        ("HISTORY", "5"),
        ("FAILLOCK", "3"),
        ("WRAPPER", "1"),
    ];
    keeps_every_promise(&settings, EVIDENCE).await;
}

#[tokio::test]
async fn root_needs_no_sudo_and_unlocks_nobody() {
    let fleet = Fleet::start(&[("USERS", "2"), ("ROOT_LOGIN", "1"), ("SUDO", "none")]);
    let mut target = fleet.target();
    ssh_part(&mut target).elevation = Elevation::None;
    let root = Functional {
        account: account("root"),
        ..functional()
    };
    let session = Ssh::new(2).open(&target, Some(&root)).await.unwrap();
    let new = Credential::from("New-root-set-vLm9Q");
    assert_eq!(
        session.change(&account("kw_u0"), &new, None).await,
        Changed::Done
    );
    assert_eq!(
        session.check(&account("kw_u0"), &new).await,
        Checked::Accepted
    );
    let before = fleet.field("kw_locked");
    let seen = session.change(&account("kw_locked"), &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Locked),
        "{seen:?}"
    );
    assert_eq!(fleet.field("kw_locked"), before);
}

#[tokio::test]
async fn every_kind_of_host_key_can_be_pinned() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let connector = Ssh::new(3);
    let mut target = fleet.target();
    let seen = connector.identify(&target).await;
    assert_eq!(seen, Ok(Identity::Ssh(fleet.host_key("ed25519"))));
    for kind in ["ed25519", "ecdsa", "rsa"] {
        ssh_part(&mut target).host_key = Some(fleet.host_key(kind));
        let session = connector
            .open(&target, Some(&functional()))
            .await
            .map_err(|e| e.to_string());
        let session = session.unwrap_or_else(|error| panic!("{kind}: {error}"));
        let seen = session.check(&account("kw_u0"), &first("kw_u0")).await;
        assert_eq!(seen, Checked::Accepted, "{kind}");
    }
}

#[tokio::test]
async fn without_a_pin_or_with_another_key_nothing_is_sent() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let connector = Ssh::new(4);
    let mut target = fleet.target();
    let session = connector.open(&target, Some(&functional())).await.unwrap();

    // A server with other keys takes the place of the first.
    fleet.stop();
    fleet.forget_keys();
    let before = fleet.log().len();
    fleet.restart(&[("USERS", "1")]);
    for functional in [Some(functional()), None] {
        let refused = connector
            .open(&target, functional.as_ref())
            .await
            .err()
            .unwrap();
        assert_eq!(
            (refused.class, refused.scope),
            (Class::IdentityMismatch, Scope::System)
        );
    }
    let new = Credential::from("New-for-stranger-vLm9Q");
    let changed = session.change(&account("kw_u0"), &new, None).await;
    let mismatch = |class| class == Class::IdentityMismatch;
    assert!(
        matches!(&changed, Changed::NotNow(reason) if mismatch(reason.class)),
        "{changed:?}"
    );
    let checked = session.check(&account("kw_u0"), &first("kw_u0")).await;
    assert!(
        matches!(&checked, Checked::NotNow(reason) if mismatch(reason.class)),
        "{checked:?}"
    );

    ssh_part(&mut target).host_key = None;
    let refused = connector
        .open(&target, Some(&functional()))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.class, Class::IdentityMismatch);
    assert!(refused.text.contains("SshKeyEnforcementMode"), "{refused}");

    let log = fleet.log()[before..].to_owned();
    assert!(
        log.matches("Connection from").count() >= 4,
        "the log shows the connections"
    );
    for attempt in ["Accepted", "Failed", "kw_func", "kw_u0"] {
        assert!(!log.contains(attempt), "{log}");
    }
}
