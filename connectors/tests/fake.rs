#![cfg(test)]
//! The fake keeps every promise that the real connectors keep, and misbehaves as told.

use std::sync::Arc;
use std::time::Duration;

use keywheel_connectors::conformance::{Broken, Capabilities, Held, run};
use keywheel_connectors::fake::{Fake, FakeWorld, OnChange, OnCheck, OnOpen};
use keywheel_connectors::{
    Account, Changed, Checked, Class, Connector, Credential, Evidence, Functional, KeyPair, Login,
    Scope, Secret, Session, Target, TargetKind,
};

const HOST: &str = "alpha";

fn account(login: &str) -> Account {
    Account {
        login: Login::parse(login).unwrap(),
        dn: None,
        uses_own: false,
    }
}

fn target(host: &str) -> Target {
    Target {
        host: host.into(),
        port: 1,
        timeout: Duration::from_millis(200),
        in_flight: 4,
        kind: TargetKind::Fake,
    }
}

fn functional() -> Functional {
    Functional {
        account: account("func"),
        credential: Credential::from("Func-vLm9Q"),
    }
}

fn world() -> FakeWorld {
    let world = FakeWorld::new();
    let system = world.system(HOST);
    system.add("func", "Func-vLm9Q");
    for number in 0..8 {
        system.add(&format!("u{number}"), &format!("Start-{number}-vLm9Q"));
    }
    world.system("mute").every_open(OnOpen::Hang);
    world.system("stranger").every_open(OnOpen::WrongIdentity);
    world
}

fn keys() -> Vec<KeyPair> {
    (0..3)
        .map(|number| KeyPair {
            private: Secret::from(format!("Private-{number}-vLm9Q")),
            public: format!("ssh-ed25519 AAAA{number}"),
            marker: format!("keywheel:7:{number}"),
        })
        .collect()
}

fn capabilities() -> Capabilities {
    Capabilities {
        evidence: true,
        old_lingers: false,
        keys: keys(),
        unknown_account: account("nobody"),
        unreachable: target("nowhere"),
        mute: Some(target("mute")),
        wrong_identity: Some(target("stranger")),
    }
}

fn held() -> Vec<Held> {
    (0..8)
        .map(|number| Held {
            account: account(&format!("u{number}")),
            credential: Credential::from(format!("Start-{number}-vLm9Q")),
        })
        .collect()
}

async fn broken(world: &FakeWorld, can: &Capabilities) -> Vec<&'static str> {
    let result = run(
        &Fake::new(world),
        &target(HOST),
        &functional(),
        &mut held(),
        can,
    )
    .await;
    result
        .err()
        .unwrap_or_default()
        .iter()
        .map(|Broken { promise, .. }| *promise)
        .collect()
}

async fn open(world: &FakeWorld) -> Arc<dyn Session> {
    Fake::new(world)
        .open(&target(HOST), Some(&functional()))
        .await
        .unwrap()
}

#[tokio::test]
async fn the_fake_keeps_every_promise() {
    let world = world();
    let mut accounts = held();
    let kept = run(
        &Fake::new(&world),
        &target(HOST),
        &functional(),
        &mut accounts,
        &capabilities(),
    )
    .await
    .unwrap();
    assert!(kept.len() >= 20, "{kept:?}");
    let counts = world.system(HOST).counts();
    assert_eq!(counts.exchanges_max, 4, "in_flight bounds the exchanges");
    assert_eq!(counts.sessions, 0, "every session was closed or dropped");
}

#[tokio::test]
async fn without_evidence_every_look_is_undecided() {
    let world = world();
    world.system(HOST).offer_evidence(false);
    let can = Capabilities {
        evidence: false,
        keys: Vec::new(),
        ..capabilities()
    };
    assert_eq!(broken(&world, &can).await, Vec::<&str>::new());
    assert_eq!(
        broken(&self::world(), &can).await,
        ["evidence tells the secret, or nothing"]
    );
}

#[tokio::test]
async fn the_suite_finds_a_target_that_lies() {
    let world = world();
    world.system(HOST).every_change_here(OnChange::Lie);
    let broken = broken(&world, &capabilities()).await;
    assert!(
        broken.contains(&"a change is accepted and ends the old secret"),
        "{broken:?}"
    );
    assert!(
        broken.contains(&"changes that overlap all succeed"),
        "{broken:?}"
    );
}

#[tokio::test]
async fn the_suite_finds_a_target_that_rejects_right_secrets() {
    let world = world();
    world.system(HOST).every_check_here(OnCheck::Reject);
    let broken = broken(&world, &capabilities()).await;
    assert!(broken.contains(&"a wrong secret is rejected"), "{broken:?}");
}

#[tokio::test]
async fn every_change_behaves_as_told() {
    let world = world();
    let system = world.system(HOST);
    let session = open(&world).await;
    let rows = [
        (OnChange::Obey, "Done", true),
        (OnChange::Refuse, "Refused", false),
        (OnChange::NotNow, "NotNow", false),
        (OnChange::Hang, "Unknown", false),
        (OnChange::LoseReply, "Unknown", true),
        (OnChange::LoseOrder, "Unknown", false),
        (OnChange::ObeyLate, "Unknown", false),
        (OnChange::Lie, "Done", false),
        (OnChange::Wait, "Unknown", false),
    ];
    for (number, (does, says, applied)) in rows.into_iter().enumerate() {
        let new = format!("New-{number}-vLm9Q");
        system.next_change("u1", does);
        let seen = session
            .change(&account("u1"), &Credential::from(new.as_str()), None)
            .await;
        assert!(
            format!("{seen:?}").starts_with(says),
            "{does:?} said {seen:?}"
        );
        assert_eq!(system.accepts("u1", &new), applied, "{does:?}");
    }
    assert_eq!(system.changes("u1"), rows.len());
    assert_eq!(system.deliver_late(), 1);
    assert!(system.accepts("u1", "New-6-vLm9Q"));
    assert_eq!(
        system.history("u1"),
        ["Start-1-vLm9Q", "New-0-vLm9Q", "New-4-vLm9Q", "New-6-vLm9Q"]
    );
}

#[tokio::test]
async fn a_waiting_change_goes_on_when_released() {
    let world = world();
    let system = world.system(HOST);
    system.next_change("u1", OnChange::Wait);
    system.release(1);
    let seen = open(&world)
        .await
        .change(&account("u1"), &Credential::from("New-vLm9Q"), None)
        .await;
    assert_eq!(seen, Changed::Done);
    assert_eq!(system.accepted("u1"), ["New-vLm9Q"]);
}

#[tokio::test]
async fn failed_logins_are_counted_and_lock() {
    let world = world();
    let system = world.system(HOST);
    system.lock_after(Some(2));
    let session = open(&world).await;
    let (u1, right, wrong) = (
        account("u1"),
        Credential::from("Start-1-vLm9Q"),
        Credential::from("Wrong-vLm9Q"),
    );
    for _ in 0..2 {
        assert!(matches!(
            session.check(&u1, &wrong).await,
            Checked::Rejected(_)
        ));
    }
    let locked = session.check(&u1, &right).await;
    assert!(matches!(&locked, Checked::NotNow(reason) if reason.class == Class::Locked));
    assert_eq!(system.failed_logins("u1"), 2);
    system
        .next_check("u2", OnCheck::Drop)
        .next_check("u2", OnCheck::Hang);
    for _ in 0..2 {
        let seen = session
            .check(&account("u2"), &Credential::from("Start-2-vLm9Q"))
            .await;
        assert!(matches!(seen, Checked::NotNow(_)), "{seen:?}");
    }
    assert_eq!(system.failed_logins("u2"), 0);
}

#[tokio::test]
async fn a_functional_account_that_is_refused_stops_the_system() {
    let world = world();
    let system = world.system(HOST);
    system.next_open(OnOpen::Reject);
    let refused = Fake::new(&world)
        .open(&target(HOST), Some(&functional()))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (refused.class, refused.scope),
        (Class::Denied, Scope::System)
    );
    assert_eq!(system.failed_logins("func"), 1);
    system.next_open(OnOpen::NoPrivilege);
    let session = open(&world).await;
    let seen = session
        .change(&account("u1"), &Credential::from("New-vLm9Q"), None)
        .await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.scope == Scope::System),
        "{seen:?}"
    );
}

#[tokio::test]
async fn evidence_ends_with_the_system() {
    let world = world();
    let session = open(&world).await;
    world.system(HOST).every_open(OnOpen::Unreachable);
    let secret = Credential::from("Start-1-vLm9Q");
    let seen = session.evidence(&account("u1"), &secret, None).await;
    assert!(matches!(seen, Evidence::Undecided(_)), "{seen:?}");
    let seen = session.change(&account("u1"), &secret, None).await;
    assert!(matches!(seen, Changed::NotNow(_)), "{seen:?}");
}
