//! Servers that lose answers, and servers that mean harm.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{Changed, Checked, Class, Connector, Target};
use tokio::time::timeout;

use super::middle;
use super::slapd::{INITIAL_SECRET, Slapd, by_dn, open, secret};

/// How long a hostile answer may occupy us; the time-out of a call is twenty times that.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_lost_reply_is_unknown_and_the_password_may_be_set() {
    let slapd = Slapd::start(40, &[]);
    let (middle, port) = middle::proxy((slapd.ip, slapd.tls_port).into(), slapd.ip).await;
    let target = Target {
        timeout: Duration::from_secs(2),
        ..slapd.at(port)
    };
    let session = open(&target).await;
    middle.swallow.store(true, Ordering::SeqCst);
    let new = secret("Set-but-not-heard-1");
    let changed = session.change(&by_dn("u1"), &new, None).await;
    assert!(matches!(&changed, Changed::Unknown(reason) if reason.class == Class::Unknown));
    // A login whose answer is lost is no verdict either.
    let checked = session.check(&by_dn("u1"), &secret(INITIAL_SECRET)).await;
    assert!(matches!(checked, Checked::NotNow(_)));
    middle.swallow.store(false, Ordering::SeqCst);
    // The same session goes on over a new connection and finds what happened.
    assert_eq!(session.check(&by_dn("u1"), &new).await, Checked::Accepted);
    let taken = middle.taken();
    assert_eq!(
        session.change(&by_dn("u2"), &new, None).await,
        Changed::Done
    );
    assert_eq!(middle.taken(), taken + 1);
}

#[tokio::test]
async fn a_write_that_waits_for_a_mute_server_is_not_sent_twice() {
    let slapd = Slapd::start(41, &[]);
    let (middle, port) = middle::proxy((slapd.ip, slapd.tls_port).into(), slapd.ip).await;
    let target = Target {
        timeout: Duration::from_secs(1),
        in_flight: 1,
        ..slapd.at(port)
    };
    let session = open(&target).await;
    middle.swallow.store(true, Ordering::SeqCst);
    let (first, second) = (secret("In-flight-now-1"), secret("Waits-its-turn-1"));
    let (u1, u2) = (by_dn("u1"), by_dn("u2"));
    let (sent, waiting) = futures::future::join(
        session.change(&u1, &first, None),
        session.change(&u2, &second, None),
    )
    .await;
    assert!(matches!(sent, Changed::Unknown(_)), "{sent:?}");
    // There was one turn, and the first had it: nothing of the second was sent.
    assert!(matches!(waiting, Changed::NotNow(_)), "{waiting:?}");
    middle.swallow.store(false, Ordering::SeqCst);
    assert_eq!(session.check(&u1, &first).await, Checked::Accepted);
    assert_eq!(
        session.check(&u2, &secret(INITIAL_SECRET)).await,
        Checked::Accepted
    );
}

/// Nested `levels` deep, each level a sequence.
fn nested(levels: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..levels {
        let mut outer = vec![0x30, 0x82];
        outer.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        outer.extend(&bytes);
        bytes = outer;
    }
    bytes
}

fn payloads() -> Vec<(&'static str, Vec<u8>)> {
    let mut endless = vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff];
    endless.resize(1 << 16, 0);
    vec![
        ("nested 7,600 deep", nested(7_600)),
        ("declares 2 GiB", endless),
        (
            "a child longer than its parent",
            vec![0x30, 5, 2, 1, 1, 0x61, 0x50],
        ),
        (
            "a web server",
            b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n".to_vec(),
        ),
        (
            "a notice of disconnection",
            [
                &b"\x30\x24\x02\x01\x00\x78\x1f\x0a\x01\x34\x04\x00\x04\x00\x8a\x16"[..],
                b"1.3.6.1.4.1.1466.20036",
            ]
            .concat(),
        ),
        (
            "text that is no UTF-8",
            vec![0x30, 13, 2, 1, 1, 0x61, 8, 0x0a, 1, 0, 4, 0, 4, 1, 0xff],
        ),
        ("an empty sequence", vec![0x30, 0]),
    ]
}

#[tokio::test]
async fn hostile_answers_end_the_look_at_a_directory_at_once() {
    let slapd = Slapd::start(42, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = slapd.at(port);
    // The impostor itself is trusted: without poison all is well.
    assert!(Ldap::new().identify(&target).await.is_ok());
    for (what, payload) in payloads() {
        *middle.poison.lock().unwrap() = Some(payload);
        let looked = timeout(PATIENCE, Ldap::new().identify(&target)).await;
        let reason = looked.expect(what).expect_err(what);
        assert!(
            matches!(reason.class, Class::Incompatible | Class::Unreachable),
            "{what}: {reason}"
        );
        assert!(
            !reason.text.contains("HTTP"),
            "no byte of the server is repeated"
        );
    }
    *middle.poison.lock().unwrap() = None;
    assert!(Ldap::new().identify(&target).await.is_ok());
}

#[tokio::test]
async fn hostile_answers_to_a_write_leave_it_unknown_at_once() {
    let slapd = Slapd::start(43, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = slapd.at(port);
    let session = open(&target).await;
    for (number, (what, payload)) in payloads().into_iter().enumerate() {
        let account = by_dn(&format!("u{number}"));
        let new = secret(&format!("Poisoned-answer-{number}"));
        assert_eq!(
            session.check(&account, &secret(INITIAL_SECRET)).await,
            Checked::Accepted,
            "{what}"
        );
        // The shared connection is up again before the poison is laid.
        let before = secret(&format!("Before-the-poison-{number}"));
        assert_eq!(
            session.change(&account, &before, None).await,
            Changed::Done,
            "{what}"
        );
        *middle.poison.lock().unwrap() = Some(payload);
        let changed = timeout(PATIENCE, session.change(&account, &new, None))
            .await
            .expect(what);
        assert!(
            matches!(changed, Changed::Unknown(_)),
            "{what}: {changed:?}"
        );
        let checked = timeout(PATIENCE, session.check(&account, &new))
            .await
            .expect(what);
        assert!(matches!(checked, Checked::NotNow(_)), "{what}: {checked:?}");
        *middle.poison.lock().unwrap() = None;
        assert_eq!(
            session.check(&account, &new).await,
            Checked::Accepted,
            "{what}"
        );
    }
}

#[tokio::test]
async fn an_answer_of_the_wrong_kind_is_unknown_and_no_crash() {
    let slapd = Slapd::start(44, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = Target {
        timeout: Duration::from_secs(2),
        ..slapd.at(port)
    };
    let session = open(&target).await;
    // Message 4 is the write: root DSE, bind and "Who am I?" came before. An entry is sound in
    // itself, and the library panics on one that it did not search for.
    let entry = vec![0x30, 9, 2, 1, 4, 0x64, 4, 4, 0, 0x30, 0];
    *middle.poison.lock().unwrap() = Some(entry);
    let changed = session
        .change(&by_dn("u1"), &secret("Wrong-kind-of-answer-1"), None)
        .await;
    assert!(
        matches!(&changed, Changed::Unknown(reason) if reason.class == Class::Incompatible),
        "{changed:?}"
    );
    *middle.poison.lock().unwrap() = None;
    let new = secret("Wrong-kind-of-answer-2");
    assert_eq!(
        session.change(&by_dn("u1"), &new, None).await,
        Changed::Done
    );
}
