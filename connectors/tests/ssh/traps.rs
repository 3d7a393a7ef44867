//! Traps that hosts have laid for others; each test is named after one.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use keywheel_connectors::ssh::Ssh;
use keywheel_connectors::{
    Account, Changed, Checked, Class, Connector, Credential, Evidence, Reason, Scope, Session,
    Target,
};
use tokio::time::timeout;

use crate::fleet::{Fleet, account, first, functional, held};
use crate::peer::{Peer, Wire};

/// Takes the lock that everything which writes /etc/shadow takes, until its input ends.
const HOLD_SHADOW: &str = "exec perl -e 'open(F, \">>/etc/.pwd.lock\") or die; \
     my $lock = pack(\"ssx4qqlx4\", 1, 0, 0, 0, 0); fcntl(F, 7, $lock) or die; \
     $| = 1; print \"held\\n\"; <STDIN>'";

/// Ends when no command of the functional account runs on this target any more.
const WRITERS_END: &str = "while pgrep --ns $$ --nslist mnt -u kw_func,root \
     -x 'sh|sudo|chpasswd' | grep -vqx $$; do sleep 0.02; done";

async fn open(target: &Target) -> Arc<dyn Session> {
    let opened = Ssh::new(77).open(target, Some(&functional())).await;
    opened.unwrap_or_else(|reason| panic!("{reason:?}"))
}

fn holder(fleet: &Fleet) -> std::process::Child {
    let mut child = fleet.begin(HOLD_SHADOW);
    let mut word = [0; 5];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut word)
        .unwrap();
    assert_eq!(&word, b"held\n");
    child
}

fn release(mut holder: std::process::Child) {
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

fn through(wire: &Wire, fleet: &Fleet) -> Target {
    Target {
        host: wire.address.to_string(),
        port: wire.port,
        ..fleet.target()
    }
}

fn has_class(reason: &Reason, class: Class, scope: Scope) -> bool {
    reason.class == class && reason.scope == scope
}

/// Checks again and again, until the secret is accepted; fails after 20 s.
async fn becomes_accepted(session: &Arc<dyn Session>, account: &Account, secret: &Credential) {
    let accepted = async {
        while session.check(account, secret).await != Checked::Accepted {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), accepted).await.unwrap();
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_command_is_never_success() {
    let fleet = Arc::new(Fleet::start(&[("USERS", "1")]));
    let wire = Wire::to((fleet.address, fleet.port));
    let session = open(&through(&wire, &fleet)).await;
    let holder = holder(&fleet);
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-cut-vLm9Q"));
    let change = session.change(&kw_u0, &new, None);
    let cut = async {
        let fleet = Arc::clone(&fleet);
        let begun = "until pgrep --ns $$ --nslist mnt -x chpasswd; do sleep 0.02; done";
        tokio::task::spawn_blocking(move || fleet.run(begun))
            .await
            .unwrap();
        wire.cut();
    };
    let both = timeout(Duration::from_secs(10), futures::future::join(change, cut));
    let (changed, ()) = both.await.unwrap();
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    release(holder);
}

#[tokio::test]
async fn a_command_that_is_killed_is_never_success() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    fleet.run(
        "printf '#!/bin/sh\\ncat >/dev/null\\nkill -9 0\\n' >/run/killed; chmod 755 /run/killed; \
         mount --bind /run/killed /usr/sbin/chpasswd",
    );
    let new = Credential::from("New-killed-vLm9Q");
    let changed = session.change(&account("kw_u0"), &new, None).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    let checked = session.check(&account("kw_u0"), &first("kw_u0")).await;
    assert_eq!(checked, Checked::Accepted);
}

#[tokio::test]
async fn a_chpasswd_that_lies_is_found_out_by_the_check() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    fleet.run(
        "printf '#!/bin/sh\\ncat >/dev/null\\n' >/run/liar; chmod 755 /run/liar; \
         mount --bind /run/liar /usr/sbin/chpasswd",
    );
    let new = Credential::from("New-lie-vLm9Q");
    assert_eq!(
        session.change(&account("kw_u0"), &new, None).await,
        Changed::Done
    );
    let checked = session.check(&account("kw_u0"), &new).await;
    assert!(matches!(checked, Checked::Rejected(_)), "{checked:?}");
}

#[tokio::test]
async fn a_chpasswd_that_fails_says_whether_anything_changed() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-full-vLm9Q"));
    fleet.run("mount -o remount,ro,bind /etc");
    let changed = session.change(&kw_u0, &new, None).await;
    assert!(matches!(changed, Changed::NotNow(_)), "{changed:?}");
    assert_eq!(
        session.check(&kw_u0, &first("kw_u0")).await,
        Checked::Accepted
    );
    fleet.run("mount -o remount,rw,bind /etc");
    assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
}

#[tokio::test]
async fn wherever_the_wire_is_cut_no_half_password_is_set() {
    let fleet = Fleet::start(&[("USERS", "1"), ("STARTUPS", "100:30:200")]);
    let wire = Wire::to((fleet.address, fleet.port));
    let target = through(&wire, &fleet);
    let kw_u0 = account("kw_u0");
    let direct = open(&fleet.target()).await;
    let mut now = first("kw_u0");

    let session = open(&target).await;
    let before = wire.to_server_bytes();
    let new = Credential::from("Swept-whole-vLm9Q");
    assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
    now = if direct.check(&kw_u0, &new).await == Checked::Accepted {
        new
    } else {
        now
    };
    let needed = wire.to_server_bytes() - before;
    session.close().await;

    let (mut done, mut unknown, mut not_now) = (0, 0, 0);
    for step in 0..16 {
        wire.mend();
        let session = open(&target).await;
        // The connection that is open stays; only what it may still carry is bounded.
        wire.allow(needed.saturating_sub(step * 40) + 8);
        let new = Credential::from(format!("Swept-{step}-and-long-enough-vLm9Q"));
        let changed = session.change(&kw_u0, &new, None).await;
        let has_new = match &changed {
            Changed::Done => {
                done += 1;
                true
            }
            Changed::NotNow(_) => {
                not_now += 1;
                false
            }
            Changed::Unknown(_) => {
                unknown += 1;
                // What was sent may land late: wait until whoever may write has ended.
                fleet.run(WRITERS_END);
                direct.check(&kw_u0, &new).await == Checked::Accepted
            }
            Changed::Refused(reason) => panic!("{reason}"),
        };
        now = if has_new { new } else { now };
        assert_eq!(
            direct.check(&kw_u0, &now).await,
            Checked::Accepted,
            "{step}: {changed:?}"
        );
    }
    assert!(
        done > 0 && unknown > 0 && not_now > 0,
        "{done} done, {unknown} unknown, {not_now}"
    );
}

#[tokio::test]
async fn a_write_that_lands_late_is_awaited_by_the_look() {
    let fleet = Fleet::start(&[("USERS", "1"), ("WRAPPER", "1")]);
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-late-vLm9Q"));
    let short = Target {
        timeout: Duration::from_secs(2),
        ..fleet.target()
    };
    let session = open(&short).await;
    let holder = holder(&fleet);
    let changed = session.change(&kw_u0, &new, None).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    let field = fleet.field("kw_u0");
    let old = first("kw_u0");
    let seen = session.evidence(&kw_u0, &new, Some(&old)).await;
    assert!(
        matches!(seen, Evidence::Undecided(_)),
        "not before the writer has ended: {seen:?}"
    );
    assert_eq!(fleet.field("kw_u0"), field, "the writer still waits");
    release(holder);
    let patient = open(&fleet.target()).await;
    assert_eq!(
        patient.evidence(&kw_u0, &new, Some(&old)).await,
        Evidence::Candidate
    );
    assert_eq!(patient.check(&kw_u0, &new).await, Checked::Accepted);
}

#[tokio::test]
async fn without_the_wrapper_a_late_write_is_unknown_and_lands() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-late-vLm9Q"));
    let short = Target {
        timeout: Duration::from_secs(2),
        ..fleet.target()
    };
    let session = open(&short).await;
    let holder = holder(&fleet);
    let changed = session.change(&kw_u0, &new, None).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    assert_eq!(
        session.check(&kw_u0, &first("kw_u0")).await,
        Checked::Accepted
    );
    release(holder);
    becomes_accepted(&open(&fleet.target()).await, &kw_u0, &new).await;
}

#[tokio::test]
async fn a_locked_account_stays_locked_under_the_wrapper() {
    let fleet = Fleet::start(&[("USERS", "1"), ("WRAPPER", "1")]);
    let session = open(&fleet.target()).await;
    let before = fleet.field("kw_locked");
    assert!(before.starts_with('!'));
    let (locked, new) = (account("kw_locked"), Credential::from("New-locked-vLm9Q"));
    let seen = session.change(&locked, &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Locked),
        "{seen:?}"
    );
    assert_eq!(fleet.field("kw_locked"), before);
    let seen = session
        .evidence(&locked, &new, Some(&first("kw_locked")))
        .await;
    assert!(
        matches!(&seen, Evidence::Undecided(reason) if reason.class == Class::Locked),
        "{seen:?}"
    );
    // Whom the wrapper's list does not name, it does not touch.
    let seen = session.change(&account("kw_func"), &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if has_class(reason, Class::Privilege, Scope::Account)),
        "{seen:?}"
    );
}

#[tokio::test]
async fn shells_of_every_kind_are_changed_and_checked() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    for login in ["kw_csh", "kw_nologin", "kw_noise"] {
        let new = Credential::from(format!("New-{login}-vLm9Q"));
        let account = account(login);
        assert_eq!(
            session.check(&account, &first(login)).await,
            Checked::Accepted,
            "{login}"
        );
        assert_eq!(
            session.change(&account, &new, None).await,
            Changed::Done,
            "{login}"
        );
        assert_eq!(
            session.check(&account, &new).await,
            Checked::Accepted,
            "{login}"
        );
        let old = session.check(&account, &first(login)).await;
        assert!(matches!(old, Checked::Rejected(_)), "{login}: {old:?}");
    }
    let seen = session
        .check(&account("kw_expired"), &first("kw_expired"))
        .await;
    assert!(
        matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Expired),
        "{seen:?}"
    );
}

#[tokio::test]
async fn an_expired_password_is_seen_in_a_dialogue_too() {
    let fleet = Fleet::start(&[("USERS", "1"), ("METHODS", "keyboard")]);
    let session = open(&fleet.target()).await;
    let seen = session
        .check(&account("kw_expired"), &first("kw_expired"))
        .await;
    assert!(
        matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Expired),
        "{seen:?}"
    );
    let field = fleet.field("kw_expired");
    let seen = session
        .check(&account("kw_expired"), &Credential::from("Wrong-vLm9Q"))
        .await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
    assert_eq!(fleet.field("kw_expired"), field);
}

#[tokio::test]
async fn the_functional_account_may_have_any_shell() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    for (number, shell) in ["/bin/tcsh", "/bin/bash"].into_iter().enumerate() {
        fleet.run(&format!(
            "sed -i '/^kw_func:/s#[^:]*$#{shell}#' /etc/passwd"
        ));
        fleet.run("echo 'echo NOISE; echo KW:set; echo KW:ready' >/home/kw_func/.bashrc");
        let session = open(&fleet.target()).await;
        let new = Credential::from(format!("New-{number}-vLm9Q"));
        let changed = session.change(&account("kw_u0"), &new, None).await;
        assert_eq!(changed, Changed::Done, "{shell}");
        assert_eq!(
            session.check(&account("kw_u0"), &new).await,
            Checked::Accepted,
            "{shell}"
        );
    }
}

#[tokio::test]
async fn a_functional_account_without_rights_stops_before_any_secret() {
    for asks in ["0", "1"] {
        let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none"), ("ASKS", asks)]);
        let refused = Ssh::new(5)
            .open(&fleet.target(), Some(&functional()))
            .await
            .err()
            .unwrap();
        assert!(
            has_class(&refused, Class::Privilege, Scope::System),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn rights_that_are_lost_in_a_session_are_the_systems_trouble() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    fleet.run("sed -i '/^kw_func/s/NOPASSWD: //' /etc/sudoers");
    let new = Credential::from("New-late-vLm9Q");
    let seen = session.change(&account("kw_u0"), &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if has_class(reason, Class::Privilege, Scope::System)),
        "{seen:?}"
    );
    let seen = session.check(&account("kw_u0"), &first("kw_u0")).await;
    assert_eq!(seen, Checked::Accepted);
}

#[tokio::test]
async fn an_expired_functional_account_touches_nothing() {
    for methods in ["password", "keyboard"] {
        let fleet = Fleet::start(&[("USERS", "1"), ("METHODS", methods)]);
        fleet.run("chage -d 0 kw_func");
        let refused = Ssh::new(6)
            .open(&fleet.target(), Some(&functional()))
            .await
            .err()
            .unwrap();
        assert!(
            has_class(&refused, Class::Expired, Scope::System),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn odd_passwords_arrive_as_they_are() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    let kw_u0 = account("kw_u0");
    let long = format!("x{}", "Yz-9".repeat(63));
    let odd = [
        "with a blank at the end ",
        " and:colons::at:all:places:",
        "quotes'\"`$(id)$HOME\\n\\",
        "-n --percent %s%d%n",
        "päßwörter-ünd-日本-vLm9",
        "KW-END",
        long.as_str(),
    ];
    for odd in odd {
        let new = Credential::from(odd);
        assert_eq!(
            session.change(&kw_u0, &new, None).await,
            Changed::Done,
            "{odd}"
        );
        assert_eq!(
            session.check(&kw_u0, &new).await,
            Checked::Accepted,
            "{odd}"
        );
    }
}

#[tokio::test]
async fn faillock_is_not_tripped_by_five_rotations() {
    let fleet = Fleet::start(&[("USERS", "1"), ("FAILLOCK", "3")]);
    let session = open(&fleet.target()).await;
    let kw_u0 = account("kw_u0");
    let mut old = first("kw_u0");
    for number in 0..5 {
        let new = Credential::from(format!("New-{number}-vLm9Q"));
        assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
        let seen = session.check(&kw_u0, &old).await;
        assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
        assert_eq!(
            session.check(&kw_u0, &new).await,
            Checked::Accepted,
            "rotation {number}"
        );
        old = new;
    }
}

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
