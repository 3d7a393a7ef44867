//! Servers and targets for the dialogues.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keywheel_connectors::conformance::{Capabilities, run};
use keywheel_connectors::dialogue::{Dialogue, Dialogues, Library};
use keywheel_connectors::{
    Connector, DialogueTarget, Functional, Secret, Session, Target, TargetKind,
};

use crate::fleet::{Fleet, STARTED, account, functional, held, place};
use crate::peer::Peer;

/// The device's enable secret, as `tests/fleet/device.py` knows it.
pub(crate) const ENABLE: &str = "Enable-kw-vLm9";

/// Starts a server on a port that the SSH suite does not use.
pub(crate) fn start(settings: &[(&str, &str)]) -> Fleet {
    STARTED.fetch_max(400, Ordering::SeqCst);
    Fleet::start(settings)
}

pub(crate) fn shipped(id: &str) -> Arc<Dialogue> {
    Library::shipped().unwrap().find(id).unwrap()
}

/// A target whose platform this is.
pub(crate) fn target(fleet: &Fleet, platform: Arc<Dialogue>) -> Target {
    Target {
        in_flight: 8,
        timeout: Duration::from_secs(30),
        kind: TargetKind::Dialogue(DialogueTarget {
            host_key: Some(fleet.host_key("ed25519")),
            platform,
            enable: Some(Secret::from(ENABLE)),
        }),
        ..fleet.target()
    }
}

pub(crate) fn part(target: &mut Target) -> &mut DialogueTarget {
    let TargetKind::Dialogue(part) = &mut target.kind else {
        panic!("a target with a dialogue")
    };
    part
}

/// Holds the connector against every promise of the trait, on a server with `kw_u0` to `kw_u7`.
pub(crate) async fn keeps_every_promise(fleet: &Fleet, platform: &str) {
    let target = target(fleet, shipped(platform));
    let (address, port) = place();
    let peer = Peer::mute();
    let mut stranger = target.clone();
    part(&mut stranger).host_key.as_mut().unwrap().sha256 = [7; 32];
    let can = Capabilities {
        keys: Vec::new(),
        old_lingers: false,
        evidence: false,
        unknown_account: account("kw_nobody"),
        unreachable: Target {
            host: address.to_string(),
            port,
            ..target.clone()
        },
        mute: Some(Target {
            host: peer.address.to_string(),
            port: peer.port,
            timeout: Duration::from_secs(1),
            ..target.clone()
        }),
        wrong_identity: Some(stranger),
    };
    let mut accounts = held(8);
    let result = run(
        &Dialogues::new(),
        &target,
        &functional(),
        &mut accounts,
        &can,
    )
    .await;
    let kept = result.unwrap_or_else(|broken| panic!("{broken:#?}\n{}", fleet.log()));
    assert!(kept.len() >= 15, "{kept:?}");
}

pub(crate) async fn open(connector: &Dialogues, target: &Target) -> Arc<dyn Session> {
    open_as(connector, target, &functional()).await
}

pub(crate) async fn open_as(
    connector: &Dialogues,
    target: &Target,
    functional: &Functional,
) -> Arc<dyn Session> {
    let opened = connector.open(target, Some(functional)).await;
    opened.unwrap_or_else(|reason| panic!("{reason:?}"))
}
