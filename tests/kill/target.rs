//! Real targets: started, ended and resumed; who logs in there, and how many logins have failed.
//!
//! Invariant: what a target says is asked by its own clients, past the service.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel::model::credential::Part;
use tempfile::NamedTempFile;
use tokio::sync::RwLock;

use crate::directory::Directory;
use crate::fleet::Sshd;
use crate::kept::Secret;
use crate::nt_hash::nt_hash;
use crate::program::{command, find, run};

/// What is asked again before it counts as no answer.
const TRIES: usize = 5;

/// The functional account of OpenLDAP, as one of its accounts.
pub(crate) const FUNCTIONAL: &str = "keywheel";

const LDAP_ADMIN: (&str, &str) = ("cn=admin,dc=keywheel,dc=test", "admin-secret");

/// A real target.
pub(crate) enum Target {
    /// OpenSSH, with faillock and pwhistory.
    Host(Sshd),
    /// OpenLDAP, with ppolicy.
    Directory(Directory),
    /// Samba's domain controller; whoever looks at its accounts keeps it from being ended.
    Domain(Arc<Domain>),
}

/// A domain that several worlds share.
pub(crate) struct Domain {
    pub(crate) directory: Directory,
    pub(crate) gate: RwLock<()>,
}

/// What a target said to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    In,
    Refused,
    /// In the client's words.
    Unclear(String),
}

/// What a directory keeps of a password.
pub(crate) enum Held {
    /// SHA-1 of password and salt, and the salt.
    Salted(Vec<u8>),
    /// MD4 of its UTF-16LE.
    Nt(Vec<u8>),
}

impl Held {
    pub(crate) fn is(&self, secret: &Secret) -> bool {
        match self {
            Self::Salted(held) => {
                let (digest, salt) = held.split_at(20);
                let salted = [secret.text().as_bytes(), salt].concat();
                digest == aws_lc_rs::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted).as_ref()
            }
            Self::Nt(held) => *held == nt_hash(secret.text()),
        }
    }
}

impl Target {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Host(_) => "OpenSSH",
            Self::Directory(_) => "OpenLDAP",
            Self::Domain(_) => "Samba AD",
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let (ip, port) = match self {
            Self::Host(sshd) => return place(sshd),
            Self::Directory(directory) => (directory.ip, directory.port),
            Self::Domain(domain) => (domain.directory.ip, domain.directory.port),
        };
        SocketAddr::from((ip, port))
    }

    /// Ends it: as by a reset where it can be, else in good order.
    pub(crate) fn halt(&self) {
        match self {
            Self::Host(sshd) => run(sshd.script().arg("halt")),
            Self::Directory(directory) => run(directory.script().arg("stop")),
            Self::Domain(domain) => run(domain.directory.script().arg("stop")),
        };
    }

    pub(crate) fn resume(&self) {
        let mut script = match self {
            Self::Host(sshd) => {
                let address = place(sshd);
                let mut script = sshd.script();
                script.args([
                    "resume",
                    &address.ip().to_string(),
                    &address.port().to_string(),
                ]);
                script
            }
            Self::Directory(directory) => started(directory),
            Self::Domain(domain) => started(&domain.directory),
        };
        // The server would keep a pipe open for as long as it runs.
        script.stdout(std::process::Stdio::null());
        let status = script.status().unwrap();
        assert!(status.success(), "{}: {status}", self.name());
    }

    /// How many failed logins the target counts now, by account; the ones without any are missing.
    pub(crate) fn failed_logins(&self) -> BTreeMap<String, u32> {
        match self {
            Self::Host(sshd) => tallies(&sshd.run("faillock")),
            Self::Directory(directory) => {
                let base = "dc=keywheel,dc=test";
                let found = searched(directory, LDAP_ADMIN, base, "pwdFailureTime");
                counted(&found, "pwdFailureTime", |_| 1)
            }
            Self::Domain(domain) => {
                let (dn, secret) = ("CN=Administrator,CN=Users,DC=ad,DC=test", "Admin-secret-1");
                let found = searched(
                    &domain.directory,
                    (dn, secret),
                    "DC=ad,DC=test",
                    "badPwdCount",
                );
                counted(&found, "badPwdCount", |value| value.parse().unwrap())
            }
        }
    }

    /// Logs in by the target's own client.
    pub(crate) fn login(&self, name: &str, part: Part, secret: &Secret, folder: &Path) -> Said {
        let mut said = Said::Unclear(String::new());
        for _ in 0..TRIES {
            said = match self {
                Self::Host(sshd) => by_ssh(place(sshd), name, part, secret, folder),
                Self::Directory(directory) => {
                    by_ldap(directory, &["ldapwhoami"], name, secret, folder)
                }
                Self::Domain(domain) => {
                    // It does not say who somebody is; what it says of itself, it says to all.
                    let look = &["ldapsearch", "-s", "base", "-b", "", "1.1"];
                    by_ldap(&domain.directory, look, name, secret, folder)
                }
            };
            if !matches!(said, Said::Unclear(_)) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(300));
        }
        said
    }

    /// What a directory holds of an account's password, as its administrator sees it. A domain takes
    /// the one before for an hour, so that a login does not tell which one that is.
    pub(crate) fn held(&self, name: &str) -> Option<Held> {
        match self {
            Self::Host(_) => None,
            Self::Directory(directory) => {
                let found = searched(
                    directory,
                    LDAP_ADMIN,
                    &dn_of(directory, name),
                    "userPassword",
                );
                let held = String::from_utf8(decoded(&found, "userPassword:: ")).unwrap();
                let salted = STANDARD
                    .decode(held.strip_prefix("{SSHA}").unwrap())
                    .unwrap();
                Some(Held::Salted(salted))
            }
            Self::Domain(domain) => {
                let script = domain.directory.script();
                let mut variables = script.get_envs();
                let (_, folder) = variables.find(|(name, _)| *name == "FLEET_DIR")?;
                let instance = Path::new(folder?).join("samba-ad");
                let found = run(command(find("ldbsearch", "ldb-tools"))
                    .arg("-H")
                    .arg(instance.join("private/sam.ldb"))
                    .arg(format!(
                        "--configfile={}",
                        instance.join("smb.conf").display()
                    ))
                    .args([&format!("(sAMAccountName={name})"), "unicodePwd"]));
                Some(Held::Nt(decoded(&found, "unicodePwd:: ")))
            }
        }
    }

    /// Forgets an account's failed logins, as its administrator does.
    pub(crate) fn forgive(&self, name: &str) {
        if let Self::Host(sshd) = self {
            sshd.run(&format!("faillock --user {name} --reset"));
        }
    }

    /// Its log, if it writes down whom it has let in.
    pub(crate) fn log(&self) -> Option<PathBuf> {
        match self {
            Self::Host(sshd) => {
                let script = sshd.script();
                let mut variables = script.get_envs();
                let (_, folder) = variables.find(|(name, _)| *name == "FLEET_DIR")?;
                Some(Path::new(folder?).join("log"))
            }
            Self::Directory(_) | Self::Domain(_) => None,
        }
    }
}

fn place(sshd: &Sshd) -> SocketAddr {
    let (ip, port) = sshd.place();
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn started(directory: &Directory) -> Command {
    let mut script = directory.script();
    script.arg("start");
    script
}

/// faillock's records that count, by account.
fn tallies(printed: &str) -> BTreeMap<String, u32> {
    let mut tallies = BTreeMap::new();
    let mut name = "";
    for line in printed.lines() {
        if let Some(found) = line.strip_suffix(':') {
            name = found;
        } else if line.trim_end().ends_with(" V") {
            *tallies.entry(name.to_owned()).or_default() += 1;
        }
    }
    tallies
}

/// What an attribute says of every entry, in sum.
fn counted(ldif: &str, attribute: &str, value: impl Fn(&str) -> u32) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let mut name = String::new();
    for line in ldif.lines() {
        if let Some(dn) = line.strip_prefix("dn: ") {
            let (rdn, _) = dn.split_once(',').unwrap_or((dn, ""));
            name = rdn.split_once('=').map_or("", |(_, name)| name).to_owned();
        } else if let Some(found) = line.strip_prefix(&format!("{attribute}: ")) {
            *counts.entry(name.clone()).or_default() += value(found);
        }
    }
    counts.retain(|_, count| *count > 0);
    counts
}

fn decoded(ldif: &str, attribute: &str) -> Vec<u8> {
    let mut lines = ldif.lines();
    let held = lines.find_map(|line| line.strip_prefix(attribute));
    STANDARD.decode(held.expect("a password is held")).unwrap()
}

fn dn_of(directory: &Directory, name: &str) -> String {
    match name {
        FUNCTIONAL => "cn=keywheel,ou=svc,dc=keywheel,dc=test".to_owned(),
        name => directory.dn(name),
    }
}

fn searched(
    directory: &Directory,
    (dn, secret): (&str, &str),
    base: &str,
    attribute: &str,
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    let mut search = command(find("ldapsearch", "ldap-utils"));
    search
        .env("LDAPTLS_REQCERT", "never")
        .args(["-x", "-LLL", "-o", "ldif-wrap=no", "-D", dn, "-y"])
        .arg(&file)
        .arg("-H")
        .arg(format!("ldaps://{}:{}", directory.ip, directory.port))
        .args(["-b", base, &format!("({attribute}=*)"), attribute]);
    let output = search.output().unwrap();
    // 32: references to other domains follow.
    assert!(output.status.success(), "{}", words(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn by_ssh(address: SocketAddr, name: &str, part: Part, secret: &Secret, folder: &Path) -> Said {
    let file = kept_in(folder, secret);
    let mut login = match part {
        Part::Password => {
            let mut login = command(find("sshpass", "sshpass"));
            login
                .arg("-f")
                .arg(file.path())
                .args(["ssh", "-o", "NumberOfPasswordPrompts=1"]);
            login.args([
                "-o",
                "PreferredAuthentications=password",
                "-o",
                "PubkeyAuthentication=no",
            ]);
            login
        }
        Part::Key => {
            let mut login = command(find("ssh", "openssh-client"));
            login.arg("-i").arg(file.path()).args([
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "BatchMode=yes",
            ]);
            login.args(["-o", "PreferredAuthentications=publickey"]);
            login
        }
    };
    login
        .args([
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "ConnectTimeout=10", "-p", &address.port().to_string()])
        .arg(format!("{name}@{}", address.ip()))
        .arg("id -un");
    let output = login.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let denied = String::from_utf8_lossy(&output.stderr).contains("Permission denied");
    if output.status.success() && said.trim() == name {
        Said::In
    } else if denied {
        Said::Refused
    } else {
        Said::Unclear(words(&output))
    }
}

fn by_ldap(
    directory: &Directory,
    client: &[&str],
    name: &str,
    secret: &Secret,
    folder: &Path,
) -> Said {
    let file = kept_in(folder, secret);
    let dn = dn_of(directory, name);
    let output = command(find(client[0], "ldap-utils"))
        .env("LDAPTLS_REQCERT", "never")
        .args(["-x", "-o", "nettimeout=10", "-D", &dn, "-y"])
        .arg(file.path())
        .arg("-H")
        .arg(format!("ldaps://{}:{}", directory.ip, directory.port))
        .args(&client[1..])
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => Said::In,
        Some(49) => Said::Refused,
        _ => Said::Unclear(words(&output)),
    }
}

/// What a client said; none of them says a secret.
fn words(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    format!("{}: {}", output.status, said.trim())
}

/// A secret in a file of its own, for a client.
fn kept_in(folder: &Path, secret: &Secret) -> NamedTempFile {
    let mut file = NamedTempFile::new_in(folder).unwrap();
    file.write_all(secret.text().as_bytes()).unwrap();
    file
}
