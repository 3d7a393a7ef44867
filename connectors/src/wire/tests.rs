mod fuzz;

use secrecy::ExposeSecret;

use super::*;
use crate::{Class, KeyPair, LdapTarget, Login, Secret, TargetKind};

fn account() -> Account {
    Account::named(Login::parse("u1").unwrap(), None)
}

fn change(secret: &str) -> ToProcess {
    let new = Credential::from(secret);
    let current = Some(Credential::Key(KeyPair {
        private: Secret::from("private half"),
        public: "ssh-ed25519 AAAA".to_owned(),
        marker: "keywheel:1:2".to_owned(),
    }));
    let call = Call::Change {
        session: 3,
        account: account(),
        new,
        current,
    };
    ToProcess::Call {
        id: 7,
        call: Box::new(call),
    }
}

fn answer(text: &str) -> FromProcess {
    let reason = Reason::account(Class::Busy, text.to_owned());
    FromProcess::Answer {
        id: 1,
        answer: Answer::Changed(Changed::NotNow(reason)),
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test compares secrets")]
fn a_change_arrives_as_it_was_sent() {
    let frame = encode(&change("a secret")).unwrap();
    let (head, body) = frame.split_at(HEAD_BYTES);
    assert_eq!(
        usize::try_from(u32::from_be_bytes(head.try_into().unwrap())),
        Ok(body.len())
    );
    let ToProcess::Call { id: 7, call } = decode(body).unwrap() else {
        panic!("another message");
    };
    let Call::Change {
        session: 3,
        account: told,
        new: Credential::Password(new),
        current: Some(Credential::Key(pair)),
    } = *call
    else {
        panic!("another call");
    };
    assert_eq!(told, account());
    assert_eq!(new.expose_secret(), "a secret");
    assert_eq!(pair.private.expose_secret(), "private half");
    assert_eq!(pair.marker, "keywheel:1:2");
}

#[test]
fn what_is_cut_or_goes_on_is_no_message() {
    let frame = encode(&change("a secret")).unwrap();
    let body = &frame[HEAD_BYTES..];
    for length in 0..body.len() {
        assert!(decode::<ToProcess>(&body[..length]).is_err(), "{length}");
    }
    assert!(decode::<ToProcess>(&[body, &[0]].concat()).is_err());
    // A variant, a flag and an option that there are not.
    assert!(decode::<FromProcess>(&[9]).is_err());
    assert!(decode::<Option<u8>>(&[2, 1]).is_err());
    assert!(decode::<bool>(&[2]).is_err());
}

#[test]
fn texts_of_a_process_are_taken_only_if_we_could_have_written_them() {
    let taken = |message: &FromProcess| {
        let frame = encode(message).unwrap();
        decode::<FromProcess>(&frame[HEAD_BYTES..]).is_ok()
    };
    assert!(taken(&answer(
        "the directory is busy: 12 s, \u{2018}later\u{2019}"
    )));
    for text in ["two\nlines", "\u{1b}[2J", "nul\0", &"x".repeat(1_001)] {
        assert!(!taken(&answer(text)), "{text:?}");
    }
    for word in ["two words", "a\u{7f}", "ü", &"x".repeat(65)] {
        let flavour = word.to_owned();
        let answer = Answer::Identified(Ok(Identity::Ldap { flavour }));
        assert!(!taken(&FromProcess::Answer { id: 1, answer }), "{word:?}");
    }
}

#[test]
fn a_login_that_is_none_is_not_taken() {
    // As `Account` is laid out: the name, no DN, not its own.
    let sent = |name: &str| {
        let length = u8::try_from(name.len()).unwrap();
        [&[length], name.as_bytes(), &[0, 0]].concat()
    };
    assert_eq!(decode::<Account>(&sent("u1")).unwrap(), account());
    for name in ["", "a:b", "a\nb"] {
        assert!(decode::<Account>(&sent(name)).is_err(), "{name:?}");
    }
}

#[test]
fn a_message_beyond_the_limit_is_not_made() {
    let target = |length| Target {
        host: "h".to_owned(),
        port: 1,
        timeout: std::time::Duration::from_secs(1),
        in_flight: 1,
        kind: TargetKind::Ldap(LdapTarget {
            starttls: false,
            ca_pem: "x".repeat(length),
            server_name: None,
            base_dn: String::new(),
            flavour: None,
            key_attribute: None,
        }),
    };
    assert!(encode(&target(FRAME_MAX_BYTES - 100)).is_ok());
    let refused = encode(&target(FRAME_MAX_BYTES)).map(drop);
    assert!(matches!(refused, Err(WireError::TooLong { .. })));
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
    let mut bytes: &[u8] = &[0, 0x10, 0, 1, 5, 5, 5];
    let refused = read::<FromProcess>(&mut bytes).await;
    assert!(matches!(refused, Err(WireError::TooLong { length }) if length == FRAME_MAX_BYTES + 1));
    assert_eq!(bytes, [5, 5, 5]);
}

#[tokio::test]
async fn an_end_between_messages_is_told_from_one_within() {
    let frame = encode(&ToProcess::Ping { number: 5 }).unwrap();
    let mut whole: &[u8] = &frame;
    let read_one = read::<ToProcess>(&mut whole).await;
    assert!(matches!(read_one, Ok(Some(ToProcess::Ping { number: 5 }))));
    assert!(matches!(read::<ToProcess>(&mut whole).await, Ok(None)));
    let mut cut = &frame[..frame.len() - 1];
    assert!(matches!(
        read::<ToProcess>(&mut cut).await,
        Err(WireError::Lost(_))
    ));
}

#[test]
fn a_secret_has_no_readable_form() {
    let credential = Credential::from("canary");
    let failed = serde_json::to_string(&credential).unwrap_err();
    assert!(!failed.to_string().contains("canary"));
    assert!(serde_json::from_str::<Credential>("{\"Password\":\"canary\"}").is_err());
}
