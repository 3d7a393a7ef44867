//! Files and folders of the service's own.
//!
//! Invariant: a secret file is complete and fsynced before it has its name, its mode is 0600
//! from its first byte on, and no file is replaced.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Mode of the data folder.
const FOLDER_MODE: u32 = 0o700;
/// Mode of every file in it.
const FILE_MODE: u32 = 0o600;

/// Why a file or folder could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Correct rights or path.
    #[error("{} cannot be made: {source}. Correct its folder's rights, or choose another place", path.display())]
    Make { path: PathBuf, source: io::Error },
    /// Move it away, if it is not wanted.
    #[error("{} is there already and is not overwritten", path.display())]
    Exists { path: PathBuf },
    /// End the other process.
    #[error(
        "{} is locked: another keywheel uses these files. End it first, or choose another data.dir",
        path.display()
    )]
    Locked { path: PathBuf },
}

fn failed(path: &Path) -> impl Fn(io::Error) -> FileError + use<'_> {
    move |source| FileError::Make {
        path: path.to_owned(),
        source,
    }
}

/// Makes the data folder, mode 0700, if it is not there.
///
/// # Errors
/// [`FileError::Make`].
pub fn data_folder(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(failed(path))?;
    sync_parent(path)
}

/// A lock on a file, held until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Takes a lock that no other process holds.
pub(super) fn lock(path: &Path) -> Result<Lock, FileError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(failed(path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(FileError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(path)(source)),
    }
}

/// Makes an empty file, mode 0600, for a program that would choose another mode.
pub(super) fn touch(path: &Path) -> Result<(), FileError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path);
    match made {
        Ok(_) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(failed(path)(source)),
    }
}

/// Writes a new file, mode 0600: whole and durable, or not at all.
///
/// # Errors
/// [`FileError::Exists`] if there is a file of that name; [`FileError::Make`].
pub fn write_new(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut unnamed = path.as_os_str().to_owned();
    unnamed.push(".new");
    let unnamed = PathBuf::from(unnamed);
    // What a crash left behind has never been in use.
    match std::fs::remove_file(&unnamed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&unnamed)(error));
        }
        _ => {}
    }
    let written = write_and_name(&unnamed, path, content);
    if written.is_err() {
        discard(&unnamed);
    }
    written
}

fn write_and_name(unnamed: &Path, path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(unnamed)
        .map_err(failed(path))?;
    file.write_all(content).map_err(failed(path))?;
    file.sync_all().map_err(failed(path))?;
    // A link, not a rename: a rename would replace what is there.
    match std::fs::hard_link(unnamed, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(FileError::Exists {
                path: path.to_owned(),
            });
        }
        Err(source) => return Err(failed(path)(source)),
    }
    discard(unnamed);
    sync_parent(path)
}

/// Gives a file another name beside it, which ends in `.before-<number>`.
pub(super) fn set_aside(path: &Path, number: i64) -> Result<PathBuf, FileError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".before-{number}"));
    let aside = PathBuf::from(aside);
    std::fs::rename(path, &aside).map_err(failed(&aside))?;
    sync_parent(path)?;
    Ok(aside)
}

/// Removes a file that is of no use; one that stays does no harm.
pub(super) fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file of no use could not be removed");
    }
}

/// A name is durable once its folder is.
fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(failed(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_whole_and_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(folder.path().join("key.new"), b"left by a crash").unwrap();
        write_new(&path, b"whole").unwrap();
        assert_eq!(
            (std::fs::read(&path).unwrap(), mode(&path)),
            (b"whole".to_vec(), 0o600)
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, b"first").unwrap();
        let refused = write_new(&path, b"second").unwrap_err();
        assert!(matches!(refused, FileError::Exists { .. }), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(FileError::Locked { .. })));
        drop(held);
        lock(&path).unwrap();
    }

    #[test]
    fn the_data_folder_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("b");
        data_folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        data_folder(&path).unwrap();
    }

    #[test]
    fn what_is_set_aside_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        write_new(&path, b"old").unwrap();
        let aside = set_aside(&path, 7).unwrap();
        assert!(!path.exists());
        assert_eq!(
            (std::fs::read(&aside).unwrap(), mode(&aside)),
            (b"old".to_vec(), 0o600)
        );
    }
}
