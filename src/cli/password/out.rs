//! Where a value goes that a command was asked for: a terminal, or a file of its owner alone.
//!
//! Invariant: a value is in no pipe unless it is a made-up one, and no file is replaced by it.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::super::Exit;
use super::super::output::{self, Format, say};

/// A file for a value: made before the value is asked for, so that none is revealed that could not
/// be kept. It is gone again unless it was filled.
#[derive(Debug)]
pub(in crate::cli) struct Out {
    file: File,
    path: PathBuf,
    is_filled: bool,
}

impl Out {
    /// A new file, mode 0600.
    pub(in crate::cli) fn new(path: &Path) -> Result<Self, Exit> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Ok(file) => Ok(Self {
                file,
                path: path.to_owned(),
                is_filled: false,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let path = path.display();
                say(&format!("{path} is there already and is not replaced"));
                Err(Exit::Conflict)
            }
            Err(error) => {
                say(&format!("{} cannot be made: {error}", path.display()));
                Err(Exit::Failed)
            }
        }
    }

    /// Writes the value as it is, without an end of line.
    pub(in crate::cli) fn fill(mut self, value: &SecretString) -> Result<(), Exit> {
        #[expect(clippy::disallowed_methods, reason = "the file was asked for")]
        let written = self.file.write_all(value.expose_secret().as_bytes());
        match written.and_then(|()| self.file.sync_all()) {
            Ok(()) => {
                self.is_filled = true;
                Ok(())
            }
            Err(error) => {
                say(&format!("{} was not written: {error}", self.path.display()));
                Err(Exit::Failed)
            }
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if !self.is_filled
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            say(&format!("{} was left empty: {error}", self.path.display()));
        }
    }
}

/// Whether stdout is a terminal: a pipe keeps a value in places that nobody has named.
pub(super) fn needs_terminal() -> Result<(), Exit> {
    if io::stdout().is_terminal() {
        return Ok(());
    }
    say("--reveal shows a value on a terminal alone: write it to a file with --out");
    Err(Exit::Usage)
}

/// Shows a value on the terminal.
pub(super) fn show(format: Format, id: i64, value: &SecretString) -> Result<Exit, Exit> {
    #[expect(clippy::disallowed_methods, reason = "it was asked for on a terminal")]
    let text = value.expose_secret();
    if text.chars().any(char::is_control) {
        say("the value holds characters that a terminal obeys: write it to a file with --out");
        return Err(Exit::Failed);
    }
    match format {
        Format::Table => output::line(text),
        Format::Json => output::json(&json!({"password_id": id, "value": text})),
    }
}

/// Prints a made-up password, which nothing has yet.
pub(super) fn made_up(format: Format, value: &SecretString) -> Result<Exit, Exit> {
    #[expect(clippy::disallowed_methods, reason = "it is made up for whoever asks")]
    let text = value.expose_secret();
    match format {
        Format::Table => output::line(text),
        Format::Json => output::json(&json!({"password": text})),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_filled_as_it_stands_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        drop(Out::new(&path).unwrap());
        assert!(!path.exists(), "nothing was written to it");
        let out = Out::new(&path).unwrap();
        assert_eq!(Out::new(&path).unwrap_err(), Exit::Conflict);
        out.fill(&SecretString::from(" made\nup ")).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(Out::new(&path).unwrap_err(), Exit::Conflict);
        assert_eq!(std::fs::read(&path).unwrap(), b" made\nup ");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        assert_eq!(Out::new(&link).unwrap_err(), Exit::Conflict);
        assert_eq!(
            Out::new(&folder.path().join("a/b")).unwrap_err(),
            Exit::Failed
        );
    }

    #[test]
    fn what_a_terminal_obeys_is_not_shown() {
        for value in ["a\u{1b}[2Jb", "a\rb", "a\u{9b}b"] {
            let value = SecretString::from(value);
            for format in [Format::Table, Format::Json] {
                assert_eq!(show(format, 1, &value), Err(Exit::Failed));
            }
        }
    }
}
