//! A server that takes long to start, once for all tests of this process.
//!
//! Invariant: it ends with this process, however that ends: the recipe waits for the end of its
//! standard input, which nobody else holds.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use keywheel_connectors::conformance::{self, Capabilities, Held};
use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{
    Account, Connector, Functional, LdapTarget, Login, Session, Target, TargetKind,
};

use super::middle;
use super::slapd::{ldap_mut, secret};

/// A running server.
pub(crate) struct Server {
    pub(crate) ip: Ipv4Addr,
    pub(crate) plain_port: u16,
    pub(crate) tls_port: u16,
    /// Where the recipe keeps everything.
    pub(crate) home: PathBuf,
    base: &'static str,
    _hold: Child,
}

/// The domain controller. Each test has accounts of its own there.
pub(crate) static SAMBA: LazyLock<Server> = LazyLock::new(|| {
    // Its ports are fixed, so that another run needs another address.
    let free = |ip: Ipv4Addr| {
        let ports = [389, 636, 3_268, 3_269];
        ports
            .iter()
            .all(|port| TcpListener::bind((ip, *port)).is_ok())
    };
    let ip = (34..=254)
        .step_by(20)
        .map(|last| Ipv4Addr::new(127, 0, 0, last))
        .find(|ip| free(*ip))
        .expect("no address with free ports 389 and 636; this test needs root");
    Server::start("samba-ad.sh", (ip, 389, 636), "DC=ad,DC=test", 60)
});

/// 389 Directory Server. Each test has accounts of its own there.
pub(crate) static DS389: LazyLock<Server> = LazyLock::new(|| {
    let ip = Ipv4Addr::new(127, 0, 0, 33);
    let (plain, tls) = super::slapd::free_ports(ip, 80);
    Server::start("ds389.sh", (ip, plain, tls), "dc=keywheel,dc=test", 40)
});

impl Server {
    #[expect(
        clippy::disallowed_methods,
        reason = "starts the recipe; no secret in its arguments"
    )]
    fn start(
        recipe: &str,
        (ip, plain_port, tls_port): (Ipv4Addr, u16, u16),
        base: &'static str,
        accounts: usize,
    ) -> Self {
        let home = tempfile::Builder::new()
            .prefix("kwl")
            .tempdir_in("/tmp")
            .unwrap()
            .keep();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fleet");
        let mut hold = Command::new("bash")
            .arg(script.join(recipe))
            .arg("hold")
            .env("FLEET_DIR", &home)
            .env("IP", ip.to_string())
            .env("PORT", plain_port.to_string())
            .env("TPORT", tls_port.to_string())
            .env("N", accounts.to_string())
            .env("NOSYNC", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash is missing; install the package bash");
        let mut line = String::new();
        let mut said = BufReader::new(hold.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut why = String::new();
            hold.stderr
                .take()
                .unwrap()
                .read_to_string(&mut why)
                .unwrap();
            panic!("{recipe}: {why}");
        }
        Self {
            ip,
            plain_port,
            tls_port,
            home,
            base,
            _hold: hold,
        }
    }

    /// One attribute of an entry, as the directory's own client prints it.
    #[expect(clippy::disallowed_methods, reason = "the secret goes through a file")]
    pub(crate) fn attributes(&self, bind: &str, password: &str, dn: &str, name: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), password).unwrap();
        let output = Command::new("ldapsearch")
            .env("LDAPTLS_CACERT", self.home.join("pki/ca.pem"))
            .args(["-x", "-LLL", "-s", "base", "-D", bind, "-b", dn, "-H"])
            .arg(format!("ldaps://{}:{}", self.ip, self.tls_port))
            .arg("-y")
            .arg(file.path())
            .arg(name)
            .output()
            .expect("ldapsearch is missing; install the package ldap-utils");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The server by TLS from the first byte.
    pub(crate) fn ldaps(&self) -> Target {
        self.target(self.tls_port, false)
    }

    /// The server by StartTLS.
    pub(crate) fn starttls(&self) -> Target {
        self.target(self.plain_port, true)
    }

    fn target(&self, port: u16, starttls: bool) -> Target {
        Target {
            host: self.ip.to_string(),
            port,
            timeout: Duration::from_secs(20),
            in_flight: 8,
            kind: TargetKind::Ldap(LdapTarget {
                starttls,
                ca_pem: std::fs::read_to_string(self.home.join("pki/ca.pem")).unwrap(),
                server_name: None,
                base_dn: self.base.to_owned(),
                flavour: None,
                key_attribute: None,
            }),
        }
    }
}

/// Runs the whole suite of promises against one directory, with eight accounts of its own.
pub(crate) async fn conforms(
    target: Target,
    functional: Functional,
    mut accounts: Vec<Held>,
    unknown_account: Account,
    old_lingers: bool,
) {
    let ip = target.host.parse().unwrap();
    let (_mute, mute_port) = middle::plain_server(ip, b"").await;
    let mute = Target {
        port: mute_port,
        timeout: Duration::from_millis(500),
        ..target.clone()
    };
    let mut wrong_identity = target.clone();
    ldap_mut(&mut wrong_identity).server_name = Some("elsewhere.test".to_owned());
    let can = Capabilities {
        keys: Vec::new(),
        evidence: false,
        old_lingers,
        unknown_account,
        // Port 1 of an address of our own: nobody listens there.
        unreachable: Target {
            port: 1,
            ..target.clone()
        },
        mute: Some(mute),
        wrong_identity: Some(wrong_identity),
    };
    let kept = conformance::run(&Ldap::new(), &target, &functional, &mut accounts, &can)
        .await
        .unwrap_or_else(|broken| panic!("{broken:#?}"));
    assert!(kept.len() >= 10, "{kept:?}");
}

/// A session that is open.
pub(crate) async fn open(target: &Target, functional: &Functional) -> Arc<dyn Session> {
    let opened = Ldap::new().open(target, Some(functional)).await;
    opened.unwrap_or_else(|reason| panic!("{reason}"))
}

/// An account by its login name and, if there is one, its DN.
pub(crate) fn account(login: &str, dn: Option<String>) -> Account {
    Account::named(Login::parse(login).unwrap(), dn)
}

/// The same account, changing itself.
pub(crate) fn on_its_own(account: Account) -> Account {
    Account {
        uses_own: true,
        ..account
    }
}

/// A functional account with its password at the start.
pub(crate) fn functional(account: Account, password: &str) -> Functional {
    Functional {
        account,
        credential: secret(password),
    }
}
