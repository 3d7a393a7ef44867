//! The connectors behind their wall: builds the processes' pools, and the engine's view of them.
//!
//! Invariant: no connector that meets a target lives in this process.

use std::path::PathBuf;
use std::sync::Arc;

use keywheel_connectors::dialogue::Dialogues;
use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::ssh::Ssh;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::config::{LogFormat, Settings};
use crate::engine::Connectors;
use crate::generate::Dice;
use crate::metrics::Metrics;
use crate::worker::{Options, Pool, Remote};

/// This very program, also after its file was replaced by another version's.
const PROGRAM: &str = "/proc/self/exe";
/// Processes of each connector where nothing is set: a second one while the first is replaced.
const PROCESSES_MIN: usize = 2;
/// Likewise: more only take memory.
const PROCESSES_MAX: usize = 8;

/// The processes of every connector.
#[derive(Clone, Debug)]
pub(super) struct Wall {
    ssh: Arc<Pool>,
    ldap: Arc<Pool>,
    dialogue: Arc<Pool>,
}

impl Wall {
    /// The pools; no process runs before [`Wall::run`].
    pub(super) fn new(
        settings: &Settings,
        clock: &SharedClock,
        dice: &Arc<dyn Dice>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let pool = |connector| {
            Pool::new(
                connector,
                options(settings),
                clock.clone(),
                dice.clone(),
                metrics.clone(),
            )
        };
        Self {
            ssh: pool("ssh"),
            ldap: pool("ldap"),
            dialogue: pool("dialogue"),
        }
    }

    /// The engine's connectors. Those on this side only look at names and secrets.
    pub(super) fn connectors(&self) -> Connectors {
        Connectors {
            ssh: Some(Arc::new(Remote::new(
                self.ssh.clone(),
                Arc::new(Ssh::new(0)),
            ))),
            ldap: Some(Arc::new(Remote::new(
                self.ldap.clone(),
                Arc::new(Ldap::new()),
            ))),
            dialogue: Some(Arc::new(Remote::new(
                self.dialogue.clone(),
                Arc::new(Dialogues::new()),
            ))),
            ..Connectors::default()
        }
    }

    /// True if every connector has a process that takes calls.
    pub(super) fn ready(&self) -> bool {
        self.ssh.ready() && self.ldap.ready() && self.dialogue.ready()
    }

    /// Keeps the processes until `raze` is cancelled.
    pub(super) async fn run(self, raze: CancellationToken) {
        tokio::join!(
            self.ssh.run(raze.clone()),
            self.ldap.run(raze.clone()),
            self.dialogue.run(raze),
        );
    }
}

/// How processes are started under these settings.
pub(super) fn options(settings: &Settings) -> Options {
    let processes = match settings.connectors.processes {
        0 => std::thread::available_parallelism()
            .map_or(PROCESSES_MIN, usize::from)
            .clamp(PROCESSES_MIN, PROCESSES_MAX),
        chosen => chosen as usize,
    };
    let format = match settings.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let log = [
        "--log-level",
        settings.log.level.name(),
        "--log-format",
        format,
    ];
    Options {
        log: log.map(str::to_owned).into(),
        ..Options::new(PathBuf::from(PROGRAM), processes, &settings.connectors.user)
    }
}
