//! Directories and hosts that mean harm, beside honest ones on the same service.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keywheel::clock::{SharedClock, SystemClock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sqlx::{Pool, Sqlite};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::directory::{Directory, LDAP_INITIAL};
use crate::support::fleet::{Sshd, onboard_host};
use crate::support::wait::until;

/// Pause between two bytes of a server that drips.
const DRIP: Duration = Duration::from_millis(50);
/// The longest that the interface may take to say that it lives.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What we hold of the hostile hosts' accounts.
const HELD: &str = "Held-by-us-7Tr";
/// Each hostile system's time-out.
const TIMEOUT_S: u32 = 4;

/// What a hostile server says once the first bytes of a client have come, or at once.
#[derive(Clone)]
enum Says {
    /// This, and nothing more.
    Once(Vec<u8>),
    /// The first, and then the second for ever.
    Endless(Vec<u8>, Vec<u8>),
    /// This, byte by byte, for ever.
    Drip(Vec<u8>),
}

/// Sequences in sequences, each as long as the next.
fn nested(levels: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..levels {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        bytes = [&[0x30, 0x84], &length[..], &bytes].concat();
    }
    bytes
}

fn directories() -> Vec<(&'static str, Says)> {
    // A message that claims two gigabytes; a result as an honest server might begin it.
    let huge = vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff];
    let result = [
        0x30, 0x84, 0, 0, 0xff, 0xff, 2, 1, 1, 0x64, 0x84, 0, 0, 0xff, 0xf0,
    ];
    vec![
        ("deeply nested", Says::Once(nested(9_000))),
        ("endless", Says::Endless(huge, vec![0; 65_536])),
        ("drips", Says::Drip([&result[..], &[4; 64]].concat())),
    ]
}

fn hosts() -> Vec<(&'static str, Says)> {
    let banner = b"SSH-2.0-OpenSSH_9.9\r\n";
    // A packet of four gigabytes; one of the greatest size there may be, again and again.
    let oversized = [&banner[..], &[0xff; 4], &vec![0x41; 60_000]].concat();
    let large = [&[0, 0, 0x88, 0xb8, 4, 20], &vec![0x42; 35_000][..]].concat();
    vec![
        ("oversized packet", Says::Once(oversized)),
        (
            "endless packets",
            Says::Endless(banner.to_vec(), large.clone()),
        ),
        (
            "endless banner",
            Says::Endless(Vec::new(), b"welcome\r\n".repeat(1_000)),
        ),
        (
            "endless line",
            Says::Endless(Vec::new(), vec![b'w'; 65_536]),
        ),
        ("drips a banner", Says::Drip(vec![b'w'; 64])),
        ("drips a packet", Says::Drip([&banner[..], &large].concat())),
    ]
}

/// Hostile servers on free ports; gone with the test.
struct Hostile {
    servers: JoinSet<()>,
    taken: Arc<AtomicUsize>,
}

impl Hostile {
    /// Listens: the port.
    async fn listen(&mut self, says: Says, tls: Option<TlsAcceptor>) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = self.taken.clone();
        self.servers.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((wire, _)) = listener.accept().await {
                taken.fetch_add(1, Ordering::SeqCst);
                let (says, tls) = (says.clone(), tls.clone());
                open.spawn(async move {
                    let clock = SystemClock::shared();
                    match tls {
                        None => speak(wire, &says, &clock).await,
                        Some(tls) => {
                            let Ok(mut wire) = tls.accept(wire).await else {
                                return;
                            };
                            let mut request = [0; 4_096];
                            if wire.read(&mut request).await.is_ok() {
                                speak(wire, &says, &clock).await;
                            }
                        }
                    }
                });
            }
        });
        port
    }
}

/// Speaks until the other side is gone.
async fn speak(mut wire: impl AsyncRead + AsyncWrite + Unpin, says: &Says, clock: &SharedClock) {
    match says {
        Says::Once(bytes) => {
            if wire.write_all(bytes).await.is_ok() && wire.flush().await.is_ok() {
                let mut rest = Vec::new();
                drop(wire.read_to_end(&mut rest).await);
            }
        }
        Says::Endless(first, again) => {
            let mut next = first;
            while wire.write_all(next).await.is_ok() {
                next = again;
            }
        }
        Says::Drip(bytes) => {
            for byte in bytes.iter().cycle() {
                let sent = wire.write_all(&[*byte]).await;
                if sent.is_err() || wire.flush().await.is_err() {
                    return;
                }
                clock.sleep(DRIP).await;
            }
        }
    }
}

fn acceptor(slapd: &Directory) -> TlsAcceptor {
    let (certificate, key) = slapd.issue("hostile");
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.collect(),
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(settings))
}

/// Orders a change that nobody waits for: where its job is.
async fn order(client: &Client, account: i64) -> String {
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    let ordered = client
        .post(&path, &json!({"Queue": true}))
        .await
        .expect(204);
    ordered.location.expect("a Location")
}

/// Gives a system a short time-out.
async fn hurry(database: &Pool<Sqlite>, system: i64) {
    sqlx::query("UPDATE system_details SET timeout_s = $1 WHERE system_id = $2")
        .bind(TIMEOUT_S)
        .bind(system)
        .execute(database)
        .await
        .unwrap();
}

/// A job that a hostile system has: what the system does, the account, where the job is.
type Ordered = (&'static str, i64, String);

/// Brings the hostile systems in, and orders a change of each of their accounts.
async fn invite(
    hostile: &mut Hostile,
    slapd: &Directory,
    client: &Client,
    database: &Pool<Sqlite>,
) -> Vec<Ordered> {
    let tls = acceptor(slapd);
    let mut ordered = Vec::new();
    for (what, says) in directories() {
        let port = hostile.listen(says, Some(tls.clone())).await;
        let system = slapd.onboard(client, Some(port)).await;
        hurry(database, system).await;
        for name in ["u6", "u7"] {
            let account = slapd.onboard_account(client, system, name).await;
            ordered.push((what, account, order(client, account).await));
        }
    }
    for (what, says) in hosts() {
        let port = hostile.listen(says, None).await;
        let system = onboard_host(client, Ipv4Addr::LOCALHOST, port, "never-sent").await;
        hurry(database, system).await;
        let account = json!({"AccountName": "kw_u0", "Password": HELD});
        let path = format!("ManagedSystems/{system}/ManagedAccounts");
        let account = client.post(&path, &account).await.expect(201);
        let account = account.id("ManagedAccountID");
        ordered.push((what, account, order(client, account).await));
    }
    ordered
}

/// Changes an honest account while its caller waits, and asks whether the interface lives.
async fn change(client: &Client, account: i64) -> String {
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    let body = json!({"Queue": false});
    client.post(&path, &body).await.expect(204);
    let clock = SystemClock::shared();
    client.nobody("/healthz").await.expect(200);
    assert!(clock.monotonic() < ANSWER_MAX);
    client.reveal(account).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_targets_hurt_only_themselves() {
    let slapd = Directory::openldap();
    let sshd = Sshd::start("Functional-9qZ-host");
    let home = Home::new();
    let daemon = home.serve_with(&[
        ("KEYWHEEL_CONNECTORS__PROCESSES", "2"),
        ("KEYWHEEL_QUEUE__RETRY_FIRST_S", "1"),
    ]);
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let mut hostile = Hostile {
        servers: JoinSet::new(),
        taken: Arc::default(),
    };
    let database = crate::daemon::database(&home.data("keywheel.db")).await;
    let ordered = invite(&mut hostile, &slapd, &client, &database).await;
    // Everybody else's work, meanwhile.
    let directory = slapd.onboard(&client, None).await;
    for name in ["u0", "u1", "u2", "u3"] {
        let account = slapd.onboard_account(&client, directory, name).await;
        let current = change(&client, account).await;
        assert!(current != LDAP_INITIAL, "{name}");
        assert!(slapd.accepts(name, &current), "{name}");
    }
    let host = sshd.onboard(&client).await;
    for name in ["kw_u0", "kw_u1", "kw_u2"] {
        let account = sshd.onboard_account(&client, host, name).await;
        let current = change(&client, account).await;
        assert!(sshd.accepts(name, &current), "{name}");
    }
    // Each hostile system was reached, and each of its jobs is told why it did not succeed.
    for (what, account, location) in &ordered {
        let tried = until(&format!("{what}: an attempt has ended"), async || {
            let job = client.native(location).await.expect(200).json();
            let attempts = job["attempts"].as_array().map_or(0, Vec::len);
            (attempts > 0).then_some(job)
        })
        .await;
        assert_ne!(tried["state"], "succeeded", "{what}: {tried}");
        println!("{what}: {}", tried["attempts"][0]["log"]);
        let held = client.reveal(*account).await;
        assert!([LDAP_INITIAL, HELD].contains(&held.as_str()), "{what}");
    }
    assert!(hostile.taken.load(Ordering::SeqCst) >= directories().len() + hosts().len());
    let page = client.native("/metrics").await.expect(200).body;
    let told = page
        .lines()
        .filter(|line| line.starts_with("keywheel_connector_process"));
    println!("{}", told.collect::<Vec<_>>().join("\n"));
    let said = daemon.said();
    assert!(!said.contains("panicked"), "{said}");
    let repeated = said.contains("welcome") || said.contains("wwww");
    assert!(!repeated, "no byte of a target is logged");
    assert_eq!(daemon.stop(), 0);
}
