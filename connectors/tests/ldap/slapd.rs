//! A real slapd for one test, and everything that belongs to it.
//!
//! Invariant: a test ends the server that it started, and no other.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use keywheel_connectors::conformance::Held;
use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{
    Account, Connector, Credential, Functional, LdapTarget, Login, Session, Target, TargetKind,
};
use tempfile::TempDir;

pub(crate) const BASE: &str = "dc=keywheel,dc=test";
pub(crate) const FUNCTIONAL_SECRET: &str = "functional-secret";
pub(crate) const INITIAL_SECRET: &str = "initial-secret";

/// A server of one test. Dropping it ends the process and removes its files.
pub(crate) struct Slapd {
    pub(crate) ip: Ipv4Addr,
    pub(crate) plain_port: u16,
    pub(crate) tls_port: u16,
    settings: Vec<(&'static str, String)>,
    home: TempDir,
}

impl Slapd {
    /// Starts a server; `number` is the test's own and decides address and ports.
    pub(crate) fn start(number: u16, knobs: &[(&'static str, &str)]) -> Self {
        let ip = Ipv4Addr::new(127, 0, 0, 31 + u8::try_from(number % 8).unwrap());
        let (plain_port, tls_port) = free_ports(ip, number);
        let home = tempfile::Builder::new()
            .prefix("kwl")
            .tempdir_in("/tmp")
            .unwrap();
        let mut settings = vec![
            ("IP", ip.to_string()),
            ("PORT", plain_port.to_string()),
            ("TPORT", tls_port.to_string()),
            ("N", "12".to_owned()),
            ("NOSYNC", "1".to_owned()),
        ];
        settings.extend(
            knobs
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let server = Self {
            ip,
            plain_port,
            tls_port,
            settings,
            home,
        };
        server.verb("start");
        server
    }

    /// Runs a verb of the recipe.
    pub(crate) fn verb(&self, verb: &str) {
        succeeded(&self.recipe("slapd.sh", &[verb]));
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "starts the recipe; no secret in its arguments"
    )]
    fn recipe(&self, script: &str, arguments: &[&str]) -> Output {
        let recipe = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fleet")
            .join(script);
        Command::new("bash")
            .arg(recipe)
            .args(arguments)
            .env("FLEET_DIR", self.home.path())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("bash is missing; install the package bash")
    }

    /// Issues a certificate for another server of the test: certificate and key, PEM.
    pub(crate) fn issue(&self, name: &str, ip: Ipv4Addr) -> (String, String) {
        succeeded(&self.recipe("ca.sh", &["issue", name, &ip.to_string()]));
        (
            self.pki(&format!("{name}.crt")),
            self.pki(&format!("{name}.key")),
        )
    }

    fn pki(&self, file: &str) -> String {
        std::fs::read_to_string(self.home.path().join("pki").join(file)).unwrap()
    }

    /// The server by TLS from the first byte.
    pub(crate) fn ldaps(&self) -> Target {
        self.target(self.tls_port, false)
    }

    /// The server by StartTLS.
    pub(crate) fn starttls(&self) -> Target {
        self.target(self.plain_port, true)
    }

    /// What stands before it at another port, by TLS.
    pub(crate) fn at(&self, port: u16) -> Target {
        self.target(port, false)
    }

    fn target(&self, port: u16, starttls: bool) -> Target {
        Target {
            host: self.ip.to_string(),
            port,
            timeout: Duration::from_secs(20),
            in_flight: 8,
            kind: TargetKind::Ldap(LdapTarget {
                starttls,
                ca_pem: self.pki("ca.pem"),
                server_name: None,
                base_dn: BASE.to_owned(),
                flavour: None,
                key_attribute: None,
            }),
        }
    }

    /// Operational attributes of an account, as the directory's own client prints them.
    #[expect(clippy::disallowed_methods, reason = "the secret goes through a file")]
    pub(crate) fn attributes(&self, uid: &str, names: &[&str]) -> String {
        let secret = self.home.path().join("functional.secret");
        std::fs::write(&secret, FUNCTIONAL_SECRET).unwrap();
        let output = Command::new("ldapsearch")
            .env("LDAPTLS_CACERT", self.home.path().join("pki/ca.pem"))
            .args([
                "-x",
                "-LLL",
                "-s",
                "base",
                "-D",
                &functional_dn(),
                "-b",
                &dn(uid),
            ])
            .args([
                "-H",
                &format!("ldaps://{}:{}", self.ip, self.tls_port),
                "-y",
            ])
            .arg(&secret)
            .args(names)
            .output()
            .expect("ldapsearch is missing; install the package ldap-utils");
        succeeded(&output);
        String::from_utf8(output.stdout).unwrap()
    }

    /// How many refused logins the directory has counted for an account.
    pub(crate) fn failures(&self, uid: &str) -> usize {
        let text = self.attributes(uid, &["pwdFailureTime"]);
        text.lines()
            .filter(|line| line.starts_with("pwdFailureTime:"))
            .count()
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        drop(self.recipe("slapd.sh", &["stop"]));
    }
}

/// The test's own pair of ports, or the next one that nobody holds: another run may be going on.
pub(crate) fn free_ports(ip: Ipv4Addr, number: u16) -> (u16, u16) {
    let free = |port: u16| std::net::TcpListener::bind((ip, port)).is_ok();
    (0..10)
        .map(|round| (38_900 + number + 100 * round, 63_600 + number + 100 * round))
        .find(|(plain, tls)| free(*plain) && free(*tls))
        .expect("no free pair of ports")
}

fn succeeded(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

pub(crate) fn functional_dn() -> String {
    format!("cn=keywheel,ou=svc,{BASE}")
}

pub(crate) fn dn(uid: &str) -> String {
    format!("uid={uid},ou=people,{BASE}")
}

pub(crate) fn secret(text: &str) -> Credential {
    Credential::from(text.to_owned())
}

pub(crate) fn functional() -> Functional {
    Functional {
        account: Account {
            login: Login::parse("keywheel").unwrap(),
            dn: Some(functional_dn()),
            uses_own: false,
        },
        credential: secret(FUNCTIONAL_SECRET),
    }
}

/// A session of the functional account.
pub(crate) async fn open(target: &Target) -> Arc<dyn Session> {
    let opened = Ldap::new().open(target, Some(&functional())).await;
    opened.unwrap()
}

/// An account that is known by its login name alone.
pub(crate) fn by_login(login: &str) -> Account {
    Account {
        login: Login::parse(login).unwrap(),
        dn: None,
        uses_own: false,
    }
}

/// An account whose DN is on record.
pub(crate) fn by_dn(uid: &str) -> Account {
    Account {
        dn: Some(dn(uid)),
        uses_own: false,
        ..by_login(uid)
    }
}

pub(crate) fn held(uids: std::ops::Range<usize>) -> Vec<Held> {
    uids.map(|number| Held {
        account: by_dn(&format!("u{number}")),
        credential: secret(INITIAL_SECRET),
    })
    .collect()
}

/// The LDAP part of a target, to be changed.
pub(crate) fn ldap_mut(target: &mut Target) -> &mut LdapTarget {
    match &mut target.kind {
        TargetKind::Ldap(ldap) => ldap,
        _ => unreachable!("a directory"),
    }
}
