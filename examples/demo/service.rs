//! The service itself: the program `keywheel` that was built together with this one.
//!
//! Invariant: the process is asked to end, and awaited, when its handle is dropped; should this
//! process be killed, the kernel asks in its place.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::SharedClock;
use tempfile::TempDir;

use crate::api::Api;
use crate::fleet::free_port;
use crate::program::{Trouble, command, record};

const START_MAX: Duration = Duration::from_mins(1);
const END_MAX_TENTHS: u32 = 300;

/// All that differs from the defaults: the demo does not wait a minute for the next look, and
/// brings in more accounts in a minute than one key may ask for.
const SETTINGS: &str = "\
[auth]
requests_per_minute = 100000
reveals_per_minute = 100000
[scheduler]
scan_every_s = 2
";

/// A running `keywheel serve`.
pub(crate) struct Service {
    pub(crate) url: String,
    /// Where it left the first administrator's keys.
    pub(crate) credentials: PathBuf,
    log: PathBuf,
    child: Child,
    _folder: Arc<TempDir>,
}

impl Service {
    /// Starts it on a free port and waits until it is ready.
    ///
    /// # Errors
    /// It ends or is not ready within a minute; its last words are in the error.
    pub(crate) async fn start(folder: &Arc<TempDir>, clock: &SharedClock) -> Result<Self, Trouble> {
        use std::os::unix::fs::DirBuilderExt;
        let dir = folder.path().join("service");
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let (settings, data, log) = (dir.join("keywheel.toml"), dir.join("data"), dir.join("log"));
        fs::write(&settings, SETTINGS)?;
        let port = free_port("127.0.0.1")?;
        let written = File::create(&log)?;
        let child = command("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(program()?)
            .arg("--config")
            .arg(&settings)
            .arg("--data-dir")
            .arg(&data)
            .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
            .current_dir(&dir)
            .stdout(written.try_clone()?)
            .stderr(written)
            .spawn()?;
        let mut service = Self {
            url: format!("http://127.0.0.1:{port}"),
            credentials: data.join("admin-credentials.toml"),
            log,
            child,
            _folder: folder.clone(),
        };
        fs::write(dir.join("pid"), record(service.pid()).unwrap_or_default())?;
        service.await_ready(clock).await?;
        Ok(service)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn await_ready(&mut self, clock: &SharedClock) -> Result<(), Trouble> {
        let until = clock.monotonic() + START_MAX;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(START_MAX)
            .build()?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(Trouble(format!(
                    "the service ended ({status}): {}",
                    self.last_words()
                )));
            }
            let answer = http.get(format!("{}/readyz", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if clock.monotonic() > until {
                return Err(Trouble(format!(
                    "the service is not ready: {}",
                    self.last_words()
                )));
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n    ")
    }

    /// Signs in with the keys from the credentials file.
    ///
    /// # Errors
    /// The file is not there or not complete, or the service refuses a key.
    pub(crate) async fn sign_in(&self, clock: &SharedClock) -> Result<Api, Trouble> {
        let text = fs::read_to_string(&self.credentials)?;
        let table: toml::Table =
            toml::from_str(&text).map_err(|_| Trouble("the credentials file is no TOML".into()))?;
        let value = |key: &str| {
            let value = table.get(key).and_then(toml::Value::as_str);
            value.ok_or_else(|| Trouble(format!("the credentials file has no {key}")))
        };
        let (key, native) = (value("passwordsafe_key")?, value("api_key")?);
        Api::sign_in(&self.url, key, value("user")?, native, clock.clone()).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let asked = command("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        for _ in 0..END_MAX_TENTHS {
            if asked.is_err() || !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The program `keywheel`, two folders above this example.
fn program() -> Result<PathBuf, Trouble> {
    let own = std::env::current_exe()?;
    let found = own
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("keywheel"));
    found
        .take(3)
        .find(|path| path.is_file())
        .ok_or_else(|| Trouble("the program keywheel is not built; call `make demo`".into()))
}
