//! `keywheel config`: the settings that hold, and where they come from.
//!
//! Invariant: a password in a setting is shown as `***`.

use clap::{Args, Subcommand};

use super::output::{print, rows, say};
use super::{Exit, Globals, failed, load};
use crate::app::platforms;

/// Show or validate the settings
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel config validate")]
pub(super) struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print every setting that holds
    #[command(after_help = "Example:\n  keywheel config show --origins")]
    Show {
        /// Print the layer of each setting too
        #[arg(long)]
        origins: bool,
    },
    /// Say everything that is wrong with the settings; exit with 3 if anything is
    #[command(
        after_help = "Example:\n  keywheel --config /etc/keywheel/keywheel.toml config validate"
    )]
    Validate,
}

impl Config {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let loaded = load(&globals.inputs(Vec::new()))?;
        for warning in &loaded.warnings {
            say(warning);
        }
        match self.what {
            What::Validate => {
                platforms(&loaded.settings).map_err(|error| failed(&error))?;
                print("the settings are valid")
            }
            What::Show { origins } => {
                let heads: &[&str] = if origins {
                    &["setting", "value", "from"]
                } else {
                    &["setting", "value"]
                };
                rows(globals.output, heads, &loaded.shown(), |shown| {
                    let mut cells = vec![shown.key.clone(), shown.value.clone()];
                    if origins {
                        cells.push(shown.origin.clone());
                    }
                    cells
                })
            }
        }
    }
}
