//! What the measurements share: servers and programs, the machine, figures and verdicts.
//!
//! Invariant: figures are compared only within one run, and a verdict rests on the median of
//! interleaved rounds.

mod house;

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use keywheel::clock::SystemClock;
use keywheel::generate::{SystemDice, password};
use keywheel::model::password_rule::PasswordRule;
use keywheel_connectors::Secret;
use secrecy::ExposeSecret as _;

pub(crate) use house::{House, Site};

/// Measured rounds; each measures both sides, in turns the one or the other first.
pub(crate) const ROUNDS: usize = 5;

/// A program to be started.
#[expect(
    clippy::disallowed_methods,
    reason = "the measurements' one caller; no secret in arguments"
)]
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

/// Runs a command to its end and returns what it printed; panics if it failed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed\n{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

/// A script of the test fleet.
pub(crate) fn fleet_script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fleet")
        .join(name)
}

/// An empty folder on the disk that also holds the build.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The first of these ports that nobody holds at the address.
pub(crate) fn free_port(ip: Ipv4Addr, mut ports: std::ops::Range<u16>) -> u16 {
    ports
        .find(|port| TcpListener::bind((ip, *port)).is_ok())
        .expect("a free port")
}

/// A password by the default rule.
pub(crate) fn fresh_secret() -> Secret {
    let rule = PasswordRule::built_in(0).unwrap();
    password(&rule, &SystemDice).unwrap()
}

/// A secret as it goes to a server or into a file.
#[expect(
    clippy::disallowed_methods,
    reason = "what we compare with needs the secret too"
)]
pub(crate) fn clear(secret: &Secret) -> &str {
    secret.expose_secret()
}

/// Writes a file that only its owner reads.
pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// What one side did in one round.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Rotations a second.
    rate: f64,
    /// Processor time a rotation, in milliseconds: ours, or that of the programs we started.
    client_ms: f64,
    /// Processor time a rotation, in milliseconds: the server's with all that it starts.
    server_ms: f64,
}

/// Times `count` rotations against the server with this process id.
pub(crate) async fn paced(server: u32, count: usize, work: impl Future<Output = ()>) -> Pace {
    let count = f64::from(u32::try_from(count).unwrap());
    let clock = SystemClock::shared();
    let before = (cpu_of(std::process::id()), cpu_of(server));
    let start = clock.monotonic();
    work.await;
    let seconds = clock.monotonic().saturating_sub(start).as_secs_f64();
    let each = |now: f64, then: f64| (now - then) / count;
    Pace {
        rate: count / seconds,
        client_ms: each(cpu_of(std::process::id()), before.0),
        server_ms: each(cpu_of(server), before.1),
    }
}

/// Processor time of a process, of its ended children and of its living descendants, in
/// milliseconds.
fn cpu_of(process: u32) -> f64 {
    let mut family = vec![process.to_string()];
    let stats: Vec<_> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().into_string().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // The name stands in brackets and may hold blanks: count from behind it.
            let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let parent = (*fields.get(1)?).to_owned();
            let ticks: Vec<u64> = fields.get(11..15)?.iter().flat_map(|n| n.parse()).collect();
            Some((id, parent, ticks.iter().sum::<u64>()))
        })
        .collect();
    let mut ticks = 0;
    while let Some(member) = family.pop() {
        for (id, parent, used) in &stats {
            if *id == member {
                ticks += used;
            }
            if *parent == member {
                family.push(id.clone());
            }
        }
    }
    // A tick is 10 ms on every Linux that Debian builds.
    f64::from(u32::try_from(ticks).unwrap()) * 10.0
}

/// Says where this runs, once at the start.
pub(crate) fn introduce(title: &str) {
    println!("{title}");
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = read("/proc/meminfo");
    let memory: u64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    println!(
        "machine: {processor}, {count} processors, {} MiB, Linux {}; 4 KiB written and synced: {:.2} ms",
        memory / 1024,
        kernel.trim(),
        sync_ms()
    );
    show_load("at the start");
}

/// Prints the load average.
pub(crate) fn show_load(when: &str) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<_> = load.split_whitespace().take(3).collect();
    println!("load average {when}: {}", load.join(" "));
}

/// What one durable write costs on this disk, in milliseconds: the median of 41.
fn sync_ms() -> f64 {
    let folder = folder();
    let mut file = std::fs::File::create(folder.path().join("probe")).unwrap();
    let page = [1_u8; 4096];
    let clock = SystemClock::shared();
    let spans: Vec<f64> = (0..41)
        .map(|_| {
            let start = clock.monotonic();
            file.write_all(&page).unwrap();
            file.sync_data().unwrap();
            clock.monotonic().saturating_sub(start).as_secs_f64() * 1e3
        })
        .collect();
    median(&spans)
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Interleaved rounds of us and of somebody else.
pub(crate) struct Rounds {
    peer: &'static str,
    rates: Vec<(f64, f64)>,
}

impl Rounds {
    pub(crate) fn against(peer: &'static str) -> Self {
        Self {
            peer,
            rates: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, ours: Pace, theirs: Pace) {
        println!("  round {}:", self.rates.len() + 1);
        for (who, pace) in [("Keywheel", ours), (self.peer, theirs)] {
            println!(
                "    {who:<17} {:>7.2} a second; processor time a rotation: client {:>6.2} ms, \
                 server {:>6.2} ms",
                pace.rate, pace.client_ms, pace.server_ms
            );
        }
        println!("    ratio             {:>7.2}", ours.rate / theirs.rate);
        self.rates.push((ours.rate, theirs.rate));
    }

    /// Prints the medians; the median ratio.
    pub(crate) fn close(&self) -> f64 {
        let of = |figure: fn(&(f64, f64)) -> f64| {
            median(&self.rates.iter().map(figure).collect::<Vec<_>>())
        };
        let ratio = of(|(ours, theirs)| ours / theirs);
        println!(
            "  median: Keywheel {:.2} a second, {} {:.2} a second, ratio {ratio:.2}",
            of(|rates| rates.0),
            self.peer,
            of(|rates| rates.1)
        );
        ratio
    }
}

/// Prints the verdicts; the exit code says whether all targets were met.
pub(crate) fn verdict(ratios: &[(&str, f64, f64)]) -> ExitCode {
    show_load("at the end");
    let mut met = true;
    for (what, ratio, target) in ratios {
        let word = if ratio >= target { "met" } else { "MISSED" };
        println!("verdict: {what}: {ratio:.2} x, target {target:.1} x: {word}");
        met &= ratio >= target;
    }
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
