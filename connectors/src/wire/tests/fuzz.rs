//! Whatever bytes come from the other side of the wall.

use proptest::prelude::*;

use super::*;
use crate::fuzz::{check, mutants, noise};
use crate::{Found, HostKey, Lock, SshTarget};

fn body(message: &impl Serialize) -> Vec<u8> {
    encode(message).unwrap()[HEAD_BYTES..].to_vec()
}

fn target() -> Target {
    let host_key = HostKey {
        algorithm: "ssh-ed25519".to_owned(),
        sha256: [7; 32],
    };
    Target {
        host: "web1.example".to_owned(),
        port: 22,
        timeout: std::time::Duration::from_mins(1),
        in_flight: 4,
        kind: TargetKind::Ssh(SshTarget {
            host_key: Some(host_key),
            elevation: crate::Elevation::Sudo,
        }),
    }
}

fn call(call: Call) -> ToProcess {
    ToProcess::Call {
        id: 300,
        call: Box::new(call),
    }
}

fn to_process() -> Vec<Vec<u8>> {
    let ldap = Target {
        kind: TargetKind::Ldap(LdapTarget {
            starttls: true,
            ca_pem: "-----BEGIN CERTIFICATE-----".to_owned(),
            server_name: Some("ldap.example".to_owned()),
            base_dn: "dc=keywheel,dc=test".to_owned(),
            flavour: Some("openldap".to_owned()),
            key_attribute: None,
        }),
        ..target()
    };
    let functional = crate::Functional {
        account: account(),
        credential: Credential::from("functional"),
    };
    vec![
        body(&change("a secret")),
        body(&call(Call::Identify { target: ldap })),
        body(&call(Call::Open {
            session: 1,
            target: target(),
            functional: Some(functional),
        })),
        body(&call(Call::List {
            session: 1,
            query: Query::Host(crate::HostQuery::default()),
        })),
        body(&call(Call::Identities {
            session: 1,
            accounts: vec![crate::Account::named(
                crate::Login::parse("ann").unwrap(),
                Some("uid=ann,dc=test".to_owned()),
            )],
        })),
        body(&ToProcess::Cancel { id: 1 }),
        body(&ToProcess::Ping { number: u64::MAX }),
    ]
}

fn from_process() -> Vec<Vec<u8>> {
    let found = Found {
        name: "kw_u0".to_owned(),
        importable: true,
        dn: Some("uid=kw_u0,dc=test".to_owned()),
        id: Some("1000".to_owned()),
        shell: Some("/bin/sh".to_owned()),
        lock: Lock::Open,
        changed_at: Some(1),
        expired: Some(false),
    };
    let listing = Listing {
        found: vec![found; 3],
        truncated: true,
        unreadable: 2,
    };
    let answered = |answer| body(&FromProcess::Answer { id: 1, answer });
    let hello = Hello {
        connector: "ssh".to_owned(),
        confinement: Confinement {
            user: 65_534,
            landlock: Enforced::Fully,
            seccomp: true,
            reads_files: false,
            writes_files: false,
            starts_programs: false,
            capable: false,
        },
    };
    let identity = Identity::Ldap {
        flavour: "389ds".to_owned(),
    };
    vec![
        body(&FromProcess::Hello(hello)),
        body(&answer("the target's password files are busy")),
        answered(Answer::Listed(Ok(listing))),
        answered(Answer::Identified(Ok(identity))),
        answered(Answer::Identities(Ok(vec![
            None,
            crate::CanonicalIdentity::of("boot 1".to_owned(), "uid 0".to_owned()),
        ]))),
        body(&FromProcess::Pong { number: 9 }),
    ]
}

/// A message that is taken is sent as it was taken, and holds what its types allow.
fn stable<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> crate::fuzz::Held {
    match decode::<T>(bytes) {
        Ok(message) => {
            let sent = body(&message);
            let again: T = decode(&sent).map_err(|_| TestCaseError::fail("not taken again"))?;
            prop_assert_eq!(body(&again), sent);
        }
        Err(error) => prop_assert_eq!(error.to_string(), "a message does not keep to the format"),
    }
    Ok(())
}

#[test]
fn a_process_takes_messages_whole_or_not_at_all() {
    let bytes = prop_oneof![4 => mutants(to_process(), &["fake"]), 1 => noise(200)];
    check("connectors::wire to a process", &bytes, |bytes| {
        stable::<ToProcess>(&bytes)
    });
}

#[test]
fn the_service_takes_no_text_that_could_be_none_of_ours() {
    let bytes = prop_oneof![4 => mutants(from_process(), &["\u{1b}", "fake"]), 1 => noise(200)];
    check("connectors::wire from a process", &bytes, |bytes| {
        stable::<FromProcess>(&bytes)?;
        match decode::<FromProcess>(&bytes) {
            Ok(FromProcess::Hello(hello)) => {
                prop_assert!(hello.connector.bytes().all(|byte| byte.is_ascii_graphic()));
            }
            Ok(FromProcess::Answer {
                answer: Answer::Changed(Changed::NotNow(reason)),
                ..
            }) => {
                prop_assert!(reason.text.len() <= SENTENCE_MAX_BYTES);
                prop_assert!(!reason.text.chars().any(char::is_control));
            }
            Ok(FromProcess::Answer {
                answer: Answer::Listed(Ok(listing)),
                ..
            }) => {
                for row in &listing.found {
                    prop_assert_eq!(crate::listing::printable(&row.name).0, row.name.clone());
                }
            }
            Ok(FromProcess::Answer { .. } | FromProcess::Pong { .. }) | Err(_) => {}
        }
        Ok(())
    });
}

#[test]
fn frames_are_read_to_their_end_and_never_beyond_their_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let frames = vec![
        encode(&FromProcess::Pong { number: 5 }).unwrap().to_vec(),
        encode(&answer("busy")).unwrap().to_vec(),
        [&0x7fff_ffff_u32.to_be_bytes()[..], b"never"].concat(),
    ];
    check("connectors::wire::read", &mutants(frames, &[]), |bytes| {
        let mut from = &bytes[..];
        loop {
            let left = from.len();
            match runtime.block_on(read::<FromProcess>(&mut from)) {
                Ok(Some(_)) => prop_assert!(from.len() + HEAD_BYTES < left),
                Ok(None) => break prop_assert_eq!(left, 0),
                Err(WireError::TooLong { length }) => break prop_assert!(length > FRAME_MAX_BYTES),
                Err(WireError::Malformed | WireError::Lost(_)) => break,
            }
        }
        Ok(())
    });
}
