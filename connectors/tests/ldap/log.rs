//! What a log may hold.

use std::io::Write;
use std::sync::{Arc, Mutex};

use keywheel_connectors::{Changed, Checked};
use tracing_subscriber::fmt::MakeWriter;

use super::samba;
use super::shared::{self, SAMBA, on_its_own};
use super::slapd::{FUNCTIONAL_SECRET, INITIAL_SECRET, Slapd, by_dn, open, secret};

#[derive(Clone, Default)]
struct Pages(Arc<Mutex<Vec<u8>>>);

impl Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Pages {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_log_of_everything_holds_no_secret() {
    let pages = Pages::default();
    // For the whole process: what the library and TLS log comes from other threads, too.
    tracing_subscriber::fmt()
        .with_env_filter("trace,ldap3=off,lber=off")
        .with_writer(pages.clone())
        .try_init()
        .unwrap();
    let slapd = Slapd::start(50, &[]);
    let session = open(&slapd.ldaps()).await;
    let (refused, set) = ("tiny-8q", "Never-to-be-logged-7");
    assert!(matches!(
        session.change(&by_dn("u1"), &secret(refused), None).await,
        Changed::Refused(_)
    ));
    assert_eq!(
        session.change(&by_dn("u1"), &secret(set), None).await,
        Changed::Done
    );
    assert_eq!(
        session.check(&by_dn("u1"), &secret(set)).await,
        Checked::Accepted
    );
    assert!(matches!(
        session.check(&by_dn("u1"), &secret(INITIAL_SECRET)).await,
        Checked::Rejected(_)
    ));
    session.close().await;
    // A domain's way of writing, and an account that changes itself.
    let next = "Never-to-be-logged-8";
    let session = shared::open(&SAMBA.ldaps(), &samba::functional()).await;
    let own = on_its_own(samba::by_dn("u17"));
    let current = secret(samba::INITIAL);
    let changed = session.change(&own, &secret(set), Some(&current)).await;
    assert_eq!(changed, Changed::Done);
    let changed = session
        .change(&samba::by_dn("u17"), &secret(next), None)
        .await;
    assert_eq!(changed, Changed::Done);
    session.close().await;
    let wide = |word: &str| {
        word.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<_>>()
    };
    let log = String::from_utf8_lossy(&pages.0.lock().unwrap()).into_owned();
    // A deaf ear proves nothing.
    assert!(log.contains("directory connected"), "our own log is heard");
    assert!(log.contains("rustls"), "the libraries' logs are heard");
    let (theirs, first) = (samba::FUNCTIONAL, samba::INITIAL);
    for word in [
        FUNCTIONAL_SECRET,
        INITIAL_SECRET,
        refused,
        set,
        theirs,
        first,
        next,
    ] {
        assert!(!log.contains(word), "{word} was logged");
        assert!(
            !log.contains(&format!("{:?}", word.as_bytes())),
            "{word} was logged as bytes"
        );
        assert!(
            !log.contains(format!("{:?}", wide(word)).trim_matches(['[', ']'])),
            "{word} was logged as a domain gets it"
        );
    }
}
