//! The demo's targets: two hosts and a directory, each a real server on a free port of loopback.
//!
//! Invariant: dropping the fleet stops every server of it, also one that failed to start.

use std::fmt;
use std::fs;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;

use keywheel::generate::{SystemDice, password};
use keywheel::model::password_rule::PasswordRule;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::Kind;
use crate::program::{Trouble, command};

/// Accounts of each host, and entries of the directory.
const HOST_ACCOUNTS: usize = 25;
const ENTRIES: usize = 200;
/// `slapd.sh` takes no longer path, since unix sockets do not either.
const FOLDER_MAX_BYTES: usize = 44;

/// The directory's tree and the login that may set passwords in it.
pub(crate) const BASE_DN: &str = "dc=keywheel,dc=test";
const FUNCTIONAL_DN: &str = "cn=keywheel,ou=svc,dc=keywheel,dc=test";

/// The demo's own folder, readable by its owner alone; removed with the last holder.
///
/// # Errors
/// It cannot be made.
pub(crate) fn folder() -> Result<Arc<TempDir>, Trouble> {
    let mut maker = tempfile::Builder::new();
    maker.prefix("keywheel-demo-");
    let folder = maker.tempdir()?;
    let folder = if folder.path().as_os_str().len() > FOLDER_MAX_BYTES {
        maker.tempdir_in("/tmp")?
    } else {
        folder
    };
    let own = crate::program::record(std::process::id()).unwrap_or_default();
    fs::write(folder.path().join("demo.pid"), own)?;
    Ok(Arc::new(folder))
}

/// One target.
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) ip: &'static str,
    /// The port that Keywheel uses.
    pub(crate) port: u16,
    /// The port of the independent client: for directories the one that speaks StartTLS.
    pub(crate) client_port: u16,
    /// The functional account's login and password.
    pub(crate) functional: (String, String),
    /// Where its server keeps its files.
    pub(crate) dir: PathBuf,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, what) = match self.kind {
            Kind::Ssh => ("ssh", format!("{HOST_ACCOUNTS} accounts")),
            Kind::Ldap => ("ldaps", format!("{ENTRIES} entries")),
        };
        let address = format!("{scheme}://{}:{}", self.ip, self.port);
        write!(f, "{:<11} {address:<26} {what}", self.name)
    }
}

impl System {
    /// Names and present passwords of its accounts.
    pub(crate) fn accounts(&self) -> Vec<(String, String)> {
        match self.kind {
            Kind::Ssh => (0..HOST_ACCOUNTS)
                .map(|i| (format!("kw_u{i}"), format!("Start-kw_u{i}-vLm9")))
                .collect(),
            Kind::Ldap => (0..ENTRIES)
                .map(|i| (format!("u{i}"), "initial-secret".to_owned()))
                .collect(),
        }
    }

    /// The entry of a directory's account.
    pub(crate) fn dn(name: &str) -> String {
        format!("uid={name},ou=people,{BASE_DN}")
    }

    /// The file that holds the authority behind the directory's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.dir.join("pki/ca.pem")
    }

    /// The host's public key, as `type base64 comment`.
    pub(crate) fn host_key(&self) -> Result<String, Trouble> {
        Ok(fs::read_to_string(
            self.dir.join("keys/ssh_host_ed25519_key.pub"),
        )?)
    }

    fn script(&self, verb: &str) -> std::process::Command {
        let name = match self.kind {
            Kind::Ssh => "sshd.sh",
            Kind::Ldap => "slapd.sh",
        };
        let mut script = command("bash");
        script
            .arg(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("tests/fleet")
                    .join(name),
            )
            .arg(verb)
            .env("FLEET_DIR", &self.dir);
        match self.kind {
            Kind::Ssh => script
                .args([self.ip, &self.port.to_string()])
                .env("USERS", HOST_ACCOUNTS.to_string())
                .env("FUNC_PASSWORD_FILE", self.dir.join("functional"))
                // The functional account may run Debian's wrapper and nothing else.
                .env("WRAPPER", "1")
                .env("SUDO", "none")
                // The proof comes with 16 logins at a time.
                .env("STARTUPS", "200:30:400"),
            Kind::Ldap => script
                .env("IP", self.ip)
                .env("PORT", self.client_port.to_string())
                .env("TPORT", self.port.to_string())
                .env("N", ENTRIES.to_string()),
        };
        script
    }
}

/// All targets.
pub(crate) struct Fleet {
    pub(crate) systems: Vec<System>,
    /// The keys of both hosts, for OpenSSH's client.
    pub(crate) known_hosts: PathBuf,
    folder: Arc<TempDir>,
}

impl Fleet {
    /// Starts all three at once and waits until each answers.
    ///
    /// # Errors
    /// A server does not start; the others are stopped.
    pub(crate) fn start(folder: &Arc<TempDir>) -> Result<Self, Trouble> {
        let mut fleet = Self {
            systems: Vec::new(),
            known_hosts: folder.path().join("known_hosts"),
            folder: folder.clone(),
        };
        fleet.systems.push(fleet.host("harbour", "127.0.0.11")?);
        fleet.systems.push(fleet.host("lighthouse", "127.0.0.12")?);
        fleet
            .systems
            .push(fleet.directory("directory", "127.0.0.31")?);

        let mut starting = Vec::new();
        for system in &fleet.systems {
            let mut script = system.script("start");
            let child = script
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            starting.push((system.name, child));
        }
        // All are awaited, so that none starts after the fleet was stopped.
        let ended: Vec<_> = starting
            .into_iter()
            .map(|(name, child)| started(name, child))
            .collect();
        ended.into_iter().collect::<Result<Vec<()>, Trouble>>()?;

        let hosts = fleet.systems.iter().filter(|one| one.kind == Kind::Ssh);
        let lines: Result<Vec<String>, Trouble> = hosts
            .map(|host| Ok(format!("[{}]:{} {}", host.ip, host.port, host.host_key()?)))
            .collect();
        fs::write(&fleet.known_hosts, lines?.concat())?;
        Ok(fleet)
    }

    fn host(&self, name: &'static str, ip: &'static str) -> Result<System, Trouble> {
        let dir = self.dir(name)?;
        let secret = drawn()?;
        fs::write(dir.join("functional"), format!("{secret}\n"))?;
        let port = free_port(ip)?;
        let functional = ("kw_func".to_owned(), secret);
        Ok(System {
            name,
            kind: Kind::Ssh,
            ip,
            port,
            client_port: port,
            functional,
            dir,
        })
    }

    fn directory(&self, name: &'static str, ip: &'static str) -> Result<System, Trouble> {
        let functional = (FUNCTIONAL_DN.to_owned(), "functional-secret".to_owned());
        let port = free_port(ip)?;
        let client_port = loop {
            let other = free_port(ip)?;
            if other != port {
                break other;
            }
        };
        Ok(System {
            name,
            kind: Kind::Ldap,
            ip,
            port,
            client_port,
            functional,
            dir: self.dir(name)?,
        })
    }

    fn dir(&self, name: &str) -> Result<PathBuf, Trouble> {
        use std::os::unix::fs::DirBuilderExt;
        let dir = self.folder.path().join(name);
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(dir)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let stops: Vec<_> = self
            .systems
            .iter()
            .map(|system| system.script("stop").stdout(Stdio::null()).spawn())
            .collect();
        for mut stop in stops.into_iter().flatten() {
            // What cannot be stopped says so on stderr; `make clean-fleet` tries again.
            drop(stop.wait());
        }
    }
}

fn started(name: &str, child: Child) -> Result<(), Trouble> {
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Trouble(format!(
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// A password that nobody has seen.
///
/// # Errors
/// Never with the default rule.
pub(crate) fn drawn() -> Result<String, Trouble> {
    let drawn = password(&PasswordRule::default_rule(), &SystemDice);
    drawn
        .map(|secret| clear(&secret))
        .map_err(|error| Trouble(error.to_string()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo plays the targets' own administrator"
)]
fn clear(secret: &secrecy::SecretString) -> String {
    secret.expose_secret().to_owned()
}

/// A port that nobody listens on.
///
/// # Errors
/// The address is not one of this machine's.
pub(crate) fn free_port(ip: &str) -> Result<u16, Trouble> {
    let ip: IpAddr = ip
        .parse()
        .map_err(|_| Trouble(format!("{ip} is no address")))?;
    let listener = TcpListener::bind((ip, 0))?;
    Ok(listener.local_addr()?.port())
}
