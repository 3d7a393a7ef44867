//! The real program, as a process of its own.
//!
//! Invariant: a process that a test started ends with the test, by its own id.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::program::{command, run};
use super::wait::eventually;

/// A folder in which the program runs; gone with the test.
pub(crate) struct Home {
    folder: TempDir,
}

/// A running service.
pub(crate) struct Daemon {
    child: Child,
    /// What it has said on stderr so far.
    log: PathBuf,
    /// Where it answers.
    pub(crate) url: String,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program, without a single setting from outside.
fn keywheel() -> Command {
    let mut program = command(env!("CARGO_BIN_EXE_keywheel"));
    program.env_clear().stdin(Stdio::null());
    program
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("kwd").tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the data folder.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.path().join("keywheel-data").join(name)
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[])
    }

    pub(crate) fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut program = keywheel();
        program
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(self.path());
        let output = program.output().unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs the program, and kills it after so many milliseconds; `false`: it had ended well before.
    pub(crate) fn killed_after(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
        wait_ms: u64,
    ) -> bool {
        let mut program = keywheel();
        program
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(self.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = program.spawn().unwrap();
        std::thread::park_timeout(std::time::Duration::from_millis(wait_ms));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        true
    }

    /// The same with this on its standard input.
    pub(crate) fn run_fed(&self, arguments: &[&str], input: &str) -> Ended {
        let mut program = keywheel();
        program
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may end without having read: that is its answer.
        drop(std::io::Write::write_all(&mut stdin, input.as_bytes()));
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts the program, whose output goes to a file of the folder.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Following {
        let out = self.path().join("followed");
        let mut program = keywheel();
        program
            .args(arguments)
            .current_dir(self.path())
            .stdout(File::create(&out).unwrap())
            .stderr(Stdio::null());
        Following {
            child: program.spawn().unwrap(),
            out,
        }
    }

    /// A start that must not succeed.
    pub(crate) fn refusal(&self) -> Ended {
        let ended = self.run(&["serve", "--listen", "127.0.0.1:0"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ended
    }

    /// Starts the service on a free port, and waits until it is ready.
    pub(crate) fn serve(&self) -> Daemon {
        self.serve_with(&[])
    }

    pub(crate) fn serve_with(&self, variables: &[(&str, &str)]) -> Daemon {
        let mut program = keywheel();
        program.args(["serve", "--listen", "127.0.0.1:0"]);
        self.start(program, variables)
    }

    /// Starts the service through another program, which must become it.
    pub(crate) fn serve_through(&self, wrapper: &mut Command) -> Daemon {
        wrapper.args([
            env!("CARGO_BIN_EXE_keywheel"),
            "serve",
            "--listen",
            "127.0.0.1:0",
        ]);
        let program = std::mem::replace(wrapper, keywheel());
        self.start(program, &[])
    }

    fn start(&self, mut program: Command, variables: &[(&str, &str)]) -> Daemon {
        let number = std::fs::read_dir(self.path()).unwrap().count();
        let log = self.path().join(format!("stderr.{number}"));
        // Tests look again and again; what a key may ask for is tested where it is meant.
        program
            .env("KEYWHEEL_AUTH__REQUESTS_PER_MINUTE", "1000000")
            .envs(variables.iter().copied())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        let child = program.spawn().unwrap();
        let mut daemon = Daemon {
            child,
            log,
            url: String::new(),
        };
        daemon.await_ready();
        daemon
    }

    /// Everything that services of this folder have said.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some() && path.file_stem().unwrap() == "stderr")
            .collect()
    }

    /// The keys of the first administrator: (native, Password Safe).
    pub(crate) fn keys(&self) -> (String, String) {
        read_keys(&self.data("admin-credentials.toml"))
    }
}

/// The OAuth registration in a credentials file: client id and secret.
pub(crate) fn read_registration(path: &Path) -> (String, String) {
    let text = std::fs::read_to_string(path).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let field = |name: &str| table[name].as_str().unwrap().to_owned();
    (field("oauth_client_id"), field("oauth_client_secret"))
}

/// The keys in a credentials file: (native, Password Safe).
pub(crate) fn read_keys(path: &Path) -> (String, String) {
    let text = std::fs::read_to_string(path).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let field = |name: &str| table[name].as_str().unwrap().to_owned();
    (field("api_key"), field("passwordsafe_key"))
}

impl Daemon {
    fn await_ready(&mut self) {
        let (log, child) = (self.log.clone(), &mut self.child);
        self.url = eventually("the service is ready", || {
            let said = std::fs::read_to_string(&log).unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the service ended with {status}:\n{said}");
            }
            // As text, or as JSON.
            let begins = ["address=\"", "\"address\":\""];
            let (_, after) = begins.iter().find_map(|begin| said.split_once(begin))?;
            let (url, _) = after.split_once('"')?;
            let ready = ["health: ready", "\"message\":\"ready\"}"];
            let is_ready = ready.iter().any(|words| said.contains(words));
            is_ready.then(|| url.to_owned())
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log says this.
    #[track_caller]
    pub(crate) fn await_said(&self, words: &str) {
        eventually(words, || self.said().contains(words).then_some(()));
    }

    /// Sends a signal, for example `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.pid());
        run(command("sh").args(["-c", &line]));
    }

    /// Waits for the end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        eventually("the service ends", || self.child.try_wait().unwrap())
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(self) -> i32 {
        self.signal("TERM");
        let log = self.log.clone();
        let status = self.ended();
        status
            .code()
            .unwrap_or_else(|| panic!("{status}\n{}", std::fs::read_to_string(log).unwrap()))
    }

    /// SIGKILL.
    pub(crate) fn kill(self) {
        self.signal("KILL");
        assert_eq!(self.ended().signal(), Some(9));
    }
}

/// A command that goes on until it is ended.
pub(crate) struct Following {
    child: Child,
    out: PathBuf,
}

impl Following {
    /// The whole lines that it has printed so far.
    #[track_caller]
    pub(crate) fn lines(&mut self) -> Vec<String> {
        assert_eq!(self.child.try_wait().unwrap(), None, "it has ended");
        let printed = std::fs::read_to_string(&self.out).unwrap();
        let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap_or_default();
            drop(self.child.wait());
        }
    }
}
