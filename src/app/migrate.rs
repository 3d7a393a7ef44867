//! The database's schema, as the commands see it.
//!
//! Invariant: asking changes nothing; not even an empty file is made.

use super::error::AppError;
use super::{database, files};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::store::SchemaState;

/// Where a database's schema stands.
#[derive(Clone, Debug)]
pub struct Migration {
    /// Which database; without a password.
    pub place: String,
    /// `None`: there is no database yet; the first start makes it.
    pub schema: Option<SchemaState>,
}

/// Reads where the schema stands.
///
/// # Errors
/// [`AppError::Store`], for one if a later release wrote the database.
pub async fn migration(settings: &Settings) -> Result<Migration, AppError> {
    let place = database::place(settings);
    let missing =
        |file: std::path::PathBuf| !std::fs::metadata(file).is_ok_and(|about| about.len() > 0);
    if database::file(settings).is_some_and(missing) {
        return Ok(Migration {
            place,
            schema: None,
        });
    }
    let store = database::connect(settings).await?;
    let schema = store.schema().await;
    store.close().await;
    Ok(Migration {
        schema: Some(schema.map_err(AppError::store(&place))?),
        place,
    })
}

/// Brings the schema up to date. A SQLite file is copied beside itself first, and no service may
/// be running on it.
///
/// # Errors
/// [`AppError`]; the database is as it was.
pub async fn migrate(settings: &Settings, clock: &SharedClock) -> Result<Migration, AppError> {
    let file = database::file(settings);
    let mut locks = Vec::new();
    if let Some(file) = &file {
        files::data_folder(&settings.data.dir)?;
        locks = database::lock(settings)?;
        files::touch(file)?;
    }
    let store = database::connect(settings).await?;
    let migrated = database::migrate(settings, &store, clock).await;
    store.close().await;
    migrated?;
    drop(locks);
    migration(settings).await
}
