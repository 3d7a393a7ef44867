//! `keywheel connector`: platforms that are definitions of a dialogue.
//!
//! Invariant: nothing here speaks to a system, and no secret is asked for.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keywheel_connectors::Login;
use keywheel_connectors::dialogue::{Fault, Library, SCHEMA};

use super::output::{print, say};
use super::{Exit, Globals, load};

/// Check definitions of platforms
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  keywheel connector check /etc/keywheel/platforms/my_switch.toml"
)]
pub(super) struct Connector {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say everything that is wrong with these definitions; exit with 3 if anything is
    #[command(
        after_help = "Example:\n  keywheel connector check --dry-run --account bob my_switch.toml"
    )]
    Check {
        /// Definitions; without any, the shipped ones and those of `connectors.platforms_dir`
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print each dialogue as it would be held, secrets masked
        #[arg(long, requires = "account", requires = "files")]
        dry_run: bool,
        /// The account that the dialogue is about
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
    },
    /// Print the JSON schema of a definition
    #[command(after_help = "Example:\n  keywheel connector schema")]
    Schema,
}

impl Connector {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        match self.what {
            What::Schema => print(SCHEMA),
            What::Check {
                files,
                dry_run,
                account,
            } => {
                let account = account.as_deref().map(parse_account).transpose()?;
                let account = account.filter(|_| dry_run);
                if files.is_empty() {
                    installed(globals)
                } else {
                    given(&files, account.as_ref())
                }
            }
        }
    }
}

fn parse_account(name: &str) -> Result<Login, Exit> {
    Login::parse(name).map_err(|error| {
        say(&error.to_string());
        Exit::Usage
    })
}

fn tell(faults: &[Fault]) {
    for fault in faults {
        say(&fault.to_string());
    }
}

/// The shipped definitions. That they have faults would be ours to mend.
fn shipped() -> Result<Library, Exit> {
    Library::shipped().map_err(|faults| {
        tell(&faults);
        Exit::Failed
    })
}

/// Checks the definitions that the service would find.
fn installed(globals: &Globals) -> Result<Exit, Exit> {
    let settings = load(&globals.inputs(Vec::new()))?.settings;
    let mut library = shipped()?;
    if let Err(faults) = library.add_folder(&settings.platforms_dir()) {
        tell(&faults);
        return Err(Exit::Configuration);
    }
    let lines: Vec<String> = library.ids().map(|id| format!("OK {id}")).collect();
    print(&lines.join("\n"))
}

/// Checks these files, and prints their dialogues if they are about an account.
fn given(files: &[PathBuf], account: Option<&Login>) -> Result<Exit, Exit> {
    let mut library = shipped()?;
    let mut ended = Exit::Done;
    for file in files {
        match library.add_file(file) {
            Ok(dialogue) => {
                print(&format!("OK {} {}", dialogue.id(), file.display()))?;
                if let Some(account) = account {
                    print(&dialogue.plan(account))?;
                }
            }
            Err(faults) => {
                tell(&faults);
                ended = Exit::Configuration;
            }
        }
    }
    Ok(ended)
}
