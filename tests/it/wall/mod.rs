//! The wall between the service and targets: real connector processes, killed, stopped, lied to.
//!
//! Invariant: only processes of the test's own pool or service are signalled, by their ids.

mod confinement;
mod cost;
mod crowd;
mod format;
mod hostile;
mod loss;
mod service;
mod undo;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::SystemClock;
use keywheel::generate::SeededDice;
use keywheel::metrics::Metrics;
use keywheel::worker::{Options, Pool, Remote};
use keywheel_connectors::fake::Fake;
use keywheel_connectors::{
    Account, Connector, Credential, Functional, Login, Target, TargetKind, by_name,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::program::{command, run};
use crate::support::wait::until;

/// A pool of real processes, and the connector over it.
struct Stage {
    pool: Arc<Pool>,
    remote: Remote,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// A process is hung after three seconds of silence.
fn options(processes: usize) -> Options {
    Options {
        beat: Duration::from_millis(300),
        beats_max: 10,
        ..Options::new(
            PathBuf::from(env!("CARGO_BIN_EXE_keywheel")),
            processes,
            "nobody",
        )
    }
}

impl Stage {
    /// Processes that serve the fake's preset world; the first one is ready.
    async fn fake(processes: usize) -> Self {
        Self::of("fake", Arc::new(Fake::default()), options(processes)).await
    }

    async fn real(connector: &'static str, processes: usize) -> Self {
        let near = by_name(connector, 0).expect("it is built in");
        Self::of(connector, near, options(processes)).await
    }

    async fn of(name: &'static str, near: Arc<dyn Connector>, options: Options) -> Self {
        let stage = Self::idle(name, near, options);
        until("a process is ready", async || {
            stage.pool.ready().then_some(())
        })
        .await;
        stage
    }

    /// A stage whose processes may never be ready.
    fn idle(name: &'static str, near: Arc<dyn Connector>, options: Options) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let dice = Arc::new(SeededDice::new(7));
        let pool = Pool::new(name, options, SystemClock::shared(), dice, metrics.clone());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(pool.clone().run(stop.clone()));
        Self {
            remote: Remote::new(pool.clone(), near),
            pool,
            metrics,
            stop,
            tasks,
        }
    }

    /// One of its series, without the common prefix. The fake is counted under `other`.
    fn series(&self, name: &str) -> u32 {
        series(&self.metrics.render(), name)
    }

    /// Ends the processes, and waits until they have.
    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// A series of a metrics page; 0 if it is not there.
fn series(page: &str, name: &str) -> u32 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("keywheel_{name} ")));
    line.map_or(0, |value| value.parse().unwrap())
}

fn target(host: &str, timeout: Duration) -> Target {
    Target {
        host: host.to_owned(),
        port: 1,
        timeout,
        in_flight: 4,
        kind: TargetKind::Fake,
    }
}

fn account(name: &str) -> Account {
    Account::named(Login::parse(name).unwrap(), None)
}

fn functional() -> Functional {
    Functional {
        account: account("changer"),
        credential: Credential::from("secret"),
    }
}

/// Signals one process, for example with `KILL`.
fn signal(name: &str, id: u32) {
    run(command("sh").args(["-c", &format!("kill -{name} {id}")]));
}

/// What `/proc` says of a process, by the field's name.
fn status(id: u32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field}"))
        .trim()
        .to_owned()
}

/// Connector processes of a service: id and arguments.
fn children(parent: u32) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |id: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.contains(&format!("\nPPid:\t{parent}\n"))
    };
    let arguments = |id| {
        let raw = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        (id, String::from_utf8_lossy(&raw).replace('\0', " "))
    };
    ids.filter(is_child)
        .map(arguments)
        .filter(|(_, line)| line.contains("connector-worker"))
        .collect()
}
