//! `keywheel init`: the first files, without the service.
//!
//! Invariant: no file is overwritten; what is there is kept and named as kept.

use std::path::Path;

use clap::Args;

use super::output::{print, say};
use super::{Exit, Globals, block_on, failed, load};
use crate::app::{self, AppError, FileError};
use crate::clock::SystemClock;
use crate::generate::SystemDice;

/// Every setting with its default, commented.
const TEMPLATE: &str = include_str!("../../config/keywheel.toml");
/// The line of the template that names the data folder.
const FOLDER_LINE: &str = "dir = \"./keywheel-data\"";

/// Make settings, key and administrator, then stop
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel init --data-dir /var/lib/keywheel")]
pub(super) struct Init {
    /// Print the commented settings instead, and make nothing
    #[arg(long)]
    print: bool,
}

impl Init {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        if self.print {
            return print(TEMPLATE);
        }
        let asked = Globals {
            // A settings file that is to be made cannot be read yet.
            config: globals.config.clone().filter(|file| file.exists()),
            data_dir: globals.data_dir.clone(),
            output: globals.output,
        };
        let before = load(&asked.inputs(Vec::new()))?.settings;
        let file = globals
            .config
            .clone()
            .unwrap_or_else(|| before.data_file("keywheel.toml"));
        app::data_folder(&before.data.dir).map_err(|error| failed(&error.into()))?;
        let settings = template(&before.data.dir);
        let said = match app::write_new(&file, settings.as_bytes()) {
            Ok(()) => "made",
            Err(FileError::Exists { .. }) => "kept",
            Err(error) => return Err(failed(&error.into())),
        };
        print(&format!("{said} {}", file.display()))?;
        let loaded = load(&globals.inputs(Vec::new()))?;
        for warning in &loaded.warnings {
            say(warning);
        }
        let settings = loaded.settings;
        let had_key = settings.kek_file().exists();
        let url = settings.server.url(settings.server.listen);
        let made = block_on(async {
            let clock = SystemClock::shared();
            let base = app::prepare(&settings, &url, &clock, &SystemDice).await?;
            base.store.close().await;
            Ok::<_, AppError>(base.credentials)
        })?;
        let made = made.map_err(|error| failed(&error))?;
        let said = if had_key { "kept" } else { "made" };
        print(&format!("{said} {}", settings.kek_file().display()))?;
        match made {
            Some(path) => print(&format!(
                "made {}: the administrator's keys; move them and delete it",
                path.display()
            )),
            None => print("kept the administrator: the database has one"),
        }
    }
}

/// The commented settings, with the data folder that was asked for.
fn template(folder: &Path) -> String {
    let folder = toml::Value::String(folder.display().to_string());
    TEMPLATE.replace(FOLDER_LINE, &format!("dir = {folder}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_names_the_data_folder_that_was_asked_for() {
        assert_eq!(TEMPLATE.matches(FOLDER_LINE).count(), 1);
        let text = template(Path::new("/var/lib/key \"wheel\""));
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(
            table["data"]["dir"].as_str(),
            Some("/var/lib/key \"wheel\"")
        );
    }
}
