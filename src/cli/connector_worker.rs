//! `keywheel connector-worker`: one connector process. The service starts it, nobody else.
//!
//! Invariant: it reads no settings, no database and no key; all that it is told comes through its
//! standard input, which is a socket.

use clap::Args;

use super::output::say;
use super::{Exit, Globals, failed};
use crate::app::Log;
use crate::config::{self, LogFormat, LogLevel};
use crate::worker::{self, Served};

/// Speak with targets, for the service
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel connector-worker ssh")]
pub(super) struct ConnectorWorker {
    /// The connector to serve
    connector: String,
    /// Whom it becomes if it is started as root
    #[arg(long, default_value = "nobody", value_name = "USER")]
    user: String,
    /// Where the sentinels of SSH start
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    seed: u64,
    /// What is logged
    #[arg(long, default_value = "info", value_name = "LEVEL", value_parser = level)]
    log_level: LogLevel,
    /// How a log line looks
    #[arg(long, default_value = "text", value_name = "FORM", value_parser = format)]
    log_format: LogFormat,
}

fn level(name: &str) -> Result<LogLevel, &'static str> {
    LogLevel::try_from(name.to_owned())
}

fn format(name: &str) -> Result<LogFormat, &'static str> {
    LogFormat::try_from(name.to_owned())
}

impl ConnectorWorker {
    pub(super) fn run(self, _: &Globals) -> Result<Exit, Exit> {
        let log = config::Log {
            level: self.log_level,
            format: self.log_format,
        };
        Log::start(&log).map_err(|error| failed(&error))?;
        let served = Served {
            connector: self.connector,
            user: self.user,
            seed: self.seed,
        };
        worker::run(&served).map_err(|error| {
            say(&error.to_string());
            Exit::Failed
        })?;
        Ok(Exit::Done)
    }
}
