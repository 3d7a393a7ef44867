//! The echo: how old the database was when this node last asked it, kept outside of it.
//!
//! Invariant: the file names a generation only after the database has committed it, and is always
//! whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An echo is one line.
const ECHO_MAX_BYTES: u64 = 4_096;

/// Why the echo cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EchoError {
    /// Repair the disk; until then a database that comes back older is not noticed.
    #[error("the echo of the database's age, {path}, cannot be {what}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// Put the file back, or accept the database as it is.
    #[error(
        "{path} is no echo of a database's age: put it back from a copy. If the database is the \
         right one and no older than it was, accept it with `keywheel regression accept`"
    )]
    Malformed {
        /// Which.
        path: PathBuf,
    },
}

/// What is echoed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Echoed {
    /// Which database.
    pub store: String,
    /// How old it was.
    pub generation: i64,
    /// When that was, RFC 3339; for people.
    pub at: String,
}

/// The file of the echo.
#[derive(Clone, Debug)]
pub struct Echo {
    path: PathBuf,
}

impl Echo {
    /// The echo in this file, which need not exist yet.
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> EchoError + use<'_> {
        move |cause| EchoError::File {
            path: self.path.clone(),
            what,
            cause: Arc::new(cause),
        }
    }

    /// What the file says; `None` if there is none.
    ///
    /// # Errors
    /// [`EchoError`].
    pub fn read(&self) -> Result<Option<Echoed>, EchoError> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(self.failed("read"))?,
        };
        let mut text = Vec::new();
        file.take(ECHO_MAX_BYTES)
            .read_to_end(&mut text)
            .map_err(self.failed("read"))?;
        let malformed = |_| EchoError::Malformed {
            path: self.path.clone(),
        };
        serde_json::from_slice(&text).map(Some).map_err(malformed)
    }

    /// Puts this in the file's place, and answers once it is on disk.
    ///
    /// # Errors
    /// [`EchoError::File`]; what the file said before stands.
    pub fn write(&self, echoed: &Echoed) -> Result<(), EchoError> {
        let failed = self.failed("written");
        let mut text = serde_json::to_vec(echoed).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(&failed)?;
        file.write_all(&text).map_err(&failed)?;
        file.sync_all().map_err(&failed)?;
        std::fs::rename(&new, &self.path).map_err(&failed)?;
        let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_half_of_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let echo = Echo::at(folder.path().join("echo"));
        assert_eq!(echo.read().unwrap(), None);
        let mut echoed = Echoed {
            store: "one".into(),
            generation: 7,
            at: "2026-01-01T00:00:00Z".into(),
        };
        for generation in [7, 8] {
            echoed.generation = generation;
            echo.write(&echoed).unwrap();
            assert_eq!(echo.read().unwrap(), Some(echoed.clone()));
        }
        let whole = std::fs::read(echo.path()).unwrap();
        for cut in 0..whole.len() - 2 {
            std::fs::write(echo.path(), &whole[..cut]).unwrap();
            let said = echo.read().unwrap_err();
            assert!(matches!(said, EchoError::Malformed { .. }), "{cut}: {said}");
        }
        let nowhere = Echo::at(folder.path().join("none/echo"));
        assert!(matches!(
            nowhere.write(&echoed),
            Err(EchoError::File { .. })
        ));
    }
}
