//! Real hosts of `tests/fleet/`, one server a test.
//!
//! Invariant: a test ends the servers that it started, and no other.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::program::{command, find, is_root, root, run};

static STARTED: AtomicU8 = AtomicU8::new(0);

/// A loopback address that no other server of this suite has.
pub(super) fn address() -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 60 + STARTED.fetch_add(1, Ordering::SeqCst))
}

pub(super) fn free_port(ip: Ipv4Addr) -> u16 {
    let socket = TcpListener::bind((ip, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

pub(super) fn home() -> TempDir {
    tempfile::Builder::new()
        .prefix("kwf")
        .tempdir_in("/tmp")
        .unwrap()
}

pub(super) fn script(name: &str, folder: &TempDir) -> Command {
    let mut script = command("bash");
    script
        .arg(root().join("tests/fleet").join(name))
        .env("FLEET_DIR", folder.path());
    script
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
        run(self.script().args(["run", "sh", "-c", line]))
    }

    /// The recipe that has started it.
    pub(crate) fn script(&self) -> Command {
        script("sshd.sh", &self.folder)
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
        run(self.script().arg("stop"));
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

pub(super) async fn workgroup(client: &Client, name: &str) -> i64 {
    client
        .post("Workgroups", &json!({"Name": name}))
        .await
        .expect(201)
        .id("ID")
}
