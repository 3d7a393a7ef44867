//! Nothing secret reaches a server that did not prove itself.

use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{Class, Connector, Scope, Target};

use super::middle;
use super::slapd::{FUNCTIONAL_SECRET, Slapd, functional, ldap_mut, open};

async fn refusal(target: &Target) -> (Class, String) {
    let reason = Ldap::new()
        .open(target, Some(&functional()))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(reason.scope, Scope::System);
    let identified = Ldap::new().identify(target).await.unwrap_err();
    assert_eq!(identified, reason);
    (reason.class, reason.text.into_owned())
}

#[tokio::test]
async fn faulty_certificates_are_refused_and_told_apart() {
    for (number, fault, why) in [
        (30, "wrongname", "another name"),
        (31, "expired", "has expired"),
        (32, "untrusted", "signed by no authority"),
    ] {
        let slapd = Slapd::start(number, &[("CERT", fault)]);
        for target in [slapd.ldaps(), slapd.starttls()] {
            let (class, text) = refusal(&target).await;
            assert_eq!(class, Class::IdentityMismatch);
            assert!(text.contains(why), "{fault}: {text}");
        }
    }
}

#[tokio::test]
async fn names_are_verified_as_configured() {
    let slapd = Slapd::start(33, &[]);
    for (name, right) in [
        ("localhost", true),
        ("slapd.test", true),
        ("127.0.0.1", false),
        ("other.test", false),
    ] {
        let mut target = slapd.ldaps();
        ldap_mut(&mut target).server_name = Some(name.to_owned());
        let opened = Ldap::new()
            .open(&target, Some(&functional()))
            .await
            .map(|_| ());
        match opened {
            Ok(()) => assert!(right, "{name}"),
            Err(reason) => {
                assert!(!right, "{name}: {reason}");
                assert_eq!(reason.class, Class::IdentityMismatch);
            }
        }
    }
}

#[tokio::test]
async fn without_authorities_no_directory_is_trusted() {
    let slapd = Slapd::start(34, &[]);
    let mut target = slapd.ldaps();
    for bundle in [
        "",
        "\n",
        "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n",
    ] {
        bundle.clone_into(&mut ldap_mut(&mut target).ca_pem);
        let (class, text) = refusal(&target).await;
        assert_eq!(class, Class::IdentityMismatch);
        assert!(text.contains("tls_ca"), "{text}");
    }
}

/// What a server says that knows no StartTLS: `protocolError`.
const NO_STARTTLS: &[u8] = &[0x30, 12, 2, 1, 1, 0x78, 7, 0x0a, 1, 2, 4, 0, 4, 0];
/// The one request that ever goes out in the clear.
const STARTTLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

#[tokio::test]
async fn a_server_that_refuses_starttls_hears_nothing_else() {
    let slapd = Slapd::start(35, &[]);
    for answer in [
        NO_STARTTLS,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x30\x84\x7f\xff\xff\xff",
    ] {
        let (middle, port) = middle::plain_server(slapd.ip, answer).await;
        let (class, _) = refusal(&Target {
            port,
            ..slapd.starttls()
        })
        .await;
        assert_eq!(class, Class::Incompatible);
        // Once for opening, once for identifying.
        assert_eq!(middle.heard(), [STARTTLS, STARTTLS].concat());
    }
}

#[tokio::test]
async fn nothing_is_ever_sent_in_the_clear() {
    let slapd = Slapd::start(36, &[]);
    // TLS to a plain port: the handshake's first record, and no more.
    let (middle, port) = middle::proxy((slapd.ip, slapd.plain_port).into(), slapd.ip).await;
    let (class, _) = refusal(&slapd.at(port)).await;
    assert!(
        matches!(class, Class::Incompatible | Class::Unreachable),
        "{class:?}"
    );
    assert_eq!(middle.heard().first(), Some(&0x16));
    // StartTLS to a TLS port.
    let (other, port) = middle::proxy((slapd.ip, slapd.tls_port).into(), slapd.ip).await;
    let (class, _) = refusal(&Target {
        port,
        ..slapd.starttls()
    })
    .await;
    assert!(
        matches!(class, Class::Incompatible | Class::Unreachable),
        "{class:?}"
    );
    // A whole session by StartTLS: one request in the clear, then records of TLS.
    let (whole, port) = middle::proxy((slapd.ip, slapd.plain_port).into(), slapd.ip).await;
    let target = Target {
        port,
        ..slapd.starttls()
    };
    open(&target).await;
    let heard = whole.heard();
    assert_eq!(heard.get(..STARTTLS.len()), Some(STARTTLS));
    assert_eq!(heard.get(STARTTLS.len()), Some(&0x16));
    for heard in [middle.heard(), other.heard(), whole.heard()] {
        let secret = FUNCTIONAL_SECRET.as_bytes();
        assert!(!heard.windows(secret.len()).any(|bytes| bytes == secret));
    }
}
