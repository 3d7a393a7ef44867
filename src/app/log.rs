//! The log: to stderr, with a level that can be changed while the service runs.
//!
//! Invariant: libraries below log warnings and errors alone, whatever the level: some would
//! print what they are handed. A panic's text is logged only if it was written into the program.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt as lines, reload};

use super::error::AppError;
use crate::config::{self, LogFormat, LogLevel};

/// The switch of the log's level.
pub struct Log {
    level: Mutex<LogLevel>,
    filter: reload::Handle<Targets, Registry>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

fn targets(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("keywheel", own)
        .with_target("keywheel_connectors", own)
}

impl Log {
    /// Begins to log; once a process.
    ///
    /// # Errors
    /// [`AppError::Log`] the second time.
    pub fn start(settings: &config::Log) -> Result<Self, AppError> {
        let (filter, handle) = reload::Layer::new(targets(settings.level));
        let registry = tracing_subscriber::registry().with(filter);
        let started = match settings.format {
            LogFormat::Text => {
                let ansi = std::io::stderr().is_terminal();
                let text = lines::layer().with_writer(std::io::stderr).with_ansi(ansi);
                registry.with(text).try_init()
            }
            LogFormat::Json => {
                let json = lines::layer().with_writer(std::io::stderr).json();
                registry.with(json).try_init()
            }
        };
        started.map_err(|_| AppError::Log)?;
        log_panics();
        Ok(Self {
            level: Mutex::new(settings.level),
            filter: handle,
        })
    }

    /// Logs at another level from now on.
    pub fn set(&self, level: LogLevel) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
        if let Err(error) = self.filter.reload(targets(level)) {
            tracing::warn!(%error, "the log level could not be changed");
        }
    }

    /// From debug to info, and from anything else to debug.
    pub fn toggle(&self) -> LogLevel {
        let now = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let level = if now == LogLevel::Debug {
            LogLevel::Info
        } else {
            LogLevel::Debug
        };
        self.set(level);
        level
    }
}

fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        // A text that was put together at run time may hold anything.
        let why = panic.payload().downcast_ref::<&'static str>();
        tracing::error!(place, why, "a task panicked");
    }));
}
