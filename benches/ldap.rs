//! Keywheel's LDAP rotations against two bare loops of the same library's calls, with a fresh
//! connection for each login and with kept ones, and against the directory's own command-line
//! programs: one slapd, the same entries, the same concurrency, in turns.
//!
//! Invariant: both sides end with every entry logged in under its new password, and only our side
//! pays for a store.
#![cfg(test)]

mod support;

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keywheel::model::account::AccountSettings;
use keywheel::model::id::PlatformId;
use keywheel::model::system::SystemSettings;
use keywheel_connectors::Secret;
use ldap3::exop::PasswordModify;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use support::{
    House, Pace, ROUNDS, Rounds, Site, clear, command, fleet_script, folder, free_port,
    fresh_secret, introduce, paced, run, verdict, write_private,
};

const ENTRIES: usize = 2_000;
const CONCURRENCY: usize = 8;
const FRESH_TARGET: f64 = 0.5;
const KEPT_TARGET: f64 = 0.8;
const PROGRAMS_TARGET: f64 = 10.0;
/// The programs are slow: this many entries tell enough.
const PROGRAM_ENTRIES: usize = 100;
const IP: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 41);
const BASE: &str = "dc=keywheel,dc=test";
const FUNCTIONAL_DN: &str = "cn=keywheel,ou=svc,dc=keywheel,dc=test";
const FUNCTIONAL_PASSWORD: &str = "functional-secret";
const FIRST_PASSWORD: &str = "initial-secret";

const ONE_ENTRY: &str = r#"set -eu
cd "$1"; uri=$2 functional=$3 dn=uid=$4,ou=people,$5
ldappasswd -x -H "$uri" -D "$functional" -y functional -T "$4" "$dn"
ldapwhoami -x -H "$uri" -D "$dn" -y "$4" | grep -qiF "$dn"
"#;

/// A server of the test fleet; dropping it stops it.
struct Slapd {
    home: TempDir,
    port: u16,
    tls_port: u16,
}

impl Slapd {
    fn start() -> Self {
        let slapd = Self {
            // Its sockets' and settings' paths must be short.
            home: tempfile::tempdir_in("/tmp").unwrap(),
            port: free_port(IP, 38_410..38_510),
            tls_port: free_port(IP, 63_410..63_510),
        };
        run(&mut slapd.script("start"));
        slapd
    }

    /// The script with its own defaults, fsync among them, whatever the environment says.
    fn script(&self, verb: &str) -> Command {
        let mut script = command("bash");
        script.arg(fleet_script("slapd.sh")).arg(verb);
        for name in ["NOSYNC", "HASH", "CERT", "TAG", "SCHEMA", "MODULES"] {
            script.env_remove(name);
        }
        script.env("FLEET_DIR", self.home.path());
        script.env("IP", IP.to_string());
        script.env("PORT", self.port.to_string());
        script.env("TPORT", self.tls_port.to_string());
        script.env("N", ENTRIES.to_string());
        script
    }

    fn process(&self) -> u32 {
        let recorded = std::fs::read_to_string(self.home.path().join("slapd/pid"));
        recorded.unwrap().trim().parse().unwrap()
    }

    fn authority(&self) -> std::path::PathBuf {
        self.home.path().join("pki/ca.pem")
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        run(&mut self.script("stop"));
    }
}

fn uid(number: usize) -> String {
    format!("u{number}")
}

fn dn(number: usize) -> String {
    format!("uid=u{number},ou=people,{BASE}")
}

async fn house(slapd: &Slapd) -> House {
    let mut settings = SystemSettings::of_host("bench");
    settings.ip_address = Some(IP.to_string());
    settings.port = Some(slapd.tls_port);
    settings.tls_ca = Some(std::fs::read_to_string(slapd.authority()).unwrap());
    settings.base_dn = Some(BASE.to_owned());
    settings.in_flight = Some(i64::try_from(CONCURRENCY).unwrap());
    settings.max_sessions = 1;
    settings.lockout_threshold = Some(5);
    let accounts = (0..ENTRIES)
        .map(|number| {
            let mut account = AccountSettings::named(uid(number));
            account.distinguished_name = Some(dn(number));
            (account, Secret::from(FIRST_PASSWORD))
        })
        .collect();
    House::with(Site {
        platform: PlatformId(32),
        settings,
        functional: (FUNCTIONAL_DN.to_owned(), Secret::from(FUNCTIONAL_PASSWORD)),
        accounts,
    })
    .await
}

/// The bare loops: everything that reaches the directory, and nothing else.
struct Bare {
    tls: TlsConnector,
    name: ServerName<'static>,
    port: u16,
}

impl Bare {
    fn new(slapd: &Slapd) -> Self {
        let pem = std::fs::read(slapd.authority()).unwrap();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(IP.to_string()).unwrap(),
            port: slapd.tls_port,
        }
    }

    /// A fresh connection over TLS; its tasks end with the handle.
    #[expect(
        clippy::disallowed_methods,
        reason = "both tasks end when the handle is dropped"
    )]
    async fn connect(&self) -> Ldap {
        let tcp = tokio::net::TcpStream::connect((IP, self.port))
            .await
            .unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut server = self.tls.connect(self.name.clone(), tcp).await.unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut ours = tokio::net::UnixStream::from_std(ours).unwrap();
        tokio::task::spawn(async move {
            // Either side may hang up first; the loop has its answers by then.
            drop(tokio::io::copy_bidirectional(&mut ours, &mut server).await);
        });
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
        let (driver, ldap) = LdapConnAsync::with_settings(settings, "ldapi:///")
            .await
            .unwrap();
        tokio::task::spawn(async move { drop(driver.drive().await) });
        ldap
    }

    /// Sets a password and logs in with it, on `probe` or on a connection of its own.
    async fn rotate(
        &self,
        functional: &Ldap,
        probe: Option<&mut Ldap>,
        number: usize,
        secret: &Secret,
    ) {
        let dn = dn(number);
        let change = PasswordModify {
            user_id: Some(&dn),
            old_pass: None,
            new_pass: Some(clear(secret)),
        };
        let changed = functional.clone().extended(change).await.unwrap();
        assert_eq!(changed.1.rc, 0, "{dn}");
        if let Some(probe) = probe {
            let bound = probe.simple_bind(&dn, clear(secret)).await.unwrap();
            assert_eq!(bound.rc, 0, "{dn}");
            return;
        }
        let mut probe = self.connect().await;
        let bound = probe.simple_bind(&dn, clear(secret)).await.unwrap();
        assert_eq!(bound.rc, 0, "{dn}");
        probe.unbind().await.unwrap();
    }
}

async fn bare_loop(bare: &Arc<Bare>, process: u32, kept: bool) -> Pace {
    let secrets: Arc<Vec<Secret>> = Arc::new((0..ENTRIES).map(|_| fresh_secret()).collect());
    let work = async {
        let mut functional = bare.connect().await;
        let bind = functional.simple_bind(FUNCTIONAL_DN, FUNCTIONAL_PASSWORD);
        assert_eq!(bind.await.unwrap().rc, 0);
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..CONCURRENCY {
            let (bare, functional) = (Arc::clone(bare), functional.clone());
            let (next, secrets) = (Arc::clone(&next), Arc::clone(&secrets));
            tasks.spawn(async move {
                let mut probe = if kept {
                    Some(bare.connect().await)
                } else {
                    None
                };
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(secret) = secrets.get(number) else {
                        return;
                    };
                    bare.rotate(&functional, probe.as_mut(), number, secret)
                        .await;
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    };
    paced(process, ENTRIES, work).await
}

/// The loop of the directory's own programs; its files are written before its time begins.
async fn program_loop(slapd: &Slapd) -> Pace {
    let files = folder();
    write_private(&files.path().join("functional"), FUNCTIONAL_PASSWORD);
    write_private(&files.path().join("one.sh"), ONE_ENTRY);
    let mut users = String::new();
    for user in (0..PROGRAM_ENTRIES).map(uid) {
        write_private(&files.path().join(&user), clear(&fresh_secret()));
        users.push_str(&user);
        users.push('\n');
    }
    let list = files.path().join("users");
    write_private(&list, &users);
    let mut xargs = command("xargs");
    xargs.args(["-a", &list.to_string_lossy(), "-I", "{}"]);
    xargs.args(["-P", &CONCURRENCY.to_string(), "sh"]);
    xargs.arg(files.path().join("one.sh")).arg(files.path());
    xargs.arg(format!("ldaps://{IP}:{}", slapd.tls_port));
    xargs.args([FUNCTIONAL_DN, "{}", BASE]);
    xargs.env("LDAPTLS_CACERT", slapd.authority());
    let work = async {
        run(&mut xargs);
    };
    paced(slapd.process(), PROGRAM_ENTRIES, work).await
}

/// The sides in turns on one server; the median ratios to the bare loops and to the programs.
async fn compare() -> [f64; 3] {
    let slapd = Slapd::start();
    let house = house(&slapd).await;
    let bare = Arc::new(Bare::new(&slapd));
    let process = slapd.process();
    let mut fresh = Rounds::against("ldap3, fresh");
    let mut kept = Rounds::against("ldap3, kept");
    let mut programs = Rounds::against("ldappasswd loop");
    for round in 0..ROUNDS {
        let before = bare_loop(&bare, process, round % 2 == 0).await;
        let ours = paced(process, ENTRIES, house.quarantine()).await;
        let after = bare_loop(&bare, process, round % 2 != 0).await;
        house
            .assert_promoted(i64::try_from(round).unwrap() + 2)
            .await;
        let (with_kept, with_fresh) = if round % 2 == 0 {
            (before, after)
        } else {
            (after, before)
        };
        fresh.push(ours, with_fresh);
        kept.push(ours, with_kept);
        programs.push(ours, program_loop(&slapd).await);
    }
    house.close().await;
    [fresh.close(), kept.close(), programs.close()]
}

fn main() -> ExitCode {
    introduce(&format!(
        "LDAP: {ENTRIES} entries on one slapd with fsync, {CONCURRENCY} at a time: Keywheel \
         (quarantine ordered to last entry settled, store with fsync) against bare loops of ldap3 \
         calls, logins on fresh connections and on kept ones, and against ldappasswd and \
         ldapwhoami over {PROGRAM_ENTRIES} entries"
    ));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [fresh, kept, programs] = runtime.block_on(compare());
    verdict(&[
        ("against ldap3 with fresh logins", fresh, FRESH_TARGET),
        ("against ldap3 with kept logins", kept, KEPT_TARGET),
        (
            "against ldappasswd and ldapwhoami",
            programs,
            PROGRAMS_TARGET,
        ),
    ])
}
