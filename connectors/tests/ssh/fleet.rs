//! A real server of `tests/fleet/sshd.sh` for one test.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use keywheel_connectors::conformance::Held;
use keywheel_connectors::ssh::Ssh;
use keywheel_connectors::{
    Account, Connector, Credential, Elevation, Functional, HostKey, KeyPair, Login, Secret,
    Session, SshTarget, Target, TargetKind,
};

pub(crate) static STARTED: AtomicU16 = AtomicU16::new(0);

/// Every port of this suite, each handed out once: 22011 and up, on 127.0.0.11 to 127.0.0.19.
pub(crate) fn place() -> (Ipv4Addr, u16) {
    let number = STARTED.fetch_add(1, Ordering::SeqCst);
    let last = u8::try_from(number % 9).unwrap();
    (Ipv4Addr::new(127, 0, 0, 11 + last), 22011 + number)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests' one caller; no secret in arguments"
)]
pub(crate) fn command(program: &str) -> Command {
    Command::new(program)
}

fn script_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fleet/sshd.sh")
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// A running server; dropping it stops it.
pub(crate) struct Fleet {
    dir: tempfile::TempDir,
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
}

impl Fleet {
    /// Starts a server with these settings of `sshd.sh`.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let (address, port) = place();
        Self::start_on(address, port, settings)
    }

    /// The same at another address.
    pub(crate) fn start_at(address: Ipv4Addr, settings: &[(&str, &str)]) -> Self {
        let (_, port) = place();
        Self::start_on(address, port, settings)
    }

    fn start_on(address: Ipv4Addr, port: u16, settings: &[(&str, &str)]) -> Self {
        let id = text(&command("id").arg("-u").output().unwrap());
        assert_eq!(
            id.trim(),
            "0",
            "this test needs root: it starts sshd with accounts of its own"
        );
        let fleet = Self {
            dir: tempfile::tempdir().unwrap(),
            address,
            port,
        };
        fleet.restart(settings);
        fleet
    }

    /// Starts the server again, with the keys that it had.
    pub(crate) fn restart(&self, settings: &[(&str, &str)]) {
        self.stop();
        let mut start = self.script();
        start.args(["start", &self.address.to_string(), &self.port.to_string()]);
        let output = start.envs(settings.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }

    fn script(&self) -> Command {
        let mut script = command("bash");
        script.arg(script_path()).env("FLEET_DIR", self.dir.path());
        script
    }

    pub(crate) fn stop(&self) {
        let output = self.script().arg("stop").output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }

    /// Makes the server forget its keys, for the next start.
    pub(crate) fn forget_keys(&self) {
        std::fs::remove_dir_all(self.dir.path().join("keys")).unwrap();
    }

    /// Runs a shell line as root on the target, and returns what it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = self
            .script()
            .args(["run", "sh", "-c", line])
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output));
        text(&output)
    }

    /// Starts a shell line as root on the target; it ends with its standard input.
    pub(crate) fn begin(&self, line: &str) -> Child {
        let mut begin = self.script();
        begin.args(["run", "sh", "-c", line]);
        begin
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The account's shadow field.
    pub(crate) fn field(&self, login: &str) -> String {
        self.run(&format!("getent shadow {login} | cut -d: -f2"))
            .trim()
            .to_owned()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The pin of the host key of this kind: `ed25519`, `ecdsa`, `rsa`.
    pub(crate) fn host_key(&self, kind: &str) -> HostKey {
        let path = self
            .dir
            .path()
            .join(format!("keys/ssh_host_{kind}_key.pub"));
        let listed = command("ssh-keygen")
            .arg("-lf")
            .arg(&path)
            .output()
            .unwrap();
        let listed = text(&listed);
        let (_, rest) = listed.split_once("SHA256:").unwrap();
        let public = std::fs::read_to_string(path).unwrap();
        HostKey {
            algorithm: public.split(' ').next().unwrap().to_owned(),
            sha256: base64(rest.split(' ').next().unwrap()).try_into().unwrap(),
        }
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            host: self.address.to_string(),
            port: self.port,
            timeout: Duration::from_secs(20),
            in_flight: 8,
            kind: TargetKind::Ssh(SshTarget {
                host_key: Some(self.host_key("ed25519")),
                elevation: Elevation::Sudo,
            }),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop();
    }
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for sign in text.bytes() {
        let value = ALPHABET.iter().position(|one| *one == sign).unwrap();
        held = held << 6 | u32::try_from(value).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
}

pub(crate) fn account(login: &str) -> Account {
    Account {
        login: Login::parse(login).unwrap(),
        dn: None,
        uses_own: false,
    }
}

pub(crate) fn functional() -> Functional {
    Functional {
        account: account("kw_func"),
        credential: Credential::from("Func-kw_func-vLm9"),
    }
}

/// The password that every account starts with.
pub(crate) fn first(login: &str) -> Credential {
    Credential::from(format!("Start-{login}-vLm9"))
}

/// `kw_u0` and so on, with their first passwords.
pub(crate) fn held(count: usize) -> Vec<Held> {
    (0..count)
        .map(|number| format!("kw_u{number}"))
        .map(|login| Held {
            account: account(&login),
            credential: first(&login),
        })
        .collect()
}

/// The SSH part of a target.
pub(crate) fn ssh_part(target: &mut Target) -> &mut SshTarget {
    let TargetKind::Ssh(ssh) = &mut target.kind else {
        panic!("an SSH target")
    };
    ssh
}

/// An account that changes itself.
pub(crate) fn own(login: &str) -> Account {
    Account {
        uses_own: true,
        ..account(login)
    }
}

/// A session of the functional account, or one that only checks.
pub(crate) async fn open(target: &Target, functional: Option<&Functional>) -> Arc<dyn Session> {
    let opened = Ssh::new(78).open(target, functional).await;
    opened.unwrap_or_else(|reason| panic!("{reason:?}"))
}

/// A fresh key pair of this kind: `ed25519`, `ecdsa`, `rsa`.
pub(crate) fn key_pair(kind: &str, marker: &str) -> KeyPair {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let made = command("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C", "", "-f"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    KeyPair {
        private: Secret::from(std::fs::read_to_string(path).unwrap()),
        public: public.trim().to_owned(),
        marker: marker.to_owned(),
    }
}

pub(crate) fn key(pair: &KeyPair) -> Credential {
    Credential::Key(pair.clone())
}
