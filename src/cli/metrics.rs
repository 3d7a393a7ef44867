//! `keywheel metrics`: what Prometheus and Grafana need.
//!
//! Invariant: the files are those that the program was tested with.

use clap::{Args, Subcommand};

use super::output::print;
use super::{Exit, Globals};
use crate::metrics::{ALERT_RULES, DASHBOARD, Metrics as Registry, RECORDING_RULES};

/// Print the shipped Prometheus and Grafana files
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel metrics rules")]
pub(super) struct Metrics {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Every metric as an idle service exports it
    #[command(after_help = "Example:\n  keywheel metrics print")]
    Print,
    /// Alerting rules, for `rule_files`
    #[command(after_help = "Example:\n  keywheel metrics rules")]
    Rules,
    /// Recording rules that the alerts and the dashboard use
    #[command(after_help = "Example:\n  keywheel metrics recording")]
    Recording,
    /// The Grafana dashboard
    #[command(after_help = "Example:\n  keywheel metrics dashboard")]
    Dashboard,
}

impl Metrics {
    pub(super) fn run(self, _: &Globals) -> Result<Exit, Exit> {
        match self.what {
            What::Rules => print(ALERT_RULES),
            What::Recording => print(RECORDING_RULES),
            What::Dashboard => print(DASHBOARD),
            What::Print => match Registry::new() {
                Ok(registry) => print(&registry.render()),
                Err(error) => {
                    super::say(&error.to_string());
                    Err(Exit::Failed)
                }
            },
        }
    }
}
