//! What a connector process gives up before it hears of the first target.
//!
//! Invariant: what the process owns itself (user, capabilities, descriptors, limits) is given up,
//! or it does not serve; what the kernel may lack (Landlock, seccomp) is reported as it was found.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::process::{Command, Stdio};

use keywheel_connectors::wire::{Confinement, Enforced};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{self, Uid, User};
use rlimit::Resource;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::filter;

/// Open files: some for each of 1,000 sessions.
const FILES_MAX: u64 = 8_192;
/// Memory that can be written to, thread stacks included: a target that makes it grow further
/// ends its own process.
const DATA_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Descriptors that may be open if `/proc` does not say which ones are.
const DESCRIPTORS_MAX: i32 = 1_024;
/// Raised, so that the kernel ends this process before the service when memory runs out.
const OOM_SCORE: &str = "500";
/// The newest rules that are asked for; older kernels enforce what they know.
const LANDLOCK: ABI = ABI::V6;

/// What resolving names and speaking TLS may read.
const READABLE: [&str; 14] = [
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/openssl.cnf",
    "/run/systemd/resolve",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/dev/urandom",
];

/// Why a process could not be confined. It then serves nobody.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Name a user that there is, in `connectors.user`.
    #[error("there is no user {0:?} for connector processes: name one in connectors.user")]
    NoUser(String),
    /// Name another user than root.
    #[error("connector processes do not run as root: name another user in connectors.user")]
    Root,
    /// A defect of the machine.
    #[error("a connector process could not give up {what}: {errno}")]
    Kept {
        /// What it would have kept.
        what: &'static str,
        /// As the kernel says.
        errno: std::io::Error,
    },
}

fn kept<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> ConfineError {
    move |error| ConfineError::Kept {
        what,
        errno: error.into(),
    }
}

/// Confines this process for good. It must have one thread.
///
/// `user` is whom it becomes if it is root.
pub(super) fn confine(user: &str) -> Result<Confinement, ConfineError> {
    // Nothing else depends on it; where it fails, the kernel picks without a hint.
    drop(std::fs::write("/proc/self/oom_score_adj", OOM_SCORE));
    limit(Resource::CORE, 0, "core dumps")?;
    limit(Resource::NOFILE, FILES_MAX, "open files")?;
    limit(Resource::DATA, DATA_MAX_BYTES, "memory")?;
    become_nobody(user)?;
    drop_capabilities()?;
    // After the change of user, which resets both.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(kept("a life after the service"))?;
    prctl::set_dumpable(false).map_err(kept("being looked at by others of its user"))?;
    prctl::set_no_new_privs().map_err(kept("the gain of privileges"))?;
    let landlock = confine_files().unwrap_or(Enforced::No);
    let seccomp = filter::install();
    Ok(Confinement {
        user: Uid::effective().as_raw(),
        landlock,
        seccomp,
        reads_files: File::open("/etc/passwd").is_ok(),
        writes_files: OpenOptions::new().write(true).open("/dev/null").is_ok(),
        starts_programs: starts_programs(),
        capable: rustix::thread::capabilities(None).is_ok_and(|sets| !sets.permitted.is_empty()),
    })
}

/// Closes what the service's own parent may have left open. The first thing a process does: it
/// has opened nothing itself yet.
pub(super) fn close_descriptors() {
    let open: Vec<i32> = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect(),
        Err(_) => (0..DESCRIPTORS_MAX).collect(),
    };
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // One of them was the folder's own and is closed already.
        unistd::close(descriptor).unwrap_or_default();
    }
}

fn limit(resource: Resource, most: u64, what: &'static str) -> Result<(), ConfineError> {
    let hard = resource.get_hard().map_err(kept(what))?;
    let most = most.min(hard);
    resource.set(most, most).map_err(kept(what))
}

fn become_nobody(name: &str) -> Result<(), ConfineError> {
    if !Uid::effective().is_root() && !Uid::current().is_root() {
        return Ok(());
    }
    let user = User::from_name(name)
        .ok()
        .flatten()
        .ok_or_else(|| ConfineError::NoUser(name.to_owned()))?;
    if user.uid.is_root() {
        return Err(ConfineError::Root);
    }
    unistd::setgroups(&[]).map_err(kept("root's groups"))?;
    unistd::setgid(user.gid).map_err(kept("root's group"))?;
    unistd::setuid(user.uid).map_err(kept("being root"))
}

/// Who has none is not asked to drop them: where a service manager forbids the call, it has seen
/// to that itself.
fn drop_capabilities() -> Result<(), ConfineError> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    if rustix::thread::capabilities(None).is_ok_and(|held| held == none) {
        return Ok(());
    }
    rustix::thread::clear_ambient_capability_set().map_err(kept("its ambient capabilities"))?;
    rustix::thread::set_capabilities(None, none).map_err(kept("its capabilities"))
}

/// No file can be written, and few be read; no port be listened at; no process outside be
/// signalled.
fn confine_files() -> Result<Enforced, RulesetError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(
            READABLE,
            AccessFs::ReadFile | AccessFs::ReadDir,
        ))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::No,
    })
}

/// Tries to start a program that does nothing.
#[expect(clippy::disallowed_methods, reason = "nothing is handed to it")]
fn starts_programs() -> bool {
    let mut program = Command::new("/bin/true");
    program
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match program.status() {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::PermissionDenied,
    }
}
