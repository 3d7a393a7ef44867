//! Real directories of `tests/fleet/`, one server a test.
//!
//! Invariant: a test ends the servers that it started, and no other.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::fleet::{address, free_port, home, script, workgroup};
use super::program::{command, find, run};

/// The functional password of OpenLDAP and 389 Directory Server.
pub(crate) const LDAP_FUNCTIONAL: &str = "functional-secret";
/// Every account's password there at the start.
pub(crate) const LDAP_INITIAL: &str = "initial-secret";

/// What a recipe's directory holds.
struct Product {
    recipe: &'static str,
    base: &'static str,
    functional: &'static str,
    functional_secret: &'static str,
    initial: &'static str,
    /// The first part of an account's DN.
    rdn: &'static str,
}

const OPENLDAP: Product = Product {
    recipe: "slapd.sh",
    base: "dc=keywheel,dc=test",
    functional: "cn=keywheel,ou=svc,dc=keywheel,dc=test",
    functional_secret: LDAP_FUNCTIONAL,
    initial: LDAP_INITIAL,
    rdn: "uid",
};
const DS389: Product = Product {
    recipe: "ds389.sh",
    ..OPENLDAP
};
const SAMBA: Product = Product {
    recipe: "samba-ad.sh",
    base: "DC=ad,DC=test",
    functional: "CN=keywheel,OU=svc,DC=ad,DC=test",
    functional_secret: "Functional-secret-1",
    initial: "Initial-secret-1",
    rdn: "CN",
};

/// A real directory.
pub(crate) struct Directory {
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
    plain: u16,
    folder: TempDir,
    product: Product,
}

impl Directory {
    /// An OpenLDAP.
    pub(crate) fn openldap() -> Self {
        find("slapd", "slapd");
        let ip = address();
        Self::start(OPENLDAP, ip, free_port(ip), free_port(ip))
    }

    /// A 389 Directory Server.
    pub(crate) fn ds389() -> Self {
        let ip = address();
        Self::start(DS389, ip, free_port(ip), free_port(ip))
    }

    /// A domain controller. Its ports are fixed, so that every one needs an address of its own.
    pub(crate) fn samba() -> Self {
        let free = |ip: &Ipv4Addr| {
            let ports = [389, 636, 3_268, 3_269];
            ports.map(|port| TcpListener::bind((*ip, port)).is_ok()) == [true; 4]
        };
        let ip = (44..=254)
            .step_by(20)
            .map(|last| Ipv4Addr::new(127, 0, 0, last))
            .find(free)
            .expect("no address with free ports 389 and 636; this test needs root");
        Self::start(SAMBA, ip, 636, 389)
    }

    fn start(product: Product, ip: Ipv4Addr, port: u16, plain: u16) -> Self {
        find("ldapsearch", "ldap-utils");
        let directory = Self {
            ip,
            port,
            plain,
            folder: home(),
            product,
        };
        // Its output goes to a file: the server keeps a pipe open for as long as it runs.
        let out = std::fs::File::create(directory.folder.path().join("start")).unwrap();
        let mut start = directory.script();
        let status = start.arg("start").stdout(out).status().unwrap();
        assert!(status.success(), "{}: {status}", directory.product.recipe);
        directory
    }

    /// The recipe that has started it.
    pub(crate) fn script(&self) -> Command {
        let mut script = script(self.product.recipe, &self.folder);
        script
            .env("IP", self.ip.to_string())
            .env("PORT", self.plain.to_string())
            .env("TPORT", self.port.to_string())
            .env("N", "8")
            .env("NOSYNC", "1");
        script
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("pki/ca.pem")
    }

    /// Every account's password at the start.
    pub(crate) fn initial(&self) -> &'static str {
        self.product.initial
    }

    /// Issues a certificate for another server at this address: certificate and key, PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        run(script("ca.sh", &self.folder).args(["issue", name, &self.ip.to_string()]));
        let read = |kind| {
            let file = self.folder.path().join(format!("pki/{name}.{kind}"));
            std::fs::read_to_string(file).unwrap()
        };
        (read("crt"), read("key"))
    }

    /// Brings the directory in, reached at this port of 127.0.0.1 if one is given: its system.
    pub(crate) async fn onboard(&self, client: &Client, proxy: Option<u16>) -> i64 {
        let functional = json!({
            "PlatformID": 32,
            "AccountName": self.product.functional,
            "DisplayName": "directory",
            "Password": self.product.functional_secret,
        });
        let functional = client
            .post("FunctionalAccounts", &functional)
            .await
            .expect(201);
        let (ip, port) = match proxy {
            Some(port) => (Ipv4Addr::LOCALHOST, port),
            None => (self.ip, self.port),
        };
        let group = workgroup(client, &format!("directory {ip} {port}")).await;
        let system = json!({
            "PlatformID": 32,
            "EntityTypeID": 3,
            "HostName": format!("directory-{ip}-{port}"),
            "IPAddress": ip,
            "Port": port,
            "UseSSL": true,
            "FunctionalAccountID": functional.id("FunctionalAccountID"),
        });
        let path = format!("Workgroups/{group}/ManagedSystems");
        let system = client
            .post(&path, &system)
            .await
            .expect(201)
            .id("ManagedSystemID");
        let authority = std::fs::read_to_string(self.authority()).unwrap();
        let trust = json!({
            "tls_ca": authority,
            "tls_server_name": self.ip,
            "base_dn": self.product.base,
        });
        client
            .edit(&format!("/api/v1/systems/{system}"), &trust)
            .await;
        system
    }

    /// Brings one of the directory's accounts in, `u0` and so on: its id.
    pub(crate) async fn onboard_account(&self, client: &Client, system: i64, name: &str) -> i64 {
        let dn = json!({"DistinguishedName": self.dn(name)});
        self.onboard_named(client, system, name, dn).await
    }

    /// The same, with the names that are given instead of a DN.
    pub(crate) async fn onboard_named(
        &self,
        client: &Client,
        system: i64,
        name: &str,
        names: Value,
    ) -> i64 {
        let mut account = json!({"AccountName": name, "Password": self.initial()});
        let fields = account.as_object_mut().unwrap();
        fields.extend(names.as_object().unwrap().clone());
        let path = format!("ManagedSystems/{system}/ManagedAccounts");
        client
            .post(&path, &account)
            .await
            .expect(201)
            .id("ManagedAccountID")
    }

    /// Brings the directory's functional account in as one of its accounts: its id.
    pub(crate) async fn onboard_functional(&self, client: &Client, system: i64) -> i64 {
        let account = json!({
            "AccountName": "keywheel",
            "DistinguishedName": self.product.functional,
            "Password": self.product.functional_secret,
        });
        let path = format!("ManagedSystems/{system}/ManagedAccounts");
        client
            .post(&path, &account)
            .await
            .expect(201)
            .id("ManagedAccountID")
    }

    /// Whether the directory takes this password of its functional account.
    pub(crate) fn accepts_functional(&self, password: &str) -> bool {
        self.binds("keywheel", self.product.functional, password)
    }

    /// Whether the directory takes this password.
    pub(crate) fn accepts(&self, name: &str, password: &str) -> bool {
        self.binds(name, &self.dn(name), password)
    }

    /// An account changes its own password, past Keywheel.
    pub(crate) fn change_own(&self, name: &str, old: &str, new: &str) {
        let write = |what: &str, text: &str| {
            let path = self.folder.path().join(format!("{name}.{what}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        let (old, new) = (write("old", old), write("new", new));
        run(command(find("ldappasswd", "ldap-utils"))
            .env("LDAPTLS_CACERT", self.authority())
            .args(["-x", "-D", &self.dn(name), "-H"])
            .arg(format!("ldaps://{}:{}", self.ip, self.port))
            .arg("-y")
            .arg(&old)
            .arg("-t")
            .arg(&old)
            .arg("-T")
            .arg(&new));
    }

    /// An attribute of an account's entry, as the account itself sees it.
    pub(crate) fn shown(&self, name: &str, password: &str, attribute: &str) -> String {
        let dn = self.dn(name);
        let found = self.searched(name, &dn, password, (&dn, attribute));
        assert!(found.status.success(), "{found:?}");
        String::from_utf8(found.stdout).unwrap()
    }

    /// Failing logins that the directory counts on an account.
    pub(crate) fn failures(&self, name: &str) -> usize {
        let Product {
            functional,
            functional_secret,
            ..
        } = self.product;
        let (dn, attribute) = (self.dn(name), "pwdFailureTime");
        let found = self.searched("keywheel", functional, functional_secret, (&dn, attribute));
        assert!(found.status.success(), "{found:?}");
        let shown = String::from_utf8(found.stdout).unwrap();
        assert!(shown.starts_with("dn:"), "{shown}");
        shown.matches(attribute).count()
    }

    fn binds(&self, name: &str, dn: &str, password: &str) -> bool {
        // Whoever is logged in may read what the directory says of itself.
        let login = self.searched(name, dn, password, ("", "1.1"));
        match login.status.code() {
            Some(0) => true,
            Some(49) => false,
            _ => panic!("ldapsearch: {}", String::from_utf8_lossy(&login.stderr)),
        }
    }

    fn searched(
        &self,
        name: &str,
        bind: &str,
        password: &str,
        (base, attribute): (&str, &str),
    ) -> Output {
        let secret = self.folder.path().join(format!("{name}.password"));
        std::fs::write(&secret, password).unwrap();
        command(find("ldapsearch", "ldap-utils"))
            .env("LDAPTLS_CACERT", self.authority())
            .args(["-x", "-LLL", "-o", "ldif-wrap=no", "-D", bind, "-H"])
            .arg(format!("ldaps://{}:{}", self.ip, self.port))
            .arg("-y")
            .arg(&secret)
            .args(["-s", "base", "-b", base, attribute])
            .output()
            .unwrap()
    }

    /// Where an account's entry is.
    pub(crate) fn dn(&self, name: &str) -> String {
        let Product { rdn, base, .. } = self.product;
        format!("{rdn}={name},ou=people,{base}")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        run(self.script().arg("stop"));
    }
}
