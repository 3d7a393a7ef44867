//! Databases for many worlds: a copy of one that was migrated once.
//!
//! Invariant: no two worlds share a database.

use std::path::PathBuf;
use std::time::Duration;

use keywheel::store::{Backend, Store, StoreOptions};
use sqlx::Connection;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::database::Database;

/// A migrated file of SQLite's.
static TEMPLATE: OnceCell<Vec<u8>> = OnceCell::const_new();

/// Where worlds have their databases.
pub(crate) struct Place {
    backend: Backend,
    folder: TempDir,
    /// A migrated database of PostgreSQL's.
    server: OnceCell<Database>,
}

/// One world's database.
pub(crate) struct Ground {
    pub(crate) url: String,
    file: Option<PathBuf>,
}

impl Place {
    pub(crate) fn new(backend: Backend) -> Self {
        // In memory, if there is such a folder: nothing here has to outlive a power cut.
        let memory = PathBuf::from("/dev/shm");
        let folder = tempfile::Builder::new()
            .prefix("keywheel-simulate")
            .tempdir_in(memory)
            .or_else(|_| tempfile::tempdir());
        Self {
            backend,
            folder: folder.unwrap(),
            server: OnceCell::new(),
        }
    }

    pub(crate) async fn ground(&self) -> Ground {
        if self.backend == Backend::Postgres {
            let migrated = self.server.get_or_init(migrated).await;
            let name = format!("{}_copy", name_of(&migrated.url));
            let order = format!("CREATE DATABASE {name} TEMPLATE {}", name_of(&migrated.url));
            tell(&migrated.url, order).await;
            return Ground {
                url: sibling(&migrated.url, &name),
                file: None,
            };
        }
        let template = TEMPLATE.get_or_init(template).await;
        let file = self.folder.path().join("keywheel.db");
        for name in ["keywheel.db", "keywheel.db-wal", "keywheel.db-shm"] {
            let old = self.folder.path().join(name);
            if old.exists() {
                std::fs::remove_file(old).unwrap();
            }
        }
        std::fs::write(&file, template).unwrap();
        Ground {
            url: format!("sqlite://{}?mode=rwc", file.display()),
            file: Some(file),
        }
    }
}

impl Ground {
    pub(crate) async fn store(&self) -> Store {
        let postgres = self.file.is_none();
        Store::connect(&StoreOptions {
            url: self.url.clone(),
            readers: 1,
            writers: if postgres { 2 } else { 1 },
            acquire_timeout: Duration::from_secs(30),
        })
        .await
        .unwrap()
    }

    /// Nobody is connected any more.
    pub(crate) async fn leave(self) {
        if self.file.is_none() {
            let order = format!("DROP DATABASE {}", name_of(&self.url));
            tell(&self.url, order).await;
        }
    }
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// Another database of the same server.
fn sibling(url: &str, name: &str) -> String {
    let server = url.rsplit_once('/').unwrap().0;
    format!("{server}/{name}")
}

#[expect(clippy::disallowed_methods, reason = "the names are made here")]
async fn tell(url: &str, order: String) {
    let mut raw = sqlx::AnyConnection::connect(&sibling(url, "postgres"))
        .await
        .unwrap();
    sqlx::query(sqlx::AssertSqlSafe(order))
        .execute(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();
}

async fn migrated() -> Database {
    let database = Database::new(Backend::Postgres).await;
    database.store().await.close().await;
    database
}

async fn template() -> Vec<u8> {
    let database = Database::new(Backend::Sqlite).await;
    let store = database.store().await;
    store.close().await;
    let mut raw = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();
    let path = database.url.strip_prefix("sqlite://").unwrap();
    std::fs::read(path.split('?').next().unwrap()).unwrap()
}
