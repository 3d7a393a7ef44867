//! How the functional account logs in and raises its rights.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keywheel_connectors::ssh::Ssh;
use keywheel_connectors::{
    Changed, Checked, Class, Connector, Credential, Elevation, Evidence, Functional, Scope, Target,
};
use tokio::time::timeout;

use crate::fleet::{Fleet, account, first, functional, key, key_pair, open, own, ssh_part};
use crate::peer::Wire;

fn raised_by(fleet: &Fleet, elevation: Elevation) -> Target {
    let mut target = fleet.target();
    ssh_part(&mut target).elevation = elevation;
    target
}

#[tokio::test]
async fn the_functional_account_logs_in_by_key() {
    for methods in ["both", "keyboard"] {
        let fleet = Fleet::start(&[("USERS", "1"), ("METHODS", methods)]);
        let pair = key_pair("ecdsa", "functional");
        fleet.run(&format!(
            "install -d -m 700 -o kw_func /home/kw_func/.ssh; \
             echo '{}' >/home/kw_func/.ssh/authorized_keys",
            pair.public
        ));
        let by_key = Functional {
            credential: key(&pair),
            ..functional()
        };
        let session = open(&fleet.target(), Some(&by_key)).await;
        let new = Credential::from("New-func-key-vLm9Q");
        let kw_u0 = account("kw_u0");
        assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
        assert_eq!(session.check(&kw_u0, &new).await, Checked::Accepted);
        let wrong = Functional {
            credential: key(&key_pair("ed25519", "stranger")),
            ..functional()
        };
        let refused = Ssh::new(7).open(&fleet.target(), Some(&wrong)).await;
        let refused = refused.err().unwrap();
        assert_eq!(
            (refused.class, refused.scope),
            (Class::Denied, Scope::System)
        );
    }
}

#[tokio::test]
async fn every_way_to_more_rights_sets_passwords_and_keys() {
    let ways = [
        ("sudo", Elevation::Sudo),
        ("doas", Elevation::Doas),
        ("pbrun", Elevation::Pbrun),
        ("pmrun", Elevation::Pmrun),
    ];
    for (name, elevation) in ways {
        let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "all"), ("ELEVATION", name)]);
        let session = open(&raised_by(&fleet, elevation), Some(&functional())).await;
        let (kw_u0, new) = (account("kw_u0"), Credential::from("New-raised-vLm9Q"));
        assert_eq!(
            session.change(&kw_u0, &new, None).await,
            Changed::Done,
            "{name}"
        );
        assert_eq!(
            session.check(&kw_u0, &new).await,
            Checked::Accepted,
            "{name}"
        );
        let seen = session.evidence(&kw_u0, &new, Some(&first("kw_u0"))).await;
        assert_eq!(seen, Evidence::Candidate, "{name}");
        let pair = key_pair("ed25519", "keywheel:7:1");
        let changed = session.change(&kw_u0, &key(&pair), None).await;
        assert_eq!(changed, Changed::Done, "{name}");
        assert_eq!(session.check(&kw_u0, &key(&pair)).await, Checked::Accepted);
        assert_eq!(session.retire(&kw_u0, &key(&pair)).await, Changed::Done);
        // A rule that is taken away is the system's trouble, before any secret.
        fleet.run("rm -f /etc/doas.conf; sed -i '/^kw_func/d' /etc/sudoers");
        let seen = session.change(&kw_u0, &new, None).await;
        assert!(
            matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Privilege),
            "{name}: {seen:?}"
        );
        let refused = Ssh::new(8)
            .open(&raised_by(&fleet, elevation), Some(&functional()))
            .await;
        assert_eq!(refused.err().unwrap().class, Class::Privilege, "{name}");
    }
}

#[tokio::test]
async fn sudo_that_asks_gets_its_password_and_nothing_else_does() {
    let settings = [("WRAPPER", "0"), ("WRAPPER", "1")];
    for wrapper in settings {
        let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "shadow"), ("ASKS", "1"), wrapper]);
        let session = open(&fleet.target(), Some(&functional())).await;
        let (kw_u0, old) = (account("kw_u0"), first("kw_u0"));
        let new = Credential::from("New-asked-vLm9Q");
        assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
        assert_eq!(session.check(&kw_u0, &new).await, Checked::Accepted);
        let seen = session.evidence(&kw_u0, &new, Some(&old)).await;
        assert_eq!(seen, Evidence::Candidate, "{wrapper:?}");
        // By key there is no password to answer with.
        let pair = key_pair("ed25519", "functional");
        fleet.run(&format!(
            "install -d -m 700 -o kw_func /home/kw_func/.ssh; \
             echo '{}' >/home/kw_func/.ssh/authorized_keys",
            pair.public
        ));
        let by_key = Functional {
            credential: key(&pair),
            ..functional()
        };
        let refused = Ssh::new(7).open(&fleet.target(), Some(&by_key)).await;
        assert_eq!(refused.err().unwrap().class, Class::Privilege);
    }
    let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "all"), ("ASKS", "1")]);
    let session = open(&fleet.target(), Some(&functional())).await;
    let pair = key_pair("ed25519", "keywheel:7:1");
    let kw_u0 = account("kw_u0");
    assert_eq!(
        session.change(&kw_u0, &key(&pair), None).await,
        Changed::Done
    );
    assert_eq!(session.check(&kw_u0, &key(&pair)).await, Checked::Accepted);
}

#[tokio::test]
async fn a_password_that_sudo_no_longer_takes_locks_nobody_out() {
    for wrapper in ["0", "1"] {
        let fleet = Fleet::start(&[
            ("USERS", "1"),
            ("SUDO", "shadow"),
            ("ASKS", "1"),
            ("FAILLOCK", "3"),
            ("WRAPPER", wrapper),
        ]);
        let session = open(&fleet.target(), Some(&functional())).await;
        let field = fleet.field("kw_u0");
        fleet.run("echo kw_func:Other-kw_func-vLm9 | chpasswd -c SHA512");
        let (kw_u0, new) = (account("kw_u0"), Credential::from("New-never-sent-vLm9Q"));
        let seen = session.change(&kw_u0, &new, None).await;
        assert!(
            matches!(&seen, Changed::NotNow(reason) if reason.scope == Scope::System),
            "{wrapper}: {seen:?}"
        );
        assert_eq!(fleet.field("kw_u0"), field);
        // One try, and one that sudo makes of the input's end. The new password was none.
        let failed = fleet.run("faillock --user kw_func | grep -c ' V$'; true");
        assert_eq!(failed.trim(), "2", "{wrapper}");
    }
}

#[tokio::test]
async fn sudo_that_no_longer_asks_passes_no_password_on_to_chpasswd() {
    let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "shadow"), ("ASKS", "1")]);
    let short = Target {
        timeout: Duration::from_secs(4),
        ..fleet.target()
    };
    let session = open(&short, Some(&functional())).await;
    fleet.run("sed -i '/^kw_func/s#(root)#(root) NOPASSWD:#' /etc/sudoers");
    let field = fleet.field("kw_u0");
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-unasked-vLm9Q"));
    let seen = session.change(&kw_u0, &new, None).await;
    assert!(matches!(seen, Changed::Unknown(_)), "{seen:?}");
    // The evidence decides, once whoever might write has ended.
    let fresh = open(&fleet.target(), Some(&functional())).await;
    let old = first("kw_u0");
    let seen = fresh.evidence(&kw_u0, &new, Some(&old)).await;
    assert_eq!(seen, Evidence::Current);
    assert_eq!(fleet.field("kw_u0"), field);
    assert_eq!(fresh.change(&kw_u0, &new, None).await, Changed::Done);
    assert_eq!(fresh.check(&kw_u0, &new).await, Checked::Accepted);
}

#[tokio::test]
async fn a_look_without_the_wrapper_awaits_who_may_still_write() {
    let fleet = Fleet::start(&[("USERS", "2"), ("SUDO", "shadow")]);
    let (kw_u0, old) = (account("kw_u0"), first("kw_u0"));
    let short = Target {
        timeout: Duration::from_secs(3),
        ..fleet.target()
    };
    let session = open(&short, Some(&functional())).await;
    let patient = open(&fleet.target(), Some(&functional())).await;
    // A chpasswd that writes late, when the connection is long gone.
    fleet.run(
        "cp /usr/sbin/chpasswd /run/chpasswd; \
         printf '#!/bin/sh\\nread line; until [ -e /run/go ]; do sleep 0.1; done\\n\
         printf \"%%s\\\\n\" \"$line\" | /run/chpasswd\\n' >/run/late; chmod 755 /run/late; \
         mount --bind /run/late /usr/sbin/chpasswd",
    );
    let new = Credential::from("New-late-vLm9Q");
    let changed = session.change(&kw_u0, &new, None).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    let seen = session.evidence(&kw_u0, &new, Some(&old)).await;
    assert!(matches!(seen, Evidence::Undecided(_)), "{seen:?}");
    let look = patient.evidence(&kw_u0, &new, Some(&old));
    let go = async {
        // While the look waits.
        let waits = timeout(Duration::from_secs(1), std::future::pending::<()>());
        assert!(waits.await.is_err());
        fleet.run("touch /run/go");
    };
    let (seen, ()) = tokio::join!(look, go);
    assert_eq!(seen, Evidence::Candidate);
    assert_eq!(patient.check(&kw_u0, &new).await, Checked::Accepted);
    // Whoever may not read hashes decides nothing.
    fleet.run("sed -i 's#, /usr/bin/getent shadow .*##' /etc/sudoers");
    let seen = patient.evidence(&kw_u0, &new, Some(&old)).await;
    assert!(
        matches!(&seen, Evidence::Undecided(reason) if reason.class == Class::Privilege),
        "{seen:?}"
    );
}

/// Which processes show one of these texts in their arguments or environment, until told to end;
/// and how often `seen` was there.
fn watch(
    texts: &'static [&'static str],
    seen: &'static str,
    is_over: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<(usize, usize)> {
    let is_over = Arc::clone(is_over);
    tokio::task::spawn_blocking(move || {
        let (mut leaks, mut count) = (0, 0);
        while !is_over.load(Ordering::SeqCst) {
            for process in std::fs::read_dir("/proc").unwrap().map_while(Result::ok) {
                for file in ["cmdline", "environ"] {
                    let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
                    let text = String::from_utf8_lossy(&bytes);
                    count += usize::from(text.contains(seen));
                    leaks += usize::from(texts.iter().any(|one| text.contains(one)));
                }
            }
        }
        (leaks, count)
    })
}

#[tokio::test]
async fn no_secret_stands_in_a_process_list_on_any_way() {
    const CANARIES: [&str; 4] = ["Canary-", "Func-kw_func", "Start-kw_", "OPENSSH PRIVATE"];
    let fleet = Fleet::start(&[("USERS", "2"), ("SUDO", "all"), ("ASKS", "1")]);
    let session = open(&fleet.target(), Some(&functional())).await;
    for seen in ["sudo", "passwd"] {
        let is_over = Arc::new(AtomicBool::new(false));
        let watch = watch(&CANARIES, seen, &is_over);
        for round in 0..3 {
            let new = Credential::from(format!("Canary-{seen}-{round}-vLm9Q"));
            let pair = key_pair("ed25519", "keywheel:7:1");
            let (account, current) = match seen {
                "sudo" => (account("kw_u0"), None),
                _ if round == 0 => (own("kw_u1"), Some(first("kw_u1"))),
                _ => {
                    let last = format!("Canary-{seen}-{}-vLm9Q", round - 1);
                    (own("kw_u1"), Some(Credential::from(last)))
                }
            };
            let changed = session.change(&account, &new, current.as_ref()).await;
            assert_eq!(changed, Changed::Done, "{seen}");
            assert_eq!(session.check(&account, &new).await, Checked::Accepted);
            let changed = session.change(&account, &key(&pair), Some(&new)).await;
            assert_eq!(changed, Changed::Done, "{seen}");
            let accepted = session.check(&account, &key(&pair)).await;
            assert_eq!(accepted, Checked::Accepted, "{seen}");
            assert_eq!(session.retire(&account, &key(&pair)).await, Changed::Done);
        }
        is_over.store(true, Ordering::SeqCst);
        let (leaks, count) = watch.await.unwrap();
        assert!(count > 0, "the sampling saw {seen} run");
        assert_eq!(leaks, 0, "{seen}");
    }
    for canary in CANARIES {
        assert!(!fleet.log().contains(canary), "the server's log holds it");
    }
}

#[tokio::test]
async fn empty_stdin_to_chpasswd_is_never_success() {
    let fleet = Fleet::start(&[("USERS", "1"), ("STARTUPS", "100:30:200")]);
    // Says yes to everything, as chpasswd does to nothing at all, and notes how much it got.
    fleet.run(
        "printf '#!/bin/sh\\nwc -c >>/run/got\\n' >/run/yes; chmod 755 /run/yes; \
         mount --bind /run/yes /usr/sbin/chpasswd",
    );
    let wire = Wire::to((fleet.address, fleet.port));
    let target = Target {
        host: wire.address.to_string(),
        port: wire.port,
        ..fleet.target()
    };
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-whole-line-vLm9Q"));
    let session = open(&target, Some(&functional())).await;
    let before = wire.to_server_bytes();
    assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
    let needed = wire.to_server_bytes() - before;
    let (mut opens, mut done, mut not_done) = (1, 1, 0);
    for step in 0..12 {
        wire.mend();
        let session = open(&target, Some(&functional())).await;
        opens += 1;
        wire.allow(needed.saturating_sub(step * 50) + 8);
        match session.change(&kw_u0, &new, None).await {
            Changed::Done => done += 1,
            _ => not_done += 1,
        }
    }
    assert!(not_done > 0, "the cuts cut something");
    // Every open asks once with nothing; every change gives one whole line, or is none.
    let whole = "kw_u0:New-whole-line-vLm9Q\n".len();
    let count = async {
        loop {
            let got = fleet.run("cat /run/got");
            let is = |bytes: usize| {
                got.lines()
                    .filter(|line| **line == bytes.to_string())
                    .count()
            };
            assert_eq!(is(0) + is(whole), got.lines().count(), "{got}");
            assert_eq!(is(0), opens, "{got}");
            if is(whole) >= done {
                break;
            }
        }
    };
    timeout(Duration::from_secs(10), count).await.unwrap();
}
