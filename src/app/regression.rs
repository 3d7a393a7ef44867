//! Whether the database is the one that it was, and no older: asked before anything runs on it.
//!
//! Invariant: nothing is written to a database, or to a journal, that belong to two stores.

use std::path::{Path, PathBuf};

use super::database::{self, place};
use super::error::AppError;
use super::escrow::Kept;
use super::{Base, audit_store};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::escrow::{Echo, EchoError, Journal};
use crate::model::audit::Event;
use crate::scheduler::{Ground, Memory, RegressionError};
use crate::store::Store;

/// The echo's file in the data folder.
const ECHO_FILE: &str = "keywheel.generation";
/// What its name has behind the journal's, beside which it is where one is kept.
const ECHO_ENDING: &str = ".generation";

/// Where the echo is.
pub(super) fn echo(settings: &Settings) -> Echo {
    let escrow = &settings.escrow;
    if escrow.echo != Path::new("") {
        return Echo::at(escrow.echo.clone());
    }
    if escrow.recipient.is_empty() {
        return Echo::at(settings.data_file(ECHO_FILE));
    }
    // Nodes may keep their journals in one folder, and each has its own echo.
    let mut name = escrow.journal.clone().into_os_string();
    name.push(ECHO_ENDING);
    Echo::at(name.into())
}

/// True if the echo is in the folder of the database's file.
pub(super) fn is_beside(settings: &Settings) -> bool {
    let database = database::file(settings);
    database.is_some_and(|file| file.parent() == echo(settings).path().parent())
}

/// The store's identity, if the echo is of it or there is none yet.
pub(super) async fn identify(settings: &Settings, base: &Base) -> Result<String, AppError> {
    let here = identity(settings, &base.store).await?;
    let echo = echo(settings);
    match echo.read()? {
        Some(echoed) if echoed.store != here => Err(AppError::OtherStore {
            path: echo.path().to_owned(),
            found: echoed.store,
            here,
        }),
        _ => Ok(here),
    }
}

async fn identity(settings: &Settings, store: &Store) -> Result<String, AppError> {
    let found = store.identity().await;
    let found = found.map_err(AppError::store(&place(settings)))?;
    let identity = found.ok_or(AppError::KeyRing("store_identity has no row"))?;
    Ok(identity.uuid)
}

/// Compares the database with what is remembered of it, and raises its generation: what the ticks
/// go on from.
pub(super) async fn watch(
    settings: &Settings,
    base: &Base,
    (identity, kept): (String, Option<Kept>),
    clock: &SharedClock,
) -> Result<(Memory, i64), AppError> {
    let here = place(settings);
    let of_store = &AppError::store(&here);
    let mut memory = Memory {
        store: identity,
        echo: echo(settings),
        names: kept.as_ref().is_some_and(|kept| kept.is_old),
        journal: kept.map(|kept| kept.journal),
    };
    let compared = memory
        .compare(&base.store, (0, Ground::Nothing), clock.now())
        .await;
    compared.map_err(|error| from(error, &memory, of_store))?;
    let generation = memory.raise(&base.store).await.map_err(of_store)?;
    if let Err(error) = memory.echo(generation, clock.now()) {
        tracing::warn!(%error, "until it can, a database that comes back older is not noticed");
    }
    // From here on the journal has all that the database has.
    memory.names = memory.journal.is_some();
    Ok((memory, generation))
}

fn from(
    error: RegressionError,
    memory: &Memory,
    of_store: impl Fn(crate::store::StoreError) -> AppError,
) -> AppError {
    match error {
        RegressionError::Store(error) => of_store(error),
        RegressionError::Echo(error) => error.into(),
        RegressionError::Escrow(error) => error.into(),
        RegressionError::OtherStore { path, found } => AppError::OtherStore {
            path,
            found,
            here: memory.store.clone(),
        },
    }
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The store's identity.
    pub store: String,
    /// How old it is.
    pub generation: i64,
    /// The echo's file.
    pub echo: PathBuf,
}

/// Takes the database that the settings name for the right one, as old as it is: what is remembered
/// of another, or of a younger one, is replaced. The service must not run.
///
/// # Errors
/// [`AppError`]; nothing was changed.
pub async fn accept_store(settings: &Settings, clock: &SharedClock) -> Result<Accepted, AppError> {
    let _locks = match database::file(settings) {
        Some(file) if !file.is_file() => return Err(AppError::NoDatabase { path: file }),
        Some(_) => database::lock(settings)?,
        None => Vec::new(),
    };
    let store = audit_store(settings).await?;
    let accepted = accept(settings, &store, clock).await;
    store.close().await;
    accepted
}

async fn accept(
    settings: &Settings,
    store: &Store,
    clock: &SharedClock,
) -> Result<Accepted, AppError> {
    let here = place(settings);
    let of_store = &AppError::store(&here);
    let identity = identity(settings, store).await?;
    let echo = echo(settings);
    let before = echo.read();
    let generation = store.generation().await.map_err(of_store)?;
    let body = serde_json::json!({
        "generation": generation,
        "before": match &before {
            Ok(Some(echoed)) => serde_json::json!({
                "store": echoed.store, "generation": echoed.generation,
            }),
            Ok(None) | Err(_) => serde_json::Value::Null,
        },
    });
    let mut tx = store.begin().await.map_err(of_store)?;
    let event = Event::by_service("store.accepted", format!("store {identity}"), body);
    tx.audit(&event, clock.now()).await.map_err(of_store)?;
    tx.commit().await.map_err(of_store)?;
    if !settings.escrow.recipient.is_empty() {
        let clock = clock.clone();
        let now = Box::new(move || clock.now());
        let (path, recipient) = (&settings.escrow.journal, &settings.escrow.recipient);
        let (journal, held) = Journal::open(path, recipient, now)?;
        if held.store.as_deref() != Some(&identity) {
            journal.begin(&identity);
            journal.flush().await?;
        }
    }
    let memory = Memory {
        store: identity.clone(),
        echo,
        journal: None,
        names: false,
    };
    memory.echo(generation, clock.now())?;
    Ok(Accepted {
        store: identity,
        generation,
        echo: memory.echo.path().to_owned(),
    })
}

/// What doctor says of the echo: its fault, if it has one, and whether it lies beside the database.
pub(super) async fn fault(settings: &Settings, store: &Store) -> Result<Option<String>, AppError> {
    let here = identity(settings, store).await?;
    let echo = echo(settings);
    let generation = store.generation().await;
    let generation = generation.map_err(AppError::store(&place(settings)))?;
    Ok(match echo.read() {
        Err(EchoError::Malformed { .. } | EchoError::File { .. }) => {
            Some(format!("{} cannot be read", echo.path().display()))
        }
        Ok(Some(echoed)) if echoed.store != here => Some(format!(
            "{} is of store {}, and the database is store {here}",
            echo.path().display(),
            echoed.store
        )),
        Ok(Some(echoed)) if echoed.generation > generation => Some(format!(
            "the database is older than it was: generation {generation}, and {} says {}",
            echo.path().display(),
            echoed.generation
        )),
        Ok(_) => None,
    })
}
