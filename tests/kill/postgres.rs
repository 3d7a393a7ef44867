//! A PostgreSQL of the harness's own, which can be killed and started again.
//!
//! Invariant: what it has acknowledged it has written: only the machine's end could lose it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::program::{command, find, is_root, run};
use crate::wait::eventually;

/// Says the server's id, and ends it when standard input ends; ends with it.
const KEEPER: &str = r#"
"$@" </dev/null >/dev/null 2>&1 &
pid=$!
echo $pid
while kill -0 $pid 2>/dev/null; do
  read -r -t 0.2 _
  [ $? -gt 128 ] || { kill -QUIT $pid; break; }
done
wait $pid
"#;

#[derive(Debug)]
pub(crate) struct Postgres {
    program: PathBuf,
    /// Its data, and its socket: a socket's path must be short.
    folder: TempDir,
    running: Option<(Child, Pid)>,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("kwkpg").tempdir().unwrap();
        let initdb = find("initdb", "postgresql");
        // /usr/local/bin may hold a wrapper: ask it where its siblings are.
        let program = std::fs::canonicalize(&initdb).unwrap();
        let mut server = Self {
            program: program.with_file_name("postgres"),
            folder,
            running: None,
        };
        if is_root() {
            // PostgreSQL refuses to run as root.
            run(command("chown").arg("postgres:").arg(server.folder.path()));
        }
        let mut made = as_postgres(&initdb);
        made.arg("-D")
            .arg(server.data())
            .args(["--no-sync", "-A", "trust"]);
        run(made.args(["-U", "postgres", "--locale=C", "-E", "UTF8"]));
        server.resume();
        run(&mut server.psql("CREATE DATABASE keywheel TEMPLATE template0"));
        server
    }

    pub(crate) fn url(&self) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/keywheel")
    }

    /// Ends all of it at once: as by a fault of its own, or of whoever killed it.
    pub(crate) fn kill(&mut self, signal: Signal) {
        let (mut keeper, pid) = self.running.take().unwrap();
        kill(pid, signal).unwrap();
        drop(keeper.stdin.take());
        keeper.wait().unwrap();
    }

    /// Starts it, and waits until it answers. Processes of the one before may still hold on.
    pub(crate) fn resume(&mut self) {
        self.running = Some(self.spawn());
        eventually("PostgreSQL answers", || {
            if self.psql("SELECT 1").output().unwrap().status.success() {
                return Some(());
            }
            let (keeper, _) = self.running.as_mut().unwrap();
            if keeper.try_wait().unwrap().is_some() {
                self.running = Some(self.spawn());
            }
            None
        });
    }

    /// Its shell ends it when this process ends, however that comes about.
    fn spawn(&self) -> (Child, Pid) {
        let mut keeper = as_postgres("/bin/bash".as_ref());
        keeper
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.program)
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off"])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut keeper = keeper.spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(keeper.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        (keeper, Pid::from_raw(line.trim().parse().unwrap()))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn psql(&self, sql: &str) -> Command {
        let mut psql = command(find("psql", "postgresql-client"));
        psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .arg(self.folder.path())
            .args(["-c", sql, "postgres"]);
        psql
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill(Signal::SIGQUIT);
        }
    }
}

/// A command that runs as the user `postgres` where this process is root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return command(program);
    }
    let mut command = command("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    command.arg(program);
    command
}
