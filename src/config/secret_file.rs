//! Reads files that hold a secret.
//!
//! Invariant: a file that every user of the machine may read or write is refused.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Largest secret file. A PEM bundle is the longest thing that one holds.
const FILE_MAX_BYTES: u64 = 1_048_576;

/// Why a secret file was not read.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// Make it, or correct its path.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    /// `chmod` it, and change the secret if the machine has other users.
    #[error(
        "{} may be used by every user of this machine (mode {mode:04o}): run `chmod 0600` on it, \
         and replace the secret if somebody may have read it",
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    /// It is not what it should be.
    #[error("{} is no regular file of at most {FILE_MAX_BYTES} bytes", path.display())]
    NotASecret { path: PathBuf },
}

/// Reads a secret file whole; wiped on drop.
///
/// # Errors
/// [`SecretFileError`]; none holds a byte of the file.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let unreadable = |source| SecretFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    // Asked of the open file, so that nobody can swap it in between.
    let about = file.metadata().map_err(unreadable)?;
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(SecretFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    if !about.is_file() || about.len() > FILE_MAX_BYTES {
        return Err(SecretFileError::NotASecret {
            path: path.to_owned(),
        });
    }
    // Room for all of it: a buffer that grows leaves its old bytes behind.
    let room = usize::try_from(about.len()).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(about.len())
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, b"0123").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_of_its_owner_and_group_is_read_whole() {
        for mode in [0o400, 0o600, 0o640] {
            let (_folder, path) = with_mode(mode);
            assert_eq!(**read_secret_file(&path).unwrap(), *b"0123");
        }
    }

    #[test]
    fn a_file_that_everybody_may_use_is_refused_with_the_cure() {
        for mode in [0o604, 0o602, 0o644, 0o666] {
            let (_folder, path) = with_mode(mode);
            let refused = read_secret_file(&path).unwrap_err().to_string();
            assert!(
                refused.contains("chmod 0600") && !refused.contains("0123"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_folder_and_a_missing_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(
            read_secret_file(folder.path()),
            Err(SecretFileError::NotASecret { .. })
        ));
        assert!(matches!(
            read_secret_file(&folder.path().join("none")),
            Err(SecretFileError::Unreadable { .. })
        ));
    }
}
