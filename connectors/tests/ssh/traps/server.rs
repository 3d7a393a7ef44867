//! Servers that are none, fall silent or are full, and what others see meanwhile.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;

use super::*;
use crate::fleet::held;
use crate::peer::Peer;

#[tokio::test]
async fn peers_that_are_no_servers_end_within_the_deadline_and_free_the_thread() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    for peer in [Peer::mute(), Peer::dripping(), Peer::web()] {
        let target = Target {
            host: peer.address.to_string(),
            port: peer.port,
            timeout: Duration::from_millis(800),
            ..fleet.target()
        };
        let limit = target.timeout + Duration::from_secs(2);
        let connector = Ssh::new(8);
        let opened = timeout(limit, connector.open(&target, Some(&functional())))
            .await
            .unwrap();
        let refused = opened.err().unwrap();
        assert!(
            has_class(&refused, Class::Unreachable, Scope::System),
            "{refused:?}"
        );
        let seen = timeout(limit, connector.identify(&target)).await.unwrap();
        assert_eq!(seen.unwrap_err().scope, Scope::System);
        for _ in 0..2 {
            peer.ended
                .recv_timeout(limit)
                .expect("the connection was closed");
        }
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_in_a_session_ends_within_the_deadline() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let wire = Wire::to((fleet.address, fleet.port));
    let target = Target {
        timeout: Duration::from_secs(2),
        ..through(&wire, &fleet)
    };
    let session = open(&target).await;
    wire.stall();
    let limit = target.timeout + Duration::from_secs(2);
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-silent-vLm9Q"));
    let changed = timeout(limit, session.change(&kw_u0, &new, None))
        .await
        .unwrap();
    assert!(matches!(changed, Changed::NotNow(_)), "{changed:?}");
    let checked = timeout(limit, session.check(&kw_u0, &new)).await.unwrap();
    assert!(matches!(checked, Checked::NotNow(_)), "{checked:?}");
}

#[tokio::test]
async fn a_server_without_room_is_told_apart_and_recovers() {
    let fleet = Fleet::start(&[("USERS", "8"), ("STARTUPS", "4:100:4"), ("SESSIONS", "1")]);
    // Four that the server has greeted and not turned away fill it.
    let mut idle = Vec::new();
    while idle.len() < 4 {
        let mut connection = TcpStream::connect((fleet.address, fleet.port)).unwrap();
        let mut greeting = [0; 4];
        connection.read_exact(&mut greeting).unwrap();
        if &greeting == b"SSH-" {
            idle.push(connection);
        }
    }
    let opened = Ssh::new(9).open(&fleet.target(), Some(&functional())).await;
    let refused = opened.err().unwrap_or_else(|| panic!("{}", fleet.log()));
    assert!(
        has_class(&refused, Class::Unreachable, Scope::System),
        "{refused:?}"
    );
    drop(idle);
    let recovered = async {
        loop {
            if let Ok(session) = Ssh::new(9).open(&fleet.target(), Some(&functional())).await {
                return session;
            }
        }
    };
    let session = timeout(Duration::from_secs(10), recovered).await.unwrap();
    let new = Credential::from("New-room-vLm9Q");
    let accounts = held(8);
    let calls = accounts
        .iter()
        .map(|held| session.change(&held.account, &new, None));
    for changed in join_all(calls).await {
        // One session a connection is enough; logins beyond the limit are only put off.
        assert!(
            matches!(changed, Changed::Done | Changed::NotNow(_)),
            "{changed:?}"
        );
    }
}

#[tokio::test]
async fn of_sixty_changes_at_once_none_is_lost() {
    let fleet = Fleet::start(&[("USERS", "60")]);
    let target = Target {
        in_flight: 60,
        timeout: Duration::from_mins(2),
        ..fleet.target()
    };
    let session = open(&target).await;
    let accounts = held(60);
    let new = |held: &keywheel_connectors::conformance::Held| {
        Credential::from(format!("New-{}-vLm9Q", held.account.login))
    };
    let calls = accounts.iter().map(|held| {
        let session = Arc::clone(&session);
        let new = new(held);
        async move {
            assert_eq!(
                session.change(&held.account, &new, None).await,
                Changed::Done
            );
            assert_eq!(session.check(&held.account, &new).await, Checked::Accepted);
        }
    });
    join_all(calls).await;
}

#[tokio::test]
async fn changes_that_wait_for_the_password_lock_hold_up_no_login() {
    let fleet = Fleet::start(&[("USERS", "9")]);
    let session = open(&fleet.target()).await;
    let accounts = held(9);
    let holder = holder(&fleet);
    let changes = accounts.iter().take(8).map(|held| {
        let new = Credential::from(format!("New-{}-vLm9Q", held.account.login));
        let session = Arc::clone(&session);
        async move { session.change(&held.account, &new, None).await }
    });
    let login = async {
        let seen = session.check(&accounts[8].account, &accounts[8].credential);
        let seen = seen.await;
        release(holder);
        seen
    };
    let (outcomes, seen) = tokio::join!(join_all(changes), login);
    assert_eq!(seen, Checked::Accepted);
    assert_eq!(outcomes, vec![Changed::Done; 8]);
}

#[tokio::test]
async fn no_secret_stands_in_a_process_list_or_an_environment() {
    let fleet = Fleet::start(&[("USERS", "4")]);
    let session = open(&fleet.target()).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let watch = tokio::task::spawn_blocking({
        let is_over = Arc::clone(&is_over);
        move || {
            let (mut leaks, mut seen) = (Vec::new(), 0);
            while !is_over.load(Ordering::SeqCst) {
                for process in std::fs::read_dir("/proc").unwrap().map_while(Result::ok) {
                    for file in ["cmdline", "environ"] {
                        let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
                        let text = String::from_utf8_lossy(&bytes);
                        seen += usize::from(text.contains("/usr/sbin/chpasswd"));
                        if ["Canary-", "Func-kw_func", "Start-kw_u"]
                            .iter()
                            .any(|one| text.contains(one))
                        {
                            leaks.push(process.path());
                        }
                    }
                }
            }
            (leaks, seen)
        }
    });
    let accounts = held(4);
    for round in 0..6 {
        let new = Credential::from(format!("Canary-{round}-vLm9Q"));
        let calls = accounts
            .iter()
            .map(|held| session.change(&held.account, &new, None));
        for changed in join_all(calls).await {
            assert_eq!(changed, Changed::Done);
        }
        let calls = accounts
            .iter()
            .map(|held| session.check(&held.account, &new));
        for checked in join_all(calls).await {
            assert_eq!(checked, Checked::Accepted);
        }
    }
    is_over.store(true, Ordering::SeqCst);
    let (leaks, seen) = watch.await.unwrap();
    assert!(seen > 0, "the sampling saw chpasswd run");
    assert!(leaks.is_empty(), "{leaks:?}");
    assert!(
        !fleet.log().contains("Canary-"),
        "the server's log holds a secret"
    );
}
