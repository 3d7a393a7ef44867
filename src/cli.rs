//! The command line: one file a subcommand.
//!
//! Data goes to stdout; progress, faults and the log go to stderr.
//!
//! Invariant: no secret is a flag, and every way out has one of the documented exit codes.

mod audit;
mod config;
mod connector;
mod connector_worker;
mod doctor;
mod doubt;
mod init;
mod metrics;
mod migrate;
mod output;
mod password;
mod recover;
mod regression;
mod remote;
mod serve;
mod user;
mod workflow;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::app::AppError;
use crate::config::{self as settings, Inputs, Loaded};
use output::{Format, say};

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The operation failed.
    Failed,
    /// The command was not understood.
    Usage,
    /// The settings are invalid.
    Configuration,
    /// There is work to do.
    Pending,
    /// There is no such thing.
    NotFound,
    /// It is not permitted.
    Denied,
    /// Something is in the way.
    Conflict,
    /// A person has to decide.
    NeedsOperator,
    /// It goes on, and was not waited for any longer.
    TimedOut,
    /// The same may succeed a little later.
    Unavailable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Configuration => 3,
            Exit::Pending => 4,
            Exit::NotFound => 5,
            Exit::Denied => 6,
            Exit::Conflict => 7,
            Exit::NeedsOperator => 9,
            Exit::TimedOut => 10,
            Exit::Unavailable => 75,
        })
    }
}

/// Privileged-access rotation that never loses a credential.
#[derive(Debug, Parser)]
#[command(
    name = "keywheel",
    version,
    after_help = "Example:\n  keywheel --data-dir /var/lib/keywheel serve"
)]
struct Command {
    /// Settings file; without it /etc/keywheel/keywheel.toml, then keywheel.toml in the data folder
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the service's files
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Form of what is printed
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "table",
        value_name = "FORM"
    )]
    output: Format,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Serve(serve::Serve),
    Init(init::Init),
    Migrate(migrate::Migrate),
    Doctor(doctor::Doctor),
    Config(config::Config),
    Connector(connector::Connector),
    Audit(audit::Audit),
    Metrics(metrics::Metrics),
    User(user::User),
    Password(password::Password),
    Recover(recover::Recover),
    Regression(regression::Regression),
    Workflow(workflow::Workflow),
    Doubt(doubt::Doubt),
    #[command(hide = true)]
    ConnectorWorker(connector_worker::ConnectorWorker),
}

/// What every subcommand may need.
#[derive(Debug)]
struct Globals {
    config: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    output: Format,
}

impl Globals {
    /// Where settings are read from; `flags` are the subcommand's own.
    fn inputs(&self, flags: Vec<(String, String)>) -> Inputs {
        let folder = self.data_dir.iter();
        let folder = folder.map(|folder| ("data.dir".to_owned(), folder.display().to_string()));
        Inputs::of_process(self.config.clone(), folder.chain(flags).collect())
    }
}

/// Reads the settings; what is wrong with them goes to stderr.
fn load(inputs: &Inputs) -> Result<Loaded, Exit> {
    settings::load(inputs).map_err(|faults| {
        say(&faults.to_string());
        Exit::Configuration
    })
}

/// Runs what the arguments ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => {
            let asked = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            return match error.print() {
                Ok(()) if asked => Exit::Done,
                _ => Exit::Usage,
            };
        }
    };
    let globals = Globals {
        config: command.config,
        data_dir: command.data_dir,
        output: command.output,
    };
    let ended = match command.what {
        What::Serve(serve) => serve.run(&globals),
        What::Init(init) => init.run(&globals),
        What::Migrate(migrate) => migrate.run(&globals),
        What::Doctor(doctor) => doctor.run(&globals),
        What::Config(config) => config.run(&globals),
        What::Connector(connector) => connector.run(&globals),
        What::Audit(audit) => audit.run(&globals),
        What::Metrics(metrics) => metrics.run(&globals),
        What::User(user) => user.run(&globals),
        What::Password(password) => password.run(&globals),
        What::Recover(recover) => recover.run(&globals),
        What::Regression(regression) => regression.run(&globals),
        What::Workflow(workflow) => workflow.run(&globals),
        What::Doubt(doubt) => doubt.run(&globals),
        What::ConnectorWorker(worker) => worker.run(&globals),
    };
    ended.unwrap_or_else(|exit| exit)
}

/// Runs a future to its end.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(future);
            // What still runs is of no use any more; its transactions roll back.
            runtime.shutdown_background();
            Ok(ended)
        }
        Err(error) => {
            say(&format!("no threads could be started: {error}"));
            Err(Exit::Unavailable)
        }
    }
}

/// Says why the app did not do it.
fn failed(error: &AppError) -> Exit {
    say(&error.to_string());
    match error {
        AppError::Platforms { .. } => Exit::Configuration,
        error if error.is_temporary() => Exit::Unavailable,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_fits_together() {
        Command::command().debug_assert();
    }

    #[test]
    fn every_help_ends_with_an_example_that_is_understood() {
        fn walk(command: &clap::Command, seen: &mut usize) {
            let help = command
                .get_after_help()
                .unwrap_or_else(|| panic!("{} has no example", command.get_name()))
                .to_string();
            let example = help.lines().last().unwrap().trim();
            Command::try_parse_from(example.split(' '))
                .unwrap_or_else(|error| panic!("{example}: {error}"));
            *seen += 1;
            for one in command.get_subcommands() {
                walk(one, seen);
            }
        }
        let mut seen = 0;
        walk(&Command::command(), &mut seen);
        assert!(seen > 10, "only {seen} commands were found");
    }
}
