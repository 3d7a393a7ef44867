//! Keywheel's SSH rotations against a shell loop of `sshpass`, `ssh` and `chpasswd`, against a bare
//! loop of the same library's calls and against `ansible-playbook`: one sshd, the same accounts, the
//! same concurrency, in turns.
//!
//! The functional account's password is hashed as the target itself hashes passwords (yescrypt on
//! Debian 12): the fleet's own start passwords have a cheaper hash, which makes a server ready
//! sooner but which no administrator would get.
//!
//! Invariant: both sides end with every account logged in under its new password.
#![cfg(test)]

mod bare;
mod playbook;
#[path = "../support/mod.rs"]
mod support;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use keywheel::model::account::AccountSettings;
use keywheel::model::functional_account::Elevation;
use keywheel::model::host_key;
use keywheel::model::id::PlatformId;
use keywheel::model::system::SystemSettings;
use keywheel_connectors::ssh::Ssh;
use keywheel_connectors::{Connector as _, Identity, Secret, SshTarget, Target, TargetKind};
use tempfile::TempDir;

use playbook::Playbook;
use support::{
    House, Pace, ROUNDS, Rounds, Site, clear, command, fleet_script, folder, free_port,
    fresh_secret, introduce, paced, run, verdict, write_private,
};

const ACCOUNTS: usize = 50;
const CONCURRENCY: usize = 8;
const TARGET: f64 = 3.0;
const BARE_TARGET: f64 = 0.9;
const PLAYBOOK_TARGET: f64 = 5.0;
const IP: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 21);
const FUNCTIONAL_PASSWORD: &str = "Func-kw_func-vLm9";

/// What a careful administrator writes: passwords by file and standard input, the host key
/// pinned, no other method than the password tried, and a login as the proof.
const ONE_ACCOUNT: &str = r#"set -eu
cd "$1"; host=$2 port=$3 user=$4
options="-F none -p $port -o UserKnownHostsFile=known -o StrictHostKeyChecking=yes
  -o PreferredAuthentications=password -o NumberOfPasswordPrompts=1 -o LogLevel=ERROR"
sshpass -f functional ssh $options "kw_func@$host" 'sudo -n /usr/sbin/chpasswd' <"$user.line"
[ "$(sshpass -f "$user.pass" ssh $options "$user@$host" 'id -un' </dev/null)" = "$user" ]
"#;

/// A server of the test fleet; dropping it stops it.
struct Sshd {
    home: TempDir,
    port: u16,
    process: u32,
}

impl Sshd {
    /// `sudo`: what the functional account may run as root, as the script calls it.
    fn start(wrapper: bool, sudo: &str) -> Self {
        let port = free_port(IP, 22_410..22_510);
        let mut sshd = Self {
            home: folder(),
            port,
            process: 0,
        };
        let mut start = sshd.script("start");
        start.args([IP.to_string(), port.to_string()]);
        start.env("USERS", ACCOUNTS.to_string());
        start.env("WRAPPER", u8::from(wrapper).to_string());
        start.env("SUDO", sudo);
        let ready = run(&mut start);
        let process = ready.split("pid ").nth(1).unwrap();
        sshd.process = process.split(' ').next().unwrap().parse().unwrap();
        sshd.hash_as_the_target_does();
        sshd
    }

    /// Sets the functional account's password once more, by the target's own `chpasswd`.
    fn hash_as_the_target_does(&self) {
        let line = self.home.path().join("functional.line");
        write_private(&line, &format!("kw_func:{FUNCTIONAL_PASSWORD}\n"));
        let mut set = self.script("run");
        set.arg("chpasswd");
        run(set.stdin(std::fs::File::open(line).unwrap()));
        let mut look = self.script("run");
        let shadow = run(look.args(["getent", "shadow", "kw_func"]));
        let hash = shadow.split(':').nth(1).unwrap();
        let kind: String = hash.chars().take(3).collect();
        println!("  the functional account's password is hashed as {kind}");
    }

    /// The script with its own defaults, whatever the environment says.
    fn script(&self, verb: &str) -> std::process::Command {
        let mut script = command("bash");
        script.arg(fleet_script("sshd.sh")).arg(verb);
        for name in [
            "STARTUPS", "SESSIONS", "FAILLOCK", "HISTORY", "SUDO", "METHODS",
        ] {
            script.env_remove(name);
        }
        script.env("FLEET_DIR", self.home.path());
        script
    }

    /// The host key as OpenSSH's client remembers it.
    fn known_host(&self) -> String {
        let public = self.home.path().join("keys/ssh_host_ed25519_key.pub");
        let public = std::fs::read_to_string(public).unwrap();
        format!("[{IP}]:{} {public}", self.port)
    }

    /// The host key as a pin, by Keywheel's own look.
    async fn pin(&self) -> String {
        let target = Target {
            host: IP.to_string(),
            port: self.port,
            timeout: Duration::from_secs(20),
            in_flight: 1,
            kind: TargetKind::Ssh(SshTarget {
                host_key: None,
                elevation: Elevation::Sudo,
            }),
        };
        let Ok(Identity::Ssh(key)) = Ssh::new(2).identify(&target).await else {
            panic!("sshd shows no host key");
        };
        host_key::text(&key)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        run(&mut self.script("stop"));
    }
}

fn name(number: usize) -> String {
    format!("kw_u{number}")
}

async fn house(sshd: &Sshd) -> House {
    let mut settings = SystemSettings::of_host("bench");
    settings.ip_address = Some(IP.to_string());
    settings.port = Some(sshd.port);
    settings.elevation = Elevation::Sudo;
    settings.host_key = Some(sshd.pin().await);
    settings.in_flight = Some(i64::try_from(CONCURRENCY).unwrap());
    settings.max_sessions = 1;
    settings.lockout_threshold = Some(0);
    let accounts = (0..ACCOUNTS)
        .map(name)
        .map(|name| {
            let first = Secret::from(format!("Start-{name}-vLm9"));
            (AccountSettings::named(name), first)
        })
        .collect();
    House::with(Site {
        platform: PlatformId(2),
        settings,
        functional: ("kw_func".to_owned(), Secret::from(FUNCTIONAL_PASSWORD)),
        accounts,
    })
    .await
}

/// The shell loop; its files are written before its time begins.
async fn shell_loop(sshd: &Sshd, folder: &Path) -> Pace {
    write_private(&folder.join("functional"), FUNCTIONAL_PASSWORD);
    write_private(&folder.join("known"), &sshd.known_host());
    write_private(&folder.join("one.sh"), ONE_ACCOUNT);
    let mut users = String::new();
    for user in (0..ACCOUNTS).map(name) {
        let secret = fresh_secret();
        let line = format!("{user}:{}\n", clear(&secret));
        write_private(&folder.join(format!("{user}.line")), &line);
        write_private(&folder.join(format!("{user}.pass")), clear(&secret));
        users.push_str(&user);
        users.push('\n');
    }
    let list = folder.join("users");
    write_private(&list, &users);
    let mut xargs = command("xargs");
    xargs.args(["-a", &list.to_string_lossy(), "-n", "1"]);
    xargs.args(["-P", &CONCURRENCY.to_string(), "sh"]);
    xargs.arg(folder.join("one.sh")).arg(folder);
    xargs.args([IP.to_string(), sshd.port.to_string()]);
    let work = async {
        run(&mut xargs);
    };
    paced(sshd.process, ACCOUNTS, work).await
}

/// Somebody else, who changes some of the accounts and logs in to each.
trait Peer {
    const NAME: &'static str;

    async fn rotate(&self, sshd: &Sshd) -> Pace;
}

struct ShellLoop(TempDir);

impl Peer for ShellLoop {
    const NAME: &'static str = "shell loop";

    async fn rotate(&self, sshd: &Sshd) -> Pace {
        shell_loop(sshd, self.0.path()).await
    }
}

/// Both sides in turns on one server; the median ratio.
async fn compare<P: Peer>(peer: P, sshd: Sshd) -> f64 {
    let house = house(&sshd).await;
    let mut rounds = Rounds::against(P::NAME);
    for round in 0..ROUNDS {
        let (ours, theirs) = if round % 2 == 0 {
            let theirs = peer.rotate(&sshd).await;
            let ours = paced(sshd.process, ACCOUNTS, house.quarantine()).await;
            (ours, theirs)
        } else {
            let ours = paced(sshd.process, ACCOUNTS, house.quarantine()).await;
            (ours, peer.rotate(&sshd).await)
        };
        house
            .assert_promoted(i64::try_from(round).unwrap() + 2)
            .await;
        rounds.push(ours, theirs);
    }
    house.close().await;
    rounds.close()
}

async fn against_the_shell(wrapper: bool) -> f64 {
    let how = if wrapper { "with" } else { "without" };
    println!("{how} keywheel-passwd on the target:");
    compare(ShellLoop(folder()), Sshd::start(wrapper, "chpasswd")).await
}

fn main() -> ExitCode {
    introduce(&format!(
        "SSH: {ACCOUNTS} accounts on one sshd, {CONCURRENCY} at a time: Keywheel (quarantine \
         ordered to last account settled) against a loop of sshpass, ssh, chpasswd and a login, a \
         bare loop of ssh2 calls, and ansible-playbook over {} accounts",
        playbook::ACCOUNTS
    ));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plain = runtime.block_on(against_the_shell(false));
    let wrapped = runtime.block_on(against_the_shell(true));
    let bare = runtime.block_on(compare(bare::BareLoop, Sshd::start(false, "chpasswd")));
    let sshd = Sshd::start(false, "all");
    let playbook = Playbook::<false>::write(&sshd);
    let playbook = runtime.block_on(compare(playbook, sshd));
    let sshd = Sshd::start(false, "all");
    let tuned = Playbook::<true>::write(&sshd);
    // No target: its own work and the server's are three times ours, which no caller can undercut.
    runtime.block_on(compare(tuned, sshd));
    verdict(&[
        ("plain chpasswd, against the shell loop", plain, TARGET),
        ("keywheel-passwd, against the shell loop", wrapped, TARGET),
        ("against the bare loop of ssh2 calls", bare, BARE_TARGET),
        ("against ansible-playbook", playbook, PLAYBOOK_TARGET),
    ])
}
