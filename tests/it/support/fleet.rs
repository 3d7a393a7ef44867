//! Real targets of `tests/fleet/`, one server a test.
//!
//! Invariant: a test ends the servers that it started, and no other.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::program::{command, find, is_root, root, run};

/// What the directory holds lies below this.
const BASE: &str = "dc=keywheel,dc=test";
/// The directory's functional account.
const FUNCTIONAL_DN: &str = "cn=keywheel,ou=svc,dc=keywheel,dc=test";
/// Its password.
pub(crate) const LDAP_FUNCTIONAL: &str = "functional-secret";
/// Every directory account's password at the start.
pub(crate) const LDAP_INITIAL: &str = "initial-secret";

static STARTED: AtomicU8 = AtomicU8::new(0);

/// A loopback address that no other server of this suite has.
fn address() -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 60 + STARTED.fetch_add(1, Ordering::SeqCst))
}

fn free_port(ip: Ipv4Addr) -> u16 {
    let socket = TcpListener::bind((ip, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

fn home() -> TempDir {
    tempfile::Builder::new()
        .prefix("kwf")
        .tempdir_in("/tmp")
        .unwrap()
}

fn script(name: &str, folder: &TempDir) -> Command {
    let mut script = command("bash");
    script
        .arg(root().join("tests/fleet").join(name))
        .env("FLEET_DIR", folder.path());
    script
}

/// A real OpenLDAP.
pub(crate) struct Slapd {
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
    plain: u16,
    folder: TempDir,
}

impl Slapd {
    pub(crate) fn start() -> Self {
        find("slapd", "slapd");
        find("ldapwhoami", "ldap-utils");
        let ip = address();
        let slapd = Self {
            ip,
            port: free_port(ip),
            plain: free_port(ip),
            folder: home(),
        };
        run(slapd.script().arg("start"));
        slapd
    }

    fn script(&self) -> Command {
        let mut script = script("slapd.sh", &self.folder);
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
            "AccountName": FUNCTIONAL_DN,
            "DisplayName": "directory",
            "Password": LDAP_FUNCTIONAL,
        });
        let functional = client
            .post("FunctionalAccounts", &functional)
            .await
            .expect(201);
        let (ip, port) = match proxy {
            Some(port) => (Ipv4Addr::LOCALHOST, port),
            None => (self.ip, self.port),
        };
        let group = workgroup(client, &format!("directory {port}")).await;
        let system = json!({
            "PlatformID": 32,
            "EntityTypeID": 3,
            "HostName": format!("directory-{port}"),
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
            "base_dn": BASE,
        });
        client
            .edit(&format!("/api/v1/systems/{system}"), &trust)
            .await;
        system
    }

    /// Brings one of the directory's accounts in, `u0` and so on: its id.
    pub(crate) async fn onboard_account(&self, client: &Client, system: i64, name: &str) -> i64 {
        let account = json!({
            "AccountName": name,
            "DistinguishedName": dn(name),
            "Password": LDAP_INITIAL,
        });
        let path = format!("ManagedSystems/{system}/ManagedAccounts");
        client
            .post(&path, &account)
            .await
            .expect(201)
            .id("ManagedAccountID")
    }

    /// Whether the directory takes this password.
    pub(crate) fn accepts(&self, name: &str, password: &str) -> bool {
        let secret = self.folder.path().join(format!("{name}.password"));
        std::fs::write(&secret, password).unwrap();
        let login = command(find("ldapwhoami", "ldap-utils"))
            .env("LDAPTLS_CACERT", self.authority())
            .args(["-x", "-D", &dn(name), "-H"])
            .arg(format!("ldaps://{}:{}", self.ip, self.port))
            .arg("-y")
            .arg(&secret)
            .output()
            .unwrap();
        match login.status.code() {
            Some(0) => true,
            Some(49) => false,
            _ => panic!("ldapwhoami: {}", String::from_utf8_lossy(&login.stderr)),
        }
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        run(self.script().arg("stop"));
    }
}

fn dn(name: &str) -> String {
    format!("uid={name},ou=people,{BASE}")
}

/// A real OpenSSH server with accounts of its own.
pub(crate) struct Sshd {
    ip: Ipv4Addr,
    port: u16,
    functional: String,
    folder: TempDir,
}

impl Sshd {
    /// Starts it with this password of its functional account.
    pub(crate) fn start(functional: &str) -> Self {
        Self::start_with(functional, &[])
    }

    /// The same, with settings of `sshd.sh`.
    pub(crate) fn start_with(functional: &str, settings: &[(&str, &str)]) -> Self {
        assert!(
            is_root(),
            "this test needs root: sshd runs with accounts of its own"
        );
        find("sshpass", "sshpass");
        let (ip, folder) = (address(), home());
        let secret = folder.path().join("functional");
        std::fs::write(&secret, format!("{functional}\n")).unwrap();
        let sshd = Self {
            ip,
            port: free_port(ip),
            functional: functional.to_owned(),
            folder,
        };
        let mut start = script("sshd.sh", &sshd.folder);
        start
            .args(["start", &sshd.ip.to_string(), &sshd.port.to_string()])
            .env("FUNC_PASSWORD_FILE", &secret)
            .env("USERS", "3")
            .envs(settings.iter().copied());
        // Its output goes to a file: the server keeps a pipe open for as long as it runs.
        let out = std::fs::File::create(sshd.folder.path().join("start")).unwrap();
        let status = start.stdout(out).status().unwrap();
        assert!(status.success(), "sshd.sh: {status}");
        sshd
    }

    /// Brings the host in; its first host key is pinned: its system.
    pub(crate) async fn onboard(&self, client: &Client) -> i64 {
        onboard_host(client, self.ip, self.port, &self.functional).await
    }

    /// The same for a host whose functional account logs in with this key, and has no password.
    pub(crate) async fn onboard_by_key(&self, client: &Client, key: &Value) -> i64 {
        onboard_host_by(client, self.ip, self.port, key).await
    }

    /// Brings one of the host's accounts in, `kw_u0` and so on: its id.
    pub(crate) async fn onboard_account(&self, client: &Client, system: i64, name: &str) -> i64 {
        let account = json!({"AccountName": name, "Password": Self::initial(name)});
        let path = format!("ManagedSystems/{system}/ManagedAccounts");
        client
            .post(&path, &account)
            .await
            .expect(201)
            .id("ManagedAccountID")
    }

    /// An account's password at the start.
    pub(crate) fn initial(name: &str) -> String {
        format!("Start-{name}-vLm9")
    }

    /// Where it answers: address and port.
    pub(crate) fn place(&self) -> (String, u16) {
        (self.ip.to_string(), self.port)
    }

    /// Brings it in as a device of this platform, with a functional account that is there: its
    /// system.
    pub(crate) async fn onboard_device(
        &self,
        client: &Client,
        platform: i64,
        functional: i64,
    ) -> i64 {
        let group = workgroup(client, &format!("device {}", self.port)).await;
        let asset = json!({"AssetName": format!("device-{}", self.port), "IPAddress": self.ip});
        let asset = client
            .post(&format!("Workgroups/{group}/Assets"), &asset)
            .await
            .expect(201)
            .id("AssetID");
        let system = json!({
            "PlatformID": platform,
            "Port": self.port,
            "SshKeyEnforcementMode": 1,
            "FunctionalAccountID": functional,
        });
        client
            .post(&format!("Assets/{asset}/ManagedSystems"), &system)
            .await
            .expect(201)
            .id("ManagedSystemID")
    }

    /// Runs a line of shell on the host as root: what it says.
    pub(crate) fn run(&self, line: &str) -> String {
        run(script("sshd.sh", &self.folder).args(["run", "sh", "-c", line]))
    }

    /// Whether the host lets this private key in, by OpenSSH's own client.
    pub(crate) fn accepts_key(&self, name: &str, private: &str) -> bool {
        let file = self.folder.path().join(format!("{name}.key"));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut opened = options.open(&file).unwrap();
        opened.write_all(private.as_bytes()).unwrap();
        let login = command(find("ssh", "openssh-client"))
            .arg("-i")
            .arg(&file)
            .args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"])
            .args(["-o", "PreferredAuthentications=publickey"])
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(["-p", &self.port.to_string()])
            .arg(format!("{name}@{}", self.ip))
            .arg("true")
            .output()
            .unwrap();
        match login.status.code() {
            Some(0) => true,
            Some(255) => false,
            _ => panic!("ssh: {}", String::from_utf8_lossy(&login.stderr)),
        }
    }

    /// Whether the host takes this password.
    pub(crate) fn accepts(&self, name: &str, password: &str) -> bool {
        let secret = self.folder.path().join(format!("{name}.password"));
        std::fs::write(&secret, format!("{password}\n")).unwrap();
        let login = command(find("sshpass", "sshpass"))
            .arg("-f")
            .arg(&secret)
            .args(["ssh", "-p", &self.port.to_string()])
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "NumberOfPasswordPrompts=1"])
            .args(["-o", "PreferredAuthentications=password"])
            .arg(format!("{name}@{}", self.ip))
            .arg("true")
            .output()
            .unwrap();
        match login.status.code() {
            Some(0) => true,
            Some(5 | 255) => false,
            _ => panic!("ssh: {}", String::from_utf8_lossy(&login.stderr)),
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        run(script("sshd.sh", &self.folder).arg("stop"));
    }
}

/// Brings in a host at this address, whose first host key is pinned: its system.
pub(crate) async fn onboard_host(
    client: &Client,
    ip: Ipv4Addr,
    port: u16,
    functional: &str,
) -> i64 {
    onboard_host_by(client, ip, port, &json!({"Password": functional})).await
}

/// The same by these secrets of its functional account.
async fn onboard_host_by(client: &Client, ip: Ipv4Addr, port: u16, secrets: &Value) -> i64 {
    let mut functional = secrets.clone();
    functional["PlatformID"] = json!(2);
    functional["AccountName"] = json!("kw_func");
    functional["DisplayName"] = json!("host");
    let functional = client
        .post("FunctionalAccounts", &functional)
        .await
        .expect(201);
    let group = workgroup(client, &format!("host {port}")).await;
    let asset = json!({"AssetName": format!("host-{port}"), "IPAddress": ip});
    let asset = client
        .post(&format!("Workgroups/{group}/Assets"), &asset)
        .await
        .expect(201)
        .id("AssetID");
    let system = json!({
        "PlatformID": 2,
        "Port": port,
        "SshKeyEnforcementMode": 1,
        "ElevationCommand": "sudo",
        "FunctionalAccountID": functional.id("FunctionalAccountID"),
    });
    let path = format!("Assets/{asset}/ManagedSystems");
    client
        .post(&path, &system)
        .await
        .expect(201)
        .id("ManagedSystemID")
}

async fn workgroup(client: &Client, name: &str) -> i64 {
    client
        .post("Workgroups", &json!({"Name": name}))
        .await
        .expect(201)
        .id("ID")
}
