//! Programs that the demo starts, and what goes wrong.
//!
//! Invariant: no secret is handed over in arguments or in the environment, and no child gets the
//! terminal's Ctrl-C: this process ends them itself, in order.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

/// Why the demo cannot go on, in words for whoever watches it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Trouble(pub(crate) String);

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        Self(format!("the service did not answer: {error}"))
    }
}

/// What a program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A command in a process group of its own, with a bare environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the demo's one maker; argv holds no secret"
)]
pub(crate) fn command(program: impl AsRef<Path>) -> std::process::Command {
    use std::os::unix::process::CommandExt;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = std::process::Command::new(program.as_ref());
    command
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .process_group(0);
    command
}

/// Runs a command with `input` on its standard input, as a file descriptor that no other process
/// sees. The process ends with the future.
///
/// # Errors
/// The program cannot be started.
pub(crate) async fn ask(command: std::process::Command, input: &str) -> Result<Answer, Trouble> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut command = tokio::process::Command::from(command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|error| Trouble(format!("{name}: {error}; scripts/packages.sh fleet")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever ends without reading has said enough by its exit code.
        drop(stdin.write_all(input.as_bytes()).await);
    }
    let output = child.wait_with_output().await?;
    Ok(Answer {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// True with `DEMO_EXIT=1`.
#[expect(
    clippy::disallowed_methods,
    reason = "the demo's one switch; it has no settings"
)]
pub(crate) fn ends_by_itself() -> bool {
    std::env::var_os("DEMO_EXIT").is_some_and(|value| !value.is_empty() && value != "0")
}

/// A process as the fleet's recipes record it: its id, and when it started in ticks since boot.
/// Together they never mean another process.
pub(crate) fn record(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold blanks.
    let (_, fields) = stat.rsplit_once(')')?;
    let started = fields.split_whitespace().nth(19)?;
    Some(format!("{pid} {started}\n"))
}
