//! Starts connector processes.
//!
//! Invariant: a process inherits a socket and the log, nothing else: no variable, no argument
//! that names a target or a secret.

use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connectors::wire::{self, Confinement, Enforced, FromProcess};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::process::{Line, Process};

/// How long a process may take to introduce itself.
const HELLO_MAX: Duration = Duration::from_secs(20);

/// How processes are started.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// This very program.
    pub(super) path: PathBuf,
    /// What follows its name.
    pub(super) arguments: Vec<String>,
    pub(super) connector: &'static str,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("it could not be started: {0}")]
    Spawn(#[from] std::io::Error),
    #[error("it ended or fell silent before it could serve; its own line in the log says why")]
    Silent,
    #[error("it is another program than the service")]
    Stranger,
}

impl Program {
    /// Starts a process, and waits until it has introduced itself.
    ///
    /// Called on a thread that lasts: when the thread ends that started it, the process ends too.
    pub(super) async fn start(&self) -> Result<(Arc<Process>, Line), StartError> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = self.spawn(theirs)?;
        let (mut reads, writes) = UnixStream::from_std(ours)?.into_split();
        let hello = timeout(HELLO_MAX, wire::read(&mut reads)).await;
        let Ok(Ok(Some(FromProcess::Hello(hello)))) = hello else {
            return Err(StartError::Silent);
        };
        if hello.connector != self.connector {
            return Err(StartError::Stranger);
        }
        let (frames, queued) = mpsc::unbounded_channel();
        let id = child.id().unwrap_or_default();
        let process = Arc::new(Process::new(id, hello.confinement, frames));
        let line = Line {
            child,
            reads,
            writes,
            queued,
        };
        Ok((process, line))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "starts this program again; its arguments name no target"
    )]
    fn spawn(&self, socket: StdStream) -> std::io::Result<Child> {
        let mut command = Command::new(&self.path);
        command
            .arg0("keywheel")
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::null())
            // Ctrl-C is for the service alone.
            .process_group(0)
            .kill_on_drop(true);
        command.spawn()
    }
}

/// What is missing of a process's confinement, as sentences; none if it is whole.
pub(super) fn lacks(found: &Confinement) -> Vec<String> {
    let mut lacks = Vec::new();
    let mut say = |missing: bool, what: &dyn fmt::Display| {
        if missing {
            lacks.push(what.to_string());
        }
    };
    say(found.user == 0, &"they run as root");
    say(found.capable, &"they hold capabilities");
    match found.landlock {
        Enforced::Fully => {}
        Enforced::Partly => say(true, &"the kernel enforces a part of Landlock only"),
        Enforced::No => say(true, &"the kernel has no Landlock"),
    }
    say(!found.seccomp, &"the kernel takes no seccomp filter");
    say(found.reads_files, &"they can read files");
    say(found.writes_files, &"they can write to files");
    say(found.starts_programs, &"they can start programs");
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Confinement = Confinement {
        user: 65_534,
        landlock: Enforced::Fully,
        seccomp: true,
        reads_files: false,
        writes_files: false,
        starts_programs: false,
        capable: false,
    };

    #[test]
    fn whatever_is_missing_is_said() {
        assert!(lacks(&WHOLE).is_empty());
        let partly = Confinement {
            landlock: Enforced::Partly,
            ..WHOLE
        };
        assert_eq!(lacks(&partly).len(), 1);
        let bare = Confinement {
            user: 0,
            landlock: Enforced::No,
            seccomp: false,
            reads_files: true,
            writes_files: true,
            starts_programs: true,
            capable: true,
        };
        let said = lacks(&bare).join("; ");
        for word in [
            "root",
            "capabilities",
            "Landlock",
            "seccomp",
            "read",
            "write",
            "programs",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}
