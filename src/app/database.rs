//! Opens the database that the settings name, with the schema of this program.
//!
//! Invariant: a SQLite file, its lock and its copies are their owner's alone, and an older file
//! is copied before it is migrated.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret;

use super::error::AppError;
use super::files::{self, FileError, Lock};
use crate::clock::SharedClock;
use crate::config::{DatabaseTarget, Settings};
use crate::store::{Store, StoreOptions};

/// The lock of the data folder.
const LOCK_FILE: &str = "keywheel.lock";

/// Which database, as people may read it.
pub(super) fn place(settings: &Settings) -> String {
    match settings.database_target() {
        DatabaseTarget::Sqlite(file) => file.display().to_string(),
        // Its debug form hides the password.
        DatabaseTarget::Postgres(_) => format!("{:?}", settings.database.url),
    }
}

/// The SQLite file; `None` for PostgreSQL.
pub(super) fn file(settings: &Settings) -> Option<PathBuf> {
    match settings.database_target() {
        DatabaseTarget::Sqlite(file) => Some(file),
        DatabaseTarget::Postgres(_) => None,
    }
}

/// Keeps other processes off the data folder and off the SQLite file: at its start the service
/// takes over every claim there is.
pub(super) fn lock(settings: &Settings) -> Result<Vec<Lock>, FileError> {
    let mut locks = vec![files::lock(&settings.data_file(LOCK_FILE))?];
    if let Some(mut name) = file(settings).map(PathBuf::into_os_string) {
        name.push(".lock");
        locks.push(files::lock(Path::new(&name))?);
    }
    Ok(locks)
}

/// Connects, and brings the schema up to date where that may happen by itself.
pub(super) async fn open(settings: &Settings, clock: &SharedClock) -> Result<Store, AppError> {
    let file = file(settings);
    if let Some(file) = &file {
        files::touch(file)?;
    }
    let store = connect(settings).await?;
    let fits = fit(settings, &store, clock).await;
    if fits.is_err() {
        store.close().await;
    }
    fits.map(|()| store)
}

async fn fit(settings: &Settings, store: &Store, clock: &SharedClock) -> Result<(), AppError> {
    if file(settings).is_some() || settings.database.auto_migrate {
        migrate(settings, store, clock).await?;
    }
    let fits = store.require_schema().await;
    fits.map_err(AppError::store(&place(settings)))
}

/// Connects, whatever the schema.
pub(super) async fn connect(settings: &Settings) -> Result<Store, AppError> {
    if let Some(path) = file(settings)
        && !looks_like_one(&path)
    {
        return Err(AppError::NoDatabase { path });
    }
    let options = StoreOptions {
        url: url(settings)?,
        readers: settings.database.connections,
        writers: settings.database.connections,
        acquire_timeout: Duration::from_secs(settings.database.acquire_timeout_s.into()),
    };
    let connected = Store::connect(&options).await;
    connected.map_err(AppError::store(&place(settings)))
}

/// An empty file, or one that begins as SQLite's do: the driver would try others for half a minute.
fn looks_like_one(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    // What cannot be read is the driver's matter.
    read.is_err() || head.is_empty() || head == b"SQLite format 3\0"
}

/// Brings the schema up to date; an older SQLite file is copied beside itself first.
pub(super) async fn migrate(
    settings: &Settings,
    store: &Store,
    clock: &SharedClock,
) -> Result<(), AppError> {
    let place = place(settings);
    let state = store.schema().await.map_err(AppError::store(&place))?;
    if !state.is_older() {
        return Ok(());
    }
    let copy = file(settings).filter(|_| state.found > 0).map(|file| {
        let mut name = file.into_os_string();
        name.push(format!(".schema-{}.{}.bak", state.found, clock.now().0));
        PathBuf::from(name)
    });
    if let Some(copy) = &copy {
        // The copy goes into an empty file, or SQLite would choose its mode.
        files::touch(copy)?;
        tracing::info!(copy = %copy.display(), "the database is copied before its migration");
    }
    let copy = copy.as_ref().map(|copy| copy.display().to_string());
    store
        .migrate(copy.as_deref())
        .await
        .map_err(AppError::store(&place))?;
    tracing::info!(from = state.found, to = state.known, "the schema is new");
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the driver takes the URL, which may hold a password"
)]
fn url(settings: &Settings) -> Result<String, FileError> {
    match settings.database_target() {
        DatabaseTarget::Postgres(url) => Ok(url.expose_secret().to_owned()),
        DatabaseTarget::Sqlite(file) => {
            let path = std::path::absolute(&file).map_err(|source| FileError::Make {
                path: file.clone(),
                source,
            })?;
            Ok(format!("sqlite://{}?mode=rwc", encoded(&path)))
        }
    }
}

/// A path in a URL: every byte that could mean something else is percent-encoded.
fn encoded(path: &Path) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_for_a_connection_ends_after_the_time_that_was_set() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.data.dir = folder.path().to_owned();
        settings.database.acquire_timeout_s = 1;
        files::touch(&file(&settings).unwrap()).unwrap();
        let store = connect(&settings).await.unwrap();
        let held = store.begin().await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(10), store.begin()).await;
        assert!(matches!(waited, Ok(Err(crate::store::StoreError::Busy))));
        drop(held);
        store.close().await;
    }

    #[test]
    fn a_path_with_awkward_characters_stays_one_path() {
        assert_eq!(
            encoded(Path::new("/a b/c?d#e%f/é.db")),
            "/a%20b/c%3fd%23e%25f/%c3%a9.db"
        );
    }
}
